"""Marble diagrams: the form of lanes, the layout, the labels of values."""

from __future__ import annotations

import dataclasses
import enum
import math
import re
import time
from array import array
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple
from xml.etree import ElementTree

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from reactivex.notification import OnCompleted, OnError, OnNext

from rxws import Close, ConnectionClosed, Recording
from rxws._recording.diagram import Diagram, Track, svg, text
from rxws._recording.diagram.axis import duration, ticks
from rxws._recording.diagram.labels import CONTROL, cells, cut, escape, number, short
from rxws._recording.diagram.svg.marks import draw
from rxws._recording.diagram.svg.scale import TimeScale
from rxws._recording.diagram.tooltips import Texts, full, message, safe_repr
from rxws._recording.diagram.visible import time_span, visible_tracks
from rxws.testing import Clock
from rxws.viz.frame_table.payload import payload
from support.pictures.scenes import SCENES, Event, faults, few, kinds, nexts, running

SVG = "{http://www.w3.org/2000/svg}"
TIMES = "\N{MULTIPLICATION SIGN}"


def lane(marks: list[Event], **more: Any) -> Diagram:
    return Diagram("", (Track("lane", marks=marks, **more),))


def form(values: list[Any], seconds: float = 10.0, width: float = 400) -> str:
    """Return the form of a lane with evenly spaced values."""
    step = seconds / max(len(values) - 1, 1)
    picture = lane(nexts((i * step, value) for i, value in enumerate(values)))
    time = time_span(picture, None)
    scale = TimeScale(time.start, time.stop, 100, 100 + width)
    return draw(visible_tracks(picture, time)[0], scale, 50).form


def elements(drawn: str, kind: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(drawn)
    return [each for each in root.iter() if kind in each.get("class", "").split()]


def texts(drawn: str, kind: str) -> list[str]:
    return ["".join(each.itertext()) for each in elements(drawn, kind)]


def tips(drawn: str) -> list[str]:
    return [each.text or "" for each in ElementTree.fromstring(drawn).iter(f"{SVG}title")]


# --- one form per lane ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], "none"),
        ([1, 2, 3], "circles"),
        (list(range(18)), "circles"),
        (["hello", 1], "pills"),
        (["hello"] * 12, "dots"),
        (["a rather long message", 1], "dots"),
        ([ValueError("x"), KeyError()], "crosses"),
        (["a"] * 100, "bars"),
        ([True] * 100, "bars"),
        ([ValueError("x")] * 100, "bars"),
        ([*range(99), None], "bars"),
        ([0.5] * 100, "sparkline"),
        ([Decimal(1), 2, 3.0] * 40, "sparkline"),
        ([Decimal("sNaN")] * 100, "bars"),
        ([math.nan, 1.0, math.inf] * 40, "sparkline"),
        ([math.nan] * 100, "sparkline"),
        ([10**400, 1] * 50, "sparkline"),
        ([1e308, -1e308] * 50, "sparkline"),
    ],
)
def test_a_lane_has_the_form_that_fits(values: list[Any], expected: str) -> None:
    """Few values are drawn inside marks or with labels, many as a sparkline or bars."""
    assert form(values) == expected
    marks = nexts((i * 0.1, value) for i, value in enumerate(values))
    ElementTree.fromstring(svg(lane(marks)))
    assert "nan" not in "".join(re.findall(r' (?:d|x|y|cx|cy)="([^"]*)"', svg(lane(marks))))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("width", [240, 320, 600, 760, 1200])
def test_no_two_texts_of_a_lane_overlap(scene: str, width: int) -> None:
    """Labels never overlap: labels above dots are left out if there is no room."""
    drawn = svg(SCENES[scene].make(), width)
    lanes: dict[str, list[tuple[float, float]]] = {}
    for kind in ("l", "p", "r", "s"):
        for each in elements(drawn, kind):
            half = cells("".join(each.itertext())) * 5.7 / 2
            middle = float(each.get("x", ""))
            lanes.setdefault(each.get("y", ""), []).append((middle - half, middle + half))
    for places in lanes.values():
        places.sort()
        for (_, right), (left, _) in pairwise(places):
            assert right <= left + 0.2


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("window", [None, 0.5])
def test_all_marks_are_inside_the_plot(scene: str, window: float | None) -> None:
    """Marks overlap neither the boxes nor the edge of the diagram."""
    drawn = svg(SCENES[scene].make(), 600, window)
    box = elements(drawn, "bx")[0]
    least = float(box.get("x", "")) + float(box.get("width", ""))
    for each in (item for kind in ("m", "b", "h") for item in elements(drawn, kind)):
        left = float(each.get("x") or float(each.get("cx", "")) - float(each.get("r", "")))
        wide = float(each.get("width") or 2 * float(each.get("r", "")))
        assert wide > 0
        assert least < left
        assert left + wide < 600


