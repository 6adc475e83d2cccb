"""Draw the times that a step waits, and explain them and dropped values below the diagram."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence

from rxws._recording.diagram.axis import duration
from rxws._recording.diagram.explanations import brief, explain, explanations
from rxws._recording.diagram.labels import cells, escape
from rxws._recording.diagram.visible import VisibleTrack

from .scale import Drawn, TimeScale

__all__ = ["LINE", "Explanation", "draw_explanations", "draw_waits", "explanation_lines"]

LINE = 15.0  # pixels between the lines of the explanations
_CHAR = 5.7  # pixels: a character of an explanation
_SMALL = 5.2  # pixels: a character of a duration
_HALF = 7.0  # pixels: half the height of a bar
_MARGIN = 30.0  # pixels left of the text of an explanation
_FORMS = frozenset(["none", "circles", "pills", "dots"])

Explanation = tuple[str, list[str], int]
"""The kind of mark, the lines of text, and the position of the lane with such marks."""


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
        yield f"<g><title>{escape(text)}</title>{_bar(wait.kind, left, right, y)}"
        if label and cells(label) * _SMALL + 2 <= right - left:
            yield f'<text class="wl" x="{(left + right) / 2:.1f}" y="{y + 20:g}">{label}</text>'
        yield "</g>"


def _bar(kind: str, left: float, right: float, y: float) -> str:
    shape = (
        f'x="{left:.1f}" y="{y - _HALF:g}" width="{right - left:.1f}" height="{2 * _HALF:g}" rx="2"'
    )
    if kind == "restarted":
        return f'<rect class="wr" {shape}/>'
    return f'<rect class="wp" {shape}/><rect class="wt" {shape}/>'


def explanation_lines(lanes: Sequence[VisibleTrack], width: float) -> list[Explanation]:
    """Return the explanations, each in lines that fit in `width` pixels."""
    columns = max(int((width - _MARGIN) / _CHAR), 20)
    found = explanations([lane.track for lane in lanes])
    return [(kind, textwrap.wrap(text, columns), index) for kind, text, index in found]


def draw_explanations(
    found: Sequence[Explanation], colours: Sequence[str], top: float
) -> Iterator[str]:
    """Draw the explanations from `top` on, each with such a mark in the colour of its lane."""
    for kind, texts, index in found:
        y = top + 6
        sign = (
            f'<circle class="wk" cx="15" cy="{y:g}" r="4"/>'
            if kind == "dropped"
            else _bar(kind, 6, 24, y)
        )
        yield f'<g class="{colours[index]}">{sign}</g>'
        for text in texts:
            yield f'<text class="lg" x="{_MARGIN:g}" y="{top + 9.5:g}">{escape(text)}</text>'
            top += LINE
