"""Subscriptions that keep values for later, and pause the connection that these come from."""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections import deque
from typing import Generic, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core.connection import Flow
from rxws._core.errors import RxwsError
from rxws._core.upstream import Upstream, Upstreams, collect_upstreams

from ._on_loop import on_loop

__all__ = ["MAX_WAITING", "Backlog", "BacklogSubscription", "State"]

T = TypeVar("T")
R = TypeVar("R")

MAX_WAITING = 1024

_REMEDIES = {
    "map_async": "flow=conn.flow, raise max_concurrent, or reduce them first (ops.sample, "
    "ops.debounce)",
    "map_async(ordered=True)": "ordered=False, or reduce them first (ops.sample, ops.debounce)",
    "rate_limit": 'flow=conn.flow, raise count, or pass excess="drop"',
}


class Backlog(RxwsError):
    """Too many values are waiting for `map_async` or `rate_limit`: the source cannot be paused.

    Args:
        waiting: The number of values that are waiting.
        operator: The operator that they are waiting for.
    """

    def __init__(self, waiting: int, operator: str = "map_async") -> None:
        super().__init__(waiting, operator)
        self.waiting = waiting
        self.operator = operator

    def __str__(self) -> str:
        return (
            f"{self.waiting} values are waiting for {self.operator}, whose source cannot be "
            f"paused: pass {_REMEDIES[self.operator]}"
        )


class State(enum.Enum):
    """The state of a subscription. It only changes to a state further down."""

    RUNNING = enum.auto()
    SOURCE_ENDED = enum.auto()
    OVER = enum.auto()


class BacklogSubscription(DisposableBase, Generic[T, R]):
    """A subscription with values that wait."""

    operator: str

    def __init__(self, observer: ObserverBase[R], scheduler: SchedulerBase) -> None:
        self.state = State.RUNNING
        self.observer = observer
        self.scheduler = scheduler
        self.upstreams = Upstreams()
        self.waiting: deque[T] = deque()
        self._error: Exception | None = None  # with which the source has ended
        self._source = SingleAssignmentDisposable()

    def start(self, source: Observable[T], flow: Flow | None) -> None:
        """Subscribe to the source on the event loop, and collect the flows behind it."""
        if flow is not None:
            self.upstreams.add(cast(Upstream, flow))
        with collect_upstreams(self.upstreams):
            self._source.disposable = source.pipe(on_loop()).subscribe(
                self.on_next, self.on_error, self.end, scheduler=self.scheduler
            )

    def dispose(self) -> None:
        """Drop and count the values that wait, and release the flows."""
        self.state = State.OVER
        if self.waiting:
            self.upstreams.count_dropped("unobserved", len(self.waiting))
            self.waiting.clear()
        self.upstreams.resume()
        self._source.dispose()

    @abstractmethod
    def on_next(self, value: T) -> None: ...

    def on_error(self, error: Exception) -> None:
        """Fail at once; or call `end` to fail after the values that wait."""
        self.fail(error)

    def fail(self, error: Exception) -> None:
        """Fail, and unsubscribe."""
        if not self.over:
            self.dispose()
            self.observer.on_error(error)

    def keep(self, value: T) -> None:
        """Let a value wait.

        One message may become any number of values, such as the items of a list. A connection that
        is closing ignores pauses. It delivers at once what it has kept, so the values above the
        limit are dropped and counted. Of another source, they are an error.
        """
        upstreams = self.upstreams
        if len(self.waiting) < MAX_WAITING or (upstreams.delivering and not upstreams.closing):
            self.waiting.append(value)
        elif upstreams.closing:
            upstreams.count_dropped("closed")
        else:
            self.fail(Backlog(len(self.waiting), self.operator))

    def end(self, error: Exception | None = None) -> None:
        """End as the source has ended, after the values before that."""
        if self.state is State.RUNNING:
            self.state = State.SOURCE_ENDED
            self._error = error
            self.end_if_done()

    def end_if_done(self) -> None:
        if self.state is not State.SOURCE_ENDED or self.waiting or self.busy:
            return
        self.state = State.OVER
        if self._error is None:
            self.observer.on_completed()
        else:
            self.observer.on_error(self._error)

    @property
    def busy(self) -> bool:
        """Whether a value that no longer waits is still to be emitted."""
        return False

    @property
    def over(self) -> bool:
        """Whether nothing more may be emitted."""
        return self.state is State.OVER
