"""asyncio's event loop as a scheduler: cheap on the loop's thread, and safe to use on others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

__all__ = ["LoopScheduler"]

S = TypeVar("S")


class LoopScheduler(AsyncIOThreadSafeScheduler):
    """Runs actions on an event loop.

    On the loop's thread it is cheaper than RxPY's `AsyncIOThreadSafeScheduler`: it creates one
    small object per action instead of ten objects and their locks, and does not wake the loop by a
    write to a pipe.

    Args:
        loop: The loop; it must belong to the current thread.
    """

    _latest: LoopScheduler | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._thread = threading.get_ident()
        self.seconds = loop.time

    @classmethod
    def running(cls) -> LoopScheduler:
        """Return the scheduler of the running loop, the same one as the last call if possible."""
        loop = asyncio.get_running_loop()
        latest = cls._latest
        if latest is None or latest._loop is not loop:
            latest = LoopScheduler._latest = LoopScheduler(loop)
        return latest

    @classmethod
    def thread_safe(cls, scheduler: SchedulerBase | None) -> SchedulerBase:
        """Return a scheduler that any thread may use; None stands for the running loop.

        RxPY's `AsyncIOScheduler`, which its `await` passes, is replaced: an action that another
        thread schedules with it does not wake the loop.

        Raises:
            RuntimeError: There is no scheduler, and no event loop is running.
        """
        if scheduler is None:
            return cls.running()
        if isinstance(scheduler, AsyncIOScheduler) and not isinstance(
            scheduler, AsyncIOThreadSafeScheduler
        ):
            return AsyncIOThreadSafeScheduler(scheduler._loop)
        return scheduler

    @property
    def on_thread(self) -> bool:
        """Whether the caller is on the loop's thread."""
        return threading.get_ident() == self._thread

    @property
    def closed(self) -> bool:
        """Whether the loop will never run again."""
        return self._loop.is_closed()

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        if not self.on_thread:
            return super().schedule(action, state)
        scheduled = _Scheduled(self, action, state)
        scheduled.handle = self._loop.call_soon(scheduled.run)
        return scheduled

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        if not self.on_thread:
            return super().schedule_relative(duetime, action, state)
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        scheduled = _Scheduled(self, action, state)
        scheduled.handle = self._loop.call_later(seconds, scheduled.run)
        return scheduled


class _Scheduled(DisposableBase):
    __slots__ = ("_action", "_disposed", "_result", "_scheduler", "_state", "handle")

    def __init__(
        self, scheduler: LoopScheduler, action: typing.ScheduledAction[Any], state: Any
    ) -> None:
        self._scheduler = scheduler
        self._action = action
        self._state = state
        self._result: DisposableBase | None = None
        self._disposed = False
        self.handle: asyncio.Handle | None = None  # set by `schedule` after construction

    def run(self) -> None:
        self.handle = None  # it refers to this method: a reference cycle
        result = self._action(self._scheduler, self._state)
        if result is None:
            return
        if self._disposed:  # by the action itself
            result.dispose()
        else:
            self._result = result

    def dispose(self) -> None:
        """Cancel the action, or dispose what it returned."""
        self._disposed = True
        self._state = None  # often a method of the object that keeps this one
        if self.handle is not None:
            self.handle.cancel()
            self.handle = None
        result, self._result = self._result, None
        if result is not None:
            result.dispose()
