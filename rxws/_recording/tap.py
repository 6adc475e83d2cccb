"""Record what passes through a chain of operators, without changing it."""

from __future__ import annotations

from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from .inner import InnerLanes
from .lane import Lane
from .snapshot import IMMUTABLE

__all__ = ["LaneObserver", "tap"]

T = TypeVar("T")


class LaneObserver(ObserverBase[Any]):
    """Records a stream's notifications in a lane. It is lighter than RxPY's `Observer`."""

    def __init__(self, lane: Lane) -> None:
        self._record = lane.record

    def on_next(self, value: Any) -> None:
        self._record("next", value)

    def on_error(self, error: Exception) -> None:
        self._record("error", error)

    def on_completed(self) -> None:
        self._record("completed")


def tap(
    source: Observable[T],
    lane: Lane,
    inner: InnerLanes,
    observer: ObserverBase[T],
    scheduler: SchedulerBase | None,
) -> DisposableBase:
    """Subscribe an observer to a source, and record its notifications in a lane.

    Values that are Observables are replaced by those that record their values in inner lanes.
    """
    ended = False
    record, pass_on = lane.record, observer.on_next

    def on_next(value: T) -> None:
        if value.__class__ not in IMMUTABLE and isinstance(value, Observable):
            origin = None if lane.above is None else lane.above.passing
            value = cast("T", inner.follow(cast("Observable[Any]", value), origin))
        record("next", value)
        lane.passing = (value,)  # if an operator below raises, this value caused it
        try:
            pass_on(value)
        finally:
            lane.passing = None

    def on_error(error: Exception) -> None:
        nonlocal ended
        ended = True
        record("error", error)
        observer.on_error(error)

    def on_completed() -> None:
        nonlocal ended
        ended = True
        record("completed")
        observer.on_completed()

    def on_disposed() -> None:
        if not ended:
            record("disposed")

    subscription = source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)
    return CompositeDisposable(subscription, Disposable(on_disposed))
