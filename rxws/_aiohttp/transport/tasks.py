"""The tasks of one connection: of its handler, and those that clean up after it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._session.transport import Receiver

__all__ = ["Tasks"]


class Tasks:
    """Tasks that a connection waits for at its end. Each is cancelled once at most.

    A second cancellation would interrupt the `finally` blocks that run because of the first.
    """

    __slots__ = ("_may_cancel", "_waiting")

    def __init__(self) -> None:
        self._may_cancel: dict[asyncio.Task[Any], bool] = {}
        self._waiting: asyncio.Timeout | None = None  # set during `finish`

    def spawn(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]
    ) -> DisposableBase:
        """Run a coroutine as a task; disposing cancels it in the next turn."""
        task = loop.create_task(coroutine)
        self._add(task, may_cancel=True)

        def cancel() -> None:
            # Not at once: `iterate` may just have woken the coroutine, which can then still react.
            loop.call_soon(self._cancel, task)

        return Disposable(cancel)

    def let_finish(self, task: asyncio.Task[Any]) -> None:
        """See `Transport.let_finish`."""
        self._add(task, may_cancel=False)

    def _add(self, task: asyncio.Task[Any], may_cancel: bool) -> None:
        if task not in self._may_cancel:
            task.add_done_callback(self._remove)
        self._may_cancel[task] = may_cancel

    def _remove(self, task: asyncio.Task[Any]) -> None:
        self._may_cancel.pop(task, None)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        if self._may_cancel.get(task):
            self._may_cancel[task] = False
            task.cancel()

    async def finish(self, receiver: Receiver) -> None:
        """Cancel all tasks, and wait until they have ended, but no longer than the time limit."""
        for task in list(self._may_cancel):
            self._cancel(task)
        if not self._may_cancel:
            return
        seconds = receiver.cleanup_timeout
        try:
            async with asyncio.timeout(seconds) as self._waiting:
                while self._may_cancel:
                    await asyncio.wait(list(self._may_cancel))
        except TimeoutError:
            receiver.on_unfinished([*self._may_cancel])
        finally:
            self._waiting = None

    def stop_waiting(self) -> None:
        """Let `finish` return now."""
        if self._waiting is not None and not self._waiting.expired():
            self._waiting.reschedule(asyncio.get_running_loop().time())