def test_values_at_the_same_time_are_one_dot() -> None:
    """Values at the same time are one dot with their number and a tooltip."""
    drawn = svg(lane(nexts([(1, "a"), (1, "b"), (1, "c"), (2, "d")])))
    assert texts(drawn, "l") == [f"{TIMES}3", "d"]
    assert "3 events, 1.000 s to 1.000 s\nfirst a\nlast c" in tips(drawn)


def test_bars_show_counts_and_the_peak() -> None:
    """Bars count the values per round interval; the note has the peak rate."""
    burst = [
        *nexts((i / 100, "x") for i in range(100)),
        *nexts((1 + i / 10, "y") for i in range(90)),
    ]
    drawn = svg(lane(burst))
    assert texts(drawn, "no") == [
        "lane: 190 events190 ev",
        "at most 20 events in 0.200 speak 100/s",
    ]
    counts = [int(tip.split()[0]) for tip in tips(drawn) if " events, " in tip]
    assert sum(counts) == 190


def test_a_sparkline_has_a_gap_where_there_is_no_number() -> None:
    """Values that are not finite are gaps; the tooltip counts them."""
    values = [*range(100), math.nan, *range(100)]
    drawn = svg(lane(nexts((i, value) for i, value in enumerate(values))))
    assert len(elements(drawn, "w")) == 2
    assert texts(drawn, "no")[1] == "0 to 99, 1 not finite0…99"


def test_a_long_note_has_room() -> None:
    """The plot leaves room for a long note at the right."""
    drawn = svg(SCENES["small"].make(), 600)
    [right] = [
        float(each.get("d", "").split("H")[1].split("M")[0]) for each in elements(drawn, "ln")
    ]
    note = texts(drawn, "no")[1].removeprefix("-6.173e-6 to 6.049e-6")
    assert note == "-6.173e-6…6.049e-6"
    assert right + cells(note) * 5.8 < 596


# --- ends -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.promise("red")
def test_red_is_for_errors_only(scene: str) -> None:
    """A diagram has red marks if and only if it has errors."""
    picture = SCENES[scene].make()
    failed = any(isinstance(mark.data, Exception) for each in picture.tracks for mark in each.marks)
    drawn = svg(picture)
    red = [*elements(drawn, "x"), *elements(drawn, "xe"), *elements(drawn, "e")]
    assert bool(red) == failed


def test_an_end_has_the_close_code() -> None:
    """An end shows the close code; its tooltip has the reason and who closed."""
    drawn = svg(few())
    assert texts(drawn, "ke") == ["1000", "1000"]
    assert len(elements(drawn, "en")) == 4
    assert "0.676 s\nclosed with 1000 by peer" in tips(drawn)
    drawn = svg(faults())
    assert "6.600 s\nclosed with 4001 enough <b>of</b> it by local" in tips(drawn)
    assert "1.600 s\nerror ValueError: no side" in tips(drawn)
    assert texts(drawn, "xe") == ["", "KeyError"]


@pytest.mark.parametrize(
    ("end", "close", "failed"),
    [
        ("completed", Close(4001), False),
        ("error", Close(4001), True),
        (None, Close(1000), False),
        (None, Close(1006), True),
    ],
)
def test_a_lane_without_an_end_has_that_of_the_connection(
    end: str | None, close: Close, failed: bool
) -> None:
    """A connection's lane without an end shows the close, red if `incoming` failed."""
    incoming = [Event(1, end, ConnectionClosed(close) if end == "error" else None)] if end else []
    tracks = (
        Track("incoming", "", "in", incoming),
        Track("map", "", None, nexts([(0.5, 1)])),
        Track("outgoing", "", "out", nexts([(0.5, 1)])),
    )
    drawn = svg(Diagram("", tracks, close, 1.0))
    assert texts(drawn, "xe" if failed else "ke") == [str(close.code)] * 2
    assert bool(elements(drawn, "x")) == failed
    assert text(Diagram("", tracks, close)).count(f"{'✗' if failed else '┤'}{close.code}") == 2


