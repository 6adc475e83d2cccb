"""Draw a diagram as SVG."""

from __future__ import annotations

import math

from rxws._recording.diagram.axis import duration, ticks
from rxws._recording.diagram.labels import cells, cut, escape
from rxws._recording.diagram.model import Diagram
from rxws._recording.diagram.visible import VisibleTrack, Window, time_span, visible_tracks

from .inner_lanes import connectors, inner_ends, inner_starts, segments_to_draw
from .layout import END_CHAR, INDENT, NAME, Page, lay_out
from .legend import legend
from .marks import draw
from .scale import CHAR, Drawn
from .style import OPERATORS, STYLE
from .waits import draw_waits

__all__ = ["svg"]

_FEW = frozenset(["circles", "pills", "dots"])  # forms of a lane with few values
_DENSE = 40  # a lane with more values is likely to have a note
_NOTE = 11  # characters: most notes are not longer
_TITLE = 8.4  # pixels per character


def svg(diagram: Diagram, width: int = 760, window: Window = None) -> str:
    """Draw a diagram, or its part within a window, as an `<svg>` element `width` pixels wide.

    Examples:
        >>> from rxws._recording.diagram import Diagram, Track
        >>> svg(Diagram("nothing yet", (Track("ticks"),)))[:4]
        '<svg'
    """
    if width < 200:
        raise ValueError(f"width={width!r} leaves no room to draw: use 200 pixels or more")
    time = time_span(diagram, window)
    lanes = visible_tracks(diagram, time)
    dense = any(len(lane.values) > _DENSE for lane in lanes)
    # Guess the width of the notes, which are made with the marks; draw again if it was too small.
    page = lay_out(diagram, lanes, width, time, _NOTE if dense else 0)
    drawn = _draw_all(lanes, page)
    widest = max((cells(each.note) for each in drawn), default=0)
    if widest > _NOTE:
        page = lay_out(diagram, lanes, width, time, widest)
        drawn = _draw_all(lanes, page)
    end_xs = _end_xs(lanes, drawn, page)
    colours = _colours(lanes)
    key, height = legend(lanes, page, colours)
    summary = "; ".join([diagram.title or "marble diagram", *(lane.summary for lane in lanes)])
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rxws" role="img" '
        f'aria-label="{escape(cut(summary, 600))}" width="{width}" height="{height:g}" '
        f'viewBox="0 0 {width} {height:g}"><style>{STYLE}</style>'
    )
    parts = [head]
    if diagram.title:
        title = escape(cut(diagram.title, int((width - 12) / _TITLE)))
        parts.append(
            f'<text class="ti" x="6" y="20"><title>{escape(diagram.title)}</title>{title}</text>'
        )
    if lanes:
        parts += _axis(page)
    for index, colour in enumerate(colours):
        if behind := connectors(index, lanes, page):
            parts.append(f'<g class="{colour}">{"".join(behind)}</g>')
    for index, lane in enumerate(lanes):
        parts.append(f'<g class="{colours[index]}">')
        parts += _lane(lane, drawn[index], page, page.middles[index], end_xs[index])
        parts.append("</g>")
    return "".join([*parts, *key, "</svg>"])


def _colours(lanes: list[VisibleTrack]) -> list[str]:
    """Return the CSS class of each lane; an inner lane has that of its stream."""
    colours: dict[str, str] = {}
    operators = 0
    for lane in lanes:
        css_class = {"in": "i", "out": "o"}.get(lane.track.dir or "", "")
        if lane.track.nesting is not None:
            continue
        if lane.statuses:
            css_class = "sn"
        if not css_class and not lane.only_errors:
            css_class = f"c{operators % OPERATORS + 1}"
            operators += 1
        colours[lane.track.name] = css_class or "e"
    tracks = (lane.track for lane in lanes)
    return [colours[each.nesting.outer if each.nesting else each.name] for each in tracks]


def _draw_all(lanes: list[VisibleTrack], page: Page) -> list[Drawn]:
    drawn = [draw(lane, page.scale, page.middles[index]) for index, lane in enumerate(lanes)]
    # Lanes of the same role that differ in their form would look as if they differed in meaning.
    forms: dict[tuple[str, str], set[str]] = {}
    for lane, each in zip(lanes, drawn, strict=True):
        if lane.track.nesting is not None and not lane.is_rest and each.form in _FEW:
            forms.setdefault(lane.track.nesting.place, set()).add(each.form)
    for index, lane in enumerate(lanes):
        nesting = lane.track.nesting
        if drawn[index].form in _FEW and nesting and len(forms.get(nesting.place, ())) > 1:
            drawn[index] = draw(lane, page.scale, page.middles[index], inside=False)
    return drawn


def _axis(page: Page) -> list[str]:
    scale = page.scale
    parts: list[str] = []
    for time, label in ticks(
        scale.start, scale.stop, max(2, int((scale.right - scale.left) / 100))
    ):
        x = scale.x(time)
        parts.append(
            f'<path class="gr" d="M{x:.1f} {page.top:g}V{page.bottom + 4:g}"/>'
            f'<text class="ax" x="{x:.1f}" y="{page.bottom + 17:g}">{label}</text>'
        )
    return parts


def _end_xs(lanes: list[VisibleTrack], drawn: list[Drawn], page: Page) -> list[float]:
    """Return the x of each lane's final end: right of its marks, and in the order of time."""
    xs = [page.scale.x(lane.last.t) if lane.last else math.inf for lane in lanes]
    free = [max(x, each.right + 4) for x, each in zip(xs, drawn, strict=True)]
    return [
        max(place for place, other in zip(free, xs, strict=True) if other < x + 1)
        if lane.last
        else 0.0
        for lane, x in zip(lanes, xs, strict=True)
    ]


