"""Timelines: what was seen against what is expected."""

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
    """What a simulation would have noted: values, and exceptions as failures."""
    return Timeline(
        recorded(at, OnError(it) if isinstance(it, Exception) else OnNext(it)) for at, it in events
    )


def test_a_name_is_the_value_that_is_written_so() -> None:
    """`1` is 1 and "1", `a` is "a"; nothing else is."""
    assert seen((0, 1)) == marbles("1")
    assert seen((0, "1")) == marbles("1")
    assert seen((0, "a")) == marbles("a")
    assert seen((0, "b")) != marbles("a")
    assert seen((0, b"a")) != marbles("a")
    assert seen((0, ValueError("a"))) != marbles("a")


def test_values_say_what_names_stand_for() -> None:
    """Then the name is that value only; a number may be its own name, as in RxPY."""
    assert seen((0, {"x": 1})) == marbles("a", values={"a": {"x": 1}})
    assert seen((0, "a")) != marbles("a", values={"a": 1})
    assert seen((0, "one")) == marbles("1", values={1: "one"})
    assert seen((0, None)) == marbles("n", values={"n": None})


def test_times_are_the_same_but_for_rounding() -> None:
    """10 µs are nothing, a millisecond is."""
    assert seen((0.1 + 0.2, "a")) == marbles("---a", step=0.1)
    assert seen((0.301, "a")) != marbles("---a", step=0.1)


def test_the_order_counts_within_an_instant() -> None:
    """`(a,b)` is not `(b,a)`."""
    assert seen((0, "a"), (0, "b")) == marbles("(a,b)")
    assert seen((0, "a"), (0, "b")) != marbles("(b,a)")


def test_a_failure_is_any_or_the_one_given() -> None:
    """`#` is any; with `error` it has that type and that text."""
    failed = seen((1, KeyError("x")))
    assert failed == marbles("-#")
    assert failed == marbles("-#", error=KeyError("x"))
    assert failed != marbles("-#", error=KeyError("y"))
    assert failed != marbles("-#", error=IndexError("x"))
    assert failed != marbles("-|")
    assert marbles("-|") != marbles("-#")


def test_a_close_is_compared_by_its_code_and_by_its_reason_where_one_is_given() -> None:
    """As the error that fails a stream, and as a `Close` that was pushed."""
    for end in (ConnectionClosed(Close(4001, "why")), Close(4001, "why")):
        assert seen((0, end)) == marbles("{4001}")
        assert seen((0, end)) == marbles("{4001 why}")
        assert seen((0, end)) != marbles("{4001 no}")
        assert seen((0, end)) != marbles("{4002}")
    assert marbles("{4001}") == marbles("{4001}")
    assert seen((0, ValueError())) != marbles("{4001}")
    assert seen((0, "4001")) != marbles("{4001}")
    assert marbles("|") != marbles("{1000}")


def test_it_compares_with_rxpy_s_notifications() -> None:
    """From either side, predicates included."""
    line = seen((0, "a"), (2, 7), (3, ValueError("no")))
    theirs = [
        on_next(0, "a"),
        on_next(2, lambda value: value > 6),
        on_error(3, lambda error: "no" in str(error)),
    ]
    assert line == theirs
    assert theirs == line
    assert line == [on_next(0, "a"), on_next(2, 7), on_error(3, "no")]
    assert line != [on_next(0, "a"), on_next(2, 7), on_error(3, "yes")]
    assert line != [on_next(0, "a"), on_next(2, lambda value: value > 7), on_error(3, "no")]
    assert line != [on_next(0, "a"), on_next(2, 7), on_error(3, lambda _: False)]
    assert line != theirs[:2]
    assert marbles("-|") == [on_completed(1)]
    assert marbles("-|") != [on_next(1, lambda _: True)]


def test_two_predicates_are_the_same_only_as_one() -> None:
    """RxPY's would ask one another without end."""
    one, two = on_next(0, lambda _: True), on_next(0, lambda _: True)
    assert Timeline([one]) == Timeline([one])
    assert Timeline([one]) != Timeline([two])


def test_it_equals_no_list_of_other_things() -> None:
    """And says, where one is made of them, what to compare with."""
    line = seen((0, "a"))
    assert line != ["a"]
    assert line != "a"
    assert line.values == ["a"]
    with pytest.raises(TypeError, match=r"'a' is not a notification .* sim\.outgoing\.values == "):
        Timeline.of(["a"])


def test_it_tells_values_times_and_the_end() -> None:
    """Each alone, for those who ask for less."""
    line = seen((0.5, "a"), (1, "b"), (2, ValueError("x")))
    assert line.values == ["a", "b"]
    assert line.times == [0.5, 1, 2]
    assert isinstance(line.end, OnError)
    assert marbles("a|").end == ReactiveTest.on_completed(1).value
    assert marbles("a").end is None
    assert Timeline().end is None
    assert repr(marbles("a-|", step=0.5)) == "[0 s OnNext(a), 1 s OnCompleted()]"


def test_it_is_made_of_what_a_recording_has() -> None:
    """Values, closes and ends, at their times; that it was disposed is no end."""
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


def test_it_is_made_of_a_list_once() -> None:
    """A timeline stays the one it is; a list takes the step that is given."""
    line = marbles("a")
    assert Timeline.of(line) is line
    made = Timeline.of([Recorded(0, OnNext("a"))], 0.5)
    assert (made.step, made) == (0.5, line)
