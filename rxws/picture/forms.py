"""How the values of a lane are drawn: the most that fits, from circles down to bars."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from .axis import duration, nice
from .model import Mark
from .seen import Seen
from .values import cells, escape, full, number, short

__all__ = ["Drawn", "Ruler", "draw", "numbers_of"]

CHAR = 6.02  # pixels of a character of the fixed font at 10 px
_PILL = 14  # characters
_LABELS = (24, 14, 9)  # characters of labels above dots: the most with which none is left out
_ROUND = ((12.0, "r"), (9.5, "s"))  # radii of circles, and their class
_TIMES = "\N{MULTIPLICATION SIGN}"
_TOP, _FLOOR = -17.0, 14.0  # of bars and sparklines, from the middle of the lane
_NEAR = {"dots": 3.0, "crosses": 8.0}  # pixels within which they are one
_BUCKET = 6.0  # pixels that a bar takes at least


@dataclass(frozen=True, slots=True)
class Ruler:
    """Where times are on the page: from `left` to `right` pixels, with room at both ends."""

    start: float  # seconds
    stop: float
    left: float  # pixels
    right: float
    room: float = 14.0

    def x(self, t: float) -> float:
        """Return the place of a time."""
        width = self.right - self.left - 2 * self.room
        return self.left + self.room + (t - self.start) / (self.stop - self.start) * width

    @property
    def pixel(self) -> float:
        """Seconds."""
        return (self.stop - self.start) / (self.right - self.left - 2 * self.room)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The values of a lane as SVG."""

    form: str
    parts: list[str]
    reach: float = 0.0  # how far right the marks go, in pixels
    floor: float = 0.0  # where the time line is, from the middle of the lane
    note: str = ""  # what stands below the count
    said: str = ""  # and its tooltip


def draw(seen: Seen, ruler: Ruler, y: float) -> Drawn:
    """Draw the values of a lane, in the one form that fits.

    Args:
        seen: The lane.
        ruler: The times across.
        y: The middle of the lane, in pixels from the top.

    Returns:
        What is drawn; its form is `"none"`, `"circles"`, `"pills"`, `"dots"`, `"crosses"`,
        `"sparkline"` or `"bars"`.
    """
    values, width = seen.values, ruler.right - ruler.left
    if not values:
        return Drawn("none", [])
    if len(values) <= width / 8:
        if seen.faults:
            return _dots(seen, ruler, y, "crosses")
        return _inside(values, ruler, y) or _dots(seen, ruler, y, "dots")
    if not seen.faults and (numbers := numbers_of(values)) is not None:
        return _sparkline(values, numbers, ruler, y)
    return _bars(values, ruler, y)


def _tip(mark: Mark) -> str:
    return f"<title>{duration(mark.t)}\n{escape(full(mark.data))}</title>"


# --- circles and pills: the value inside ----------------------------------------------------------


def _inside(values: Sequence[Mark], ruler: Ruler, y: float) -> Drawn | None:
    places = [ruler.x(mark.t) for mark in values]
    nearest = min((right - left for left, right in pairwise(places)), default=math.inf)
    if nearest < 2 * _ROUND[-1][0] * 0.9:
        return None
    labels = [short(mark.data, _PILL + 1) for mark in values]
    sizes = [cells(label) for label in labels]
    if max(sizes) <= 3:
        for radius, kind in _ROUND:
            if nearest >= 2 * radius * 0.9 and (radius > 10 or max(sizes) <= 2):
                return _circles(values, labels, places, y, radius, kind)
    if max(sizes) > _PILL:
        return None
    widths = [max(24.0, size * CHAR + 14) for size in sizes]
    lefts = [
        min(max(place - width / 2, ruler.left), ruler.right - width)
        for place, width in zip(places, widths, strict=True)
    ]
    if any(lefts[i] + widths[i] + 1 > lefts[i + 1] for i in range(len(lefts) - 1)):
        return None
    parts = [
        f'<g>{_tip(mark)}<rect class="m" x="{left:.1f}" y="{y - 11:g}" width="{width:.1f}" '
        f'height="22" rx="11"/><text class="p" x="{left + width / 2:.1f}" y="{y + 3.5:g}">'
        f"{escape(label)}</text></g>"
        for mark, label, left, width in zip(values, labels, lefts, widths, strict=True)
    ]
    return Drawn("pills", parts, lefts[-1] + widths[-1])


