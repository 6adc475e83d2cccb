"""The scheduler that a connection hands down: another's time, with faults told to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from .streams import Fault

__all__ = ["ConnectionScheduler", "Deadline", "call_later", "is_own", "seconds_of"]

S = TypeVar("S")


class ConnectionScheduler(PeriodicScheduler):
    """Runs actions on another scheduler, and tells of what they raise.

    A `debounce` or `delay` calls its subscriber from a timer. What that subscriber raises would end
    up in the event loop's exception handler; here it is a fault of the connection as any other.
    """

    def __init__(self, scheduler: SchedulerBase, fault: Fault) -> None:
        super().__init__()
        self._scheduler = scheduler
        self.fault = fault
        self._scheduled = 0  # actions for the next turn, so far

    @property
    def now(self) -> datetime:
        """The time of the scheduler below."""
        return self._scheduler.now

    @property
    def seconds(self) -> Callable[[], float]:
        """See `seconds_of`."""
        return seconds_of(self._scheduler)

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        """Run an action as soon as possible."""
        self._scheduled += 1
        return self._scheduler.schedule(self._guard(action), state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action after a while, in seconds or as a `timedelta`."""
        return self._scheduler.schedule_relative(duetime, self._guard(action), state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action at a time."""
        return self._scheduler.schedule_absolute(duetime, self._guard(action), state)

    def when_settled(self, callback: Callable[[], Any]) -> None:
        """Call back when a pipeline that was just subscribed schedules nothing more for at once.

        Operators like `start_with` and `concat` subscribe one source after the other, each in a
        turn of its own.
        """
        scheduled = self._scheduled

        def check() -> None:
            if self._scheduled == scheduled:
                callback()
            else:
                self.when_settled(callback)

        call_later(self._scheduler, 0, check)

    def _guard(self, action: typing.ScheduledAction[S]) -> typing.ScheduledAction[S]:
        def run(_: SchedulerBase, state: S | None = None) -> DisposableBase | None:
            try:
                return action(self, state)
            except Exception as exc:
                self.fault(exc)
                return None

        return run


def call_later(
    scheduler: SchedulerBase, seconds: float, callback: Callable[[], Any]
) -> DisposableBase:
    """Call back in so many seconds; disposing takes it back."""
    return scheduler.schedule_relative(seconds, _call, callback)


def _call(_: SchedulerBase, callback: Any = None) -> None:
    callback()


def is_own(action: object) -> bool:
    """Whether an action was scheduled by `after`, and not by an operator."""
    return action is _call


def seconds_of(scheduler: SchedulerBase) -> Callable[[], float]:
    """Return a function that tells a scheduler's time in seconds.

    It is the scheduler's own `seconds`, where it has one: a date costs more than all else that is
    done to note an event.
    """
    own: Callable[[], float] | None = getattr(scheduler, "seconds", None)
    return own or (lambda: scheduler.to_seconds(scheduler.now))


class Deadline:
    """One thing that is to happen unless something else comes before; a new one replaces it."""

    __slots__ = ("_scheduler", "_timer")

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._timer: DisposableBase | None = None

    def set(self, seconds: float, otherwise: Callable[[], Any]) -> None:
        """Let it happen in so many seconds."""
        self.clear()
        self._timer = call_later(self._scheduler, seconds, otherwise)

    def clear(self) -> None:
        """Let it not happen."""
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
