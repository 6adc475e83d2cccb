"""The data of a diagram, before it is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

from rxws._core.connection import Close

from .tooltips import Texts

__all__ = [
    "Diagram",
    "Mark",
    "Nesting",
    "Role",
    "Step",
    "Track",
    "Wait",
    "WaitKind",
    "in_order",
]

Role: TypeAlias = Literal["inner", "input"]
"""Whether a stream emits an inner Observable, or its operator subscribes to it."""

WaitKind: TypeAlias = Literal["silence", "restarted", "flushed", "window", "closed", "held"]
"""How a wait ended, or what a step does meanwhile."""


class Mark(Protocol):
    """An event of a track, such as a `LaneEntry`."""

    @property
    def t(self) -> float: ...
    @property
    def type(self) -> str: ...
    @property
    def data(self) -> Any: ...


@dataclass(slots=True)
class Nesting:
    """What only a lane of inner Observables has: its place, and what was recorded in it so far."""

    outer: str  # the name of the stream's lane
    role: Role
    rest: bool = False  # whether it is the lane of those that have none of their own
    inners: int = 0  # the number of inner Observables
    values: int = 0  # the number of their values
    label: str = ""  # the label of all of them, or "" if they have several

    @property
    def place(self) -> tuple[str, Role]:
        """The same for all lanes next to each other."""
        return self.outer, self.role


class Step(NamedTuple):
    """What leads from one lane to another."""

    above: str  # the name of the lane of its input
    operator: str = ""  # its name; several are separated by " · "; empty if it is unknown
    seconds: float | None = None  # the time that the operator got


class Wait(NamedTuple):
    """A time that a step spent waiting."""

    start: float
    stop: float
    kind: WaitKind


@dataclass(frozen=True, slots=True)
class Track:
    """One lane of a diagram.

    `drops` has the id of each mark whose value the next step dropped, and the reason: a relative
    clause such as "that debounce dropped".
    """

    name: str
    detail: str = ""  # text below the name
    dir: Literal["in", "out"] | None = None  # the direction of a connection's messages
    marks: Sequence[Mark] = ()  # ordered by time
    dropped: int = 0  # number of older events that are no longer kept
    omitted: int = 0  # number of values that are not loaded, outside the window
    texts: Texts = field(default_factory=Texts, compare=False)  # of the marks, for the next drawing
    nesting: Nesting | None = None  # None unless it is a lane of inner Observables
    step: Step | None = None  # whose output the lane is, if known
    waits: Sequence[Wait] = ()  # of the step
    drops: Mapping[int, str] = field(default_factory=dict[int, str])


@dataclass(frozen=True, slots=True)
class Diagram:
    """A marble diagram; times are in seconds."""

    title: str
    tracks: tuple[Track, ...]  # from top to bottom
    close: Close | None = None  # None without a connection, or while it is open
    closed_at: float | None = None  # by default the time of the last mark
    began: float = 0.0  # the time at the left edge
    until: float | None = None  # the current time if streams are still running; else the last mark
    earlier: tuple[tuple[float, Close], ...] = ()  # the closes of earlier connections, with times

    def close_after(self, time: float) -> Close | None:
        """Return the close of the connection that was open before this time."""
        return next((close for t, close in self.earlier if t >= time), self.close)


def in_order(tracks: Iterable[Track]) -> tuple[Track, ...]:
    """Put the lanes of inner Observables next to that of their stream: what is input above it."""
    tracks = tuple(tracks)
    names = {track.name for track in tracks if track.nesting is None}
    nested: dict[tuple[str, Role], list[Track]] = {}
    outer: list[Track] = []
    for track in tracks:
        if track.nesting is None or track.nesting.outer not in names:
            outer.append(replace(track, nesting=None))
        else:
            nested.setdefault(track.nesting.place, []).append(track)
    return tuple(
        each
        for track in outer
        for each in (
            *nested.get((track.name, "input"), ()),
            track,
            *nested.get((track.name, "inner"), ()),
        )
    )