def _circles(
    values: Sequence[Mark],
    labels: list[str],
    places: list[float],
    y: float,
    radius: float,
    kind: str,
) -> Drawn:
    parts = [
        f'<g>{_tip(mark)}<circle class="m" cx="{x:.1f}" cy="{y:g}" r="{radius:g}"/>'
        f'<text class="{kind}{" t" if cells(label) > 2 else ""}" x="{x:.1f}" y="{y + 4:g}">'
        f"{escape(label)}</text></g>"
        for mark, label, x in zip(values, labels, places, strict=True)
    ]
    return Drawn("circles", parts, places[-1] + radius)


# --- dots and crosses: the value above ------------------------------------------------------------


def _dots(seen: Seen, ruler: Ruler, y: float, form: str) -> Drawn:
    heaps: list[tuple[float, list[Mark]]] = []
    for mark in seen.values:
        x = ruler.x(mark.t)
        if heaps and x - heaps[-1][0] < _NEAR[form]:
            heaps[-1][1].append(mark)
        else:
            heaps.append((x, [mark]))
    reach = heaps[-1][0] + 6
    # Labels stay clear of the bar at the end.
    last = ruler.right if seen.last is None else max(ruler.x(seen.last.t), reach + 4) - 4
    places = _labels(heaps, ruler.left, min(last, ruler.right))
    parts: list[str] = []
    for (x, marks), label in zip(heaps, places, strict=True):
        if form == "dots":
            drawn = f'<circle class="m" cx="{x:.1f}" cy="{y:g}" r="{5 if len(marks) == 1 else 6}"/>'
        else:
            drawn = f'<path class="x f" d="{_cross(x, y, 4)}"/>'
        said = _tip(marks[0]) if len(marks) == 1 else f"<title>{_heap(marks)}</title>"
        parts.append(f"<g>{said}{drawn}{_label(label, y) if label else ''}</g>")
    return Drawn(form, parts, reach)


def _label(label: tuple[str, float], y: float) -> str:
    return f'<text class="l" x="{label[1]:.1f}" y="{y - 11:g}">{escape(label[0])}</text>'


def _cross(x: float, y: float, size: float) -> str:
    left, right, top, bottom = x - size, x + size, y - size, y + size
    return f"M{left:.1f} {top:g}L{right:.1f} {bottom:g}M{left:.1f} {bottom:g}L{right:.1f} {top:g}"


def _heap(marks: Sequence[Mark]) -> str:
    first, last = marks[0], marks[-1]
    return (
        f"{len(marks)} events, {duration(first.t)} to {duration(last.t)}\n"
        f"first {escape(full(first.data)[:100])}\nlast {escape(full(last.data)[:100])}"
    )


def _labels(
    heaps: list[tuple[float, list[Mark]]], left: float, right: float
) -> Sequence[tuple[str, float] | None]:
    """What stands above each dot and where: as long as all fit, else short ones without some."""
    placed: list[tuple[str, float] | None] = []
    for limit in _LABELS:
        placed = list(_place(heaps, left, right, limit))
        if None not in placed:
            return placed
    return placed


def _place(
    heaps: list[tuple[float, list[Mark]]], left: float, right: float, limit: int
) -> Iterator[tuple[str, float] | None]:
    free = left
    for x, marks in heaps:
        text = short(marks[0].data, limit) if len(marks) == 1 else f"{_TIMES}{len(marks)}"
        width = cells(text) * CHAR * 0.95
        middle = min(max(x, left + width / 2), right - width / 2)
        if middle - width / 2 < free - 0.01:
            yield None
            continue
        free = middle + width / 2 + 7
        yield text, middle


# --- many: a sparkline or bars --------------------------------------------------------------------


def numbers_of(values: Sequence[Mark]) -> list[float] | None:
    """Return the values as numbers, if that is what they are; a sum of them need not be finite."""
    numbers: list[float] = []
    for mark in values:
        data = mark.data
        kind = type(data)
        if kind is not float:
            if kind is not int and not _is_number(data):
                return None
            try:
                data = float(data)
            except OverflowError:
                data = math.copysign(math.inf, data)
        numbers.append(data)
    return numbers


def _is_number(data: Any) -> bool:
    """NumPy's numbers too, and Decimal; not bool."""
    if isinstance(data, bool) or not hasattr(type(data), "__float__"):
        return False
    return getattr(data, "shape", ()) == ()


def _buckets(
    values: Sequence[Mark], ruler: Ruler
) -> tuple[float, Iterator[tuple[float, int, int]]]:
    """Round parts of the time, each with the index of its first value and behind its last."""
    size = nice(ruler.pixel * _BUCKET)

    def parts() -> Iterator[tuple[float, int, int]]:
        first, number = 0, math.floor(values[0].t / size + 1e-9)
        for index, mark in enumerate(values):
            at = math.floor(mark.t / size + 1e-9)
            if at > number:
                yield number * size, first, index
                first, number = index, at
        yield number * size, first, len(values)

    return size, parts()


