"""Inner lanes in a diagram: where they are, where their streams begin and end."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest

from rxws._recording.diagram import (
    Diagram,
    Nesting,
    RecordedObservable,
    Role,
    Track,
    in_order,
    svg,
    text,
)
from support.pictures.scenes import Event, nexts

TIMES = "\N{MULTIPLICATION SIGN}"


def stream(label: str, start: float, *values: float, end: str = "", at: float = 0) -> list[Event]:
    """Return the events of an inner stream."""
    ends = [Event(at, end)] if end else []
    return [Event(start, "subscribed", label), *nexts((t, round(t)) for t in values), *ends]


def inner(*events: list[Event], role: Role = "inner", rest: bool = False, **more: Any) -> Track:
    """Return a lane of inner streams."""
    marks = [each for part in events for each in part]
    labels = [each.data for each in marks if each.type == "subscribed"]
    label = labels[0] if len(set(labels)) == 1 else ""
    values = sum(each.type == "next" for each in marks)
    return Track(
        "made inner 1",
        marks=marks,
        nesting=Nesting("made", role, rest, len(labels), values, label),
        **more,
    )


def diagram(*tracks: Track, times: tuple[float, ...] = (0, 4), **more: Any) -> Diagram:
    """Return a diagram of a lane that emits streams `a`, `b`, …, with these inner lanes."""
    labels = map(RecordedObservable, "abcdefghijklmnopqrstuvwxyz")
    outer = Track("made", marks=nexts(zip(times, labels, strict=False)))
    return Diagram("", in_order([outer, *tracks]), **more)


def classes(picture: Diagram, kind: str, **options: Any) -> list[ElementTree.Element]:
    """Return the elements of a drawing that have this CSS class."""
    root = ElementTree.fromstring(svg(picture, **options))
    return [each for each in root.iter() if kind in each.get("class", "").split()]


def texts(picture: Diagram, kind: str, **options: Any) -> list[str]:
    """Return the texts of a drawing that have this CSS class."""
    return ["".join(each.itertext()) for each in classes(picture, kind, **options)]


A = stream("a", 0, 1, 2, end="completed", at=3)
B = stream("b", 4, 6, end="disposed", at=7)


def test_inner_lanes_are_next_to_their_stream() -> None:
    """Inputs of an operator have lanes above its line, and Observables that it emits below."""
    inputs = inner(stream("source 2", 0), role="input")
    assert text(diagram(inner(A), inputs), 40).splitlines() == [
        "┌ source 2 ├─────────────────────────────────→ 0 ev",
        "made       a────────────────────────────────b→ 2 ev",
        "└ a        ├───────1────────2───────┤          2 ev",
        "           ╵0 s    ╵1 s     ╵2 s    ╵3 s",
    ]


def test_observables_are_rings() -> None:
    """An Observable is drawn as a ring, and a value as a disc."""
    picture = diagram(inner(A))
    rings = [each for each in classes(picture, "m") if each.tag.endswith("circle")]
    assert len(rings) == 4
    assert len(classes(picture, "ob")) == 2


def test_each_stream_of_a_lane_has_a_start_and_an_end() -> None:
    """A lane shows where each of its streams begins, completes or is disposed."""
    picture = diagram(inner(A, B))
    _, *starts = [each.get("cx") for each in classes(picture, "st")][::-1]
    bars = [each.get("class") for each in classes(picture, "en") + classes(picture, "di")]
    assert len(starts) == 2
    assert bars == ["en f", "en f", "di", "di"]  # one of each is in the legend
    assert text(diagram(inner(A, B)), 40).splitlines()[1] == (
        "└ 2 streams ├────1───2────┤    ├────────6────╎  3 ev"
    )


def test_an_end_is_next_to_a_value_at_the_same_time() -> None:
    """The bar of a stream that completes with its last value is to the right of that value."""
    pair = inner(stream("a", 0, 1, end="completed", at=1), stream("b", 2, 3, 3))
    picture = diagram(pair)
    value = next(each for each in classes(picture, "m") if each.get("r") == "5")
    [bar, _] = classes(picture, "en")
    left = float(bar.get("d", "").split()[0].removeprefix("M"))
    assert left == float(value.get("cx", "")) + 7


def bar_at(path: ElementTree.Element) -> float:
    """Return the x of a bar."""
    return float(path.get("d", "").split()[0].removeprefix("M"))


def words(label: str, start: float, *times: float, end: float) -> list[Event]:
    """Return the events of a stream of wide values."""
    values = [(t, f"value {t}") for t in times]
    return [Event(start, "subscribed", label), *nexts(values), Event(end, "completed")]


def test_an_end_is_next_to_a_pill_at_the_same_time() -> None:
    """No bar is drawn across the text of a value, also where another stream follows."""
    picture = diagram(inner(words("a", 0, 1, end=1), words("b", 2, 3, end=3)))
    pills = [each for each in classes(picture, "m") if each.tag.endswith("rect")]
    rights = [float(each.get("x", "")) + float(each.get("width", "")) for each in pills]
    bars = sorted(bar_at(each) for each in classes(picture, "en"))[1:]  # without the legend
    assert [right < bar < right + 5 for right, bar in zip(rights, bars, strict=True)] == [True] * 2


@pytest.mark.parametrize("later", [0, 0.02, 0.1])
def test_an_inner_stream_ends_left_of_what_ends_after_it(later: float) -> None:
    """A bar that moves aside from a value moves the bars of later ends, too, if it reaches them."""
    inputs = inner(words("from a", 0, 1, 4, end=4), role="input")
    made = Track("made", marks=[*nexts([(1, 1)]), Event(4 + later, "completed")])
    picture = Diagram("", in_order([made, inputs]))
    first = bar_at(classes(picture, "en")[0])
    last = bar_at(next(each for each in classes(picture, "en") if each.get("class") == "en"))
    assert first == last if later < 0.05 else first <= last
    [pill] = [each for each in classes(picture, "m") if each.tag.endswith("rect")][1:]
    assert first > float(pill.get("x", "")) + float(pill.get("width", ""))


def test_the_line_of_a_disposed_stream_reaches_its_bar() -> None:
    """The bar of a stream that is disposed stands at the end of its line, and at its outer's."""
    marks = [*words("from a", 0, 1, 4, end=4)[:-1], Event(4, "disposed")]
    made = Track("made", marks=[*nexts([(1, 1)]), Event(4, "disposed")])
    picture = Diagram("", in_order([made, inner(marks, role="input")]))
    bar = bar_at(classes(picture, "di")[0])
    lines = [each for each in classes(picture, "ln") if each.get("class") == "ln"]
    assert [float(each.get("d", "").split("H")[1]) for each in lines] == [bar, bar]


