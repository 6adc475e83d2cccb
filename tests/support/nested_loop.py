"""A nested event loop, as `nest_asyncio` allows it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from support.peers.raw import PATIENCE

__all__ = ["elapsed", "run_nested"]


def run_nested(until: Callable[[], object]) -> None:
    """Run the running loop from within one of its callbacks or tasks, until a condition holds.

    asyncio cannot run the callback again that it is in, such as `_read_ready` of a socket: it tries
    in each turn, and reports a RuntimeError. This ignores it, as users of `nest_asyncio` have to.
    """
    loop: Any = asyncio.get_running_loop()
    handler = loop.get_exception_handler()

    def ignore_entered_context(loop: Any, context: dict[str, Any]) -> None:
        if "cannot enter context" in str(context.get("exception")):
            assert "_read_ready" in context["message"], context
        else:
            handler(loop, context)

    loop.set_exception_handler(ignore_entered_context)
    task = asyncio.current_task()
    tasks: Any = asyncio.tasks
    if task is not None:
        tasks._leave_task(loop, task)  # other tasks cannot run while one is current
    ready = len(loop._ready)
    wakeup = loop.call_later(0.01, bool)  # so that `select` returns
    deadline = time.monotonic() + PATIENCE
    try:
        while not until():
            assert time.monotonic() < deadline
            loop._run_once()
            if wakeup.when() <= loop.time():
                wakeup = loop.call_later(0.01, bool)
    finally:
        loop.set_exception_handler(handler)
        wakeup.cancel()
        while len(loop._ready) < ready:  # the outer turn has counted them, and would miss them
            loop.call_soon(bool)
        if task is not None:
            tasks._enter_task(loop, task)


def elapsed(seconds: float) -> Callable[[], bool]:
    """Return a condition that holds after some seconds."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end
