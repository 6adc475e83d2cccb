"""The labels of records: the fields that change, or what the user chose."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import attrs
import msgspec
import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler

from rxws import Recording
from rxws.testing import Clock
from rxws.viz import stop_all, watch
from support.virtual.session import VirtualSession

PRICES = [("ABC", 10.5), ("DEF", 7.25), ("ABC", 11)]
DICTS: list[dict[str, Any]] = [
    {"type": "price", "symbol": symbol, "price": price} for symbol, price in PRICES
]


@dataclasses.dataclass
class Tick:
    """A data class."""

    type: str
    symbol: str
    price: float


class Struct(msgspec.Struct):
    """A struct of msgspec."""

    type: str
    symbol: str
    price: float


@attrs.define
class Attrs:
    """A class of attrs."""

    type: str
    symbol: str
    price: float


class Named(NamedTuple):
    """A named tuple."""

    type: str
    symbol: str
    price: float


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Stop all views after each test."""
    yield
    stop_all()


def recorded(*values: Any, **options: Any) -> Recording:
    """Return a recording of values, one each second."""
    clock = Clock()
    recording = Recording(scheduler=clock, **options)
    rx.timer(1, 1).pipe(
        ops.take(len(values)), ops.map(values.__getitem__), recording.tap("values")
    ).subscribe(scheduler=clock)
    clock.run(len(values) + 1.0)
    return recording


def labels(recording: Recording) -> list[str]:
    """Return the labels that the SVG has room for."""
    return re.findall(r'<text class="[lprs][ t]*"[^>]*>([^<]*)<', recording.svg(1200))


EXPECTED = ["ABC 10.5", "DEF 7.25", "ABC 11"]


@pytest.mark.parametrize(
    "values",
    [
        DICTS,
        [json.dumps(value) for value in DICTS],
        *[[kind(**value) for value in DICTS] for kind in (Tick, Struct, Attrs, Named)],
    ],
    ids=["dict", "json", "dataclass", "msgspec", "attrs", "named tuple"],
)
def test_a_label_has_the_fields_that_change(values: list[Any]) -> None:
    """A field that is the same in all values of a kind is left out."""
    recording = recorded(*values)
    assert labels(recording) == EXPECTED
    assert "ABC 10.5" in recording.text(80)


def test_values_of_different_kinds_are_compared_with_their_own() -> None:
    """A greeting does not change which fields of the prices are shown."""
    assert labels(recorded({"type": "hello", "version": 3}, *DICTS)) == ["hello 3", *EXPECTED]


def test_names_are_shown_if_there_is_room() -> None:
    """Names of fields are shown for all values or for none."""
    values = [{"n": 1, "fixed": "x"}, {"n": 20, "fixed": "x"}]
    assert labels(recorded(*values)) == ["n:1", "n:20"]
    assert labels(recorded({"n": 1, "fixed": "x" * 20})) == [f"1 {'x' * 20}"]


def test_fields_of_records_in_records_are_compared() -> None:
    """The fields of an inner record are fields, too."""
    values = [{"stream": "trades", "data": {"symbol": "ABC", "price": n}} for n in range(3)]
    assert labels(recorded(*values)) == ["price:0", "price:1", "price:2"]


def test_a_tuple_is_shown_as_its_values() -> None:
    """A tuple has its values as label, also where the room is short: at worst a dot has none."""
    pairs = [(101 + n, 99.5 + n) for n in range(8)]
    assert labels(recorded(*pairs)) == [f"({n}, {m})" for n, m in pairs]
    narrow = re.findall(r'class="l"[^>]*>([^<]*)<', recorded(*pairs).svg(390))
    assert narrow
    assert set(narrow) < {f"({n}, {m})" for n, m in pairs}
    assert "(101, 99.5)" in recorded(*pairs[:2]).text(80)


