"""Timelines: notifications with their times, which tests compare."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.testing import Recorded

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed
from rxws._recording.jsonl import Event
from rxws._recording.lane import Lane

from .notation import Token, check_names, parse
from .same import same

__all__ = ["AnyError", "ClosedWith", "Timeline", "by_name", "close_of", "marbles", "recorded"]

_TOLERANCE = 1e-5  # seconds; steps such as 0.1 do not add up exactly


class _Named(OnNext[Any]):
    """Expect a value with this text: `a` matches "a", `1` matches 1 and "1"."""

    def equals(self, other: Notification[Any]) -> bool:
        return isinstance(other, OnNext) and str(other.value) == self.value


def close_of(notification: Any) -> Close | None:
    """Return the `Close` in a notification (a value, or of a `ConnectionClosed`), or None."""
    if isinstance(notification, OnError):
        exception: object = notification.exception
        return exception.close if isinstance(exception, ConnectionClosed) else None
    value = getattr(notification, "value", None)
    return value if isinstance(value, Close) else None


class AnyError(OnError[Any]):
    """Expect any error: `#`."""

    def __init__(self) -> None:
        super().__init__("any error")

    def equals(self, other: Notification[Any]) -> bool:
        """Return whether the other is an error."""
        return isinstance(other, OnError)


class ClosedWith(OnError[Any]):
    """Expect a close code, as a `ConnectionClosed` or as a `Close`: `{4001}`."""

    def __init__(self, close: Close) -> None:
        super().__init__(ConnectionClosed(close))
        self.close = close

    def equals(self, other: Notification[Any]) -> bool:
        """Return whether the other is this close; without a reason, any reason matches."""
        close = close_of(other)
        if close is None or close.code != self.close.code:
            return False
        return self.close.reason in ("", close.reason)


class Timeline(list["Recorded[Any]"]):
    """A list of notifications with their times in seconds.

    It equals another timeline, or a list of RxPY's `Recorded`, with the same notifications at the
    same times. NaN equals NaN, and arrays of NumPy and tables of pandas are equal if all their
    elements are. When a comparison fails, pytest shows both as marble diagrams.

    Args:
        events: The notifications, as RxPY's `Recorded`.
        step: Seconds per character in a diagram.
        names: The names of values in a diagram.
        is_expected: Whether a test expects this timeline; otherwise it is what happened.

    Examples:
        >>> seen = marbles("-a-b|", step=0.5)
        >>> seen.values, seen.times
        (['a', 'b'], [0.5, 1.5, 2.0])
    """

    def __init__(
        self,
        events: Iterable[Recorded[Any]] = (),
        step: float = 1.0,
        names: Mapping[str, Any] | None = None,
        is_expected: bool = False,
    ) -> None:
        super().__init__(events)
        self.is_expected = is_expected
        self.failure: Exception | None = None  # of the handler, reported by `difference`
        self.step = step
        self.names = dict(names or {})

    @classmethod
    def of(cls, events: list[Any] | Lane, step: float = 1.0) -> Timeline:
        """Create a timeline from a lane of a recording or from a list of RxPY's `Recorded`.

        Args:
            events: `recording.lanes["label"]` or the list. A timeline is returned unchanged.
            step: Seconds per character in a diagram.

        Returns:
            The timeline. It has no end if the recorded stream was disposed.

        Raises:
            TypeError: The list has elements of another type.

        Examples:
            >>> from reactivex.testing import ReactiveTest
            >>> Timeline.of([ReactiveTest.on_next(2, "b")]) == marbles("--b")
            True
        """
        if isinstance(events, Timeline):
            return events
        if isinstance(events, Lane):
            return cls(
                (_from_event(event) for event in events.events if event.type in _NOTIFICATIONS),
                step,
            )
        for event in events:
            if not isinstance(event, Recorded):
                raise TypeError(
                    f"{event!r:.80} is not a notification with a time: compare with "
                    "marbles(...), or only the values, as in sim.outgoing.values == [...]"
                )
        return cls(events, step)

    @property
    def values(self) -> list[Any]:
        """The values, without their times."""
        return [event.value.value for event in self if isinstance(event.value, OnNext)]

    @property
    def times(self) -> list[float]:
        """The time of each notification, in seconds."""
        return [event.time for event in self]

    @property
    def end(self) -> Notification[Any] | None:
        """The last notification if it is a completion or an error, else None."""
        last = self[-1].value if self else None
        return last if isinstance(last, OnCompleted | OnError) else None

    def first_difference(self, other: Timeline) -> int | None:
        """Return the index of the first notification that differs, or None."""
        for index, (one, two) in enumerate(zip(self, other, strict=False)):
            if not _same(one, two):
                return index
        return None if len(self) == len(other) else min(len(self), len(other))

    def __eq__(self, other: Any) -> bool:
        if not isinstance(cast(object, other), list):
            return NotImplemented
        try:
            return self.first_difference(Timeline.of(cast("list[Any]", other))) is None
        except TypeError:
            return False

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # as for any list

    def __repr__(self) -> str:
        return "[" + ", ".join(f"{event.time:g} s {event.value}" for event in self) + "]"


def _same(one: Recorded[Any], two: Recorded[Any]) -> bool:
    if abs(one.time - two.time) > _TOLERANCE:
        return False
    first, second = cast(Any, one.value), cast(Any, two.value)
    if type(first) is type(second) is OnError:
        # RxPY's `on_error(time, "text")` creates a plain Exception, which matches any type.
        types: set[Any] = {type(first.exception), type(second.exception)}
        same_type = len(types) == 1 or Exception in types
        return same_type and str(first.exception) == str(second.exception)
    if type(first) is type(second) is OnNext:
        return same(first.value, second.value)
    # Let the expectation compare, as it may match several notifications.
    if not isinstance(first, _PATTERNS) and (
        isinstance(second, _PATTERNS) or not isinstance(second, Notification)
    ):
        first, second = second, first
    if not isinstance(second, Notification):  # two of RxPY's predicates would recurse endlessly
        return first is second
    return bool(first == second)


_PATTERNS = (_Named, AnyError, ClosedWith)
_NOTIFICATIONS = ("next", "close", "error", "completed")


def _from_event(event: Event) -> Recorded[Any]:
    if event.type == "error":
        return recorded(event.t, OnError(event.data))
    return recorded(event.t, OnCompleted() if event.type == "completed" else OnNext(event.data))


def recorded(at: float, notification: Notification[Any]) -> Recorded[Any]:
    """Create a `Recorded` from a time in seconds and a notification."""
    time: Any = at  # RxPY declares integer ticks
    return Recorded(time, notification)


def marbles(
    text: str,
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    error: Exception | None = None,
) -> Timeline:
    """Create the timeline that a test expects from a marble diagram.

    Args:
        text: Marbles as in RxPY: each character lasts one step; `-` lets time pass, `ab` is one
            value, `(a,b)` are two values at once, `|` completes and `#` fails. In addition,
            `{4001}` and `{4001 reason}` end with that close code. Spaces are ignored.
        step: Seconds per character.
        values: The values of the names in the text, such as `{"a": 1}`. A name that is not listed
            matches any value with that text: `1` matches 1 and "1".
        error: The error that `#` stands for; by default any error.

    Returns:
        A timeline to compare with.

    Raises:
        ValueError: The text is not a marble diagram, `step` is not above 0, or names of `values`
            run together, as in `bc`.

    Examples:
        >>> marbles("a-(b,c)-|", values={"a": 1}).values
        [1, 'b', 'c']
    """
    names = by_name(values)
    tokens, _ = parse(text, step)
    check_names(tokens, names)
    events = [recorded(token.at, _expected(token, names, error)) for token in tokens]
    return Timeline(events, step, names, is_expected=True)


def by_name(values: Mapping[Any, Any] | None) -> dict[str, Any]:
    """Index values by the text of their names; as in RxPY, a name may be a number."""
    return {str(name): value for name, value in (values or {}).items()}


def _expected(token: Token, names: Mapping[str, Any], error: Exception | None) -> Notification[Any]:
    if token.close is not None:
        return ClosedWith(token.close)
    if token.sign == "|":
        return OnCompleted()
    if token.sign == "#":
        return AnyError() if error is None else OnError(error)
    if token.sign:
        raise ValueError(f"{token.sign!r} is an action of a peer: use it with simulate() only")
    return OnNext(names[token.name]) if token.name in names else _Named(token.name)
