"""Comparison of values: NaN, arrays, and their containers."""

from __future__ import annotations

import dataclasses
import math
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from typing import Any, NamedTuple
from unittest.mock import ANY

import msgspec
import pytest
from reactivex import operators as ops

from rxws import codecs
from rxws.codecs import Codec
from rxws.testing import Timeline, difference, marbles, simulate
from rxws.testing.same import same


class Array:
    """Like a one-dimensional array of NumPy."""

    dtype = "float64"

    def __init__(self, *items: float) -> None:
        self.items = items

    def __iter__(self) -> Iterator[float]:
        return iter(self.items)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self.items),)

    def all(self) -> bool:
        return all(self.items)

    def _each(self, other: Any, compare: Any) -> Array:
        items = other.items if isinstance(other, Array) else (other,) * len(self.items)
        if len(items) != len(self.items):
            raise ValueError("operands could not be broadcast together")
        return Array(*map(compare, self.items, items))

    def __eq__(self, other: object) -> Any:
        return self._each(other, lambda a, b: a == b)

    def __ne__(self, other: object) -> Any:
        return self._each(other, lambda a, b: a != b)

    def __or__(self, other: Any) -> Array:
        return self._each(other, lambda a, b: a or b)

    def __and__(self, other: Any) -> Array:
        return self._each(other, lambda a, b: a and b)

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise ValueError("the truth value of an array with more than one element is ambiguous")

    def __repr__(self) -> str:
        return f"Array{self.items}"


class Table(Array):
    """Like a table of pandas, which has no `|` for all its columns."""

    __or__ = __and__ = None  # type: ignore[assignment]

    def equals(self, other: Table) -> bool:
        return list(map(repr, self)) == list(map(repr, other))


class Missing:
    """Like `pandas.NA`."""

    def __eq__(self, other: object) -> Any:
        return self

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> bool:
        raise TypeError("boolean value of NA is ambiguous")


@dataclasses.dataclass
class Trade:
    """A data class with an array."""

    price: Any
    id: int = dataclasses.field(default=0, compare=False)


@dataclasses.dataclass
class Strict:
    """A data class with its own comparison."""

    price: Any

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = None  # type: ignore[assignment]


class Tick(msgspec.Struct):
    """A Struct with a number."""

    price: Any


class Point(NamedTuple):
    """A tuple with a number."""

    x: float


class Broken:
    """Comparing it raises."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no")

    __hash__ = None  # type: ignore[assignment]


def nan() -> float:
    return float("nan")


missing = Missing()


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 1.0),
        (nan(), nan()),
        (Decimal("nan"), Decimal("nan")),
        (complex(nan(), 0), complex(nan(), 0)),
        ([nan(), {"a": (nan(),)}], [nan(), {"a": (nan(),)}]),
        (Array(1, 2), Array(1, 2)),
        (Array(1, nan()), Array(1, nan())),
        (Array(), Array()),
        (Table(1, nan()), Table(1, nan())),
        ({"a": [Array(1, 2)]}, {"a": [Array(1, 2)]}),
        (OrderedDict(a=Array(1)), OrderedDict(a=Array(1))),
        (Trade(Array(1, 2), 1), Trade(Array(1, 2), 2)),
        (Trade(nan()), Trade(nan())),
        (Tick(nan()), Tick(nan())),
        (Point(nan()), Point(nan())),
        (missing, missing),
        (0.1 + 0.2, pytest.approx(0.3)),
        ({"a": 0.1 + 0.2}, {"a": pytest.approx(0.3)}),
        (Array(1, 2), ANY),
    ],
)
def test_values_that_are_the_same(one: Any, two: Any) -> None:
    """NaN equals NaN, and arrays equal arrays with the same elements, however deep."""
    assert same(one, two)
    assert same(two, one)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1, 2),
        (nan(), 1.0),
        (nan(), Decimal("nan")),
        ([nan()], [1.0]),
        ([nan()], (nan(),)),
        ([nan()], [nan(), nan()]),
        ({"a": nan()}, {"b": nan()}),
        ({"a": nan()}, {"a": nan(), "b": 1}),
        (Array(1, 2), Array(1, 3)),
        (Array(1, nan()), Array(1, 2)),
        (Array(1), Array(1, 1)),
        (Array(1, 1), 1),
        (Array(1), Table(1)),
        (Table(1), Table(2)),
        (Array, Array(1)),
        (Trade(Array(1, 2)), Trade(Array(1, 3))),
        (Strict(nan()), Strict(nan())),
        (Missing(), Missing()),
        (Missing(), 1),
        (Broken(), Broken()),
        (0.4, pytest.approx(0.3)),
    ],
)
def test_values_that_differ(one: Any, two: Any) -> None:
    """Other values differ, also if `==` raises."""
    assert not same(one, two)
    assert not same(two, one)


arrays: Codec[Any, Any] = Codec(
    encode=lambda value: ",".join(map(str, value)),
    decode=lambda frame: Array(*map(float, str(frame).split(","))),
)


@pytest.mark.promise("equal")
def test_timelines_with_arrays_and_nan_are_compared() -> None:
    """A timeline compares arrays by their elements, and NaN as equal to NaN."""

    def double(array: Array) -> Array:
        return Array(*(2 * item for item in array))

    values = {"a": Array(1, nan()), "b": Array(2, nan())}
    sim = simulate(
        lambda conn: conn.incoming.pipe(ops.map(double)), "a-|", codec=arrays, values=values
    )
    assert sim.incoming == marbles("a-|", values=values)
    assert sim.outgoing == marbles("b-|", values=values)
    assert sim.outgoing != marbles("a-|", values=values)
    assert sim.outgoing == Timeline.of([*sim.outgoing])
    lines = difference(sim.outgoing, marbles("a-|", values=values))
    assert lines[0] == "differs at 0 s: expected Array(1, nan) at 0 s, seen Array(2.0, nan) at 0 s"
    assert lines[1].endswith("a-|")
    assert lines[2].endswith("b-|")


def test_nan_in_json_like_values() -> None:
    """NaN in a value that another codec sends equals NaN."""
    codec: Codec[Any, Any] = Codec(repr, lambda frame: {"price": float(frame)})
    sim = simulate(
        lambda conn: conn.incoming.subscribe(), "-a", codec=codec, values={"a": math.nan}
    )
    assert sim.incoming == marbles("-a", values={"a": {"price": nan()}})
    assert simulate(lambda _: None, codec=codecs.json).incoming == marbles("")
