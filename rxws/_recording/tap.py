"""Noting what passes a place in a chain of operators, without changing any of it."""

from __future__ import annotations

from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from .lane import Lane

__all__ = ["LaneObserver", "tap"]

T = TypeVar("T")


class LaneObserver(ObserverBase[Any]):
    """Notes what a stream of a connection tells; without the state that RxPY's observers have."""

    def __init__(self, lane: Lane) -> None:
        self._note = lane.note

    def on_next(self, value: Any) -> None:
        """Note a value."""
        self._note("next", value)

    def on_error(self, error: Exception) -> None:
        """Note an error."""
        self._note("error", error)

    def on_completed(self) -> None:
        """Note the end."""
        self._note("completed")


def tap(
    source: Observable[T], lane: Lane, observer: ObserverBase[T], scheduler: SchedulerBase | None
) -> DisposableBase:
    """Subscribe a source for an observer, and note in a lane what passes."""
    ended = False
    note, pass_on = lane.note, observer.on_next

    def on_next(value: T) -> None:
        note("next", value)
        lane.passing = (value,)  # if an operator fails below, this is what it failed at
        try:
            pass_on(value)
        finally:
            lane.passing = None

    def on_error(error: Exception) -> None:
        nonlocal ended
        ended = True
        note("error", error)
        observer.on_error(error)

    def on_completed() -> None:
        nonlocal ended
        ended = True
        note("completed")
        observer.on_completed()

    def on_disposed() -> None:
        if not ended:
            note("disposed")

    subscription = source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)
    return CompositeDisposable(subscription, Disposable(on_disposed))
