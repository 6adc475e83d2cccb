"""The event loop that a hub runs on, or the scheduler with virtual time of a test."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

from reactivex.abc import SchedulerBase

from rxws._core.errors import RxwsError
from rxws._core.log import logger
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.schedulers.threads import run_on, runs_here
from rxws._core.schedulers.timers import call_later

__all__ = ["HubThread"]


class HubThread:
    """Runs a hub's code on one event loop: that which runs when the hub is used first.

    With a scheduler that the caller passes, it runs on the thread that has created the hub.
    """

    def __init__(self, scheduler: SchedulerBase | None) -> None:
        self._fixed = scheduler is not None
        self._thread = get_ident()
        self._scheduler = None if scheduler is None else LoopScheduler.thread_safe(scheduler)

    @property
    def bound(self) -> bool:
        """Whether the event loop is known, and not closed."""
        scheduler = self._scheduler
        if isinstance(scheduler, LoopScheduler):
            return not scheduler.closed
        return scheduler is not None

    @property
    def scheduler(self) -> SchedulerBase:
        assert self._scheduler is not None
        return self._scheduler

    def bind(self) -> bool:
        """Choose the running event loop if there is none yet; return whether there was none.

        Raises:
            RuntimeError: No event loop is running.
            RxwsError: The handler runs in virtual time.
        """
        if self.bound:
            return False
        try:
            self._scheduler = LoopScheduler.running()
        except RuntimeError:
            raise RuntimeError(
                "no event loop is running: use the hub in a coroutine, or pass a scheduler such as "
                "rxws.testing.Clock() to Hub(scheduler=...)"
            ) from None
        except RxwsError as exc:  # rxws.testing refuses it, as there is none in virtual time
            exc.add_note("a hub in virtual time needs a clock: Hub(scheduler=clock)")
            raise
        self._thread = get_ident()
        return True

    def check(self, what: str) -> None:
        """Check that the caller runs on the hub's thread.

        Raises:
            RuntimeError: It does not.
        """
        if not runs_here(self.scheduler, self._thread):
            raise RuntimeError(
                f"{what} from another thread or event loop than the hub's: only on_next may be "
                "called from anywhere; use loop.call_soon_threadsafe, or make a hub for each loop"
            )

    def run(self, action: Callable[[], object]) -> None:
        """Call now if on the thread, else soon; do nothing if the loop is closed."""
        run_on(self.scheduler, self._thread, action)

    def post(self, action: Callable[[], object]) -> bool:
        """Call in the next turn; return False if there is no loop, or a closed one."""
        if self._scheduler is None:
            return False
        try:
            call_later(self._scheduler, 0, action)
        except RuntimeError as exc:
            logger.debug("a hub's event loop is closed: %r", exc)
            return False
        return True
