"""Find callbacks that block the loop in asyncio's debug mode, by CPU time.

asyncio's own warning measures wall time, which includes waits for a core and sleeps of a test.
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
    """Record the callbacks that took `loop.slow_callback_duration` or more, in debug mode.

    Steps of a test's own coroutines do not count: they make and check data.
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
    """Return the coroutine that a handle resumes; None if there is none."""
    task = getattr(handle._callback, "__self__", None)
    return task.get_coro() if isinstance(task, asyncio.Task) else None


def is_tests(handle: Any) -> bool:
    """Return whether a handle runs a coroutine of tests/ or of pytest-asyncio."""
    code = getattr(stepped(handle), "cr_code", None)
    if code is None:
        return False
    path = Path(code.co_filename)
    return TESTS in path.parents or "pytest_asyncio" in path.parts
