"""What a stream told and when, as something to compare with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.testing import Recorded

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed
from rxws._recording.jsonl import Event
from rxws._recording.lane import Lane

from .notation import Token, parse

__all__ = ["AnyError", "ClosedWith", "Timeline", "marbles", "named", "recorded"]

# Seconds: times are the same that differ by no more than what adding them up in steps makes.
_SAME = 1e-5


class _Named(OnNext[Any]):
    """A value that is known by its name: `a` is "a", and `1` is 1 as well as "1"."""

    def equals(self, other: Notification[Any]) -> bool:
        return isinstance(other, OnNext) and str(other.value) == self.value


class AnyError(OnError[Any]):
    """A failure by whatever error: `#`."""

    def __init__(self) -> None:
        super().__init__("any error")

    def equals(self, other: Notification[Any]) -> bool:
        """Whether the other is a failure."""
        return isinstance(other, OnError)


class ClosedWith(OnError[Any]):
    """An end by this close code: `{4001}`, as the error that fails a stream or as a `Close`."""

    def __init__(self, close: Close) -> None:
        super().__init__(ConnectionClosed(close))
        self.close = close

    def equals(self, other: Notification[Any]) -> bool:
        """Whether the other is that close; a reason counts where one was written."""
        close = (
            getattr(other.exception, "close", None)
            if isinstance(other, OnError)
            else other.value
            if isinstance(other, OnNext)
            else None
        )
        if not isinstance(close, Close) or close.code != self.close.code:
            return False
        return not self.close.reason or close.reason == self.close.reason


class Timeline(list["Recorded[Any]"]):
    """Notifications with their times, in seconds.

    It equals another, or a list of RxPY's `Recorded`, whose notifications are the same at the same
    times. Under pytest, a comparison that fails shows both as marbles, one above the other.

    Args:
        events: The notifications.
        step: Seconds of one character when it is drawn.
        names: What values are called when they are drawn.
        is_expected: Whether it is what a test expects, and not what was seen.

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
        self.failure: Exception | None = None  # of the handler; told where a comparison fails
        self.step = step
        self.names = dict(names or {})

    @classmethod
    def of(cls, events: list[Any] | Lane, step: float = 1.0) -> Timeline:
        """Make one of what a recording has on a lane, or of a list of RxPY's `Recorded`.

        Args:
            events: `recording.lanes["label"]`, or the list; a timeline is returned as it is.
            step: Seconds of one character when it is drawn.

        Returns:
            The timeline. What was disposed has no end.

        Raises:
            TypeError: There are other things in the list.

        Examples:
            >>> from reactivex.testing import ReactiveTest
            >>> Timeline.of([ReactiveTest.on_next(2, "b")]) == marbles("--b")
            True
        """
        if isinstance(events, Timeline):
            return events
        if isinstance(events, Lane):
            return cls((_played(event) for event in events.events if event.type in _TOLD), step)
        for event in events:
            if not isinstance(event, Recorded):
                raise TypeError(
                    f"{event!r:.80} is no notification with its time: compare with "
                    "marbles(...), or the values alone, as in sim.outgoing.values == [...]"
                )
        return cls(events, step)

    @property
    def values(self) -> list[Any]:
        """The values, without their times."""
        return [event.value.value for event in self if isinstance(event.value, OnNext)]

    @property
    def times(self) -> list[float]:
        """When each notification came."""
        return [event.time for event in self]

    @property
    def end(self) -> Notification[Any] | None:
        """What ended it: a completion or a failure; None while it goes on."""
        last = self[-1].value if self else None
        return last if isinstance(last, OnCompleted | OnError) else None

    def first_difference(self, other: Timeline) -> int | None:
        """Return the place of the first notification that is not the same; None if all are."""
        for place, (one, two) in enumerate(zip(self, other, strict=False)):
            if not _same(one, two):
                return place
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

    __hash__ = None  # as of any list

    def __repr__(self) -> str:
        return "[" + ", ".join(f"{event.time:g} s {event.value}" for event in self) + "]"


def _same(one: Recorded[Any], two: Recorded[Any]) -> bool:
    if abs(one.time - two.time) > _SAME:
        return False
    first: Any = one.value
    second: Any = two.value
    if type(first) is type(second) is OnError:
        # RxPY's `on_error(time, "text")` makes a plain Exception, which stands for any type.
        types: set[Any] = {type(first.exception), type(second.exception)}
        same_type = len(types) == 1 or Exception in types
        return same_type and str(first.exception) == str(second.exception)
    # An expectation may be wider than a notification: a name, any error, a predicate of RxPY's.
    if not isinstance(first, _WIDER) and (
        isinstance(second, _WIDER) or not isinstance(second, Notification)
    ):
        first, second = second, first
    if not isinstance(second, Notification):  # RxPY's predicates ask one another without end
        return first is second
    return bool(first == second)


_WIDER = (_Named, AnyError, ClosedWith)
_TOLD = ("next", "close", "error", "completed")


def _played(event: Event) -> Recorded[Any]:
    if event.type == "error":
        return recorded(event.t, OnError(event.data))
    return recorded(event.t, OnCompleted() if event.type == "completed" else OnNext(event.data))


def recorded(at: float, notification: Notification[Any]) -> Recorded[Any]:
    """Note a notification and its time."""
    time: Any = at  # RxPY counts in ticks; a tick of ours is a second, and parts of it count
    return Recorded(time, notification)


def marbles(
    text: str,
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    error: Exception | None = None,
) -> Timeline:
    """Read a marble diagram as what a stream is expected to tell.

    The grammar is that of RxPY's marbles, and how connections end.

    Args:
        text: Marbles as in RxPY: each character takes a step; `-` lets time pass, `ab` is one
            value, `(a,b)` are two at once, `|` is the completion and `#` a failure. Besides,
            `{4001}` and `{4001 reason}` are an end by that close code. Spaces do not count.
        step: Seconds of one character.
        values: What the names in the text stand for, as `{"a": 1}`. A name that is not in here
            stands for the value that is written so: `1` for 1 and for "1".
        error: What `#` stands for; any error if not given.

    Returns:
        A timeline that equals what is seen where that is the same, at the same times.

    Raises:
        ValueError: The text is no marble diagram.

    Examples:
        >>> marbles("a-(b,c)-|", values={"a": 1}).values
        [1, 'b', 'c']
    """
    names = named(values)
    marks, _ = parse(text, step)
    events = [recorded(mark.at, _expected(mark, names, error)) for mark in marks]
    return Timeline(events, step, names, is_expected=True)


def named(values: Mapping[Any, Any] | None) -> dict[str, Any]:
    """What names stand for, by their text: as in RxPY, a number may be its own name."""
    return {str(name): value for name, value in (values or {}).items()}


def _expected(mark: Token, names: Mapping[str, Any], error: Exception | None) -> Notification[Any]:
    if mark.close is not None:
        return ClosedWith(mark.close)
    if mark.sign == "|":
        return OnCompleted()
    if mark.sign == "#":
        return AnyError() if error is None else OnError(error)
    if mark.sign:
        raise ValueError(f"{mark.sign!r} is what a peer does: it has no place in an expectation")
    return OnNext(names[mark.name]) if mark.name in names else _Named(mark.name)
