"""Explain the marks of a diagram below it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import get_args

from rxws._recording.diagram.explanations import explanations
from rxws._recording.diagram.labels import escape
from rxws._recording.diagram.statuses import State
from rxws._recording.diagram.visible import VisibleTrack

from .layout import Page
from .waits import wait_bar

__all__ = ["legend"]

_LINE = 15.0  # pixels from line to line of a text
_ROW = 18.0  # pixels: the height of a row of signs
_CHAR, _SMALL, _NAME = 5.7, 5.6, 6.4  # pixels: a character of a text, of a sign, of a state
_MARGIN = 30.0  # pixels left of a text
_INNER = (
    ('<circle class="st lk" cx="{x:g}" cy="{y:g}" r="3"/>', "a stream begins"),
    ('<path class="en f" d="M{x:g} {top:g}v10"/>', "completed"),
    ('<path class="di" d="M{x:g} {top:g}v10"/>', "no longer used"),
)


def legend(
    lanes: Sequence[VisibleTrack], page: Page, colours: Sequence[str]
) -> tuple[list[str], float]:
    """Draw the legend below the time axis, and return the y of its bottom, too.

    `colours` has the CSS class of each lane.
    """
    top = page.bottom + (26 if lanes else 6)
    parts: list[str] = []
    if any(lane.track.nesting for lane in lanes):
        parts += _inner(top)
        top += _ROW
    if any(lane.statuses for lane in lanes):
        parts += _states(top)
        top += _ROW
    columns = max(int((page.width - _MARGIN) / _CHAR), 20)
    for kind, text, index in explanations([lane.track for lane in lanes]):
        y = top + 6
        sign = (
            f'<circle class="wk" cx="15" cy="{y:g}" r="4"/>'
            if kind == "dropped"
            else wait_bar(kind, 6, 24, y)
        )
        parts.append(f'<g class="{colours[index]}">{sign}</g>')
        for line in textwrap.wrap(text, columns):
            parts.append(_text(line, _MARGIN, top + 9.5))
            top += _LINE
    return parts, top


def _text(text: str, x: float, y: float) -> str:
    return f'<text class="lg" x="{x:g}" y="{y:g}">{escape(text)}</text>'


def _inner(top: float) -> list[str]:
    """Draw how inner streams begin and end."""
    parts: list[str] = []
    x, y = 10.0, top + 7
    for shape, text in _INNER:
        parts += [shape.format(x=x, y=y, top=y - 5), _text(text, x + 8, y + 3.5)]
        x += 8 + len(text) * _SMALL + 16
    return parts


def _states(top: float) -> list[str]:
    """Draw what the colours of a client's states mean."""
    parts: list[str] = []
    x = 6.0
    for state in get_args(State):
        parts.append(
            f'<g class="s-{state}"><rect x="{x + 0.5:g}" y="{top + 0.5:g}" width="18" height="11" '
            f'rx="2"/></g>{_text(state, x + 24, top + 9.5)}'
        )
        x += 24 + len(state) * _NAME + 12
    return parts
