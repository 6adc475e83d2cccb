"""asyncio's loop as a scheduler: cheap on the loop's own thread, safe from any other."""

from __future__ import annotations

import asyncio
import threading
from typing import TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

__all__ = ["LoopScheduler"]

S = TypeVar("S")


class LoopScheduler(AsyncIOThreadSafeScheduler):
    """Runs actions on an event loop.

    RxPY has one scheduler that does not wake the loop from another thread, and one that wakes it
    always, by a write to a pipe. This one wakes it where that is needed.

    Args:
        loop: The loop; it must be the one of this thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._thread = threading.get_ident()

    @property
    def on_thread(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return threading.get_ident() == self._thread

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        """Run an action in the loop's next turn."""
        if self.on_thread:
            return AsyncIOScheduler.schedule(self, action, state)
        return super().schedule(action, state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action after a while, in seconds or as a `timedelta`."""
        if self.on_thread:
            return AsyncIOScheduler.schedule_relative(self, duetime, action, state)
        return super().schedule_relative(duetime, action, state)
