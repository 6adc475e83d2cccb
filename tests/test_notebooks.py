"""The notebooks: each runs from top to bottom, and is committed without outputs."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
async def test_notebook_runs_from_top_to_bottom(path: Path) -> None:
    """Every cell of the notebook runs, in a kernel of its own, without an error."""
    notebook = nbformat.read(path, as_version=4)

    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": path.parent}})
    await client.async_execute()

    shown = [cell for cell in notebook.cells if cell.cell_type == "code" and cell.outputs]
    assert shown, "a notebook that shows nothing teaches nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    """The file holds no outputs and no counts, so that a difference is a change of what it says."""
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
