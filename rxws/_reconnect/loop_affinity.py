"""The thread and the event loop on which a `WebSocketSubject` runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime
from threading import get_ident

from reactivex.abc import SchedulerBase

from rxws._core.schedulers.connection_scheduler import ForwardingScheduler
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.schedulers.threads import run_on, runs_here
from rxws._core.schedulers.timers import seconds_of

__all__ = ["LoopAffinity"]

_NO_LOOP = "no event loop is running: create the subject, or subscribe to it, on one"


class LoopAffinity(ForwardingScheduler):
    """Runs calls on one thread: the current one if you pass a scheduler, else the event loop's.

    The event loop is the one that is running now, or else the one that is running when `bind` is
    called. Until then `scheduler` is None. Actions are scheduled on the event loop of that time.
    """

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        super().__init__()
        self._fixed = scheduler is not None
        self._thread = get_ident()
        # The monotonic clock is also that of asyncio's and uvloop's loops.
        self.seconds = time.monotonic if scheduler is None else seconds_of(scheduler)
        self.scheduler = _running() if scheduler is None else LoopScheduler.thread_safe(scheduler)

    @property
    def on_thread(self) -> bool:
        """Whether `run` calls directly: on the thread, or before there is a scheduler."""
        return self.scheduler is None or runs_here(self.scheduler, self._thread)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another event loop runs in this thread, so that the own one cannot run."""
        try:
            self.check()
        except RuntimeError:
            return True
        return False

    def check(self) -> None:
        """Check that no other event loop keeps the own one from running; a closed one is no error.

        Raises:
            RuntimeError: Another event loop runs in this thread.
        """
        if isinstance(self.scheduler, LoopScheduler) and not self.closed:
            self.scheduler.check("this subject")

    @property
    def closed(self) -> bool:
        """Whether the event loop is closed, so that nothing can run on it any more."""
        return isinstance(self.scheduler, LoopScheduler) and self.scheduler.closed

    def bind(self) -> None:
        """Move to the running event loop, if any; only while nothing is open.

        Raises:
            RuntimeError: No event loop is running, and none is known from before.
        """
        if self._fixed:
            return
        running = _running()
        if running is not None:
            self.scheduler = running
        elif self.scheduler is None or self.closed:
            raise RuntimeError(_NO_LOOP)

    @property
    def now(self) -> datetime:
        return super().now if self.scheduler is None else self.scheduler.now

    def _target(self) -> SchedulerBase:
        scheduler = _running() if self.scheduler is None or self.closed else self.scheduler
        if scheduler is None:
            raise RuntimeError(_NO_LOOP)
        return scheduler

    def run(self, action: Callable[[], object]) -> None:
        """Call now if on the thread, else soon; do nothing if its loop is closed."""
        if self.scheduler is None:
            action()
        else:
            run_on(self.scheduler, self._thread, action)


def _running() -> LoopScheduler | None:
    try:
        return LoopScheduler.running()
    except RuntimeError:
        return None
