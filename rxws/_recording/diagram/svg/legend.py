"""Explain the marks of inner lanes below a diagram."""

from __future__ import annotations

from rxws._recording.diagram.visible import VisibleTrack

from .layout import Page

__all__ = ["legend"]

_ENTRIES = (
    ('<circle class="st lk" cx="{x:g}" cy="{y:g}" r="3"/>', "a stream begins"),
    ('<path class="en f" d="M{x:g} {top:g}v10"/>', "completed"),
    ('<path class="di" d="M{x:g} {top:g}v10"/>', "no longer used"),
)
_CHAR = 5.6  # pixels


def legend(lanes: list[VisibleTrack], page: Page) -> list[str]:
    """Draw the legend, if there are inner lanes."""
    if not any(lane.track.nesting for lane in lanes):
        return []
    parts: list[str] = []
    x, y = 10.0, page.bottom + 33
    for shape, text in _ENTRIES:
        parts.append(shape.format(x=x, y=y, top=y - 5))
        parts.append(f'<text class="lg" x="{x + 8:g}" y="{y + 3.5:g}">{text}</text>')
        x += 8 + len(text) * _CHAR + 16
    return parts
