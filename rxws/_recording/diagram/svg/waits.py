"""Draw the times that a step waits as bars."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rxws._recording.diagram.axis import duration
from rxws._recording.diagram.explanations import brief, explain
from rxws._recording.diagram.labels import cells, escape
from rxws._recording.diagram.visible import VisibleTrack

from .scale import Drawn, TimeScale

__all__ = ["draw_waits", "wait_bar"]

_SMALL = 5.2  # pixels: a character of a duration
_HALF = 7.0  # pixels: half the height of a bar
_FORMS = frozenset(["none", "circles", "pills", "dots"])


def draw_waits(lane: VisibleTrack, drawn: Drawn, scale: TimeScale, y: float) -> Iterator[str]:
    """Draw a bar for each wait of a lane; none in a lane with too many values."""
    if drawn.form not in _FORMS:
        return
    end = math.inf if lane.last is None else lane.last.t
    for wait in lane.track.waits:
        if wait.stop < scale.start:
            continue
        left = max(scale.x(wait.start), scale.left)
        right = min(scale.x(min(wait.stop, end)), scale.right)
        if right - left < 1.5:
            continue
        # Timers are late by about a millisecond; the tooltip has the exact times.
        seconds = float(f"{wait.stop - wait.start:.2g}")
        label = "" if wait.kind == "restarted" else brief(seconds)
        text = f"{duration(wait.start)} to {duration(wait.stop)}\n{explain(lane.track, wait.kind)}"
        yield f"<g><title>{escape(text)}</title>{wait_bar(wait.kind, left, right, y)}"
        if label and cells(label) * _SMALL + 2 <= right - left:
            yield f'<text class="wl" x="{(left + right) / 2:.1f}" y="{y + 20:g}">{label}</text>'
        yield "</g>"


def wait_bar(kind: str, left: float, right: float, y: float) -> str:
    shape = (
        f'x="{left:.1f}" y="{y - _HALF:g}" width="{right - left:.1f}" height="{2 * _HALF:g}" rx="2"'
    )
    if kind == "restarted":
        return f'<rect class="wr" {shape}/>'
    return f'<rect class="wp" {shape}/><rect class="wt" {shape}/>'
