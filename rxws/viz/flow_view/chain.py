"""Record each step of a chain of operators; the source never sees exceptions of the steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from reactivex import Observable, Observer
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.streams.cell_context import in_cell_context
from rxws._core.streams.stream import Stream
from rxws._recording.followed import derived
from rxws._recording.inner import InnerLanes
from rxws._recording.lane import Lane
from rxws._recording.passage import Passage
from rxws._recording.recording import Recording

from .failures import Failure
from .inputs import follow_inputs
from .operator_names import step_of

__all__ = ["Chain", "Operator", "watch_only"]

Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]

_USE_MAP = "a step must be an operator, so use ops.map(fn) for a function fn of a value"


def watch_only(source: Observable[Any]) -> Observable[Any]:
    """Return an Observable that watches a connection's stream; return other sources unchanged."""
    if not isinstance(source, Stream):
        return source
    stream: Stream[Any] = source

    def subscribe(observer: ObserverBase[Any], _: SchedulerBase | None = None) -> DisposableBase:
        callbacks = in_cell_context(observer, None, None)
        return stream.watch(observer if callbacks[0] is observer else Observer(*callbacks))

    return Observable(subscribe)


class Chain:
    """A source and steps, each recorded in a lane of its own.

    Attributes:
        observable: The output of the last step. It fails with the exception that a step raises.
    """

    def __init__(
        self,
        source: Observable[Any],
        first: str,  # the name of the source's lane
        steps: Sequence[tuple[str, str, Operator]],  # unique name, detail, operator
        recording: Recording,
    ) -> None:
        self._failure: Failure | None = None
        step = _Step(self._on_failure, first)
        composed = recording.tap(first)(step.wrap_output(source))
        above = first
        for number, (name, detail, operator) in enumerate(steps, 1):
            step = _Step(self._on_failure, name, detail, recording.lane(above))
            follow = follow_inputs(operator, InnerLanes(recording, name, "input"))
            try:
                result: object = follow(step.wrap_input(composed))
            except (AttributeError, TypeError) as exc:
                raise TypeError(f"step {number}, {name!r}, raised {exc!r}: {_USE_MAP}") from exc
            if not isinstance(result, Observable):
                raise TypeError(
                    f"step {number}, {name!r}, returned {result!r} instead of an Observable: "
                    f"{_USE_MAP}"
                )
            recording.lane(name).above = recording.lane(above)
            recording.lane(name).passage = Passage(step_of(operator, above))
            composed = recording.tap(name, detail)(step.wrap_output(result))
            above = name
        self.observable: Observable[Any] = composed
        self._last = above

    def failure(self, error: Exception) -> Failure:
        """Return an error that reached the end of the chain, with the step that caused it."""
        known = self._failure
        return known if known and known.error is error else Failure(error, self._last)

    def _on_failure(self, failure: Failure) -> None:
        # All steps below report the error again: keep the first report.
        if self._failure is None or self._failure.error is not failure.error:
            self._failure = failure


class _Step:
    """Wraps the input and the output of a step, to report errors with the step and the value."""

    def __init__(
        self,
        on_failure: Callable[[Failure], None],
        name: str,
        detail: str = "",
        above: Lane | None = None,
    ) -> None:
        self._on_failure = on_failure
        self._name = name
        self._detail = detail
        self._above = above
        self._below: ObserverBase[Any] | None = None

    def wrap_input(self, source: Observable[Any]) -> Observable[Any]:
        """Emit what the source emits; send what the step raises to its subscriber, not back."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            def guarded(notify: Callable[..., None], has_value: bool = False) -> Any:
                def run(*args: Any) -> None:
                    try:
                        notify(*args)
                    except Exception as exc:
                        self._report(exc, args if has_value else None)
                        if self._below is not None:
                            self._below.on_error(exc)

                return run

            return source.subscribe(
                guarded(observer.on_next, has_value=True),
                guarded(observer.on_error),
                guarded(observer.on_completed),
                scheduler=scheduler,
            )

        return derived(source, subscribe)

    def wrap_output(self, output: Observable[Any]) -> Observable[Any]:
        """Emit the output of the step, and report its error."""

        def subscribe(
            observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            self._below = observer

            def on_error(error: Exception) -> None:
                self._report(error, self._above.passing if self._above is not None else None)
                observer.on_error(error)

            return output.subscribe(
                observer.on_next, on_error, observer.on_completed, scheduler=scheduler
            )

        return derived(output, subscribe)

    def _report(self, error: Exception, value: tuple[Any, ...] | None) -> None:
        self._on_failure(Failure(error, self._name, self._detail, value))
