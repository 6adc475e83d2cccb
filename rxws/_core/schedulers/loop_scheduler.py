"""asyncio's event loop as a scheduler: cheap on the loop's thread, and safe to use on others."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from datetime import datetime
from threading import get_ident
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.internal import noop
from reactivex.internal.basic import default_now
from reactivex.scheduler.eventloop import AsyncIOScheduler, AsyncIOThreadSafeScheduler

__all__ = ["LoopScheduler", "may_run_here", "running_loop", "wrong_loop"]

S = TypeVar("S")

running_loop = asyncio._get_running_loop
"""Return the running event loop, or None; cheaper than `asyncio.get_running_loop`."""


def may_run_here(loop: asyncio.AbstractEventLoop, thread: int, what: str) -> bool:
    """Return whether code of an event loop may run now although the loop does not run.

    Call it if the running loop is another one, or none.

    Args:
        loop: The loop.
        thread: The thread that `what` was made in.
        what: The object that belongs to the loop, for the error's message.

    Returns:
        True if no loop runs in this thread, and `loop` in no other: nothing else uses `what`. False
        if `loop` runs in another thread or may do so later: use `call_soon_threadsafe`.

    Raises:
        RuntimeError: Another loop runs in this thread, so that `loop` cannot run.
    """
    running = running_loop()
    if running is loop or get_ident() != thread or loop.is_running():
        return False
    if running is not None:
        raise wrong_loop(loop, running, what)
    return True


def wrong_loop(
    loop: asyncio.AbstractEventLoop, running: asyncio.AbstractEventLoop, what: str
) -> RuntimeError:
    """Return the error for an object that is used in another loop than its own."""
    return RuntimeError(
        f"{what} belongs to the event loop {loop!r}, but {running!r} is running: use {what} "
        "only in the loop that it was made in, and make one for each loop"
    )


class LoopScheduler(AsyncIOThreadSafeScheduler):
    """Runs actions on an event loop.

    On the loop's thread it is cheaper than RxPY's `AsyncIOThreadSafeScheduler`: it creates one
    small object per action instead of ten objects and their locks, and does not wake the loop by a
    write to a pipe.

    Args:
        loop: The loop; it must belong to the current thread.

    Raises:
        RuntimeError: Raised by `schedule` and `schedule_relative` in another event loop that runs
            in the same thread, so that this one cannot run.
    """

    _latest: LoopScheduler | None = None

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._thread = get_ident()
        self.seconds = loop.time
        self._shared_timers: dict[float, _SharedTimer] = {}

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
        """Whether the caller runs on the loop, or on its thread while no loop runs."""
        running = running_loop()
        if running is not None:
            return running is self._loop
        return get_ident() == self._thread and not self._loop.is_running()

    @property
    def now(self) -> datetime:
        """The time in UTC; reactivex 4.1 takes the loop's time, which starts when the OS does."""
        return default_now()

    def check(self, what: str = "this scheduler") -> None:
        """Raise the error of `may_run_here` if another loop runs in the loop's thread."""
        may_run_here(self._loop, self._thread, what)

    def post(self, action: Callable[[], object]) -> None:
        """Call soon, from any thread and any loop; raise a RuntimeError if the loop is closed."""
        self._loop.call_soon_threadsafe(action)

    @property
    def closed(self) -> bool:
        """Whether the loop will never run again."""
        return self._loop.is_closed()

    def call_later_shared(self, seconds: float, callback: Callable[[], Any]) -> DisposableBase:
        """Call back after a delay, on this thread; all calls with the same delay share a timer."""
        timer = self._shared_timers.get(seconds)
        if timer is None:
            timer = self._shared_timers[seconds] = _SharedTimer(self._loop, seconds)
        return timer.add(callback)

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        if not self.on_thread:
            self.check()
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
            self.check()
            return super().schedule_relative(duetime, action, state)
        seconds = self.to_seconds(duetime)
        if seconds <= 0:
            return self.schedule(action, state)
        scheduled = _Scheduled(self, action, state)
        scheduled.handle = self._loop.call_later(seconds, scheduled.run)
        return scheduled


class _SharedTimer:
    """One timer of an event loop for any number of calls with the same delay.

    The calls are a linked list, the earliest first: adding and removing one costs the same however
    many there are, and leaves no garbage.
    """

    __slots__ = ("_first", "_handle", "_last", "_loop", "_seconds")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._first: _SharedCall | None = None
        self._last: _SharedCall | None = None
        self._handle: asyncio.TimerHandle | None = None  # set while there are calls

    def add(self, callback: Callable[[], Any]) -> DisposableBase:
        call = _SharedCall(self, self._loop.time() + self._seconds, callback)
        last = call.previous = self._last
        self._last = call
        if last is None:
            self._first = call
            self._handle = self._loop.call_at(call.due, self._run)
        else:
            last.next = call
        return call

    def remove(self, call: _SharedCall) -> None:
        before, after = call.previous, call.next
        call.previous = call.next = call.timer = None
        if before is None:
            self._first = after
        else:
            before.next = after
        if after is None:
            self._last = before
        else:
            after.previous = before
        if self._first is None and self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _run(self) -> None:
        now, self._handle = self._loop.time(), None
        while (call := self._first) is not None:
            if call.due > now:
                self._handle = self._loop.call_at(call.due, self._run)
                return
            self.remove(call)
            call.handle = self._loop.call_soon(call.run, context=call.context)


class _SharedCall(DisposableBase):
    __slots__ = ("callback", "context", "due", "handle", "next", "previous", "timer")

    def __init__(self, timer: _SharedTimer, due: float, callback: Callable[[], Any]) -> None:
        self.timer: _SharedTimer | None = timer  # None once it is due or disposed
        self.due = due
        self.callback = callback
        self.context = contextvars.copy_context()
        self.previous: _SharedCall | None = None
        self.next: _SharedCall | None = None
        self.handle: asyncio.Handle | None = None  # set when it is due

    def run(self) -> None:
        self.handle = None  # it refers to this method: a reference cycle
        self.callback()

    def dispose(self) -> None:
        self.callback = noop  # often a method of the object that keeps this one
        if self.timer is not None:
            self.timer.remove(self)
        elif self.handle is not None:
            self.handle.cancel()
            self.handle = None


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
