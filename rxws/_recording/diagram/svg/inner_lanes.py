"""Draw what only the lanes of inner Observables have: where each begins and ends."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from operator import attrgetter

from rxws._recording.diagram.axis import duration
from rxws._recording.diagram.labels import FROM, cells, cut, escape
from rxws._recording.diagram.model import Mark
from rxws._recording.diagram.visible import Segment, VisibleTrack

from .layout import INDENT, Page
from .scale import CHAR, Drawn

__all__ = ["connectors", "inner_ends", "inner_starts", "segments_to_draw"]

_MIN_LENGTH = 6.0  # pixels of a stream: shorter ones are drawn as one line
_MIN_SPACE = 12.0  # pixels between two connectors: more of them would hide the values
_RADIUS = {"dots": 7.0, "circles": 13.0}  # pixels: half of a mark and a margin
_LABEL = 10  # characters


def connectors(index: int, lanes: list[VisibleTrack], page: Page) -> list[str]:
    """Draw the lines that connect an inner lane to its outer lane."""
    lane, y, scale = lanes[index], page.middles[index], page.scale
    nesting = lane.track.nesting
    if nesting is None:
        return []
    step = -1 if nesting.role == "inner" else 1
    joint = page.middles[index + step]
    if lanes[index + step].track.nesting is None:
        joint -= 18 * step
    x = 4 + INDENT / 2
    parts = [f'<path class="tr" d="M{x:g} {joint:g}V{y:g}H{4 + INDENT:g}"/>']
    if has_connectors(lane, page):
        outer = next(at for at, each in enumerate(lanes) if each.track.name == nesting.outer)
        top, marks = page.middles[outer], lanes[outer].values
        for segment in lane.segments:
            # A stream may wait for its turn, as in `concat_map`: its mark is then further left.
            mark = _mark_of(segment, marks)
            if mark is not None:
                parts.append(
                    f'<path class="sp" d="M{scale.x(mark.t):.1f} {top:g}'
                    f'L{scale.x(segment.start):.1f} {y:g}"/>'
                )
    return parts


def has_connectors(lane: VisibleTrack, page: Page) -> bool:
    """Whether lines connect the marks of the outer lane to where the inner Observables begin."""
    begun = sum(each.began is not None for each in lane.segments)
    nesting, room = lane.track.nesting, page.scale.right - page.scale.left
    is_inner = nesting is not None and nesting.role == "inner" and not nesting.rest
    return is_inner and begun * _MIN_SPACE <= room


def _mark_of(segment: Segment, marks: Sequence[Mark]) -> Mark | None:
    """Return the latest mark of the outer lane that may be where the segment comes from."""
    if segment.began is None:
        return None
    before = marks[: bisect_right(marks, segment.start, key=attrgetter("t"))]
    return next((each for each in reversed(before) if each.data == segment.began), None)


def segments_to_draw(lane: VisibleTrack, drawn: Drawn, page: Page) -> Sequence[Segment]:
    """Return the segments of a lane; one for all that follow each other where they are many."""
    if lane.track.nesting is None or not _is_crowded(lane, drawn, page):
        return lane.segments
    joined: list[Segment] = []
    for segment in lane.segments:
        if joined and page.scale.x(segment.start) - page.scale.x(joined[-1].stop) < _MIN_LENGTH:
            segment = replace(joined.pop(), stop=segment.stop, kind=segment.kind)
        joined.append(segment)
    return joined


def _is_crowded(lane: VisibleTrack, drawn: Drawn, page: Page) -> bool:
    """Whether there are too many values or streams to show where each stream begins and ends."""
    room = page.scale.right - page.scale.left
    return drawn.baseline > 0 or len(lane.segments) * _MIN_LENGTH > room


def inner_starts(lane: VisibleTrack, drawn: Drawn, page: Page, y: float) -> list[str]:
    """Draw a small ring where an inner Observable begins, and its label if it is not the lane's."""
    if lane.track.nesting is None or _is_crowded(lane, drawn, page):
        return []
    nesting = lane.track.nesting
    is_labelled = not (nesting.label or nesting.rest or has_connectors(lane, page))
    begun = [each for each in lane.segments if each.began is not None]
    places = [page.scale.x(each.start) for each in begun]
    values = [page.scale.x(mark.t) for mark in lane.values]
    covered = _RADIUS.get(drawn.form, 0.0) + 1  # pixels: a value hides a part of the ring
    parts: list[str] = []
    rooms = pairwise([*places, page.scale.right])
    for segment, (x, following) in zip(begun, rooms, strict=True):
        name = segment.began or ""
        if not any(abs(value - x) < covered for value in values):
            parts.append(
                f"<g><title>{duration(segment.start)}\n{escape(name)} begins</title>"
                f'<circle class="st" cx="{x:.1f}" cy="{y:g}" r="3"/></g>'
            )
        label = cut(name.removeprefix(FROM), _LABEL)
        if is_labelled and cells(label) * CHAR * 0.9 + 4 < following - x:
            parts.append(f'<text class="sl" x="{x - 3:.1f}" y="{y + 13:g}">{escape(label)}</text>')
    return parts


def inner_ends(lane: VisibleTrack, drawn: Drawn, page: Page, y: float, end_x: float) -> list[str]:
    """Draw a bar where an inner Observable ends: grey if it was disposed."""
    base = y + drawn.baseline
    values = [page.scale.x(mark.t) for mark in lane.values]
    is_crowded = _is_crowded(lane, drawn, page)
    parts: list[str] = []
    for end in lane.ends:
        x = page.scale.x(end.t)
        if end is lane.last:
            x = end_x
        elif is_crowded:
            continue
        elif end.kind != "disposed":
            at_once = [
                right
                for value, right in zip(values, drawn.rights, strict=False)
                if abs(value - x) < 1
            ]
            x = max([x, *(right + 2 for right in at_once)])
        title = f"<title>{duration(end.t)}\n{escape(end.description)}</title>"
        if end.kind == "error":
            shape = f'<path class="x f" d="M{x - 5:.1f} {base - 5:g}l10 10m-10 0l10 -10"/>'
        else:
            kind = "en f" if end.kind == "completed" else "di"
            shape = f'<path class="{kind}" d="M{x:.1f} {base - 8:g}v16"/>'
        parts.append(f"<g>{title}{shape}</g>")
    return parts