def test_records_in_tuples_are_compared() -> None:
    """Of the records in a tuple, also in a nested one, the fields that change are shown."""
    first, second, third = ({**each, "price": n} for n, each in enumerate(DICTS))
    values = [((first, second), 1), ((second, third), 2)]
    assert labels(recorded(*values)) == ["((ABC 0, DEF 1), 1)", "((DEF 1, ABC 2), 2)"]


def test_all_lines_of_a_diagram_have_the_same_fields() -> None:
    """A line with a single value shows the same fields as the line above."""
    view = watch(rx.from_iterable(DICTS), ops.last(), scheduler=ImmediateScheduler.singleton())
    assert labels(view.recording)[-1] == "ABC 11"


def test_a_field_can_be_chosen() -> None:
    """With the name of a field, its value is the label of each value that has it."""
    recording = recorded("text", *DICTS, 5, label="price")
    assert labels(recording) == ["text", "10.5", "7.25", "11", "5"]
    assert labels(recorded(*map(json.dumps, DICTS), label="symbol")) == ["ABC", "DEF", "ABC"]


def test_a_function_can_be_chosen() -> None:
    """With a function, its result is the label; where it raises or returns None, the default is."""
    recording = recorded(*DICTS, "other", label=lambda value: f"{value['symbol'].lower()}!")
    assert labels(recording) == ["abc!", "def!", "abc!", "other"]
    recording.label = lambda value: 7 if value == "other" else None
    assert labels(recording) == ["ABC 10.5", "DEF 7.25", "ABC 11", "7"]


def test_a_function_is_called_once_for_each_value_and_size() -> None:
    """Drawing again does not call the function again."""
    seen: list[Any] = []

    def seen_label(value: Any) -> str:
        seen.append(value)
        return "x"

    recording = recorded(1, 2, label=seen_label)
    first = recording.svg()
    count = len(seen)
    assert recording.svg() == first
    assert len(seen) == count


def test_a_label_is_safe() -> None:
    """What a function returns is escaped, cut, and on one line."""
    drawn = recorded(1, label=lambda _: "<b>\n" + "x" * 100).svg()
    assert "&lt;b&gt;↵" in drawn
    assert "x" * 30 not in drawn


def test_watch_takes_a_label() -> None:
    """`watch` takes a label for a chain, a connection and a recording."""
    now = ImmediateScheduler.singleton()
    view = watch(rx.from_iterable(DICTS[:1]), label="symbol", scheduler=now)
    assert labels(view.recording) == ["ABC"]
    virtual = VirtualSession()
    assert watch(virtual.conn, label="symbol").recording.label == "symbol"
    recording = recorded(*DICTS)
    watch(recording, label="price").stop()
    assert labels(recording) == ["10.5", "7.25", "11"]
    assert Recording.of(virtual.conn, label="price").label == "price"


async def coroutine(value: Any) -> str:
    """Return a label, but too late."""
    return str(value)


@pytest.mark.parametrize("label", [5, ["price"], coroutine])
def test_a_wrong_label_is_refused(label: Any) -> None:
    """A label is a string or a function that returns at once."""
    with pytest.raises(TypeError, match="label="):
        Recording(label=label)
    with pytest.raises(TypeError, match="label="):
        watch(rx.never(), label=label)
    recording = Recording()
    with pytest.raises(TypeError, match="label="):
        recording.label = label


def test_odd_records_are_drawn() -> None:
    """Fields whose == or properties raise, many fields and many kinds of records are drawn."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("never")

        __hash__ = object.__hash__

    class Broken:
        _fields = ("one",)

        @property
        def one(self) -> int:
            raise RuntimeError("never")

    values: list[Any] = [{"a": Odd()}, {"a": Odd()}, {"a": [], "b": {}}, Broken(), {}, {}]
    values += [{str(kind): kind} for kind in range(20)] + [dict.fromkeys(range(100), 1)] * 2
    assert len(recorded(*values).text(200).splitlines()) == 2
    assert recorded(*values).svg()
