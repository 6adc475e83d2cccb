"""In asyncio's debug mode: which callbacks held the loop for too long, by CPU time.

asyncio warns of those itself, by the clock. On a loaded machine that warns of callbacks which were
kept waiting for a core, and of those which a test lets sleep; their CPU time tells what they did.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from support import TESTS


@contextmanager
def slow_callbacks(loop: asyncio.AbstractEventLoop) -> Iterator[list[str]]:
    """The callbacks of a loop that took `loop.slow_callback_duration` or more, if it debugs.

    Steps of coroutines that are a test's own do not count: there a test makes and checks its data.
    """
    slow: list[str] = []
    run = asyncio.Handle._run

    def timed(handle: Any) -> None:
        began = time.thread_time()
        run(handle)
        took = time.thread_time() - began
        if took >= loop.slow_callback_duration and handle._loop is loop and not is_tests(handle):
            slow.append(f"{took:.3f} s in {handle!r} of {stepped(handle)!r}")

    if not loop.get_debug():
        yield slow
        return
    with patch.object(asyncio.Handle, "_run", timed):
        yield slow


def stepped(handle: Any) -> Any:
    """The coroutine that a handle goes on with; None if it is none."""
    task = getattr(handle._callback, "__self__", None)
    return task.get_coro() if isinstance(task, asyncio.Task) else None


def is_tests(handle: Any) -> bool:
    """Whether a handle runs a coroutine that is written in tests/, or by what runs the tests."""
    code = getattr(stepped(handle), "cr_code", None)
    if code is None:
        return False
    path = Path(code.co_filename)
    return TESTS in path.parents or "pytest_asyncio" in path.parts