def test_lanes_next_to_each_other_have_the_same_form() -> None:
    """If the values of one lane need dots, those of its sibling lanes are dots, too."""
    few, many = words("a", 0, 1, 4, end=8), words("b", 0, *(n / 5 for n in range(40)), end=8)
    assert len(classes(diagram(inner(few)), "p")) == 2
    together = diagram(inner(few), replace(inner(many), name="made inner 2"))
    assert classes(together, "p") == []
    assert "value 4" in texts(together, "l")
    other = diagram(inner(few), replace(inner(many, role="input"), name="made input 1"))
    assert len(classes(other, "p")) == 2
    rest = diagram(inner(few), replace(inner(many, rest=True), name="made inner 2"))
    assert len(classes(rest, "p")) == 2


def test_an_error_of_a_stream_is_a_cross() -> None:
    """A stream that fails ends with a small red cross."""
    failed = inner([*stream("a", 0, 1), Event(2, "error", ValueError("no"))])
    [cross] = classes(diagram(failed), "x")
    assert cross.get("class") == "x f"
    assert "✗" in text(diagram(failed))


def test_dotted_lines_show_which_stream_is_meant() -> None:
    """A line leads from each ring to where its stream begins, unless there are too many."""
    picture = diagram(inner(A, stream("b", 6)))
    paths = [each.get("d", "") for each in classes(picture, "sp")]
    (left, top, begin, _), (late, _, late_begin, _) = (
        tuple(float(part) for part in path[1:].replace("L", " ").split()) for path in paths
    )
    assert (left == begin, late < late_begin, top > 0) == (True, True, True)
    many = [stream(f"{n}", n / 10, end="completed", at=n / 10 + 0.05) for n in range(100)]
    assert classes(diagram(inner(*many)), "sp") == []