@pytest.mark.parametrize(("end", "mark"), [("error", "✗1006"), ("completed", "┤1000")])
def test_a_connection_has_one_end(end: str, mark: str) -> None:
    """Incoming and outgoing show the close code in the same colour."""
    close = Close(1006 if end == "error" else 1000, by="network")
    error = ConnectionClosed(close) if end == "error" else None
    tracks = (
        Track("incoming", "", "in", [Event(1, end, error)]),
        Track("outgoing", "", "out", [Event(1, "completed")]),
        Track("taken", "", None, [Event(1, "completed")]),
    )
    drawn = text(Diagram("", tracks, close, 1.0)).splitlines()
    assert [mark in line for line in drawn[:3]] == [True, True, False]
    assert "┤" in drawn[2]


def test_a_close_that_was_sent_is_the_end() -> None:
    """A close that was sent is the lane's end, whatever follows."""
    marks = [*nexts([(0, "a"), (1, Close(4002, "bye"))]), Event(2, "completed")]
    picture = Diagram("", (Track("outgoing", "", "out", marks),))
    assert texts(svg(picture), "ke") == ["4002"]
    assert "┤4002 " in text(picture)


def test_a_disposed_lane_continues_with_dashes() -> None:
    """A disposed lane is dashed to the right edge or to the next subscription."""
    marks = [*nexts([(0, "a")]), Event(1, "disposed"), *nexts([(2, "b")])]
    drawn = svg(lane([*marks, Event(3, "disposed")]))
    assert [each.get("class") for each in elements(drawn, "ln")] == ["ln", "ln du", "ln", "ln du"]
    assert "╌" in text(lane(marks))
    assert "2 ev" in texts(svg(lane(marks)), "no")[0]


def test_a_lane_that_ended_before_the_window_says_so() -> None:
    """A lane that ended before the window shows how and when, or dashes if disposed."""
    tracks = (
        Track("done", marks=[Event(1, "completed")]),
        Track("failed", marks=[Event(1, "error", ValueError("x"))]),
        Track("gone", marks=[Event(1, "disposed")]),
        Track("last", marks=nexts([(10, 1)])),
    )
    drawn = svg(Diagram("", tracks), window=2)
    assert texts(drawn, "be") == ["completed at 1.000 s"]
    assert texts(drawn, "xe") == ["ValueError at 1.000 s"]
    assert "ValueError at 1.000 s" in text(Diagram("", tracks), window=2)


def test_dropped_events_are_shown() -> None:
    """Dropped events are in the count and its tooltip, and their time is dotted."""
    picture = Diagram(
        "",
        (
            Track("all", marks=nexts([(2, "a"), (9, "b")])),
            Track("late", marks=nexts([(5, "a"), (9, "b")]), dropped=3),
        ),
    )
    drawn = svg(picture)
    assert "lane: 0" not in drawn
    assert texts(drawn, "no")[1] == "late: 5 events, the last 2 kept2 of 5 ev"
    assert len(elements(drawn, "dl")) == 1
    assert time_span(picture, None).start == 2


def test_a_very_short_flow_fills_the_diagram() -> None:
    """A flow of a few microseconds starts at its first event."""
    assert time_span(lane(nexts([(0.0005, 1), (0.00052, 2)])), None).start == 0.0005
    assert time_span(lane(nexts([(0.5, 1), (0.50002, 2)])), None).start == 0


# --- time -----------------------------------------------------------------------------------------


