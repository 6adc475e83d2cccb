"""The message of a failed comparison: two marble lines, one above the other."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex.notification import OnCompleted, OnError, OnNext
from reactivex.testing import ReactiveTest

from rxws import Close, ConnectionClosed
from rxws.testing import Timeline, marbles
from rxws.testing.diff import difference
from rxws.testing.timeline import recorded

on_next: Any = ReactiveTest.on_next
END: OnCompleted[Any] = OnCompleted()


def timeline(*events: tuple[float, Any], step: float = 1.0) -> Timeline:
    """A timeline of values, errors for exceptions, and completions."""
    return Timeline(
        (
            recorded(
                at,
                it
                if isinstance(it, OnCompleted)
                else OnError(it)
                if isinstance(it, Exception)
                else OnNext(it),
            )
            for at, it in events
        ),
        step,
    )


ABC = timeline((0, "a"), (2, "b"), (4, "c"), (6, END))


@pytest.mark.parametrize(
    ("seen", "expected", "message"),
    [
        (
            ABC,
            marbles("a--b-c-|"),
            """
            differs at 2 s: expected 'b' at 3 s, seen 'b' at 2 s
            expected  a--b-c-|
            seen      a-b-c-|
                        ^
            """,
        ),
        (
            ABC,
            marbles("a-x-c-|"),
            """
            differs at 2 s: expected 'x' at 2 s, seen 'b' at 2 s
            expected  a-x-c-|
            seen      a-b-c-|
                        ^
            """,
        ),
        (
            ABC,
            marbles("a-b-c-d-|"),
            """
            differs at 6 s: expected 'd' at 6 s, seen completion at 6 s
            expected  a-b-c-d-|
            seen      a-b-c-|
                            ^
            """,
        ),
        (
            ABC,
            marbles("a-b-c--"),
            """
            differs at 6 s: expected nothing more, seen completion at 6 s
            expected  a-b-c--
            seen      a-b-c-|
                            ^
            """,
        ),
        (
            timeline(),
            marbles("a-b"),
            """
            differs at 0 s: expected 'a' at 0 s, seen nothing
            expected  a-b
            seen      ---
                      ^
            """,
        ),
        (
            timeline((0, "a"), (0, "b"), (0, "c"), (8, "d"), (9, END)),
            marbles("(a,b,c)-e|"),
            """
            differs at 8 s: expected 'e' at 8 s, seen 'd' at 8 s
            expected  (a,b,c)-e|
            seen      (a,b,c)-d|
                              ^
            """,
        ),
        (
            timeline((0, "a"), (0, "b"), (5, "d"), (6, END)),
            marbles("(a,b)d(c,|)"),
            """
            differs at 6 s: expected 'c' at 6 s, seen completion at 6 s
            expected  (a,b)d(c,|)
            seen      (a,b)d|
                            ^
            """,
        ),
        (
            timeline((0, "a"), (60, "b"), (61, END)),
            marbles("a" + "-" * 60 + "b|"),
            """
            differs at 60 s: expected 'b' at 61 s, seen 'b' at 60 s
            expected  a-- 59 s ---b|
            seen      a-- 59 s --b|
                                 ^
            """,
        ),
        (
            timeline((0, "a"), (2, ConnectionClosed(Close(4001, "why")))),
            marbles("a-{4002}"),
            """
            differs at 2 s: expected close 4002 at 2 s, seen close 4001 'why' at 2 s
            expected  a-{4002}
            seen      a-{4001 why}
                        ^
            """,
        ),
        (
            timeline((0, "a"), (2, Close(4001))),
            marbles("a-|"),
            """
            differs at 2 s: expected completion at 2 s, seen close 4001 at 2 s
            expected  a-|
            seen      a-{4001}
                        ^
            """,
        ),
        (
            timeline((1, KeyError("k"))),
            marbles("-#", error=KeyError("l")),
            """
            differs at 1 s: expected the error KeyError('l') at 1 s, seen the error KeyError('k') at 1 s
            expected  -#
            seen      -#
                       ^
            """,  # noqa: E501 # one line of the message
        ),
        (
            timeline((1, END)),
            marbles("--#"),
            """
            differs at 1 s: expected any error at 2 s, seen completion at 1 s
            expected  --#
            seen      -|
                       ^
            """,
        ),
        (
            timeline((0, {"k": 1}), (1, "a"), (2, "long enough")),
            marbles("xy-", values={"a": {"k": 2}, "b": 5, "unused": 7}),
            """
            differs at 0 s: expected 'xy' at 0 s, seen {'k': 1} at 0 s
            expected  xy--
            seen      c-de
                      ^
                      c = {'k': 1}
                      d = 'a'
                      e = 'long enough'
            """,
        ),
        (
            ABC,
            Timeline([on_next(0, lambda value: value == "z")]),
            """
            differs at 0 s: expected a match for OnNextPredicate at 0 s, seen 'a' at 0 s
            expected  ?------
            seen      a-b-c-|
                      ^
            """,
        ),
    ],
)
def test_the_first_difference_is_shown(seen: Timeline, expected: Timeline, message: str) -> None:
    """The first difference is shown in words and as two aligned marble lines."""
    lines = [one[12:] for one in message.strip("\n").splitlines()[:-1]]
    found = difference(seen, expected)
    assert f"{'':10}a character is 1 s" in found
    assert [one for one in found if "a character is" not in one] == lines


def marble_lines(seen: Timeline, expected: Timeline) -> tuple[str, str, str]:
    """Return both marble lines and the line with the caret."""
    return tuple(one for one in difference(seen, expected)[1:4])  # type: ignore[return-value] # three


def test_a_finer_step_is_chosen_for_times_between_steps() -> None:
    """A finer step is chosen for times between steps."""
    found = difference(timeline((0.25, "a"), (2, "b")), marbles("a-b"))
    assert found == [
        "differs at 0 s: expected 'a' at 0 s, seen 'a' at 0.25 s",
        "expected  a-------b",
        "seen      -a------b",
        "          ^",
        "          a character is 0.25 s",
    ]


def test_the_step_is_kept_if_no_finer_one_fits() -> None:
    """If no finer step fits, the drawing rounds times, while the words are exact."""
    found = difference(timeline((0.123457, "a")), marbles("b"))
    assert found[0] == "differs at 0 s: expected 'b' at 0 s, seen 'a' at 0.123457 s"
    assert found[-1] == "          a character is 1 s"


def test_long_values_are_shown_where_they_differ() -> None:
    """Long values are shortened around their difference."""
    one, two = "x" * 300 + "one" + "y" * 300, "x" * 300 + "two" + "y" * 300
    found = difference(timeline((0, one)), marbles("a", values={"a": two}))
    assert "expected …" in found[0]
    assert "two" in found[0]
    assert "one" in found[0]
    assert all(len(part) < 280 for part in found), found
    assert found[-2].startswith("          a = 'xxx")
    assert found[-1].endswith("x…")
    [first, *_] = difference(timeline((0, one)), marbles("-"))
    assert "seen 'xxx" in first
    [first, *_] = difference(timeline((0, "z" * 300)), marbles("a", values={"a": "y" * 300}))
    assert "expected 'yyy" in first


def test_of_long_lines_the_part_around_the_difference_is_shown() -> None:
    """Long lines are shortened around the difference, with the caret in its column."""
    text = "-".join("abcdefghijklmnopqrstuvwxyz" * 8)
    expected, seen, caret = marble_lines(marbles(text[:300] + "Z" + text[301:]), marbles(text))
    assert max(map(len, (expected, seen))) <= 100
    assert expected.startswith("expected  …")
    assert expected.endswith("…")
    place = caret.index("^")
    assert (expected[place], seen[place]) == (text[300], "Z")


def test_names_beyond_the_alphabet_are_question_marks() -> None:
    """Values beyond 52 letters are drawn as question marks."""
    values: list[tuple[float, Any]] = [(at, [at]) for at in range(60)]
    expected, seen, _ = marble_lines(timeline(*values), marbles("-" * 59 + "b"))
    assert expected == f"expected  {'-' * 59}b"
    # "b" is skipped, as it is itself a value.
    assert seen == "seen      acdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + "?" * 9


def test_a_name_of_another_value_is_not_reused() -> None:
    """A value gets no name that stands for another value."""
    found = difference(timeline((0, "1")), marbles("1", values={"1": 1}))
    assert found[1:3] == ["expected  1", "seen      a"]
    assert found[-2:] == ["          1 = 1", "          a = '1'"]


def test_equal_timelines_have_no_difference() -> None:
    """For equal timelines it says that they are the same."""
    assert difference(ABC, ABC) == ["the timelines are the same"]


def test_the_handlers_exception_is_shown() -> None:
    """The exception that the handler raised is shown."""
    seen = timeline((1, END))
    seen.failure = KeyError("k")
    assert difference(seen, marbles("--|"))[-1] == "the handler failed: KeyError('k')"
