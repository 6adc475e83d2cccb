"""A scheduler with virtual time for tests."""

from __future__ import annotations

import contextvars
import heapq
from datetime import datetime
from typing import Any, TypeVar

from reactivex import typing
from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

__all__ = ["Clock", "check_clock"]

S = TypeVar("S")

_ENDLESS = 1_000_000  # `run` takes more actions at one instant for an endless loop


class Clock(PeriodicScheduler):
    """A scheduler with virtual time: it starts at 0 seconds and advances only when you call `run`.

    As on an event loop, an action that is scheduled for now runs in the next turn, and each action
    runs in a copy of the context in which it was scheduled. RxPY's
    `VirtualTimeScheduler` differs: it advances by a second when more than 100 actions are due at
    once, and hangs when an action keeps rescheduling itself.

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
        """The current time, as a date that starts in 1970."""
        return self._now

    @property
    def time(self) -> float:
        """Seconds since the clock was created."""
        return self.to_seconds(self._now)

    @property
    def pending(self) -> int:
        """The number of actions that have neither run nor been disposed."""
        return len(self.actions)

    @property
    def actions(self) -> list[typing.ScheduledAction[Any]]:
        """The actions that have neither run nor been disposed."""
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
        """Run an action after a delay, in seconds or as a `timedelta`."""
        return self.schedule_absolute(self._now + self.to_timedelta(duetime), action, state)

    def schedule_absolute(
        self,
        duetime: typing.AbsoluteTime,
        action: typing.ScheduledAction[S],
        state: S | None = None,
    ) -> DisposableBase:
        """Run an action at a time, or in the next turn if that time has passed."""
        self._count += 1
        due = _Due(max(self.to_datetime(duetime), self._now), self._count, action, state)
        heapq.heappush(self._queue, due)
        return due

    def turn(self) -> None:
        """Run the actions that are due now, but not those that they schedule."""
        last = self._count
        while self._queue and self._queue[0].at <= self._now and self._queue[0].count <= last:
            self._run_next()

    def run(self, seconds: float) -> None:
        """Advance the clock, and run the actions that become due.

        Args:
            seconds: How far to advance.

        Raises:
            RuntimeError: An action keeps scheduling itself for the same instant.
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
                    f"the clock is stuck at {self.time} s: an action keeps scheduling itself for "
                    "the same instant; give it an interval"
                )
            self._run_next()
        self._now = end

    def sleep(self, seconds: float) -> None:
        """Advance the clock without running anything, as a thread that blocks the loop does."""
        self._now += self.to_timedelta(seconds)

    def _run_next(self) -> None:
        due = heapq.heappop(self._queue)
        if not due.is_disposed:
            due.disposable = due.context.run(self.invoke_action, due.action, due.state)


def check_clock(clock: object) -> Clock:
    """Return a clock, or raise a TypeError."""
    if not isinstance(clock, Clock):
        raise TypeError(f"clock={clock!r:.80}: use a rxws.testing.Clock")
    return clock


class _Due(SingleAssignmentDisposable):
    """A scheduled action. Disposing cancels it, or disposes what it returned."""

    def __init__(
        self, at: datetime, count: int, action: typing.ScheduledAction[Any], state: Any
    ) -> None:
        super().__init__()
        self.at = at
        self.count = count
        self.action = action
        self.state = state
        self.context = contextvars.copy_context()  # as asyncio does: see `collect_upstreams`

    def __lt__(self, other: _Due) -> bool:
        return (self.at, self.count) < (other.at, other.count)
