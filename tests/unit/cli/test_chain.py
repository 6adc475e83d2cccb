"""The option `-p`: a chain of operators as text."""

from __future__ import annotations

from typing import Any

import click
import pytest
from reactivex.subject import Subject

import rxws
from rxws.cli._chain import parse_chain
from rxws.cli._failures import Failure
from rxws.testing.clock import Clock


def run(text: str, *values: Any, error: Exception | None = None) -> tuple[list[Any], Any]:
    """Return what a chain emits for these values, and its error."""
    source: Subject[Any] = Subject()
    got: list[Any] = []
    errors: list[Any] = [None]
    parse_chain(text)(source).subscribe(got.append, errors.append)
    for value in values:
        source.on_next(value)
    source.on_completed() if error is None else source.on_error(error)
    return got, errors[-1]


def test_operators_are_applied_in_order() -> None:
    """Operators are separated by commas, also on several lines and with one at the end."""
    text = "ops.map(json.loads),\n  ops.map(lambda v: (v, v)), # twice\nops.take(1),"
    assert run(text, '{"a": 1}', "2") == ([({"a": 1}, {"a": 1})], None)


def test_the_names_of_rxws_are_known() -> None:
    """`rx`, `rxws` and its operators need no import."""
    assert run("ops.flat_map(lambda _: rx.of(rxws.Close(4001).code))", "x") == ([4001], None)
    assert callable(parse_chain("map_async(print), rate_limit(5, per=1), on_loop()"))


def test_an_empty_text_changes_nothing() -> None:
    """Without an operator, the values pass unchanged."""
    assert run("", "a", b"b") == (["a", b"b"], None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ops.map(", "ops.map(: '(' was never closed."),
        ("ops.take(1) ops.map(str)", "invalid syntax"),
        ("ops.take(1), ops.mpa(str)", "ops.mpa(str): AttributeError: module"),
        ("jso.loads", "jso.loads: NameError: name 'jso' is not defined. The names are map_async,"),
        ("ops.take(-1)", "ops.take(-1): "),
        ("ops.take(1), 5", "5: TypeError: "),
        ("ops.map", "ops.map is not an operator. An operator is written as ops.map(json.loads)."),
        ("json.loads", "json.loads: TypeError: the JSON object must be"),
    ],
)
def test_a_mistake_is_found_before_connecting(text: str, message: str) -> None:
    """The message names the operator, and not the whole chain."""
    with pytest.raises(click.BadParameter) as caught:
        parse_chain(text)
    assert message in caught.value.message


def test_an_exception_names_the_operator_and_the_value() -> None:
    """Of several operators, the one that failed is named, with what it was called with."""
    got, error = run("ops.map(json.loads), ops.map(lambda v: v['x'])", '{"x": 1}', "{}")
    assert got == [1]
    assert isinstance(error, Failure)
    assert error.message == "ops.map(lambda v: v['x']) failed for {}: KeyError: 'x'"


def test_a_failure_without_a_value_names_the_operator() -> None:
    """An operator may fail when its source completes."""
    _, error = run("ops.map(str), ops.first()")
    assert str(error.message).startswith("ops.first() failed: SequenceContainsNoElementsError")


def test_an_error_of_the_source_passes_through() -> None:
    """The end of the connection is not blamed on an operator."""
    closed = rxws.ConnectionClosed(rxws.Close(4001))
    assert run("ops.map(str), ops.filter(bool)", "x", error=closed) == (["x"], closed)


def test_time_operators_run_in_the_time_of_the_connection() -> None:
    """A chain has the scheduler of its source, here a virtual clock."""
    clock = Clock()
    got: list[Any] = []
    source: Subject[str] = Subject()
    parse_chain("ops.debounce(.2)")(source).subscribe(got.append, scheduler=clock)
    source.on_next("a")
    source.on_next("b")
    clock.run(0.1)
    assert got == []
    clock.run(0.2)
    assert got == ["b"]
