"""Each notebook runs from top to bottom, shows final pictures, and is stored without outputs."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from support import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
KERNELS = asyncio.Semaphore(5)  # at once; the notebooks wait more than they compute

# Run before the first cell: record each view that a cell creates.
BEFORE = """
from rxws import viz

views = []


def recorded(make):
    def wrapper(*args, **kwargs):
        views.append(make(*args, **kwargs))
        return views[-1]

    return wrapper


viz.watch, viz.frames = recorded(viz.watch), recorded(viz.frames)
"""

# Run after the last cell: the final views, and what is still open.
AFTER = """
import asyncio, gc, json

ours = ("rxws", "aiohttp")
print(json.dumps({
    "html": [view._repr_mimebundle_()["text/html"] for view in views],
    "running": list(map(repr, viz.views())),
    "tasks": [task for task in map(repr, asyncio.all_tasks()) if any(map(task.count, ours))],
    "sockets": [
        repr(each)
        for each in gc.get_objects()
        if isinstance(each, asyncio.Transport) and not each.is_closing()
    ],
}))
"""


class Executed:
    """A notebook that ran.

    Attributes:
        cells: Its code cells with their outputs.
        left: The finding of the cell after the last one.
    """

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells[1:-1]
        self.left: dict[str, list[str]] = json.loads(cells[-1].outputs[0].text)

    def outputs(self, *kinds: str) -> list[Any]:
        """Return the outputs of these types."""
        found = [output for cell in self.cells for output in cell.outputs]
        return [output for output in found if output.output_type in kinds]


async def execute(path: Path) -> Executed:
    """Run a notebook in its own kernel; raise if a cell fails."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    notebook.cells.append(nbformat.v4.new_code_cell(AFTER))
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": path.parent}})
    async with KERNELS:
        await client.async_execute()
    return Executed([cell for cell in notebook.cells if cell.cell_type == "code"])


@pytest.fixture(scope="module")
def executed() -> dict[Path, Executed | BaseException]:
    """Run all notebooks side by side; return each result or exception."""

    async def execute_all() -> list[Executed | BaseException]:
        return await asyncio.gather(*map(execute, NOTEBOOKS), return_exceptions=True)

    return dict(zip(NOTEBOOKS, asyncio.run(execute_all()), strict=True))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(
    request: pytest.FixtureRequest, executed: dict[Path, Executed | BaseException]
) -> Executed:
    """Return one notebook, or raise its exception."""
    found = executed[request.param]
    if isinstance(found, BaseException):
        raise found
    return found


def test_notebook_runs_from_top_to_bottom(notebook: Executed) -> None:
    """Every cell runs in its own kernel without an error or a warning."""
    assert not notebook.outputs("error")
    assert not [out.text for out in notebook.outputs("stream") if out.name == "stderr"]


def test_notebook_shows_pictures(notebook: Executed) -> None:
    """A notebook's output has pictures."""
    shown = notebook.outputs("display_data", "execute_result")
    assert [out for out in shown if "<svg" in out.data.get("text/html", "")]


def test_notebook_ends_with_final_pictures(notebook: Executed) -> None:
    """The output under each view's cell is the final state of the view."""
    shown = [out.data["text/html"] for out in notebook.outputs("display_data")]
    assert shown == notebook.left["html"]


def test_notebook_leaves_nothing_open(notebook: Executed) -> None:
    """After the last cell no view, task or connection is open."""
    assert not notebook.left["running"] + notebook.left["tasks"] + notebook.left["sockets"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_stored_without_outputs(path: Path) -> None:
    """The file has no outputs and no execution counts."""
    stored = nbformat.read(path, as_version=4)

    assert set(stored.metadata) == {"kernelspec", "language_info"}
    assert not [cell.id for cell in stored.cells if cell.metadata]
    for cell in stored.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
