"""Observables whose chains of operators carry the scheduler of the stream that they begin with.

RxPY's time operators use timer threads unless `subscribe` gets a scheduler. A chain that begins
with a stream of rxws passes the scheduler of that stream.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reactivex import ConnectableObservable, GroupedObservable, Observable
from reactivex import operators as ops
from reactivex.abc import (
    DisposableBase,
    ObserverBase,
    OnCompleted,
    OnError,
    OnNext,
    SchedulerBase,
    SubjectBase,
    Subscription,
)
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import ReplaySubject

from rxws._core.async_iteration import AsyncIterableObservable
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler, DefaultScheduler

from .awaitable import last_value
from .rxpy_operators import emits_observables, flatten
from .subscriber import DerivedSubscriber

__all__ = [
    "LoopObservable",
    "ScheduledObservable",
    "SchedulerCarrier",
    "scheduler_of",
]

T = TypeVar("T")


class SchedulerCarrier(AsyncIterableObservable[T]):
    """An Observable with a default scheduler, which everything derived from it uses, too.

    Its `subscribe` does as RxPY's, with fewer objects.

    Its `await`, and that of all that is derived from it, can be cancelled. RxPY's `await` loses a
    message that arrives while the coroutine is being cancelled. This one gives it back to
    `conn.incoming`.
    """

    __slots__ = ()

    is_shared = False
    """Whether a connection subscribes to it with a `SharedObserver` of `rxws._core.broadcast`."""

    @abstractmethod
    def _default_scheduler(self) -> SchedulerBase | None:
        """Return the scheduler for a chain that gets none; None stands for RxPY's own."""

    def subscribe(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """See RxPY."""
        subscriber = DerivedSubscriber(on_next, on_error, on_completed)
        subscriber.subscribe_to(self._subscribe_core, self._or_default(scheduler))
        return subscriber

    def _or_default(self, scheduler: SchedulerBase | None) -> SchedulerBase | None:
        """Return the scheduler of a subscription; a chain replaces None by its default."""
        return scheduler

    def _carry(self, derived: Any) -> Any:
        """Return an Observable that uses the default scheduler; return other values unchanged."""
        kind: Any = cast(object, type(derived))
        if exact := _SCHEDULED.get(kind):  # in most cases; the checks below are slow
            return exact(derived, self)
        if kind is list:  # of `partition`
            return list(map(self._carry, derived))
        if kind is tuple:  # of `group_join`
            return tuple(map(self._carry, derived))
        if issubclass(kind, SchedulerCarrier | SubjectBase):
            return derived
        for base, scheduled in _SCHEDULED.items():
            if issubclass(kind, base) and kind.subscribe is base.subscribe:
                return scheduled(derived, self)
        return derived

    if not TYPE_CHECKING:  # pragma: no branch # type checkers see the overloads of Observable

        def pipe(self, *operators):
            result = self
            for operator in flatten(operators):
                result = self._carry(operator(result))
                if emits_observables(operator):
                    result = self._carry(ops.map(self._carry)(result))
            return result

    def __await__(self) -> Generator[Any, None, T]:
        return last_value(self).__await__()


def scheduler_of(source: Observable[Any]) -> SchedulerBase:
    """Return a scheduler with the time of an Observable, or else of the running event loop.

    Exceptions that a subscriber raises in a timer go to the event loop, not to `conn.errors`.
    """
    inner = None
    if isinstance(source, SchedulerCarrier):
        default = source._default_scheduler()  # pyright: ignore[reportPrivateUsage]
        inner = default.inner if isinstance(default, ConnectionScheduler) else None
    return DefaultScheduler.of_loop(inner)


def _carrying(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def carrying(self: SchedulerCarrier[Any], *args: Any, **kwargs: Any) -> Any:
        return self._carry(method(self, *args, **kwargs))  # pyright: ignore[reportPrivateUsage]

    return carrying


# RxPY's methods of an Observable that do not call `pipe`; reactivex 4 has only the first three.
for _name in (
    "__add__",
    "__iadd__",
    "__getitem__",
    "dematerialize",
    "exclusive",
    "partition_indexed",
    "pluck",
    "ref_count",
    "sum",
    "switch_latest",
):
    if hasattr(Observable, _name):  # pragma: no branch
        setattr(SchedulerCarrier, _name, _carrying(getattr(Observable, _name)))


class LoopObservable(SchedulerCarrier[T]):
    """An Observable whose chains use a scheduler, by default that of the running event loop."""

    __slots__ = ("_scheduler",)

    def __init__(self, subscribe: Subscription[T], scheduler: SchedulerBase | None = None) -> None:
        super().__init__(subscribe)
        self._scheduler = scheduler

    def _default_scheduler(self) -> SchedulerBase:
        return DefaultScheduler.of_loop(self._scheduler)


class ScheduledObservable(SchedulerCarrier[T]):
    """Subscribes to another Observable, by default with the scheduler of a carrier."""

    __slots__ = ("_carrier", "_source")

    def __init__(self, source: Observable[T], carrier: SchedulerCarrier[Any]) -> None:
        # Without super().__init__(), which would create a lock.
        self._source = source
        self._carrier = carrier

    def _default_scheduler(self) -> SchedulerBase | None:
        return self._carrier._default_scheduler()

    def _carry(self, derived: Any) -> Any:
        return self._carrier._carry(derived)

    def _or_default(self, scheduler: SchedulerBase | None) -> SchedulerBase | None:
        return self._default_scheduler() if scheduler is None else scheduler

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self._source._subscribe_core(observer, scheduler)

    def __getattr__(self, name: str) -> Any:
        """Return the source's attribute, such as `lock`, or the `key` of a group."""
        if name.startswith("_"):  # also while this is being copied, without a source
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self._source, name)


class _ScheduledGroup(ScheduledObservable[T], GroupedObservable[Any, T]):
    __slots__ = ()


class _ScheduledConnectable(ScheduledObservable[T], ConnectableObservable[T]):
    __slots__ = ()

    def connect(self, scheduler: SchedulerBase | None = None) -> DisposableBase | None:
        source = cast(ConnectableObservable[T], self._source)
        return source.connect(self._or_default(scheduler))

    def auto_connect(self, subscriber_count: int = 1) -> Observable[T]:
        connected: Observable[T] = self._carry(super().auto_connect(subscriber_count))
        return connected

    def _or_default(self, scheduler: SchedulerBase | None) -> SchedulerBase | None:
        """Also let a `ReplaySubject` that has no scheduler measure its window with the default."""
        subject: Any = self.subject
        if isinstance(subject, ReplaySubject):
            replay = cast("ReplaySubject[T]", subject)
            if isinstance(replay.scheduler, CurrentThreadScheduler):
                replay.scheduler = self._default_scheduler() or replay.scheduler
        return super()._or_default(scheduler)


_SCHEDULED: dict[Any, type[ScheduledObservable[Any]]] = {
    ConnectableObservable: _ScheduledConnectable,
    GroupedObservable: _ScheduledGroup,
    Observable: ScheduledObservable,
}