def test_a_window_shows_the_latest_seconds() -> None:
    """A window ends at the last event or now; a running flow fills it from the left."""
    picture = lane(nexts((i, i) for i in range(100)))
    assert (time_span(picture, 10).start, time_span(picture, 10).stop) == (89, 99)
    live = dataclasses.replace(picture, until=104.0)
    assert (time_span(live, 10).start, time_span(live, 10).stop) == (94, 104)
    assert time_span(running(), 10).stop == 10
    ended = lane([*nexts([(1, 1)]), Event(2, "completed")])
    assert time_span(dataclasses.replace(ended, until=2.0), 10).stop == 2
    assert (time_span(lane([]), 10).start, time_span(lane([]), 10).stop) == (0, 1)
    hidden = svg(dataclasses.replace(picture, until=1000.0), window=10)
    assert elements(hidden, "m") == []
    assert "100 ev" in texts(hidden, "no")[0]


@pytest.mark.parametrize(
    ("start", "stop", "labels"),
    [
        (0, 0.00005, ["0 µs", "20 µs", "40 µs"]),
        (0, 0.05, ["0 ms", "20 ms", "40 ms"]),
        (0, 0.68, ["0 s", "0.2 s", "0.4 s", "0.6 s"]),
        (0, 12, ["0 s", "5 s", "10 s"]),
        (600, 601, ["10:00.0", "10:00.5", "10:01.0"]),
        (3600, 3640, ["1:00:00", "1:00:10", "1:00:20", "1:00:30", "1:00:40"]),
        (0, 1000, ["0 min", "5 min", "10 min", "15 min"]),
        (0, 36000, ["0 h", "3 h", "6 h", "9 h"]),
        (0, 86400 * 9, ["0 d", "5 d"]),
    ],
)
def test_the_axis_has_round_times(start: float, stop: float, labels: list[str]) -> None:
    """Ticks are round times in a suitable unit, from microseconds to days."""
    found = ticks(start, stop, 4)
    assert [label for _, label in found] == labels
    assert all(start <= time <= stop * 1.001 for time, _ in found)


@given(st.floats(0, 1e7), st.floats(1e-6, 1e7), st.integers(1, 20))
def test_ticks_differ_and_are_not_too_many(start: float, length: float, count: int) -> None:
    """Ticks are distinct and about as many as requested, for any time span."""
    found = ticks(start, start + length, count)
    assert len(found) <= count + 2
    assert len({time for time, _ in found}) == len(found)


@pytest.mark.parametrize(
    ("time", "expected"),
    [(0, "0.000 s"), (5e-6, "5.0 µs"), (0.0023, "2.30 ms"), (3, "3.000 s"), (120.5, "2:00.5")],
)
def test_a_tooltip_has_the_time(time: float, expected: str) -> None:
    """Times in tooltips have a suitable unit."""
    assert duration(time) == expected


# --- values ---------------------------------------------------------------------------------------


class BrokenRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


@dataclasses.dataclass
class Trade:
    symbol: str
    price: float


class Color(enum.Enum):
    RED = 1


class Struct(msgspec.Struct):
    id: int


class Array:
    """Like an array of NumPy."""

    dtype = "float64"

    def __init__(self, *shape: int) -> None:
        self._shape = shape

    @property
    def shape(self) -> tuple[int, ...]:
        return self._shape

    def item(self) -> float:
        return 2.5


class Point(NamedTuple):
    x: int
    y: int


