"""The marble notation: RxPY's grammar, and the ways a connection ends."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.notification import OnCompleted, OnError, OnNext
from reactivex.observable.marbles import parse as rxpy

from rxws import Close
from rxws.testing import Timeline, marbles, simulate
from rxws.testing.notation import Token, parse

STEP = 0.25  # all its multiples are exact floats


def tokens(text: str) -> list[Token]:
    return parse(text, 1)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("---", []),
        ("a", [Token(0, "", "a")]),
        ("-ab-c", [Token(1, "", "ab"), Token(4, "", "c")]),
        ("a b - c", [Token(0, "", "ab"), Token(3, "", "c")]),
        ("(a,b)c", [Token(0, "", "a"), Token(0, "", "b"), Token(5, "", "c")]),
        ("( a , ,b, )-|", [Token(0, "", "a"), Token(0, "", "b"), Token(8, "|")]),
        ("(a,|)", [Token(0, "", "a"), Token(0, "|")]),
        ("a#", [Token(0, "", "a"), Token(1, "#")]),
        ("<-a>", [Token(0, "<"), Token(2, "", "a"), Token(3, ">")]),
        ("-{4001}", [Token(1, "{", close=Close(4001))]),
        ("{ 4001 so long }", [Token(0, "{", close=Close(4001, "so long"))]),
        ("(a,{4001 a, b})", [Token(0, "", "a"), Token(0, "{", close=Close(4001, "a, b"))]),
        ("|->", [Token(0, "|"), Token(2, ">")]),
        ("é°1.5", [Token(0, "", "é°1.5")]),
    ],
)
def test_each_token_has_the_time_of_its_column(text: str, expected: list[Token]) -> None:
    """Values, groups, ends, closes and peer actions have the time of their first column."""
    found = tokens(text)
    assert found == expected
    assert [mark.close and mark.close.reason for mark in found] == [
        mark.close and mark.close.reason for mark in expected
    ]


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("--", 2), ("a b", 2), ("(a,b)-", 6), ("-{4001}", 7)]
)
def test_a_diagram_lasts_one_step_per_character(text: str, columns: int) -> None:
    """A diagram lasts one step per character, without spaces."""
    assert parse(text, 0.5)[1] == columns / 2


def test_times_have_no_rounding_errors() -> None:
    """Times have no rounding errors: 0.7 s is not 0.7000000000000001 s."""
    assert [mark.at for mark in parse("------ab", 0.1)[0]] == [0.6]
    assert [mark.at for mark in parse("-------a", 0.1)[0]] == [0.7]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b", "use a comma only inside a group, as in (a,b)"),
        ("(a", "write a group as (a,b); groups cannot be nested"),
        ("((a),b)", "groups cannot be nested"),
        ("a)", "no group is open here"),
        ("{4001", "write a close as {4001} or {4001 reason}"),
        ("4001}", "no close is open here"),
        ("{}", "is not a close"),
        ("{abc}", "is not a close"),
        ("{999}", "is not a close"),
        ("{4001 " + "x" * 124 + "}", "is not a close"),
        ("a|b", "'b' in 'a|b' comes after the end"),
        ("|#", "'#' in '|#' comes after the end"),
        ("{4001}|", "comes after the end"),
        ("(|,a)", "comes after the end"),
        ("(ab|)", "'ab|' in '(ab|)' mixes a name and a sign: write (a,|)"),
        ("(a{4001})", "mixes a name and a sign"),
    ],
)
def test_an_invalid_diagram_is_refused_with_a_hint(text: str, message: str) -> None:
    """An invalid diagram raises a ValueError with the text and a hint."""
    with pytest.raises(ValueError) as caught:
        tokens(text)
    assert message in str(caught.value)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("step", [0, -1, float("nan"), float("inf")])
def test_a_step_must_be_positive_and_finite(step: float) -> None:
    """A step that is not positive and finite raises a ValueError."""
    with pytest.raises(ValueError, match="must be a number of seconds above 0"):
        parse("a", step)


def test_marbles_refuses_actions_of_a_peer() -> None:
    """`marbles` refuses `<` and `>`, which are actions of a peer."""
    with pytest.raises(ValueError, match="'<' is an action of a peer"):
        marbles("a<")


@pytest.mark.parametrize(
    "create",
    [
        lambda text, values: marbles(text, values=values),
        lambda text, values: simulate(lambda conn: None, text, values=values),
    ],
    ids=["marbles", "simulate"],
)
def test_names_that_run_together_are_refused(create: Any) -> None:
    """A name that is not in `values`, but whose characters are, raises with both remedies."""
    for text in ("--ab", "(ab)"):
        with pytest.raises(ValueError, match=r"^'ab' is one name.*\(a,b\).* a-b "):
            create(text, {"a": "1", "b": "2"})
    for values in ({"a": "1"}, {"a": "1", "b": "2", "ab": "3"}):
        create("--ab", values)


NAMES = st.text("abcXYZ0123456789._~!ä", min_size=1, max_size=4)
GROUPS = st.lists(NAMES | st.just(""), max_size=4).map(lambda names: f"({','.join(names)})")
TICKS = st.integers(1, 5).map("-".__mul__)
SPACES = st.just(" ")
DIAGRAMS = st.tuples(
    st.lists(NAMES | GROUPS | TICKS | SPACES, max_size=12).map("".join),
    st.sampled_from(["", "|", "#", "-|", "(a,|)", "(b,#)", "|--"]),
).map("".join)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(text=DIAGRAMS, error=st.none() | st.just(KeyError("x")))
def test_diagrams_mean_the_same_as_in_rxpy(text: str, error: Exception | None) -> None:
    """RxPY's parser reads every random diagram as ours does."""
    theirs = rxpy(text, timespan=STEP, lookup={"a": [1], 7: "seven"}, error=error)
    ours = marbles(text, step=STEP, values={"a": [1], 7: "seven"}, error=error)
    assert [time for time, _ in theirs] == ours.times, text
    our: Any
    for (_, their), our in zip(theirs, ours, strict=True):
        match their:
            case OnNext():
                # RxPY reads a number as that; ours equals the number and its text.
                assert our.value == their or float(our.value.value) == float(their.value), text
            case OnError():
                assert isinstance(our.value, OnError), text
                assert our.value == their, text
            case _:
                assert isinstance(their, OnCompleted)
                assert our.value == their, text
    # Another diagram is not equal.
    more: list[Any] = list(Timeline(ours))
    assert ours != [*more, *marbles("-" * 200 + "z", step=STEP)], text
