"""Draw the values of a lane in the most detailed form that fits, from circles to bars."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise

from rxws._recording.diagram.labels import RecordedObservable, cells, escape
from rxws._recording.diagram.model import Mark
from rxws._recording.diagram.numbers import numbers_of
from rxws._recording.diagram.visible import VisibleTrack

from .plots import bars, sparkline
from .scale import CHAR, Drawn, TimeScale, group_tooltip, tooltip
from .states import states

__all__ = ["draw"]

_PILL = 14  # characters that fit
_LABELS = (24, 14, 9)  # limits to try for labels above dots, in characters, until all labels fit
_ROUND = ((12.0, "r"), (9.5, "s"))  # radius of a circle, and the CSS class of its text
_TIMES = "\N{MULTIPLICATION SIGN}"
_SPACE = 7.0  # pixels between labels
_NEAR = {"dots": 3.0, "crosses": 8.0}  # pixels: marks that are closer become one


def draw(lane: VisibleTrack, scale: TimeScale, y: float, inside: bool = True) -> Drawn:
    """Draw the values of a lane, whose middle is at `y`, in the most detailed form that fits.

    Without `inside`, labels are above dots and not in circles or pills.
    """
    values, width, texts = lane.values, scale.right - scale.left, lane.track.texts
    if lane.statuses:
        return states(lane, scale, y)
    if not values:
        return Drawn("none", [])
    if len(values) <= width / 8:
        texts.learn(lane.track.marks)
        if lane.only_errors:
            return _dots(lane, scale, y, "crosses")
        inside = inside and not lane.is_rest
        return (inside and _inside(lane, scale, y)) or _dots(lane, scale, y, "dots")
    if not lane.only_errors and (numbers := numbers_of(values)) is not None:
        return sparkline(values, numbers, scale, y, texts)
    return bars(values, scale, y, texts)


# --- circles and pills: the value inside ----------------------------------------------------------


def _inside(lane: VisibleTrack, scale: TimeScale, y: float) -> Drawn | None:
    values, texts = lane.values, lane.track.texts
    places = [scale.x(mark.t) for mark in values]
    nearest = min((right - left for left, right in pairwise(places)), default=math.inf)
    if nearest < 2 * _ROUND[-1][0] * 0.9:
        return None
    labels = texts.short(values, _PILL + 1)
    sizes = [cells(label) for label in labels]
    if max(sizes) <= 3:
        for radius, kind in _ROUND:
            if nearest >= 2 * radius * 0.9 and (radius > 10 or max(sizes) <= 2):
                return _circles(lane, labels, places, y, (radius, kind))
    if max(sizes) > _PILL or any(label.endswith("…") for label in labels):
        return None  # labels above dots have more room
    widths = [max(24.0, size * CHAR + 14) for size in sizes]
    lefts = [
        min(max(place - width / 2, scale.left), scale.right - width)
        for place, width in zip(places, widths, strict=True)
    ]
    if any(lefts[i] + widths[i] + 1 > lefts[i + 1] for i in range(len(lefts) - 1)):
        return None
    parts = [
        f'{_group([mark], lane)}<rect class="m" x="{left:.1f}" y="{y - 11:g}" '
        f'width="{width:.1f}" height="22" rx="11"/>'
        f'<text class="p" x="{left + width / 2:.1f}" y="{y + 3.5:g}">'
        f"{escape(label)}</text></g>"
        for mark, label, left, width in zip(values, labels, lefts, widths, strict=True)
    ]
    rights = [left + width for left, width in zip(lefts, widths, strict=True)]
    return Drawn("pills", parts, rights[-1], rights=rights)


def _circles(
    lane: VisibleTrack,
    labels: list[str],
    places: list[float],
    y: float,
    size: tuple[float, str],
) -> Drawn:
    radius, kind = size
    parts = [
        f'{_group([mark], lane)}<circle class="m" cx="{x:.1f}" cy="{y:g}" r="{radius:g}"/>'
        f'<text class="{kind}{" t" if cells(label) > 2 else ""}" x="{x:.1f}" y="{y + 4:g}">'
        f"{escape(label)}</text></g>"
        for mark, label, x in zip(lane.values, labels, places, strict=True)
    ]
    rights = [place + radius for place in places]
    return Drawn("circles", parts, rights[-1], rights=rights)


def _group(marks: Sequence[Mark], lane: VisibleTrack) -> str:
    """Return the start of the group of marks at one place, with its tooltip.

    An Observable is a ring, unlike a value. Dropped values are grey rings.
    """
    drops = [lane.track.drops[id(mark)] for mark in marks if id(mark) in lane.track.drops]
    is_observable = isinstance(marks[0].data, RecordedObservable)
    kind = ' class="q"' if len(drops) == len(marks) else ' class="ob"' if is_observable else ""
    if len(marks) == 1:
        return f"<g{kind}>{tooltip(marks[0], lane.track.texts, *drops)}"
    note = f"\n{len(drops)} dropped" if drops else ""
    return f"<g{kind}><title>{group_tooltip(marks, lane.track.texts)}{note}</title>"


# --- dots and crosses: the value above ------------------------------------------------------------


def _dots(lane: VisibleTrack, scale: TimeScale, y: float, form: str) -> Drawn:
    groups: list[tuple[float, list[Mark]]] = []
    for mark in lane.values:
        x = scale.x(mark.t)
        if groups and x - groups[-1][0] < _NEAR[form]:
            groups[-1][1].append(mark)
        else:
            groups.append((x, [mark]))
    right = groups[-1][0] + 6
    # Labels must not touch the bar at the end.
    limit = scale.right if lane.last is None else max(scale.x(lane.last.t), right + 4) - 4
    labels: list[tuple[str, float] | None] = [None] * len(groups)
    if not lane.is_rest:
        labels = _labels(lane, groups, scale.left, min(limit, scale.right))
    parts: list[str] = []
    behind: list[str] = []  # dropped values
    for (x, marks), label in zip(groups, labels, strict=True):
        if form == "dots":
            shape = f'<circle class="m" cx="{x:.1f}" cy="{y:g}" r="{5 if len(marks) == 1 else 6}"/>'
        else:
            shape = f'<path class="x f" d="{_cross(x, y, 4)}"/>'
        into = behind if all(id(mark) in lane.track.drops for mark in marks) else parts
        into.append(f"{_group(marks, lane)}{shape}{_label(label, y) if label else ''}</g>")
    rights = [x + 5 for x, marks in groups for _ in marks]
    return Drawn(form, behind + parts, right, rights=rights)


def _label(label: tuple[str, float], y: float) -> str:
    return f'<text class="l" x="{label[1]:.1f}" y="{y - 11:g}">{escape(label[0])}</text>'


def _cross(x: float, y: float, size: float) -> str:
    left, right, top, bottom = x - size, x + size, y - size, y + size
    return f"M{left:.1f} {top:g}L{right:.1f} {bottom:g}M{left:.1f} {bottom:g}L{right:.1f} {top:g}"


def _labels(
    lane: VisibleTrack, groups: list[tuple[float, list[Mark]]], left: float, right: float
) -> list[tuple[str, float] | None]:
    """Return the label above each dot and its position, or None if there is no room for it."""
    best: list[tuple[str, float] | None] = []
    most = -1
    for limit in _LABELS:
        placed = _place(lane, groups, left, right, limit)
        if None not in placed:
            return placed
        whole = sum(each is not None and not each[0].endswith("…") for each in placed)
        if whole >= most:
            best, most = placed, whole
    return best


def _place(
    lane: VisibleTrack,
    groups: list[tuple[float, list[Mark]]],
    left: float,
    right: float,
    limit: int,
) -> list[tuple[str, float] | None]:
    texts, drops = lane.track.texts, lane.track.drops
    single = iter(texts.short([marks[0] for _, marks in groups if len(marks) == 1], limit))
    labels = [next(single) if len(marks) == 1 else f"{_TIMES}{len(marks)}" for _, marks in groups]
    placed: list[tuple[str, float] | None] = [None] * len(groups)
    taken: list[tuple[float, float]] = []
    # Dropped values get the room that others leave.
    dropped = [all(id(mark) in drops for mark in marks) for _, marks in groups]
    for index in sorted(range(len(groups)), key=dropped.__getitem__):
        half = cells(labels[index]) * CHAR * 0.95 / 2
        middle = min(max(groups[index][0], left + half), right - half)
        start, stop = middle - half, middle + half
        at = bisect_left(taken, (start, stop))
        before = taken[at - 1][1] + _SPACE if at else left
        after = taken[at][0] - _SPACE if at < len(taken) else math.inf
        if before - 0.01 <= start and stop <= after + 0.01:
            taken.insert(at, (start, stop))
            placed[index] = labels[index], middle
    return placed