nested: list[Any] = []
nested.append(nested)


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("text", "text"),
        ("", "''"),
        ('{"i": 0, "p": 99.123}', "i:0 p:99.12"),
        ("[1, 2]", "[1, 2]"),
        ("{no json", "{no json"),
        (b"plain", "plain"),
        (b"long and plain", "long and…"),
        (b"\x00\xff", "00 ff"),
        (b"\x00\xff\x01", "3 B"),
        (b"", "0 B"),
        (memoryview(b"ab"), "ab"),
        (None, "None"),
        (True, "True"),
        (123456, "123456"),
        (-1234567, "-1.235e6"),
        (10**400, "~2^1329"),
        (1 / 3, "0.3333"),
        (-math.inf, "-∞"),
        (math.nan, "nan"),
        ({}, "{}"),
        ({"a": {"b": {"c": {"d": 1}}}}, "a:{b:{c:…}}"),
        ((1,), "(1)"),
        ((101, 99.5), "(101, 99.5)"),
        (("x" * 12, "y" * 12), f"({'x' * 12}, {'y' * 8}…"),
        (tuple(range(25)), "(25)"),
        ({1}, "{1}"),
        (list(range(25)), "[25]"),
        (nested, "[[[…]]]"),
        (Trade("A", 1.5), "symbol:A price:1.5"),
        (Point(1, 2), "x:1 y:2"),
        (Struct(id=7), "id:7"),
        (OnNext(5), "next 5"),
        (OnError(ValueError("x")), "error ValueError"),
        (OnCompleted(), "completed"),
        (Close(4000), "4000"),
        (ConnectionClosed(Close(4001)), "4001"),
        (ValueError("x"), "ValueError"),
        (Trade, "Trade"),
        (Color.RED, "RED"),
        (Array(3, 4), f"3{TIMES}4 float64"),
        (Array(), "2.5"),
        (BrokenRepr(), "BrokenRepr"),
        (Clock, "Clock"),
        ("a\nb\tc\x00\x7f\u202e", "a↵b→c␀␡�"),
        ("日本語" * 9, "日本語日本語日本語日本…"),
        ("e" + "\u0301" * 900, "e" + "\u0301" * 71 + "…"),
    ],
)
def test_a_value_has_a_label(value: Any, label: str) -> None:
    """A value of any type has a short label on one line."""
    assert short(value) == label
    assert cells(short(value, 8)) <= 8


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", "''"),
        ("x" * 5000, "x" * 299 + "…"),
        (10**80, "1e80"),
        (True, "True"),
        (b"ab", "b'ab'"),
        (bytes(100), f"{bytes(64)!r}… 100 bytes"),
        (ValueError("x\ny"), "ValueError: x↵y"),
        (KeyError(), "KeyError"),
        ((1,), "(1,)"),
        ({"a": ["b", {2}]}, "{'a': ['b', {2}]}"),
        (list(range(9)), "[0, 1, 2, 3, 4, 5, 6, 7, … 9 items]"),
        (nested, "[[[…]]]"),
        (BrokenRepr(), "<BrokenRepr>"),
    ],
)
def test_a_tooltip_has_the_value(value: Any, expected: str) -> None:
    """A tooltip shows the whole value, up to a limit."""
    assert full(value) == expected


class Slow:
    """Its repr takes long."""

    calls = 0

    def __repr__(self) -> str:
        Slow.calls += 1
        began = time.thread_time()
        while time.thread_time() < began + 0.01:
            pass
        return "slow"

    def __str__(self) -> str:
        return repr(self)


class SlowError(Exception):
    """Its message takes long."""

    def __str__(self) -> str:
        return repr(Slow())


@dataclasses.dataclass
class Node:
    next: Any = None
    hidden: int = dataclasses.field(default=0, repr=False)


@dataclasses.dataclass(repr=False)
class Plain:
    secret: str = "s"


class Link(msgspec.Struct):
    next: Any = None


class Pair(NamedTuple):
    next: Any


class Own(NamedTuple):
    x: int

    def __repr__(self) -> str:
        return "own"


class Table:
    """Like a table of pandas or polars."""

    def __init__(self, rows: int) -> None:
        self.shape = rows, 3
        self.size = 3 * rows

    shape = (0, 0)
    columns = ("a", "b", 1)

    def __repr__(self) -> str:
        raise AssertionError("the repr of a table takes long")


class Matrix(Array):
    size = 12

    def __repr__(self) -> str:
        return "Matrix()"


class LargeMatrix(Matrix):
    size = 10_000


def chained(make: Callable[[Any], Any], count: int = 5000) -> Any:
    """Return values that are nested very deeply."""
    value: Any = None
    for _ in range(count):
        value = make(value)
    return value


MANY_ITEMS = {number: number for number in range(100_000)}
EIGHT = ", ".join(f"{number}: {number}" for number in range(8))
MANY = "0, 1, 2, 3, 4, 5, 6, 7, … 100000 items"

