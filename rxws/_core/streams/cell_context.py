"""Run callbacks in the context of the notebook cell that subscribed.

A Jupyter kernel keeps the running cell in a context variable, and prints below that cell. Messages
arrive in the context of the cell that opened the connection. Without this module, the output of
all callbacks would appear below that cell.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any

from rxws._core.upstream import forget_upstreams

from .coroutines import check_callbacks
from .subscriber import callbacks_of

__all__ = ["in_cell_context", "in_current_context", "shell"]


def shell() -> Any:
    """Return IPython's shell in a Jupyter kernel, else None. This does not import IPython."""
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return None
    current = ipython.get_ipython()
    return current if getattr(current, "kernel", None) is not None else None


def in_current_context(call: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Bind a callback to the current context."""
    if call is None:
        return None
    callback, context = call, contextvars.copy_context()
    context.run(forget_upstreams)  # they belong to this subscription, not to later ones

    def run(*args: Any) -> Any:
        # A callback may cause a nested call of itself, and a context cannot be entered twice.
        return context.copy().run(callback, *args)

    return run


def in_cell_context(
    on_next: Any, on_error: Callable[..., Any] | None, on_completed: Callable[..., Any] | None
) -> tuple[Any, Any, Any]:
    """Bind a subscriber's callbacks to the current context if a notebook cell is running."""
    if shell() is None:
        return on_next, on_error, on_completed
    on_next, on_error, on_completed = callbacks_of(on_next, on_error, on_completed)
    check_callbacks(on_next, on_error, on_completed)
    bind = in_current_context
    return bind(on_next), bind(on_error), bind(on_completed)
