"""A chain of operators with a tap behind each step; no exception leaves it for the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from reactivex import Observable, Observer
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.cell_context import keep_all
from rxws._core.streams import Stream
from rxws._recording.lane import Lane
from rxws._recording.recording import Recording

from .failures import Failure

__all__ = ["Chain", "Operator", "watched"]

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]


def watched(source: Observable[Any]) -> Observable[Any]:
    """Make an Observable of a connection's stream that is no subscriber of it; others are taken."""
    if not isinstance(source, Stream):
        return source
    stream: Stream[Any] = source

    def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None = None) -> DisposableBase:
        kept = keep_all(observer, None, None)
        return stream.watch(observer if kept[0] is observer else Observer(*kept))

    return Observable(subscribe)


class Chain:
    """A source and steps, each with a tap behind it.

    Args:
        source: It.
        first: The name of its lane.
        steps: Of each the name, the detail and the operator. The names differ.
        recording: Has a lane for each.

    Attributes:
        observable: The last step's. What a step raises arrives there, too.

    Raises:
        TypeError: A step makes no Observable.
    """

    def __init__(
        self,
        source: Observable[Any],
        first: str,
        steps: Sequence[tuple[str, str, Operator]],
        recording: Recording,
    ) -> None:
        self._blamed: Failure | None = None
        place = _Place(self.blame, first)
        composed = recording.tap(first)(place.relay(source))
        above = first
        for number, (name, detail, operator) in enumerate(steps, 1):
            place = _Place(self.blame, name, detail, recording.lane(above))
            made: object = operator(place.guard(composed))
            if not isinstance(made, Observable):
                raise TypeError(
                    f"step {number}, {name!r}, made {made!r} of an Observable: a step is an "
                    "operator, as ops.map(fn) is for a function fn"
                )
            composed = recording.tap(name, detail)(place.relay(made))
            above = name
        self.observable: Observable[Any] = composed
        self._last = above

    def blame(self, failure: Failure) -> None:
        """Note where an error is seen; where it is seen first it comes from."""
        if self._blamed is None or self._blamed.error is not failure.error:
            self._blamed = failure

    def failure(self, error: Exception) -> Failure:
        """Return what is known of an error that arrived at the end."""
        known = self._blamed is not None and self._blamed.error is error
        return self._blamed if known and self._blamed else Failure(error, self._last)


class _Place:
    """A step between the tap above it and its own."""

    def __init__(
        self,
        tell: Callable[[Failure], None],
        name: str,
        detail: str = "",
        above: Lane | None = None,
    ) -> None:
        self._tell = tell
        self._name = name
        self._detail = detail
        self._above = above
        self._below: ObserverBase[Any] | None = None

    def guard(self, source: Observable[Any]) -> Observable[Any]:
        """Pass a source on to the step; what that raises goes down instead of up."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            def on_next(value: Any) -> None:
                try:
                    observer.on_next(value)
                except Exception as exc:
                    self._raised(exc, (value,))

            def on_error(error: Exception) -> None:
                try:
                    observer.on_error(error)
                except Exception as exc:
                    self._raised(exc, None)

            def on_completed() -> None:
                try:
                    observer.on_completed()
                except Exception as exc:
                    self._raised(exc, None)

            return source.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

        return Observable(subscribe)

    def relay(self, made: Observable[Any]) -> Observable[Any]:
        """Pass on what the step makes, and look at its errors."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            self._below = observer

            def on_error(error: Exception) -> None:
                self._blame(error, self._above.passing if self._above is not None else None)
                observer.on_error(error)

            return made.subscribe(
                observer.on_next, on_error, observer.on_completed, scheduler=scheduler
            )

        return Observable(subscribe)

    def _raised(self, error: Exception, value: tuple[Any] | None) -> None:
        self._blame(error, value)
        if self._below is not None:
            self._below.on_error(error)

    def _blame(self, error: Exception, value: tuple[Any] | None) -> None:
        self._tell(Failure(error, self._name, self._detail, value))