LARGE = [
    (MANY_ITEMS, f"{{{EIGHT}, … 100000 items}}"),
    (defaultdict(int, MANY_ITEMS), f"defaultdict({{{EIGHT}, … 100000 items}})"),
    (OrderedDict(MANY_ITEMS), f"OrderedDict({{{EIGHT}, … 100000 items}})"),
    (Counter(MANY_ITEMS), f"Counter({{{EIGHT}, … 100000 items}})"),
    (MappingProxyType(MANY_ITEMS), f"mappingproxy({{{EIGHT}, … 100000 items}})"),
    (SimpleNamespace(a=MANY_ITEMS), f"namespace(a={{{EIGHT}, … 100000 items}})"),
    (list(MANY_ITEMS), f"[{MANY}]"),
    (tuple(MANY_ITEMS), f"({MANY})"),
    (set(MANY_ITEMS), f"{{{MANY}}}"),
    (deque(MANY_ITEMS), f"deque([{MANY}])"),
    (MANY_ITEMS.keys(), "<dict_keys of 100000 items>"),
    (array("d", [1.5]) * 100_000, "<array of 100000 items>"),
    (KeyError(MANY_ITEMS), f"KeyError: {{{EIGHT}, … 100000 items}}"),
    (ValueError(MANY_ITEMS, 1), f"ValueError: ({{{EIGHT}, … 100000 items}}, 1)"),
    (ValueError("x" * 10_000_000), f"ValueError: {'x' * 287}…"),
    ("x" * 10_000_000, "x" * 299 + "…"),
    (bytearray(10_000_000), f"{bytes(64)!r}… 10000000 bytes"),
    ([MANY_ITEMS] * 3, None),
    (chained(Node), "Node(next=Node(next=Node(next=…)))"),
    (chained(Link), "Link(next=Link(next=Link(next=…)))"),
    (chained(Pair), "Pair(next=Pair(next=Pair(next=…)))"),
    (chained(lambda inner: [inner]), "[[[…]]]"),
    (Table(100_000), f"<100000{TIMES}3 Table: 'a', 'b', 1>"),
    (LargeMatrix(100, 100), f"<LargeMatrix 100{TIMES}100 float64>"),
]


@pytest.mark.promise("large")
@pytest.mark.parametrize(("value", "expected"), LARGE, ids=lambda each: type(each).__name__)
def test_the_texts_of_a_large_value_are_made_quickly(value: Any, expected: str | None) -> None:
    """However large or deep a value is, its label, tooltip and row take a few milliseconds."""
    assert expected in (None, full(value).replace("SimpleNamespace", "namespace"))
    for make in (short, full, safe_repr, payload):
        times: list[float] = []
        for _ in range(3):
            began = time.thread_time()
            make(value)
            times.append(time.thread_time() - began)
        assert min(times) < 0.02, make


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Node(Node()), "Node(next=Node(next=None))"),
        (Own(1), "own"),
        (Counter("aab"), "Counter({'a': 2, 'b': 1})"),
        (frozenset({1}), "{1}"),
        (SimpleNamespace(a=1), "SimpleNamespace(a=1)"),
        (Matrix(3, 4), "Matrix()"),
        (Color.RED, "<Color.RED: 1>"),
        (OSError(2, "no"), "OSError: [Errno 2] no"),
        (range(2000), "range(0, 2000)"),
    ],
)
def test_a_tooltip_looks_like_the_repr(value: Any, expected: str) -> None:
    """Containers and records look as in Python; a class's own `__repr__` is used."""
    shown = full(value).replace("FileNotFoundError", "OSError")
    assert shown == expected
    assert "Plain object at" in full(Plain())


def test_a_slow_repr_is_called_twice_at_most() -> None:
    """A type whose repr is slow gets a short text after two calls."""
    Slow.calls = 0
    texts = [full(Slow()) for _ in range(5)]
    assert texts == ["slow"] * 2 + ["<Slow: its repr is slow>"] * 3
    assert Slow.calls == 2
    assert short([Slow()], 40) == "[<Slow: its repr is slow>]"
    assert [message(SlowError()) for _ in range(3)][2] == "<SlowError: its str is slow>"
    assert message(BrokenStr()) == "<BrokenStr: its str raised RuntimeError>"


class BrokenStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Counted:
    """It counts how often its repr is made."""

    calls = 0

    def __repr__(self) -> str:
        self.calls += 1
        return "counted"