def _lane(lane: VisibleTrack, drawn: Drawn, page: Page, y: float, end_x: float) -> list[str]:
    return [
        _box(lane, page, y),
        *_time_line(lane, drawn, page, y + drawn.baseline, end_x),
        *draw_waits(lane, drawn, page.scale, y),
        *inner_starts(lane, drawn, page, y),
        *drawn.parts,
        *_ends(lane, drawn, page, y, end_x),
        *_notes(lane, drawn, page, y),
    ]


def _box(lane: VisibleTrack, page: Page, y: float) -> str:
    track = lane.track
    if track.nesting is not None:
        return _inner_box(lane, page, y)
    name = escape(cut(lane.title, int((page.box - 20) / (NAME * page.font) + 0.01)))
    detail = escape(cut(track.detail, int((page.box - 16) / CHAR)))
    named = f'class="na" font-size="{page.font:g}" x="16"'
    lines = (
        f'<text {named} y="{y - 2:g}">{name}</text>'
        f'<text class="de" x="16" y="{y + 12:g}">{detail}</text>'
        if detail
        else f'<text {named} y="{y + 4:g}">{name}</text>'
    )
    title = "\n".join(map(escape, filter(None, [lane.summary, track.detail])))
    return (
        f'<g><title>{title}</title><rect class="bx" x="4.5" y="{y - 18:g}" '
        f'width="{page.box:g}" height="36" rx="6"/><rect class="co" x="4" y="{y - 18:g}" '
        f'width="4" height="36" rx="2"/>{lines}</g>'
    )


def _inner_box(lane: VisibleTrack, page: Page, y: float) -> str:
    left, size = 4 + INDENT, page.font - 1
    name = escape(cut(lane.title, int((page.box - INDENT - 14) / (NAME * size) + 0.01)))
    return (
        f'<g><title>{escape(lane.summary)}</title><rect class="bx" x="{left + 0.5:g}" '
        f'y="{y - 11:g}" width="{page.box - INDENT:g}" height="22" rx="5"/><rect class="co" '
        f'x="{left:g}" y="{y - 11:g}" width="3" height="22" rx="1.5"/>'
        f'<text font-size="{size:g}" x="{left + 9:g}" y="{y + 4:g}">{name}</text></g>'
    )


def _time_line(lane: VisibleTrack, drawn: Drawn, page: Page, y: float, end_x: float) -> list[str]:
    scale = page.scale
    parts: list[str] = []
    for segment in segments_to_draw(lane, drawn, page):
        before = segment.start <= scale.start and segment.began is None
        left = scale.left if before else scale.x(segment.start)
        to_edge = segment.stop >= scale.stop and segment.kind in ("open", "disposed")
        right = scale.right if to_edge else scale.x(segment.stop)
        if lane.last and segment.kind == "runs" and segment.stop == lane.last.t:
            right = end_x
        elif lane.last and segment.kind == "disposed" and segment.start == lane.last.t:
            left, right = end_x, max(right, end_x)
        kind = {"disposed": "ln du", "lost": "ln dl"}.get(segment.kind, "ln")
        if segment.kind == "open":
            right = min(max(right, drawn.right + 8), scale.right)
        arrow = f"M{right - 5:.1f} {y - 4:g}l5 4l-5 4" if segment.kind == "open" else ""
        parts.append(f'<path class="{kind}" d="M{left:.1f} {y:g}H{right:.1f}{arrow}"/>')
    return parts


def _ends(lane: VisibleTrack, drawn: Drawn, page: Page, y: float, end_x: float) -> list[str]:
    if lane.track.nesting is not None:
        return inner_ends(lane, drawn, page, y, end_x)
    parts: list[str] = []
    for end in lane.ends:
        label = end.label
        if end.kind == "disposed":
            continue
        x = page.scale.x(end.t)
        if end is lane.last:
            x = end_x
        elif any(
            0 < page.scale.x(mark.t) - x < 26 + cells(label) * END_CHAR for mark in lane.values
        ):
            label = ""  # no room before the values of the next subscription
        base = y + drawn.baseline
        title = f"<title>{duration(end.t)}\n{escape(end.description)}</title>"
        if end.kind == "error":
            d = f"M{x - 7:.1f} {base - 7:g}l14 14m-14 0l14 -14"
            text = f'<text class="xe" x="{x + 12:.1f}" y="{base + 4:g}">{escape(label)}</text>'
            parts.append(f'<g>{title}<path class="x" d="{d}"/>{text}</g>')
        else:
            text = f'<text class="ke" x="{x + 7:.1f}" y="{base + 4:g}">{escape(label)}</text>'
            text = text if label else ""
            d = f"M{x:.1f} {y - 14:g}V{y + 14:g}"
            parts.append(f'<g>{title}<path class="en" d="{d}"/>{text}</g>')
    return parts


def _notes(lane: VisibleTrack, drawn: Drawn, page: Page, y: float) -> list[str]:
    x = page.width - 4
    texts = [(y - 12, lane.count, lane.summary)]
    if lane.drops:
        # Below the label of an end, which is next to the time line.
        texts.append((y + drawn.baseline + 16, lane.drops, lane.summary))
    if drawn.note and lane.track.nesting is None:
        texts.append((y + 2, drawn.note, drawn.note_tooltip))
    parts = [
        f'<text class="no" x="{x}" y="{top:g}"><title>{escape(title)}</title>{escape(text)}</text>'
        for top, text, title in texts
    ]
    if lane.ended_before:
        kind = "xe" if lane.last and lane.last.kind == "error" else "be"
        ended = escape(lane.ended_before)
        parts.append(f'<text class="{kind}" x="{page.scale.left:g}" y="{y + 4:g}">{ended}</text>')
    return parts
