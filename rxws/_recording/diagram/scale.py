"""Where times are on a page, and what the forms of a lane have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .axis import duration
from .labels import escape, full
from .model import Mark

__all__ = ["BOTTOM", "TOP", "Drawn", "Ruler", "heap", "tip"]

TOP, BOTTOM = -17.0, 14.0  # of bars and sparklines: pixels from the middle of the lane


@dataclass(frozen=True, slots=True)
class Ruler:
    """Where times are on the page: from `left` to `right` pixels, with room at both ends."""

    start: float  # seconds
    stop: float
    left: float  # pixels
    right: float
    room: float = 14.0

    def x(self, t: float) -> float:
        """Return the place of a time."""
        width = self.right - self.left - 2 * self.room
        return self.left + self.room + (t - self.start) / (self.stop - self.start) * width

    @property
    def pixel(self) -> float:
        """Seconds."""
        return (self.stop - self.start) / (self.right - self.left - 2 * self.room)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The values of a lane as SVG."""

    form: str
    parts: list[str]
    reach: float = 0.0  # how far right the marks go, in pixels
    floor: float = 0.0  # where the time line is, from the middle of the lane
    note: str = ""  # what stands below the count
    said: str = ""  # and its tooltip


def tip(mark: Mark) -> str:
    """Return the tooltip of a mark."""
    return f"<title>{duration(mark.t)}\n{escape(full(mark.data))}</title>"


def heap(marks: Sequence[Mark]) -> str:
    """Return what a tooltip says of several marks."""
    first, last = marks[0], marks[-1]
    return (
        f"{len(marks)} events, {duration(first.t)} to {duration(last.t)}\n"
        f"first {escape(full(first.data)[:100])}\nlast {escape(full(last.data)[:100])}"
    )
