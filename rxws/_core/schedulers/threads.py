"""Which scheduler's code may run on the current thread, and how other threads call it."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident

from reactivex.abc import SchedulerBase
from reactivex.scheduler.eventloop import AsyncIOScheduler  # noqa: TID251 # users may pass it

from rxws._core.log import logger

from .connection_scheduler import ConnectionScheduler
from .loop_scheduler import LoopScheduler, running_loop
from .timers import call_later

__all__ = ["check_here", "run_on", "runs_here"]


def runs_here(scheduler: SchedulerBase, thread: int) -> bool:
    """Return whether the caller may run code of a scheduler now.

    It may on the scheduler's event loop, or on `thread` if the scheduler has no loop.
    """
    scheduler = _inner(scheduler)
    if isinstance(scheduler, LoopScheduler):
        return scheduler.on_thread
    if isinstance(scheduler, AsyncIOScheduler):
        loop = scheduler._loop  # pyright: ignore[reportPrivateUsage]
        return running_loop() is loop
    return get_ident() == thread


def check_here(scheduler: SchedulerBase, thread: int, what: str, remedy: str) -> None:
    """Raise a RuntimeError for `what`, which belongs to a scheduler, unless `runs_here` is true."""
    if runs_here(scheduler, thread):
        return
    inner, running = _inner(scheduler), running_loop()
    owner = f"the thread of {inner!r}"
    if isinstance(inner, AsyncIOScheduler):
        owner = f"the event loop {inner._loop!r}"  # pyright: ignore[reportPrivateUsage]
    here = "this thread runs no event loop" if running is None else f"{running!r} is running"
    raise RuntimeError(f"{what} belongs to {owner}, but {here}: {remedy}")


def _inner(scheduler: SchedulerBase) -> SchedulerBase:
    return scheduler.inner if isinstance(scheduler, ConnectionScheduler) else scheduler


def run_on(scheduler: SchedulerBase, thread: int, action: Callable[[], object]) -> None:
    """Call now if `runs_here` is true, else soon; do nothing if the loop is closed."""
    scheduler = _inner(scheduler)
    if runs_here(scheduler, thread):
        action()
        return
    try:
        if isinstance(scheduler, LoopScheduler):
            scheduler.post(action)
        else:
            call_later(scheduler, 0, action)
    except RuntimeError:
        logger.debug("dropped a call from another thread: the loop is closed")
