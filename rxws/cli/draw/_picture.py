"""What to draw of a recording, and how."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass

import click

from rxws import Recording
from rxws._recording.diagram import svg, text, to_ascii

__all__ = ["Picture"]

_WIDTH = 760  # pixels
_BOX = "\N{BOX DRAWINGS LIGHT HORIZONTAL}"


@dataclass(slots=True, kw_only=True)
class Picture:
    """The form of a drawing.

    Args:
        lanes: The names of the lanes; all, if empty.
        is_svg: Whether to draw an SVG, or else text.
        width: The width in pixels or columns; by default 760 pixels, or that of the terminal.
        window: How many of the latest seconds to draw, or the times to begin and to stop at.
    """

    lanes: tuple[str, ...]
    is_svg: bool
    width: int | None
    window: float | tuple[float, float] | None

    def draw(self, recording: Recording, now: float | None = None) -> str:
        """Draw a recording; `now` is the current time if it is still growing.

        Raises:
            click.UsageError: It has no lane of a name, or nothing within the times.
        """
        missing = [name for name in self.lanes if name not in recording.lanes]
        if missing and now is None:
            names = ", ".join(recording.lanes)
            raise click.UsageError(f"There is no lane {missing[0]!r}. The lanes are: {names}.")
        lanes = [name for name in self.lanes if name in recording.lanes] or None
        diagram = recording.picture(now, lanes=lanes)
        window = self.window
        if isinstance(window, tuple):
            start, stop = window
            last = recording.duration
            window = (start, min(stop, last))
            if not start < window[1]:
                why = f"the recording ends at {last:g} s" if start < stop else "--to is too early"
                raise click.UsageError(f"Nothing to draw between these times: {why}.")
        if self.is_svg:
            return svg(diagram, self.width or _WIDTH, window)
        width = self.width or shutil.get_terminal_size().columns
        drawn = text(diagram, window=window, width=width)
        return drawn if _has_boxes() else to_ascii(drawn)


def _has_boxes() -> bool:
    """Return whether stdout can show the characters of a diagram."""
    try:
        _BOX.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return False
    return True
