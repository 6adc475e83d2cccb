"""All that touches IPython: which cell runs, and what is shown under it; nothing else does."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rxws._core.cell_context import shell

__all__ = ["cell_of_now", "in_kernel", "place_of", "run_of_now", "show"]


def in_kernel() -> bool:
    """Whether a Jupyter kernel runs, so that something can be shown."""
    return shell() is not None


def _parent() -> dict[str, Any]:
    kernel = shell()
    return dict(kernel.get_parent() or {}) if kernel is not None else {}


def run_of_now() -> str | None:
    """Return what names this run of the cell, another at each run; None outside a kernel."""
    found: str | None = _parent().get("header", {}).get("msg_id")
    return found


def cell_of_now() -> str | None:
    """Return what names the cell that runs, the same at each run; None outside a kernel.

    JupyterLab and VS Code send a cell's id along. For other front ends the cell is its source text.
    """
    parent = _parent()
    found: str | None = parent.get("metadata", {}).get("cellId")
    return found or parent.get("content", {}).get("code")


def place_of(filename: str) -> str:
    """Return how a traceback calls a file: as `Cell In[3]` if it is a cell."""
    kernel = shell()
    found = kernel.compile.format_code_name(filename) if kernel is not None else None
    return " ".join(found) if found else f'File "{filename}"'


def show(bundle: dict[str, str], display_id: str, update: bool = False) -> None:
    """Show something under the running cell, or show it anew wherever it is shown.

    An update is sent in an empty context, as the kernel's present cell: what a task of an earlier
    cell sends is dropped where a notebook is executed headless.
    """
    display: Callable[..., Any] = import_module("IPython.display").display
    context = contextvars.Context() if update else contextvars.copy_context()
    context.run(display, bundle, raw=True, display_id=display_id, update=update)
