"""Long work in small steps, so that everything else gets its turn of the event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol, TypeAlias

from reactivex.abc import SchedulerBase

from rxws._core.broadcast import Burst
from rxws._core.schedulers.timers import seconds_of
from rxws._core.streams.stream import Dispatcher, call_each

__all__ = ["STEP", "TURN", "Job", "Turns"]

STEP = 100
"""The number of messages that one step of a job handles at most."""

TURN = 0.01
"""The seconds after which something else gets its turn."""

_MAX_MESSAGES = 1000  # in one turn: time stands still within a turn of virtual time

Job: TypeAlias = Callable[[], bool]
"""Makes the next step, and returns whether there are more."""


class TurnsHost(Protocol):
    """See `TopicRegistry`."""

    dispatcher: Dispatcher

    @property
    def scheduler(self) -> SchedulerBase: ...
    def post(self, action: Callable[[], object]) -> bool: ...


class Turns:
    """The long work of a hub: jobs that make their steps in turn.

    Steps are notifications of the hub's dispatcher. What connections send within one turn of the
    loop is written together.
    """

    __slots__ = ("_deadline", "_host", "_jobs", "_left", "_posted")

    def __init__(self, host: TurnsHost) -> None:
        self._host = host
        self._jobs: deque[Job] = deque()
        self._posted = False
        self._deadline: float | None = None  # of this turn, None if there is none
        self._left = 0  # messages that may still be handled in it

    def count_message(self) -> bool:
        """Count a message that was handled; return whether the step must end: the turn is over."""
        self._left -= 1
        return self._is_over()

    def _is_over(self) -> bool:
        if self._deadline is None:
            return False
        return self._left <= 0 or self._seconds() >= self._deadline

    def add(self, job: Job) -> None:
        """Begin a job in the next turn of the loop, or at the end of this one if there is time."""
        self._jobs.append(job)
        if not self._posted:
            self._posted = self._host.post(self._run)

    def start(self, job: Job) -> None:
        """Make the first step now, within a notification of the dispatcher."""
        self._step(job)

    def finish(self) -> None:
        """Make all steps now."""
        self._host.dispatcher.post(self._make_steps, self._all())

    def clear(self) -> None:
        """Forget all jobs: the event loop that ran them is closed."""
        self._jobs.clear()
        self._posted = False

    def _run(self) -> None:
        self._host.dispatcher.post(self._make_steps, self._due())

    def _make_steps(self, jobs: Iterator[Job]) -> None:
        try:
            with Burst():
                call_each(self._step, jobs)
        finally:
            self._deadline = None
            self._posted = bool(self._jobs) and self._host.post(self._run)

    def _step(self, job: Job) -> None:
        more = True  # also after a KeyboardInterrupt of a subscriber
        try:
            more = job()
        except Exception:
            more = False
            raise
        finally:
            if more:
                self.add(job)

    def _all(self) -> Iterator[Job]:
        while self._jobs:
            yield self._jobs.popleft()

    def _due(self) -> Iterator[Job]:
        """Take jobs until this turn is over."""
        self._deadline, self._left = self._seconds() + TURN, _MAX_MESSAGES
        while self._jobs:
            yield self._jobs.popleft()
            if self._is_over():
                return

    def _seconds(self) -> float:
        return seconds_of(self._host.scheduler)()
