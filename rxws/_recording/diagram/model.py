"""The data of a diagram, before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rxws._core.connection import Close

__all__ = ["Diagram", "Mark", "Track"]


class Mark(Protocol):
    """An event of a track."""

    @property
    def t(self) -> float:
        """The time in seconds."""
        ...

    @property
    def type(self) -> str:
        """`"next"`, `"close"`, `"error"`, `"completed"` or `"disposed"`."""
        ...

    @property
    def data(self) -> Any:
        """The value, the `Close` or the exception; otherwise None."""
        ...


@dataclass(frozen=True, slots=True)
class Track:
    """One lane of a diagram.

    Args:
        name: The name in the lane's box.
        detail: Text below the name.
        dir: `"in"` or `"out"` for a connection's messages, otherwise None.
        marks: The events, ordered by time.
        dropped: Number of older events that are no longer kept.
    """

    name: str
    detail: str = ""
    dir: Literal["in", "out"] | None = None
    marks: Sequence[Mark] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Diagram:
    """A marble diagram.

    Args:
        title: Text above the diagram.
        tracks: The lanes, from top to bottom.
        close: How the connection closed; None if it is open, or if there is no connection.
        closed_at: When it closed, in seconds; by default at the last mark.
        began: The time at the left edge, in seconds.
        until: The time at the right edge, in seconds, which is now while the streams are running;
            by default that of the last mark.
    """

    title: str
    tracks: tuple[Track, ...]
    close: Close | None = None
    closed_at: float | None = None
    began: float = 0.0
    until: float | None = None
