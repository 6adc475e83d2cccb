"""Run callbacks in the context of the notebook cell that subscribed.

A Jupyter kernel sends printed text to the cell that its context variables name. Messages arrive in
the context of the cell that opened the connection, so without this module a callback's output would
appear under that cell.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any

from .upstream import forget_upstreams

__all__ = ["in_cell_context", "in_current_context", "shell"]


def shell() -> Any:
    """Return IPython's shell in a Jupyter kernel, else None. Import nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return None
    found = ipython.get_ipython()
    return found if getattr(found, "kernel", None) is not None else None


def in_current_context(call: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Bind a callback to the current context.

    Each call runs in a copy, because a context cannot be entered twice and a callback that sends
    may be called again from within.
    """
    if call is None:
        return None
    context, bound = contextvars.copy_context(), call
    context.run(forget_upstreams)  # they belong to this subscription, not to later ones

    def run(*args: Any) -> Any:
        return context.copy().run(bound, *args)

    return run


def in_cell_context(
    on_next: Any, on_error: Callable[..., Any] | None, on_completed: Callable[..., Any] | None
) -> tuple[Any, Any, Any]:
    """Bind a subscriber's callbacks to the current context if a notebook cell is running."""
    if shell() is None:
        return on_next, on_error, on_completed
    if callable(getattr(on_next, "on_next", None)):
        on_next, on_error, on_completed = on_next.on_next, on_next.on_error, on_next.on_completed
    return (
        in_current_context(on_next),
        in_current_context(on_error),
        in_current_context(on_completed),
    )
