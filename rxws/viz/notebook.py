"""The only module that touches IPython: which cell is running, and what it shows."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from importlib import import_module
from typing import Any

from rxws._core.streams.cell_context import shell

__all__ = ["current_cell", "current_run", "in_kernel", "show", "traceback_name"]


def in_kernel() -> bool:
    """Whether this is a Jupyter kernel, which can show output."""
    return shell() is not None


def _parent() -> dict[str, Any]:
    kernel = shell()
    return dict(kernel.get_parent() or {}) if kernel is not None else {}


def current_run() -> str | None:
    """Return an id that each run of a cell has for itself, or None outside a kernel."""
    found: str | None = _parent().get("header", {}).get("msg_id")
    return found


def current_cell() -> str | None:
    """Return an id of the running cell that all its runs share, or None outside a kernel.

    JupyterLab and VS Code send the cell's id. For other front ends the id is the source text.
    """
    parent = _parent()
    found: str | None = parent.get("metadata", {}).get("cellId")
    return found or parent.get("content", {}).get("code")


def traceback_name(filename: str) -> str:
    """Return a file's name as tracebacks show it, such as `Cell In[3]` for a cell."""
    kernel = shell()
    found = kernel.compile.format_code_name(filename) if kernel is not None else None
    return " ".join(found) if found else f'File "{filename}"'


def show(bundle: dict[str, str], display_id: str, update: bool = False) -> None:
    """Show output below the running cell, or update it wherever it is shown.

    An update runs in an empty context: when a notebook runs headless, output from the context of a
    cell that has ended is dropped.
    """
    display: Callable[..., Any] = import_module("IPython.display").display
    context = contextvars.Context() if update else contextvars.copy_context()
    context.run(display, bundle, raw=True, display_id=display_id, update=update)