def test_a_text_is_made_once_while_a_value_is_kept() -> None:
    """Drawing again makes no text again, whatever else is recorded meanwhile."""
    recording = Recording(scheduler=Clock())
    values = [Counted() for _ in range(3)]
    for value in values:
        recording.lane("a").record("next", value)
    drawn = [recording.svg() + recording.text() for _ in range(3)]
    assert drawn[0].count("counted") == drawn[1].count("counted") > 0
    calls = [value.calls for value in values]
    assert max(calls) <= 5  # of some widths
    recording.lane("a").record("next", 1)
    recording.svg()
    assert [value.calls for value in values] == calls


def test_texts_of_dropped_values_are_forgotten() -> None:
    """The texts of a lane are bounded, also if each value is drawn."""
    texts = Texts()
    marks = [Event(0, "next", number) for number in range(10_000)]
    assert [texts.full(mark) for mark in marks] == [str(number) for number in range(10_000)]
    assert len(texts._made) <= 4096
    mark = Event(0, "next", "another")
    texts._made[id(mark), 0] = (Event(0, "next", "dropped"), "dropped")  # had the same id
    assert texts.full(mark) == "another"


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1 + 0.2, "0.3"), (1e21, "1e21"), (-0.0, "0"), (12345.678, "1.235e4")]
)
def test_a_number_has_four_significant_digits(value: float, expected: str) -> None:
    """A label shows at most four significant digits of a number."""
    assert number(value) == expected


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=4,
)


# The machine may be slow for other reasons.
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.floats(0, 1e6), anything), max_size=8),
    st.text(),
    st.sampled_from(["next", "completed", "error", "disposed"]),
    st.integers(200, 1300),
)
@pytest.mark.promise("shown")
def test_any_value_makes_a_diagram(
    pairs: list[tuple[float, Any]], name: str, last: str, width: int
) -> None:
    """Any value gives a valid SVG that shows markup as text, and a text form of bounded width."""
    marks = nexts(sorted(pairs, key=lambda pair: pair[0]))
    end = Event(marks[-1].t if marks else 0.0, last, ValueError(name) if last == "error" else name)
    picture = Diagram(name, (Track(name, name, None, [*marks, end]), Track("x", marks=marks)))
    drawn = svg(picture, width)
    root = ElementTree.fromstring(drawn)
    known = {"svg", "style", "g", "text", "title", "path", "rect", "circle"}
    assert {each.tag.removeprefix(SVG) for each in root.iter()} <= known
    assert all(cells(line) <= 21 + 48 for line in text(picture).split("\n"))


@given(st.text(), st.integers(1, 40))
def test_text_is_cut_to_columns(value: str, limit: int) -> None:
    """Text is cut to the given columns, and has no control characters once escaped."""
    assert cells(cut(value, limit)) <= limit
    assert not CONTROL.search(escape(value))


# --- text -----------------------------------------------------------------------------------------


def test_text_shows_values_at_their_times() -> None:
    """Text has names at the left, values in their columns, ends and counts at the right."""
    assert text(few()).splitlines() == [
        "ws://127.0.0.1:8765/ticks — 7 messages",
        "↓ incoming •─•─••─•─i:5 p:100.1─────────────•───┤1000  7 ev",
        "map        0─1─23─4─5───────────────────────6───┤      7 ev",
        "debounce   ─────────────────5─────────────────6─┤      2 ev",
        "↑ outgoing ─────────────────ack 5─────────────•─┤1000  2 ev",
        "           ╵0 s       ╵0.2 s     ╵0.4 s     ╵0.6 s",
    ]


def test_text_shows_many_values_as_bars() -> None:
    """Text shows many values as bars of counts or numbers; a few errors as crosses."""
    words = lane(nexts([*((i / 100, "x") for i in range(100)), *((1 + i, "y") for i in range(9))]))
    assert text(words, 30).startswith("lane ▅█▇──▁")
    numbers = lane(nexts((i, i) for i in range(200)))
    assert "▁▁▁▂" in text(numbers)
    assert "200 ev 0…199" in text(numbers)
    assert "0…199" not in text(numbers, 24)
    flat = lane(nexts((i, math.nan if i % 2 else 1) for i in range(200)))
    assert "▅" in text(flat)
    broken = lane(nexts((i, ValueError("x")) for i in range(3)))
    assert text(broken).count("✗") == 3
    assert "✗" not in text(lane(nexts((i, ValueError("x")) for i in range(300))))


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("cols", [24, 48, 100])
def test_text_is_no_wider_than_asked(scene: str, cols: int) -> None:
    """Text is at most `cols` wide, plus the names."""
    lines = text(SCENES[scene].make(), cols).splitlines()
    assert max(map(cells, lines)) <= 21 + cols
    assert text(Diagram("nothing", ())) == "nothing"


