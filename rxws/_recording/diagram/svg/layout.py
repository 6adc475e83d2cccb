"""Where the lanes of a diagram are, in pixels."""

from __future__ import annotations

from dataclasses import dataclass

from rxws._recording.diagram.labels import cells
from rxws._recording.diagram.model import Diagram, Nesting
from rxws._recording.diagram.visible import TimeSpan, VisibleTrack

from .scale import CHAR, TimeScale

__all__ = ["END_CHAR", "INDENT", "NAME", "Page", "lay_out"]

INDENT = 14.0  # pixels: how far the box of an inner lane is to the right of others
END_CHAR = 7.2  # pixels per character of the label of an end
NAME = 0.64  # width of a character of a name, as a share of its font size

_PITCH = 54.0  # pixels from lane to lane
_INNER_PITCH, _INNER_MIDDLE = 34.0, 20.0  # of inner lanes, which have labels above the middle
_GAP = 8.0  # pixels between inner lanes of two streams
_NARROW = 480  # pixels: a narrower diagram has smaller names
_SMALL = 6.1  # pixels per character of a note


@dataclass(frozen=True, slots=True)
class Page:
    """The layout of a diagram."""

    width: int
    box: float  # the width of the boxes
    font: float  # the font size of the names in them
    top: float  # y of the first lane's top
    bottom: float  # y of the last lane's bottom
    scale: TimeScale
    middles: tuple[float, ...]  # y of the middle of each lane


def lay_out(
    diagram: Diagram, lanes: list[VisibleTrack], width: int, time: TimeSpan, note: int
) -> Page:
    """Lay out the page, with room for notes of `note` characters at the right."""
    font = 10.5 if width < _NARROW else 12.0
    indents = [INDENT if lane.track.nesting else 0.0 for lane in lanes]
    names = [
        indent + cells(lane.title) * NAME * font
        for lane, indent in zip(lanes, indents, strict=True)
    ]
    details = [cells(lane.track.detail) * CHAR for lane in lanes]
    box = min(22 + max([50.0, *names, *details]), max(90.0, width * 0.24))
    texts = [cells(text) * _SMALL for lane in lanes for text in (lane.count, lane.drops)]
    # An end is drawn in the last pixels of the plot; its label may extend beyond it.
    texts += [cells(end.label) * END_CHAR + 12 for lane in lanes for end in lane.ends]
    right = 8 * -(-(max([30.0, note * _SMALL, *texts]) + 6) // 8)
    top = bottom = 34.0 if diagram.title else 6.0
    middles: list[float] = []
    above: Nesting | None = None
    for lane in lanes:
        nesting = lane.track.nesting
        inner = nesting is not None
        if nesting is not None and above is not None and nesting.place != above.place:
            bottom += _GAP
        above = nesting
        middles.append(bottom + (_INNER_MIDDLE if inner else _PITCH / 2))
        bottom += _INNER_PITCH if inner else _PITCH
    scale = TimeScale(time.start, time.stop, box + 14, width - min(right, width * 0.3))
    return Page(width, box, font, top, bottom, scale, tuple(middles))
