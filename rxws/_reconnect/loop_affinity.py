"""The thread and the event loop that a `WebSocketSubject` lives on."""

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
    """Runs calls on the thread of a scheduler.

    Args:
        scheduler: The scheduler, whose thread is the current one. None for the running event loop,
            or, if none is running, for the one that runs when `bind` is called.

    Attributes:
        scheduler: The scheduler, None as long as there is none.
        seconds: Returns the time in seconds, even before there is a scheduler.
    """

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self._fixed = scheduler is not None
        self._thread = get_ident()
        # The loops of asyncio and uvloop use the monotonic clock.
        self.seconds = time.monotonic if scheduler is None else seconds_of(scheduler)
        self.scheduler = scheduler or _running()

    @property
    def on_thread(self) -> bool:
        """Whether this is the thread, or there is no scheduler yet."""
        if isinstance(self.scheduler, LoopScheduler):
            return self.scheduler.on_thread
        return self.scheduler is None or get_ident() == self._thread

    @property
    def closed(self) -> bool:
        """Whether the event loop is closed, so that nothing will run on it again."""
        return isinstance(self.scheduler, LoopScheduler) and self.scheduler.closed

    def bind(self) -> None:
        """Move to the event loop that is running here, if any; only while nothing is open.

        Raises:
            RuntimeError: No event loop is running here, and none is known from before.
        """
        if self._fixed:
            return
        running = _running()
        if running is not None:
            self.scheduler = running
        elif self.scheduler is None or self.closed:
            raise RuntimeError(
                "no event loop is running: create the subject, or subscribe to it, on one"
            )

    def run(self, action: Callable[[], object]) -> None:
        """Call now if this is the thread, or else soon on it, unless its loop is closed."""
        if self.on_thread:
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
