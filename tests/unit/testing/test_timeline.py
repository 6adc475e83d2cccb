"""Timelines: recorded events compared with expected ones."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex.notification import OnError, OnNext
from reactivex.testing import ReactiveTest, Recorded

import rxws
from rxws import Close, ConnectionClosed
from rxws.testing import Clock, Timeline, marbles
from rxws.testing.timeline import recorded

on_next: Any = ReactiveTest.on_next
on_error: Any = ReactiveTest.on_error
on_completed: Any = ReactiveTest.on_completed


def seen(*events: tuple[float, Any]) -> Timeline:
    """A timeline of values, and of errors for exceptions."""
    return Timeline(
        recorded(at, OnError(it) if isinstance(it, Exception) else OnNext(it)) for at, it in events
    )


def test_a_name_without_a_value_is_its_text() -> None:
    """A name without a value equals its text, and the number that it spells."""
    assert seen((0, 1)) == marbles("1")
    assert seen((0, "1")) == marbles("1")
    assert seen((0, "a")) == marbles("a")
    assert seen((0, "b")) != marbles("a")
    assert seen((0, b"a")) != marbles("a")
    assert seen((0, ValueError("a"))) != marbles("a")


def test_a_name_with_a_value_equals_only_that() -> None:
    """A name in `values` equals only its value; a number may be a name, as in RxPY."""
    assert seen((0, {"x": 1})) == marbles("a", values={"a": {"x": 1}})
    assert seen((0, "a")) != marbles("a", values={"a": 1})
    assert seen((0, "one")) == marbles("1", values={1: "one"})
    assert seen((0, None)) == marbles("n", values={"n": None})


def test_times_are_compared_without_rounding_errors() -> None:
    """Times that differ by 10 µs are equal, by a millisecond are not."""
    assert seen((0.1 + 0.2, "a")) == marbles("---a", step=0.1)
    assert seen((0.301, "a")) != marbles("---a", step=0.1)


def test_the_order_counts_within_an_instant() -> None:
    """The order counts within the same instant."""
    assert seen((0, "a"), (0, "b")) == marbles("(a,b)")
    assert seen((0, "a"), (0, "b")) != marbles("(b,a)")


def test_an_error_equals_any_or_the_given_one() -> None:
    """`#` equals any error, or with `error` one of the same type and text."""
    failed = seen((1, KeyError("x")))
    assert failed == marbles("-#")
    assert failed == marbles("-#", error=KeyError("x"))
    assert failed != marbles("-#", error=KeyError("y"))
    assert failed != marbles("-#", error=IndexError("x"))
    assert failed != marbles("-|")
    assert marbles("-|") != marbles("-#")


def test_a_close_is_compared_by_code_and_optional_reason() -> None:
    """A close equals one of the same code and, if given, reason."""
    for end in (ConnectionClosed(Close(4001, "why")), Close(4001, "why")):
        assert seen((0, end)) == marbles("{4001}")
        assert seen((0, end)) == marbles("{4001 why}")
        assert seen((0, end)) != marbles("{4001 no}")
        assert seen((0, end)) != marbles("{4002}")
    assert marbles("{4001}") == marbles("{4001}")
    assert seen((0, ValueError())) != marbles("{4001}")
    assert seen((0, "4001")) != marbles("{4001}")
    assert marbles("|") != marbles("{1000}")


def test_a_timeline_equals_a_list_of_rxpys_notifications() -> None:
    """A timeline equals a list of RxPY's notifications, predicates included, on either side."""
    timeline = seen((0, "a"), (2, 7), (3, ValueError("no")))
    theirs = [
        on_next(0, "a"),
        on_next(2, lambda value: value > 6),
        on_error(3, lambda error: "no" in str(error)),
    ]
    assert timeline == theirs
    assert theirs == timeline
    assert timeline == [on_next(0, "a"), on_next(2, 7), on_error(3, "no")]
    assert timeline != [on_next(0, "a"), on_next(2, 7), on_error(3, "yes")]
    assert timeline != [on_next(0, "a"), on_next(2, lambda value: value > 7), on_error(3, "no")]
    assert timeline != [on_next(0, "a"), on_next(2, 7), on_error(3, lambda _: False)]
    assert timeline != theirs[:2]
    assert marbles("-|") == [on_completed(1)]
    assert marbles("-|") != [on_next(1, lambda _: True)]


def test_two_predicates_are_equal_only_if_identical() -> None:
    """Two predicates are equal only if identical; RxPY's would recurse."""
    one, two = on_next(0, lambda _: True), on_next(0, lambda _: True)
    assert Timeline([one]) == Timeline([one])
    assert Timeline([one]) != Timeline([two])


def test_a_timeline_equals_no_list_of_plain_values() -> None:
    """A timeline does not equal plain values, and `of` refuses them with a hint."""
    timeline = seen((0, "a"))
    assert timeline != ["a"]
    assert timeline != "a"
    assert timeline.values == ["a"]
    with pytest.raises(TypeError, match=r"'a' is not a notification .* sim\.outgoing\.values == "):
        Timeline.of(["a"])


def test_values_times_and_end() -> None:
    """A timeline has `values`, `times` and `end`, and a short repr."""
    timeline = seen((0.5, "a"), (1, "b"), (2, ValueError("x")))
    assert timeline.values == ["a", "b"]
    assert timeline.times == [0.5, 1, 2]
    assert isinstance(timeline.end, OnError)
    assert marbles("a|").end == ReactiveTest.on_completed(1).value
    assert marbles("a").end is None
    assert Timeline().end is None
    assert repr(marbles("a-|", step=0.5)) == "[0 s OnNext(a), 1 s OnCompleted()]"


def test_a_timeline_of_a_recordings_lane() -> None:
    """A recording's lane becomes a timeline; a disposal is not an end."""
    clock = Clock()
    recording = rxws.Recording(scheduler=clock)
    lane = recording.lane("x")
    for kind, data in (("next", "a"), ("next", Close(4001)), ("error", KeyError("k"))):
        clock.run(1)
        lane.record(kind, data)
    assert Timeline.of(lane) == [
        on_next(1, "a"),
        on_next(2, Close(4001)),
        on_error(3, KeyError("k")),
    ]
    recording.lane("y").record("disposed")
    recording.lane("z").record("completed")
    assert Timeline.of(recording.lane("y")) == []
    assert Timeline.of(recording.lane("z")) == marbles("---|")
    assert Timeline.of(recording.lane("z"), 0.5).step == 0.5


def test_a_timeline_of_a_timeline_or_list() -> None:
    """`of` returns a timeline unchanged, and gives a list the step."""
    timeline = marbles("a")
    assert Timeline.of(timeline) is timeline
    made = Timeline.of([Recorded(0, OnNext("a"))], 0.5)
    assert (made.step, made) == (0.5, timeline)
