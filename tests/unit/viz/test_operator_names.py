"""The names and arguments of operators, as diagrams show them."""

from __future__ import annotations

import functools
import json
import operator
from collections.abc import Callable
from datetime import timedelta
from types import FunctionType
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

import rxws
from rxws.viz.flow_view.operator_names import label, source_of

Step = Callable[[Any], Any]


def called(*_: Any) -> Any:
    raise AssertionError("user code was called")


async def fetch(_: Any) -> Any:
    raise AssertionError("user code was called")


def smooth(count: int) -> Step:
    def operator(source: Any) -> Any:
        return source.pipe(ops.take(count))

    return operator


def halve(source: Any) -> Any:
    return source


class Widen:
    def __call__(self, source: Any) -> Any:
        return source


class Odd:
    def __call__(self, source: Any) -> Any:
        return source

    @property
    def __name__(self) -> str:
        raise RuntimeError("no name")


LOADS: Any = json.loads  # untyped, as the types of RxPY do not fit


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (ops.map(lambda m: LOADS(m)["i"]), ("map", 'LOADS(m)["i"]')),
        (ops.map(lambda é: (str(é), "ü")), ("map", '(str(é), "ü")')),
        (ops.map(lambda _: "a rather long constant"), ("map", '"a rather long co…')),
        (ops.flat_map(lambda x: rx.of(x)), ("flat_map", "rx.of(x)")),
        (ops.map(called), ("map", "called")),
        (ops.map(str.upper), ("map", "str.upper")),
        (ops.map(functools.partial(called, 1)), ("map", "called")),
        (ops.scan(operator.add, 0), ("scan", "add, 0")),
        (ops.filter(lambda x: bool(x)), ("filter", "bool(x)")),
        (ops.debounce(0.15), ("debounce", "0.15 s")),
        (ops.throttle_first(timedelta(milliseconds=200)), ("throttle_first", "0.2 s")),
        (ops.sample(2), ("sample", "2 s")),
        (ops.take(3), ("take", "3")),
        (ops.take_until(rx.never()), ("take_until", "")),
        (ops.do_action(print), ("do_action", "print")),
        (ops.first(), ("first", "")),
        (ops.distinct_until_changed(), ("distinct_until_changed", "")),
        (ops.pluck("key"), ("map", "")),
        (rx.compose(ops.map(called), ops.take(2)), ("map · take", "")),
        (rxws.operators.map_async(fetch, max_concurrent=3), ("map_async", "fetch")),
        (rxws.operators.on_loop(), ("on_loop", "")),
        (rxws.Recording().tap("seen"), ("tap", "")),
        (smooth(2), ("smooth", "")),
        (halve, ("halve", "")),
        (functools.partial(halve), ("halve", "")),
        (Widen(), ("Widen", "")),
        (lambda source: source, ("step 7", "source")),
    ],
)
def test_an_operator_is_named(step: Step, said: tuple[str, str]) -> None:
    """An operator has its name and arguments, and no user code is called."""
    assert label(step, 7) == said


def test_a_lambda_of_many_lines_is_shown_in_one() -> None:
    """The source code of a lambda is shown in one line."""
    step = ops.flat_map(
        lambda x: rx.of(
            x,
        )
    )
    assert label(step, 7) == ("flat_map", "rx.of( x, )")


def test_naming_never_raises() -> None:
    """An operator whose name cannot be read is named after its position."""
    assert label(Odd(), 7) == ("step 7", "")


def test_every_operator_of_rxpy_is_named() -> None:
    """Each operator of RxPY has a name, even if it is composed of others."""
    steps: list[Any] = [ops.count(), ops.average(), ops.buffer_with_time(1), ops.share()]
    for each in steps:
        name, _ = label(each, 7)
        assert name
        assert not name.startswith("step")


def test_a_lambda_without_source_is_a_lambda() -> None:
    """A lambda without source code, such as one made by `exec`, is shown as lambda."""
    scope: dict[str, Any] = {}
    exec("f = lambda x: x + 1", scope)
    made: FunctionType = scope["f"]
    assert source_of(made.__code__) == "lambda"
    bare = made.__code__.replace(co_linetable=b"")
    assert source_of(bare) == "lambda"
