"""Draw the states of a reconnecting client as bars."""

from __future__ import annotations

from rxws._recording.diagram.labels import cells, escape
from rxws._recording.diagram.statuses import StatusSpan
from rxws._recording.diagram.visible import VisibleTrack

from .scale import Drawn, TimeScale

__all__ = ["states"]

_CHAR = 6.4  # pixels: a character of a label
_LEAST = 2.0  # pixels: the width of a bar


def states(lane: VisibleTrack, scale: TimeScale, y: float) -> Drawn:
    """Draw a bar for each state, with its name if there is room."""
    parts: list[str] = []
    right = scale.left
    for span in lane.statuses:
        left = max(scale.x(span.start), scale.left)
        right = min(max(scale.x(span.stop), left + _LEAST), scale.right)
        kind = f"s-{span.status.state}{' s-failed' if span.status.failed else ''}"
        parts.append(
            f'<g class="{kind}"><title>{escape(span.description)}</title>'
            f'<rect x="{left:.1f}" y="{y - 10:g}" width="{right - left:.1f}" height="20" rx="3"/>'
            f"{_label(span, left, right, scale, y)}</g>"
        )
    return Drawn("states", parts, right)


def _label(span: StatusSpan, left: float, right: float, scale: TimeScale, y: float) -> str:
    """Return the longest label that has room in a bar; below it, what the client waits for now."""
    room = right - left - 8
    label = next((each for each in span.labels if cells(each) * _CHAR <= room), "")
    if span.current and span.status.state == "waiting" and label != span.labels[0]:
        x = max(right, scale.left + cells(span.labels[0]) * _CHAR)
        text = escape(span.labels[0].lower())
        return f'<text class="sb" x="{x:.1f}" y="{y + 22:g}">{text}</text>'
    middle = (left + right) / 2
    return f'<text x="{middle:.1f}" y="{y + 3.5:g}">{escape(label)}</text>' if label else ""
