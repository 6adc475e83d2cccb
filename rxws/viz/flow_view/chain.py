"""A chain of operators with a tap after each step, whose exceptions never reach the source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from reactivex import Observable, Observer
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.cell_context import in_cell_context
from rxws._core.streams import Stream
from rxws._recording.lane import Lane
from rxws._recording.recording import Recording

from .failures import Failure

__all__ = ["Chain", "Operator", "watched"]

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]


def watched(source: Observable[Any]) -> Observable[Any]:
    """Make a connection's stream observable without subscribing; return other sources as is."""
    if not isinstance(source, Stream):
        return source
    stream: Stream[Any] = source

    def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None = None) -> DisposableBase:
        kept = in_cell_context(observer, None, None)
        return stream.watch(observer if kept[0] is observer else Observer(*kept))

    return Observable(subscribe)


class Chain:
    """A source and steps, each recorded in a lane of its own.

    Attributes:
        observable: The output of the last step. Exceptions that a step raises are its errors.
    """

    def __init__(
        self,
        source: Observable[Any],
        first: str,  # the name of the source's lane
        steps: Sequence[tuple[str, str, Operator]],  # unique name, detail, operator
        recording: Recording,
    ) -> None:
        self._failure: Failure | None = None
        step = _Step(self._blame, first)
        composed = recording.tap(first)(step.relay(source))
        above = first
        for number, (name, detail, operator) in enumerate(steps, 1):
            step = _Step(self._blame, name, detail, recording.lane(above))
            result: object = operator(step.guard(composed))
            if not isinstance(result, Observable):
                raise TypeError(
                    f"step {number}, {name!r}, returned {result!r} instead of an Observable: a "
                    "step must be an operator, so use ops.map(fn) for a function fn"
                )
            composed = recording.tap(name, detail)(step.relay(result))
            above = name
        self.observable: Observable[Any] = composed
        self._last = above

    def failure(self, error: Exception) -> Failure:
        """Return where an error that reached the end of the chain came from."""
        known = self._failure
        return known if known and known.error is error else Failure(error, self._last)

    def _blame(self, failure: Failure) -> None:
        # An error passes through the steps below its cause: only the first one counts.
        if self._failure is None or self._failure.error is not failure.error:
            self._failure = failure


class _Step:
    """A step between the tap above it and its own tap."""

    def __init__(
        self,
        report: Callable[[Failure], None],
        name: str,
        detail: str = "",
        above: Lane | None = None,
    ) -> None:
        self._report = report
        self._name = name
        self._detail = detail
        self._above = above
        self._below: ObserverBase[Any] | None = None

    def guard(self, source: Observable[Any]) -> Observable[Any]:
        """Pass a source to the step, and send what the step raises down instead of up."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            def guarded(notify: Callable[..., None], has_value: bool = False) -> Any:
                def run(*args: Any) -> None:
                    try:
                        notify(*args)
                    except Exception as exc:
                        self._raised(exc, args if has_value else None)

                return run

            return source.subscribe(
                guarded(observer.on_next, has_value=True),
                guarded(observer.on_error),
                guarded(observer.on_completed),
                scheduler=scheduler,
            )

        return Observable(subscribe)

    def relay(self, output: Observable[Any]) -> Observable[Any]:
        """Pass on the output of the step, and note its errors."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            self._below = observer

            def on_error(error: Exception) -> None:
                self._blame(error, self._above.passing if self._above is not None else None)
                observer.on_error(error)

            return output.subscribe(
                observer.on_next, on_error, observer.on_completed, scheduler=scheduler
            )

        return Observable(subscribe)

    def _raised(self, error: Exception, value: tuple[Any, ...] | None) -> None:
        self._blame(error, value)
        if self._below is not None:
            self._below.on_error(error)

    def _blame(self, error: Exception, value: tuple[Any, ...] | None) -> None:
        self._report(Failure(error, self._name, self._detail, value))
