"""Timers and clocks on any scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase, SchedulerBase

__all__ = [
    "Deadline",
    "call_and_report",
    "call_later",
    "call_later_shared",
    "is_call_later",
    "raise_soon",
    "seconds_of",
]


def call_later(
    scheduler: SchedulerBase, seconds: float, callback: Callable[[], Any]
) -> DisposableBase:
    """Call back after a delay in seconds, unless the result is disposed before."""
    return scheduler.schedule_relative(seconds, _call, callback)


def call_later_shared(
    scheduler: SchedulerBase, seconds: float, callback: Callable[[], Any]
) -> DisposableBase:
    """Do as `call_later`; on an event loop, all calls with the same delay share one timer."""
    share: Any = getattr(scheduler, "call_later_shared", None)
    if share is None:
        return call_later(scheduler, seconds, callback)
    timer: DisposableBase = share(seconds, callback)
    return timer


def _call(_: SchedulerBase, callback: Any = None) -> None:
    callback()


def raise_soon(scheduler: SchedulerBase, error: BaseException) -> None:
    """Raise an error in the scheduler's next turn, so that the caller can finish its work."""

    def raise_error() -> None:
        raise error

    call_later(scheduler, 0, raise_error)


def call_and_report(scheduler: SchedulerBase, callback: Callable[..., object], *args: Any) -> None:
    """Call a subscriber; the scheduler reports what it raises, and the caller goes on."""
    try:
        callback(*args)
    except BaseException as exc:
        raise_soon(scheduler, exc)


def is_call_later(action: object) -> bool:
    """Whether an action was scheduled by `call_later`, not by an operator."""
    return action is _call


def seconds_of(scheduler: SchedulerBase) -> Callable[[], float]:
    """Return a clock: a function that returns a scheduler's time in seconds.

    The schedulers of rxws have such a clock as their attribute `seconds`. It is much cheaper than
    `now`, which creates a `datetime`.
    """
    clock: Callable[[], float] | None = getattr(scheduler, "seconds", None)
    return clock or (lambda: scheduler.to_seconds(scheduler.now))


class Deadline:
    """A timer that can be set again or cleared; a new callback replaces the old one."""

    __slots__ = ("_scheduler", "_timer")

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._timer: DisposableBase | None = None

    def set(self, seconds: float, callback: Callable[[], Any]) -> None:
        """Call back after a delay in seconds, unless `clear` or `set` is called before."""
        self.clear()
        self._timer = call_later(self._scheduler, seconds, callback)

    def clear(self) -> None:
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
