"""One stream's latest events: what a recording is made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, cast

from rxws._core.connection import Close

from .jsonl import Direction, Event

__all__ = ["Lane", "LaneEntry", "RecordingClock"]

_DIRECTIONS: dict[str, Direction] = {"incoming": "in", "outgoing": "out"}


class RecordingClock(Protocol):
    """What all lanes of a recording share: its time, and the count of its events."""

    count: int
    seconds: Callable[[], float]
    began: float


class LaneEntry(NamedTuple):
    """What a lane keeps of an event, until somebody wants to see it."""

    t: float
    order: int  # among all notes of the recording: for those at the same time
    type: str
    data: Any


# Half of what Note(...) costs.
_new: Callable[[type[LaneEntry], tuple[Any, ...]], LaneEntry] = cast(Any, tuple).__new__


class Lane:
    """The latest events of one stream.

    Attributes:
        name: What it is called.
        dir: `"in"` or `"out"` where it is a connection's.
        detail: What a picture says below the name.
        dropped: Events that are no longer kept.
        passing: The value that is just being passed on, in a tuple; None while there is none.
    """

    __slots__ = ("_keep", "_notes", "_recording", "detail", "dir", "dropped", "name", "passing")

    def __init__(self, recording: RecordingClock, name: str, keep: int) -> None:
        self.name = name
        self.dir: Direction = _DIRECTIONS.get(name)
        self.detail = ""
        self.dropped = 0
        self.passing: tuple[Any] | None = None
        self._recording = recording
        self._keep = keep
        self._notes: deque[LaneEntry] = deque(maxlen=keep)

    def note(self, type: str, data: Any = None) -> None:  # noqa: A002 # as the format has it
        """Note that something happened just now."""
        notes, recording = self._notes, self._recording
        if len(notes) == self._keep:
            self.dropped += 1
        recording.count = count = recording.count + 1
        notes.append(_new(LaneEntry, (recording.seconds() - recording.began, count, type, data)))

    def put(self, event: Event) -> None:
        """Add an event that was noted elsewhere."""
        self._recording.count += 1
        self._notes.append(LaneEntry(event.t, self._recording.count, event.type, event.data))

    @property
    def notes(self) -> tuple[LaneEntry, ...]:
        """What is kept, in order."""
        return tuple(self._notes)

    @property
    def events(self) -> list[Event]:
        """The events that are kept, in order."""
        return [self.event(note) for note in self.notes]

    @property
    def ended(self) -> bool:
        """Whether the latest event is an end: the stream's, or the subscription's."""
        return bool(self._notes) and self._notes[-1].type != "next"

    def event(self, note: LaneEntry) -> Event:
        """Return a note of this lane as an event."""
        kind = "close" if isinstance(note.data, Close) else note.type
        return Event(note.t, self.name, self.dir, kind, note.data)

    def __len__(self) -> int:
        return len(self._notes)

    def __repr__(self) -> str:
        return f"<Lane {self.name!r}: {len(self)} events>"
