"""The data of a diagram, before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from rxws._core.connection import Close

from .tooltips import Texts

__all__ = ["Diagram", "Mark", "Track"]


class Mark(Protocol):
    """An event of a track, such as a `LaneEntry`."""

    @property
    def t(self) -> float: ...
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class Track:
    """One lane of a diagram."""

    name: str
    detail: str = ""  # text below the name
    dir: Literal["in", "out"] | None = None  # the direction of a connection's messages
    marks: Sequence[Mark] = ()  # ordered by time
    dropped: int = 0  # number of older events that are no longer kept
    texts: Texts = field(default_factory=Texts, compare=False)  # of the marks, for the next drawing


@dataclass(frozen=True, slots=True)
class Diagram:
    """A marble diagram; times are in seconds."""

    title: str
    tracks: tuple[Track, ...]  # from top to bottom
    close: Close | None = None  # None without a connection, or while it is open
    closed_at: float | None = None  # by default the time of the last mark
    began: float = 0.0  # the time at the left edge
    until: float | None = None  # the current time if streams are still running; else the last mark