# --- the whole ------------------------------------------------------------------------------------


def test_a_diagram_is_accessible() -> None:
    """The SVG has the role `img` and a label that describes all lanes."""
    root = ElementTree.fromstring(svg(few()))
    assert root.get("role") == "img"
    assert root.get("aria-label") == (
        "ws://127.0.0.1:8765/ticks — 7 messages; incoming: 7 events, closed with 1000 by peer; "
        "map: 7 events, completed; debounce: 2 events, completed; "
        "outgoing: 2 events, closed with 1000 by peer"
    )


def test_diagrams_on_one_page_do_not_interfere() -> None:
    """The SVG has no ids, and its style applies only within the class `rxws`."""
    drawn = svg(kinds())
    assert " id=" not in drawn
    style = re.search(r"<style>(.*)</style>", drawn)
    assert style is not None
    rules = re.sub(r"@media[^{]*\{(.*?\})\}", r"\1", style[1])
    selectors = re.findall(r"([^{}]+)\{", rules)
    assert all(".rxws" in part for each in selectors for part in each.split(","))


@pytest.mark.parametrize("window", [0, -1, math.nan])
def test_arguments_that_leave_no_room_are_refused(window: float) -> None:
    """A window needs seconds, a diagram pixels, a text columns."""
    with pytest.raises(ValueError, match="would show nothing"):
        svg(few(), window=window)
    with pytest.raises(ValueError, match="200 pixels"):
        svg(few(), 199)
    with pytest.raises(ValueError, match="24 or more"):
        text(few(), 23)


def test_a_diagram_may_be_empty() -> None:
    """A diagram may have neither lanes nor a title."""
    ElementTree.fromstring(svg(Diagram("", ())))
    assert text(Diagram("", ())) == ""


# --- of a recording -------------------------------------------------------------------------------


def test_a_recording_draws_itself() -> None:
    """A recording shows itself as SVG in a notebook, and as text elsewhere."""
    recording = Recording(scheduler=Clock())
    recording.title = "mine"
    lane = recording.lane("ticks")
    lane.detail = "every second"
    lane.record("next", 1)
    lane.record("completed")
    bundle = recording._repr_mimebundle_(include=None, exclude=None)
    assert list(bundle) == ["text/html", "text/plain"]
    assert bundle["text/html"] == recording.svg()
    assert bundle["text/html"].count("<svg") == 1
    assert bundle["text/plain"] == recording.text()
    assert texts(recording.svg(), "de") == ["every second"]
    assert recording.text().startswith("mine\nticks 1")
    assert recording.svg(600, 2.0) != recording.svg(700, 2.0)


def test_a_recording_of_a_connection_has_its_end_on_its_lanes() -> None:
    """A connection's lanes show its close; `errors` is drawn if there are any."""
    recording = Recording()
    incoming, outgoing, errors, closed = map(
        recording.lane, ("incoming", "outgoing", "errors", "closed")
    )
    incoming.record("next", "a")
    assert [track.name for track in recording.picture().tracks] == ["incoming", "outgoing"]
    assert recording.picture().close is None
    closed.record("next", Close(1001, by="peer"))
    closed.record("completed")
    for each in (incoming, errors):
        each.record("completed")
    picture = recording.picture()
    assert [track.name for track in picture.tracks] == ["incoming", "outgoing"]
    assert picture.close == Close(1001)
    assert picture.closed_at == closed.entries[0].t
    assert texts(svg(picture), "ke") == ["1001", "1001"]
    errors.record("next", ValueError("x"))
    assert "errors" in [track.name for track in recording.picture().tracks]
    assert outgoing.dir == "out"
    mine = Recording()
    mine.lane("closed").record("next", "a value of mine")
    assert [track.name for track in mine.picture().tracks] == ["closed"]