def _hits(
    values: Sequence[Mark], ruler: Ruler, tell: Callable[[Sequence[Mark]], str], y: float
) -> Iterator[str]:
    """Unseen rectangles that have the tooltips."""
    size, parts = _buckets(values, ruler)
    for start, first, stop in parts:
        left, right = _across(start, size, ruler)
        yield (
            f'<rect class="h" x="{left:.1f}" y="{y + _TOP:g}" width="{right - left:.1f}" '
            f'height="{_FLOOR - _TOP:g}"><title>{tell(values[first:stop])}</title></rect>'
        )


def _across(start: float, size: float, ruler: Ruler) -> tuple[float, float]:
    left, right = ruler.x(start), ruler.x(start + size)
    return max(left, ruler.left), min(max(right, left + 1), ruler.right)


def _bars(values: Sequence[Mark], ruler: Ruler, y: float) -> Drawn:
    size, buckets = _buckets(values, ruler)
    found = list(buckets)
    most = max(stop - first for _, first, stop in found)
    parts: list[str] = []
    right = ruler.left
    for start, first, stop in found:
        left, right = _across(start, size, ruler)
        height = max(1.5, (stop - first) / most * (_FLOOR - _TOP))
        gap = 1 if right - left > 4 else 0
        parts.append(
            f'<rect class="b" x="{left:.1f}" y="{y + _FLOOR - height:.1f}" '
            f'width="{right - left - gap:.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>{_heap(values[first:stop])}</title></rect>"
        )
    peak = number(float(f"{most / size:.3g}"))
    return Drawn(
        "bars", parts, right, _FLOOR, f"peak {peak}/s", f"at most {most} events in {duration(size)}"
    )


def _sparkline(values: Sequence[Mark], numbers: list[float], ruler: Ruler, y: float) -> Drawn:
    finite = [value for value in numbers if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    scale = (_FLOOR - _TOP - 4) / (high - low) if high > low else 0.0
    if not math.isfinite(scale) or not math.isfinite(high - low):
        scale = 0.0
    middle = (_TOP + _FLOOR) / 2

    def height(value: float) -> float:
        return y + (_FLOOR - 2 - (value - low) * scale if scale else middle)

    dense = len(values) * 4 > ruler.right - ruler.left
    lines: list[list[tuple[float, float]]] = [[]]
    for mark, value in zip(values, numbers, strict=True):
        if value - value == 0:  # neither nan nor infinite
            lines[-1].append((ruler.x(mark.t), value))
        elif lines[-1]:
            lines.append([])
    parts: list[str] = []
    for line in lines:
        points = [(x, height(value)) for x, value in (_thin(line) if dense else line)]
        if not points:
            continue
        path = "L".join(f"{x:.1f} {place:.1f}" for x, place in points)
        floor = f"{y + _FLOOR:g}"
        parts.append(
            f'<path class="a" d="M{points[0][0]:.1f} {floor}L{path}L{points[-1][0]:.1f} {floor}Z"/>'
            f'<path class="w" d="M{path}"/>'
        )
        if not dense or len(points) == 1:
            parts += [f'<circle class="d" cx="{x:.1f}" cy="{z:.1f}" r="2"/>' for x, z in points]
    parts += _hits(values, ruler, _heap, y)
    odd = len(numbers) - len(finite)
    said = f"{number(low)} to {number(high)}" if finite else "no number"
    note = f"{number(low)}…{number(high)}" if finite else ""
    return Drawn(
        "sparkline",
        parts,
        ruler.x(values[-1].t) + 3,
        _FLOOR,
        note,
        f"{said}{f', {odd} not finite' if odd else ''}",
    )


def _thin(line: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Of each pixel's values the first, lowest, highest and last."""
    index = 0
    while index < len(line):
        column = int(line[index][0])
        stop = index + 1
        while stop < len(line) and int(line[stop][0]) == column:
            stop += 1
        if stop - index <= 2:
            yield from line[index:stop]
        else:
            part = [value for _, value in line[index:stop]]
            low, high = min(part), max(part)
            yield column, part[0]
            order = (low, high) if part.index(low) < part.index(high) else (high, low)
            yield from ((column + 0.5, value) for value in order)
            yield column + 0.9, part[-1]
        index = stop
