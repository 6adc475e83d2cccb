"""What a comparison that fails tells: two marble lines, one above the other."""

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


def line(*events: tuple[float, Any], step: float = 1.0) -> Timeline:
    """What was seen: values, exceptions as failures, notifications as they are."""
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


ABC = line((0, "a"), (2, "b"), (4, "c"), (6, END))


@pytest.mark.parametrize(
    ("seen", "expected", "told"),
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
            line(),
            marbles("a-b"),
            """
            differs at 0 s: expected 'a' at 0 s, seen nothing
            expected  a-b
            seen      ---
                      ^
            """,
        ),
        (
            line((0, "a"), (0, "b"), (0, "c"), (8, "d"), (9, END)),
            marbles("(a,b,c)-e|"),
            """
            differs at 8 s: expected 'e' at 8 s, seen 'd' at 8 s
            expected  (a,b,c)-e|
            seen      (a,b,c)-d|
                              ^
            """,
        ),
        (
            line((0, "a"), (0, "b"), (5, "d"), (6, END)),
            marbles("(a,b)d(c,|)"),
            """
            differs at 6 s: expected 'c' at 6 s, seen completion at 6 s
            expected  (a,b)d(c,|)
            seen      (a,b)d|
                            ^
            """,
        ),
        (
            line((0, "a"), (60, "b"), (61, END)),
            marbles("a" + "-" * 60 + "b|"),
            """
            differs at 60 s: expected 'b' at 61 s, seen 'b' at 60 s
            expected  a-- 59 s ---b|
            seen      a-- 59 s --b|
                                 ^
            """,
        ),
        (
            line((0, "a"), (2, ConnectionClosed(Close(4001, "why")))),
            marbles("a-{4002}"),
            """
            differs at 2 s: expected close 4002 at 2 s, seen close 4001 'why' at 2 s
            expected  a-{4002}
            seen      a-{4001 why}
                        ^
            """,
        ),
        (
            line((0, "a"), (2, Close(4001))),
            marbles("a-|"),
            """
            differs at 2 s: expected completion at 2 s, seen close 4001 at 2 s
            expected  a-|
            seen      a-{4001}
                        ^
            """,
        ),
        (
            line((1, KeyError("k"))),
            marbles("-#", error=KeyError("l")),
            """
            differs at 1 s: expected the error KeyError('l') at 1 s, seen the error KeyError('k') at 1 s
            expected  -#
            seen      -#
                       ^
            """,  # noqa: E501 # as it is told
        ),
        (
            line((1, END)),
            marbles("--#"),
            """
            differs at 1 s: expected any error at 2 s, seen completion at 1 s
            expected  --#
            seen      -|
                       ^
            """,
        ),
        (
            line((0, {"k": 1}), (1, "a"), (2, "long enough")),
            marbles("ab-", values={"a": {"k": 2}, "b": 5, "unused": 7}),
            """
            differs at 0 s: expected 'ab' at 0 s, seen {'k': 1} at 0 s
            expected  ab--
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
def test_it_shows_what_differs_first(seen: Timeline, expected: Timeline, told: str) -> None:
    """In words, and as two lines in which one column is one time."""
    lines = [one[12:] for one in told.strip("\n").splitlines()[:-1]]
    found = difference(seen, expected)
    assert f"{'':10}a character is 1 s" in found
    assert [one for one in found if "a character is" not in one] == lines


def drawn(seen: Timeline, expected: Timeline) -> tuple[str, str, str]:
    """Both lines, and the third with the caret."""
    return tuple(one for one in difference(seen, expected)[1:4])  # type: ignore[return-value] # three


def test_it_takes_a_finer_step_where_things_happen_in_between() -> None:
    """Else a quarter of a step would not be seen."""
    found = difference(line((0.25, "a"), (2, "b")), marbles("a-b"))
    assert found == [
        "differs at 0 s: expected 'a' at 0 s, seen 'a' at 0.25 s",
        "expected  a-------b",
        "seen      -a------b",
        "          ^",
        "          a character is 0.25 s",
    ]


def test_it_keeps_the_step_where_no_finer_one_fits() -> None:
    """What is drawn is a hint then; the words are exact."""
    found = difference(line((0.123457, "a")), marbles("b"))
    assert found[0] == "differs at 0 s: expected 'b' at 0 s, seen 'a' at 0.123457 s"
    assert found[-1] == "          a character is 1 s"


def test_long_values_are_shown_where_they_differ() -> None:
    """In words and in the legend they are cut."""
    one, two = "x" * 300 + "one" + "y" * 300, "x" * 300 + "two" + "y" * 300
    found = difference(line((0, one)), marbles("a", values={"a": two}))
    assert "expected …" in found[0]
    assert "two" in found[0]
    assert "one" in found[0]
    assert all(len(part) < 280 for part in found), found
    assert found[-2].startswith("          a = 'xxx")
    assert found[-1].endswith("x…")
    [first, *_] = difference(line((0, one)), marbles("-"))
    assert "seen 'xxx" in first
    [first, *_] = difference(line((0, "z" * 300)), marbles("a", values={"a": "y" * 300}))
    assert "expected 'yyy" in first


def test_of_long_lines_the_part_around_the_difference_is_shown() -> None:
    """With its caret in the right column."""
    text = "-".join("abcdefghijklmnopqrstuvwxyz" * 8)
    expected, seen, caret = drawn(marbles(text[:300] + "Z" + text[301:]), marbles(text))
    assert max(map(len, (expected, seen))) <= 100
    assert expected.startswith("expected  …")
    assert expected.endswith("…")
    place = caret.index("^")
    assert (expected[place], seen[place]) == (text[300], "Z")


def test_names_beyond_the_alphabet_are_question_marks() -> None:
    """There are 52 letters."""
    values: list[tuple[float, Any]] = [(at, [at]) for at in range(60)]
    expected, seen, _ = drawn(line(*values), marbles("-" * 59 + "b"))
    assert expected == f"expected  {'-' * 59}b"
    # Not "b", which is a value of its own.
    assert seen == "seen      acdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + "?" * 9


def test_a_name_that_stands_for_another_value_is_not_taken() -> None:
    """`1`, that is 1, is not what "1" is called."""
    found = difference(line((0, "1")), marbles("1", values={"1": 1}))
    assert found[1:3] == ["expected  1", "seen      a"]
    assert found[-2:] == ["          1 = 1", "          a = '1'"]


def test_it_says_that_there_is_no_difference() -> None:
    """For those who ask all the same."""
    assert difference(ABC, ABC) == ["the timelines are the same"]


def test_it_tells_what_the_handler_raised() -> None:
    """That is often why."""
    seen = line((1, END))
    seen.failure = KeyError("k")
    assert difference(seen, marbles("--|"))[-1] == "the handler failed: KeyError('k')"
