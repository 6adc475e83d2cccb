"""Virtual time: a clock that a test lets run, in seconds or by single turns of a loop."""

from __future__ import annotations

import heapq
from datetime import datetime
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

__all__ = ["Clock"]

S = TypeVar("S")

# Actions that one instant may take before it counts as a loop that never ends.
_ENDLESS = 1_000_000


class Clock(PeriodicScheduler):
    """A scheduler whose time is in seconds, starts at 0 and passes when it is told to.

    What is scheduled for now runs in the next turn, as on an event loop. (RxPY's
    `VirtualTimeScheduler` lets a second pass where more than 100 actions are due at once, and hangs
    where there is no end of them.)

    Examples:
        >>> clock = Clock()
        >>> timer = clock.schedule_relative(60.0, lambda *_: print("a minute"))
        >>> clock.run(60)
        a minute
        >>> clock.time
        60.0
    """

    def __init__(self) -> None:
        super().__init__()
        self._now = self.to_datetime(0.0)
        self._queue: list[_Due] = []
        self._count = 0

    @property
    def now(self) -> datetime:
        """The present, as a date after 1970."""
        return self._now

    @property
    def time(self) -> float:
        """The seconds that have passed."""
        return self.to_seconds(self._now)

    @property
    def pending(self) -> int:
        """How many actions are neither run nor disposed."""
        return len(self.actions)

    @property
    def actions(self) -> list[typing.ScheduledAction[Any]]:
        """The actions that are neither run nor disposed."""
        return [due.action for due in self._queue if not due.is_disposed]

    def seconds(self) -> float:
        """Return `time`."""
        return self.time

    def schedule(self, action: typing.ScheduledAction[S], state: S | None = None) -> DisposableBase:
        """Run an action in the next turn."""
        return self.schedule_absolute(self._now, action, state)

    def schedule_relative(
        self,
        duetime: typing.RelativeTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action after a while, in seconds or as a `timedelta`."""
        return self.schedule_absolute(self._now + self.to_timedelta(duetime), action, state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action at a time; in the next turn if that has passed."""
        self._count += 1
        due = _Due(max(self.to_datetime(duetime), self._now), self._count, action, state)
        heapq.heappush(self._queue, due)
        return due

    def turn(self) -> None:
        """Run what is due by now, but not what that puts on for the next turn."""
        last = self._count
        while self._queue and self._queue[0].at <= self._now and self._queue[0].count <= last:
            self._run_next()

    def run(self, seconds: float) -> None:
        """Let so many seconds pass, and run all that falls due.

        Raises:
            RuntimeError: Time does not get on: something schedules itself again and again for now.
        """
        end = self._now + self.to_timedelta(seconds)
        ran = 0
        while self._queue and self._queue[0].at <= end:
            if self._queue[0].at > self._now:
                self._now = self._queue[0].at
                ran = 0
            ran += 1
            if ran > _ENDLESS:
                raise RuntimeError(
                    f"time does not get on at {self.time} s: something schedules itself again and "
                    "again for now; give it an interval"
                )
            self._run_next()
        self._now = end

    def sleep(self, seconds: float) -> None:
        """Let so many seconds pass, and run nothing meanwhile: a busy thread."""
        self._now += self.to_timedelta(seconds)

    def _run_next(self) -> None:
        due = heapq.heappop(self._queue)
        if not due.is_disposed:
            due.disposable = self.invoke_action(due.action, due.state)


class _Due(SingleAssignmentDisposable):
    """An action that is to run; disposing takes it back, or disposes what it returned."""

    def __init__(
        self, at: datetime, count: int, action: typing.ScheduledAction[Any], state: Any
    ) -> None:
        super().__init__()
        self.at = at
        self.count = count
        self.action = action
        self.state = state

    def __lt__(self, other: _Due) -> bool:
        return (self.at, self.count) < (other.at, other.count)
