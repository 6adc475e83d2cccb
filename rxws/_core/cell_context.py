"""The notebook cell that is running, where there is one: a Jupyter kernel's shell, and its output.

What a kernel prints goes to the cell that its context variables name. A connection's messages come
in the context of the cell that opened it; here is what takes them to the cell that subscribed.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any

from .upstream import forget_upstreams

__all__ = ["keep", "keep_all", "shell"]


def shell() -> Any:
    """Return IPython's shell if it is that of a Jupyter kernel, or None. Imports nothing."""
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return None
    found = ipython.get_ipython()
    return found if getattr(found, "kernel", None) is not None else None


def keep(call: Callable[..., Any] | None) -> Callable[..., Any] | None:
    """Make a callback run in the present context, whoever calls it.

    Each call has a copy of the context: one that is entered cannot be entered once more, as a
    callback whose own sending calls it again would.
    """
    if call is None:
        return None
    context, kept = contextvars.copy_context(), call
    context.run(forget_upstreams)  # those of the subscribing, not of what comes later

    def run(*args: Any) -> Any:
        return context.copy().run(kept, *args)

    return run


def keep_all(
    on_next: Any, on_error: Callable[..., Any] | None, on_completed: Callable[..., Any] | None
) -> tuple[Any, Any, Any]:
    """Make what a subscriber brings run in the present context, if a notebook cell does."""
    if shell() is None:
        return on_next, on_error, on_completed
    if callable(getattr(on_next, "on_next", None)):
        on_next, on_error, on_completed = on_next.on_next, on_next.on_error, on_next.on_completed
    return keep(on_next), keep(on_error), keep(on_completed)
