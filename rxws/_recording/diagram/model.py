"""What a picture is made of: plain data, of recordings, live views and tests alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from rxws._core.connection import Close

__all__ = ["Diagram", "Mark", "Track"]


class Mark(Protocol):
    """Something that a stream did.

    Its type is `"next"`, `"close"`, `"error"`, `"completed"` or `"disposed"`.
    """

    @property
    def t(self) -> float:
        """When it was, in seconds."""
        ...

    @property
    def type(self) -> str:
        """What it was."""
        ...

    @property
    def data(self) -> Any:
        """The value, the `Close` or the exception; otherwise None."""
        ...


@dataclass(frozen=True, slots=True)
class Track:
    """One lane of a picture.

    Args:
        name: What it is called.
        detail: What stands below the name.
        dir: `"in"` or `"out"` where it is a connection's.
        marks: What it did, in the order of time.
        dropped: How many marks before these are no longer kept.
    """

    name: str
    detail: str = ""
    dir: Literal["in", "out"] | None = None
    marks: Sequence[Mark] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class Diagram:
    """A marble diagram, before it is drawn.

    Args:
        title: What stands above it.
        tracks: Its lanes, from the top down.
        close: How the connection ended, if it is one's and it did.
        closed_at: When that was, in seconds; at the last mark if not given.
        began: The time at the left end, in seconds.
        until: The time that it goes to, in seconds, as now is; to the last mark if not given.
    """

    title: str
    tracks: tuple[Track, ...]
    close: Close | None = None
    closed_at: float | None = None
    began: float = 0.0
    until: float | None = None
