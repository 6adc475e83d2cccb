"""Where a client's things run: one thread, and its time, which others bring their calls to."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import get_ident

from reactivex.abc import SchedulerBase

from rxws._core.log import logger
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import call_later, seconds_of

__all__ = ["LoopAffinity"]


class LoopAffinity:
    """The thread of a scheduler.

    Args:
        scheduler: The time, whose thread is this one; None for that of the event loop which runs
            where it is needed, or else of the one that runs here.

    Attributes:
        scheduler: The time, None as long as there is none.
        seconds: Tells the time in seconds, also before there is a scheduler.
    """

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self._given = scheduler is not None
        self._thread = get_ident()
        # asyncio's loops count as this does, and so do uvloop's.
        self.seconds = time.monotonic if scheduler is None else seconds_of(scheduler)
        self.scheduler = scheduler
        if scheduler is None:
            self.scheduler = _running()

    @property
    def here(self) -> bool:
        """Whether this is the thread, or there is none yet."""
        if isinstance(self.scheduler, LoopScheduler):
            return self.scheduler.on_thread
        return self.scheduler is None or get_ident() == self._thread

    @property
    def gone(self) -> bool:
        """Whether nothing will ever run there again."""
        return isinstance(self.scheduler, LoopScheduler) and self.scheduler.closed

    def find(self) -> None:
        """Move to the event loop that runs here, if one does; for when nothing is under way.

        Raises:
            RuntimeError: There is none, neither here nor known from before.
        """
        if self._given:
            return
        running = _running()
        if running is not None:
            self.scheduler = running
        elif self.scheduler is None or self.gone:
            raise RuntimeError(
                "no event loop is running: subscribe where one is, or make the subject there"
            )

    def run(self, action: Callable[[], object]) -> None:
        """Do something at once if this is the thread, else soon there; dropped if it is gone."""
        if self.here:
            action()
            return
        assert self.scheduler is not None
        try:
            call_later(self.scheduler, 0, action)
        except RuntimeError:
            logger.debug("dropped a call from another thread: the loop is closed")


def _running() -> LoopScheduler | None:
    try:
        return LoopScheduler.running()
    except RuntimeError:
        return None