def test_streams_of_a_shared_lane_are_labelled() -> None:
    """If a lane has several streams and no rings above it, each has its label below its start."""
    one, two = stream("from a", 0, end="completed", at=3), stream("from b", 4)
    assert texts(diagram(inner(one, two, role="input")), "sl") == ["a", "b"]
    assert texts(diagram(inner(one, role="input")), "sl") == []
    assert texts(diagram(inner(one, two)), "sl") == []


def test_the_rest_shares_a_lane() -> None:
    """The lane of the other streams has their number, and values without labels."""
    rest = inner([*stream("c", 0, 1), *stream("d", 1.5, 2, 3)], rest=True)
    assert text(diagram(rest), 40).splitlines()[1].startswith(f"└ {TIMES}2 more ├")
    assert texts(diagram(rest), "l") == []
    assert len(classes(diagram(rest), "p")) == 0


def test_a_lane_outside_the_window_is_left_out() -> None:
    """A lane whose streams have ended before the window, or begin after it, is not drawn."""
    assert "└" not in text(diagram(inner(A), times=(0, 20)), window=5)
    assert "└" in text(diagram(inner(A), times=(0, 20)), window=18)
    assert texts(diagram(inner(A), times=(0, 20)), "lg", window=5) == []
    assert len(texts(diagram(inner(A), times=(0, 20)), "lg")) == 3


@pytest.mark.parametrize("first", [B[1:], B])
def test_an_old_start_need_not_be_kept(first: list[Event]) -> None:
    """A lane whose oldest events were dropped begins with the oldest that is kept."""
    [lane] = diagram(inner(first, dropped=3)).tracks[1:]
    picture = diagram(replace(lane, nesting=Nesting("made", "inner", False, 3, 9, "busy")))
    shown = text(picture, 40).splitlines()[1]
    assert shown.removeprefix("└ busy").lstrip().startswith("├──" if first is B else "6──")
    assert "╎" in shown
    assert svg(picture)


def test_many_values_of_a_lane_are_bars() -> None:
    """A lane with many values shows bars, without the marks of single streams."""
    many = [stream("a", n / 10, n / 10, end="completed", at=n / 10) for n in range(200)]
    picture = diagram(inner(*many, stream("x", 21)))
    assert len(classes(picture, "w") + classes(picture, "b")) > 0
    assert len(classes(picture, "st")) == 1  # in the legend


def test_many_streams_of_a_lane_are_one_line() -> None:
    """A lane with many short streams shows when there were some, not each of them."""
    times = [n / 100 for n in range(1000) if not 300 < n < 600]
    many = [stream(f"{t}", t, end="completed", at=t + 0.005) for t in times]
    picture = diagram(inner(*many))
    lines = [each.get("d") for each in classes(picture, "ln")]
    assert len(lines) == 1 + 2
    assert len(classes(picture, "st")) == 1  # in the legend
    assert len(classes(picture, "en")) == 2


def test_a_lane_without_its_stream_is_an_ordinary_one() -> None:
    """If the line of the stream is missing in a file, its inner lanes are drawn by themselves."""
    [alone] = in_order([inner(A)])
    assert alone.nesting is None
    assert "made inner 1" in text(Diagram("", (alone,)))
