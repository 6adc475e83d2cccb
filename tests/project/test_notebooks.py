"""The notebooks: each runs from top to bottom, ends as it was seen, and is kept without outputs."""

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
AT_ONCE = asyncio.Semaphore(5)  # kernels: the notebooks wait more than they compute

# Run before the first cell: each view that a cell makes is held.
BEFORE = """
from rxws import viz

made = []


def holding(make):
    def held(*args, **kwargs):
        made.append(make(*args, **kwargs))
        return made[-1]

    return held


viz.watch, viz.frames = holding(viz.watch), holding(viz.frames)
"""

# Run behind the last cell: what the views are by now, and what is open.
AFTER = """
import asyncio, gc, json

ours = ("rxws", "aiohttp")
print(json.dumps({
    "html": [view._repr_mimebundle_()["text/html"] for view in made],
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
        cells: Its cells of code, with what they have put out.
        left: What was found behind the last of them.
    """

    def __init__(self, cells: list[Any]) -> None:
        self.cells = cells[1:-1]
        self.left: dict[str, list[str]] = json.loads(cells[-1].outputs[0].text)

    def outputs(self, *kinds: str) -> list[Any]:
        """Return what the cells have put out, of these types."""
        found = [output for cell in self.cells for output in cell.outputs]
        return [output for output in found if output.output_type in kinds]


async def execute(path: Path) -> Executed:
    """Run a notebook in a kernel of its own; raises if a cell does."""
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(BEFORE))
    notebook.cells.append(nbformat.v4.new_code_cell(AFTER))
    client = NotebookClient(notebook, timeout=60, resources={"metadata": {"path": path.parent}})
    async with AT_ONCE:
        await client.async_execute()
    return Executed([cell for cell in notebook.cells if cell.cell_type == "code"])


@pytest.fixture(scope="module")
def executed() -> dict[Path, Executed | BaseException]:
    """All notebooks, run side by side, or what they failed with."""

    async def execute_all() -> list[Executed | BaseException]:
        return await asyncio.gather(*map(execute, NOTEBOOKS), return_exceptions=True)

    return dict(zip(NOTEBOOKS, asyncio.run(execute_all()), strict=True))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(
    request: pytest.FixtureRequest, executed: dict[Path, Executed | BaseException]
) -> Executed:
    """One of them; its test fails with what it failed with."""
    found = executed[request.param]
    if isinstance(found, BaseException):
        raise found
    return found


def test_notebook_runs_from_top_to_bottom(notebook: Executed) -> None:
    """Every cell runs, in a kernel of its own, without an error and without a warning."""
    assert not notebook.outputs("error")
    assert not [out.text for out in notebook.outputs("stream") if out.name == "stderr"]


def test_notebook_shows_what_happens(notebook: Executed) -> None:
    """There are pictures in what the cells have put out."""
    shown = notebook.outputs("display_data", "execute_result")
    assert [out for out in shown if "<svg" in out.data.get("text/html", "")]


def test_notebook_ends_with_final_pictures(notebook: Executed) -> None:
    """What stands under the cell of each view is what the view is when all is over."""
    shown = [out.data["text/html"] for out in notebook.outputs("display_data")]
    assert shown == notebook.left["html"]


def test_notebook_leaves_nothing_open(notebook: Executed) -> None:
    """Behind the last cell no view, no task and no connection is left."""
    assert not notebook.left["running"] + notebook.left["tasks"] + notebook.left["sockets"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    """The file holds no outputs and no counts, so that a difference is a change of what it says."""
    kept = nbformat.read(path, as_version=4)

    assert set(kept.metadata) == {"kernelspec", "language_info"}
    assert not [cell.id for cell in kept.cells if cell.metadata]
    for cell in kept.cells:
        if cell.cell_type == "code":
            assert not cell.outputs
            assert cell.execution_count is None
