"""Map times to pixels; and helpers that marks and plots share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rxws._recording.diagram.axis import duration
from rxws._recording.diagram.labels import escape
from rxws._recording.diagram.model import Mark
from rxws._recording.diagram.tooltips import Texts

__all__ = ["BOTTOM", "CHAR", "TOP", "Drawn", "TimeScale", "group_tooltip", "tooltip"]

CHAR = 6.02  # pixels: a character of the monospaced font at 10 px
TOP, BOTTOM = -17.0, 14.0  # y of bars and sparklines, in pixels from the middle of the lane


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Maps times to pixels, from `left` to `right` with a margin at both ends."""

    start: float  # seconds
    stop: float
    left: float  # pixels
    right: float
    margin: float = 14.0

    def x(self, t: float) -> float:
        width = self.right - self.left - 2 * self.margin
        return self.left + self.margin + (t - self.start) / (self.stop - self.start) * width

    @property
    def seconds_per_pixel(self) -> float:
        return (self.stop - self.start) / (self.right - self.left - 2 * self.margin)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The values of a lane, drawn as SVG."""

    form: str  # "none", "circles", "pills", "dots", "crosses", "sparkline" or "bars"
    parts: list[str]
    right: float = 0.0  # x coordinate of the right end of the marks
    baseline: float = 0.0  # y of the time line, in pixels from the middle of the lane
    note: str = ""  # the text below the count
    note_tooltip: str = ""
    rights: Sequence[float] = ()  # x of the right end of each value's mark, if it has one


def tooltip(mark: Mark, texts: Texts, dropped: str | None = None) -> str:
    note = f"\na value {escape(dropped)}" if dropped else ""
    return f"<title>{duration(mark.t)}\n{escape(texts.full(mark))}{note}</title>"


def group_tooltip(marks: Sequence[Mark], texts: Texts) -> str:
    """Return the text of the tooltip for several marks."""
    first, last = marks[0], marks[-1]
    return (
        f"{len(marks)} events, {duration(first.t)} to {duration(last.t)}\n"
        f"first {escape(texts.full(first)[:100])}\nlast {escape(texts.full(last)[:100])}"
    )
