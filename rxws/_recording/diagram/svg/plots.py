"""Draw many values: numbers as a sparkline, other values as bars that count them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from rxws._recording.diagram.axis import duration, nice, rate
from rxws._recording.diagram.labels import number
from rxws._recording.diagram.model import Mark
from rxws._recording.diagram.tooltips import Texts

from .scale import BOTTOM, TOP, Drawn, TimeScale, group_tooltip

__all__ = ["bars", "sparkline"]

_MIN_BAR = 6.0  # pixels


def _buckets(
    values: Sequence[Mark], scale: TimeScale
) -> tuple[float, Iterator[tuple[float, int, int]]]:
    """Return a round bucket size in seconds; and each bucket's start and slice of the values."""
    size = nice(scale.seconds_per_pixel * _MIN_BAR)

    def parts() -> Iterator[tuple[float, int, int]]:
        first, bucket = 0, math.floor(values[0].t / size + 1e-9)
        for index, mark in enumerate(values):
            at = math.floor(mark.t / size + 1e-9)
            if at > bucket:
                yield bucket * size, first, index
                first, bucket = index, at
        yield bucket * size, first, len(values)

    return size, parts()


def _tooltip_areas(
    values: Sequence[Mark], scale: TimeScale, y: float, texts: Texts
) -> Iterator[str]:
    """Yield invisible rectangles that have the tooltips of a sparkline."""
    size, buckets = _buckets(values, scale)
    for start, first, stop in buckets:
        left, right = _extent(start, size, scale)
        title = group_tooltip(values[first:stop], texts)
        yield (
            f'<rect class="h" x="{left:.1f}" y="{y + TOP:g}" width="{right - left:.1f}" '
            f'height="{BOTTOM - TOP:g}"><title>{title}</title></rect>'
        )


def _extent(start: float, size: float, scale: TimeScale) -> tuple[float, float]:
    left, right = scale.x(start), scale.x(start + size)
    return max(left, scale.left), min(max(right, left + 1), scale.right)


def bars(values: Sequence[Mark], scale: TimeScale, y: float, texts: Texts) -> Drawn:
    """Draw a bar for each bucket of time; its height is the number of values."""
    size, buckets = _buckets(values, scale)
    counted = list(buckets)
    most = max(stop - first for _, first, stop in counted)
    parts: list[str] = []
    right = scale.left
    for start, first, stop in counted:
        left, right = _extent(start, size, scale)
        height = max(1.5, (stop - first) / most * (BOTTOM - TOP))
        gap = 1 if right - left > 4 else 0
        parts.append(
            f'<rect class="b" x="{left:.1f}" y="{y + BOTTOM - height:.1f}" '
            f'width="{right - left - gap:.1f}" height="{height:.1f}" rx="1.5">'
            f"<title>{group_tooltip(values[first:stop], texts)}</title></rect>"
        )
    return Drawn(
        "bars",
        parts,
        right,
        BOTTOM,
        f"peak {rate(most, size)}",
        f"at most {most} events in {duration(size)}",
    )


def sparkline(
    values: Sequence[Mark], numbers: list[float], scale: TimeScale, y: float, texts: Texts
) -> Drawn:
    """Draw numbers as a line that has gaps where they are not finite."""
    finite = [value for value in numbers if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    factor = (BOTTOM - TOP - 4) / (high - low) if high > low else 0.0
    if not math.isfinite(factor) or not math.isfinite(high - low):
        factor = 0.0
    middle = (TOP + BOTTOM) / 2

    def y_of(value: float) -> float:
        return y + (BOTTOM - 2 - (value - low) * factor if factor else middle)

    dense = len(values) * 4 > scale.right - scale.left
    lines: list[list[tuple[float, float]]] = [[]]
    for mark, value in zip(values, numbers, strict=True):
        if math.isfinite(value):
            lines[-1].append((scale.x(mark.t), value))
        elif lines[-1]:
            lines.append([])
    parts: list[str] = []
    for line in lines:
        points = [(x, y_of(value)) for x, value in (_thin(line) if dense else line)]
        if not points:
            continue
        path = _path(points)
        floor = f"{y + BOTTOM:g}"
        parts.append(
            f'<path class="a" d="{path}V{floor}H{points[0][0]:.1f}Z"/><path class="w" d="{path}"/>'
        )
        if not dense or len(points) == 1:
            parts += [f'<circle class="d" cx="{x:.1f}" cy="{z:.1f}" r="2"/>' for x, z in points]
    parts += _tooltip_areas(values, scale, y, texts)
    not_finite = len(numbers) - len(finite)
    extent = f"{number(low)} to {number(high)}" if finite else "no number"
    note = f"{number(low)}…{number(high)}" if finite else ""
    return Drawn(
        "sparkline",
        parts,
        scale.x(values[-1].t) + 3,
        BOTTOM,
        note,
        f"{extent}{f', {not_finite} not finite' if not_finite else ''}",
    )


def _path(points: list[tuple[float, float]]) -> str:
    """Return an SVG path of relative steps, which need fewer digits than coordinates."""
    left, top = round(points[0][0] * 10), round(points[0][1] * 10)
    steps: list[str] = []
    for x, y in points[1:]:
        right, down = round(x * 10), round(y * 10)
        steps.append(f"{(right - left) / 10:g} {(down - top) / 10:g}")
        left, top = right, down
    return f"M{points[0][0]:.1f} {points[0][1]:.1f}" + (f"l{' '.join(steps)}" if steps else "")


def _thin(line: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Keep the first, lowest, highest and last value of each pixel column."""
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
