"""How the values of a lane are drawn: the most that fits, from circles down to bars."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .labels import cells, escape, short
from .model import Mark
from .plots import bars, numbers_of, sparkline
from .scale import Drawn, Ruler, heap, tip
from .visible import Seen

__all__ = ["CHAR", "draw"]

CHAR = 6.02  # pixels of a character of the fixed font at 10 px
_PILL = 14  # characters
_LABELS = (24, 14, 9)  # characters of labels above dots: the most with which none is left out
_ROUND = ((12.0, "r"), (9.5, "s"))  # radii of circles, and their class
_TIMES = "\N{MULTIPLICATION SIGN}"
_NEAR = {"dots": 3.0, "crosses": 8.0}  # pixels within which they are one


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
        return sparkline(values, numbers, ruler, y)
    return bars(values, ruler, y)


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
    if max(sizes) > _PILL or any(label.endswith("…") for label in labels):
        return None  # above a dot there is room for more
    widths = [max(24.0, size * CHAR + 14) for size in sizes]
    lefts = [
        min(max(place - width / 2, ruler.left), ruler.right - width)
        for place, width in zip(places, widths, strict=True)
    ]
    if any(lefts[i] + widths[i] + 1 > lefts[i + 1] for i in range(len(lefts) - 1)):
        return None
    parts = [
        f'<g>{tip(mark)}<rect class="m" x="{left:.1f}" y="{y - 11:g}" width="{width:.1f}" '
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
        f'<g>{tip(mark)}<circle class="m" cx="{x:.1f}" cy="{y:g}" r="{radius:g}"/>'
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
        said = tip(marks[0]) if len(marks) == 1 else f"<title>{heap(marks)}</title>"
        parts.append(f"<g>{said}{drawn}{_label(label, y) if label else ''}</g>")
    return Drawn(form, parts, reach)


def _label(label: tuple[str, float], y: float) -> str:
    return f'<text class="l" x="{label[1]:.1f}" y="{y - 11:g}">{escape(label[0])}</text>'


def _cross(x: float, y: float, size: float) -> str:
    left, right, top, bottom = x - size, x + size, y - size, y + size
    return f"M{left:.1f} {top:g}L{right:.1f} {bottom:g}M{left:.1f} {bottom:g}L{right:.1f} {top:g}"


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
