"""One stream's latest events."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from reactivex.abc import ObservableBase, SchedulerBase

from rxws._core.connection import Close
from rxws._core.schedulers.timers import seconds_of

from .diagram import Nesting, RecordedObservable, Track
from .diagram.labels import short
from .diagram.records import Labels
from .diagram.tooltips import Texts
from .followed import label_of
from .jsonl import Direction, Event
from .passage import Passage
from .snapshot import IMMUTABLE, Snapshots

__all__ = ["Lane", "LaneEntry", "RecordingClock"]

_DIRECTIONS: dict[str, Direction] = {"incoming": "in", "outgoing": "out"}


class RecordingClock:
    """The clock and the event counter that all lanes of a recording share.

    Attributes:
        followers: Called with each event.
    """

    def __init__(self) -> None:
        self.count = 0
        self.began = 0.0
        self.seconds: Callable[[], float] = self._start_now
        self.followers: tuple[Callable[[Event], None], ...] = ()
        self._started = False

    def start(self, scheduler: SchedulerBase | None) -> None:
        """Start with the scheduler's time, or the system's; later calls have no effect."""
        if not self._started:
            self._started = True
            self.seconds = time.monotonic if scheduler is None else seconds_of(scheduler)
            self.began = self.seconds()

    def _start_now(self) -> float:
        # An event came before any scheduler was known.
        self.start(None)
        return self.began


class LaneEntry(NamedTuple):
    """An event as a lane stores it. An `Event` is made from it on demand."""

    t: float
    order: int  # position in the recording: orders events that happen at the same time
    type: str
    data: Any
    frame: str | bytes | None = None  # see `Event`


# Takes half the time of LaneEntry(...).
_new_entry: Callable[[type[LaneEntry], tuple[Any, ...]], LaneEntry] = cast(Any, tuple).__new__


class Lane:
    """The latest events of one stream.

    Attributes:
        name: The lane's name.
        dir: `"in"` or `"out"` for a connection's messages, otherwise None.
        detail: Text that a diagram shows below the name.
        dropped: Number of older events that are no longer kept.
        omitted: Number of values that were not loaded, as they are outside the wanted time.
        nesting: The place of a lane of inner Observables; None for other lanes.
        texts: The texts of the events in a diagram.
        passage: How values pass the step whose output the lane records; None if it is no step's.
        passing: While a tap passes a value on: that value, in a tuple. Otherwise None.
        above: The lane of the stream from which this one is made, if known.
    """

    __slots__ = (
        "_clock",
        "_entries",
        "_keep",
        "_snapshots",
        "above",
        "detail",
        "dir",
        "dropped",
        "name",
        "nesting",
        "omitted",
        "passage",
        "passing",
        "texts",
    )

    def __init__(self, clock: RecordingClock, name: str, keep: int) -> None:
        self.name = name
        self.dir: Direction = _DIRECTIONS.get(name)
        self.detail = ""
        self.dropped = 0
        self.omitted = 0
        self.nesting: Nesting | None = None
        self.passage: Passage | None = None
        self.passing: tuple[Any] | None = None
        self.above: Lane | None = None
        self.texts = Texts()
        self._clock = clock
        self._keep = keep
        self._entries: deque[LaneEntry] = deque(maxlen=keep)
        self._snapshots = Snapshots()

    def record(
        self,
        type: str,  # noqa: A002 # as the format has it
        data: Any = None,
        frame: str | bytes | None = None,
    ) -> None:
        """Record an event now, with a snapshot of its data."""
        if data.__class__ not in IMMUTABLE:
            is_stream = isinstance(data, ObservableBase)
            data = _observable(data) if is_stream else self._snapshots.of(data)
        entries, clock = self._entries, self._clock
        if len(entries) == self._keep:
            self.dropped += 1
        clock.count = count = clock.count + 1
        entry = _new_entry(LaneEntry, (clock.seconds() - clock.began, count, type, data, frame))
        entries.append(entry)
        for follower in clock.followers:
            follower(self.event(entry))

    def add(self, event: Event) -> None:
        """Add an event that was recorded elsewhere."""
        if len(self._entries) == self._keep:
            self.dropped += 1
        self._clock.count += 1
        self._entries.append(LaneEntry(event.t, self._clock.count, *event[3:]))

    @property
    def entries(self) -> tuple[LaneEntry, ...]:
        """The kept entries, oldest first."""
        return tuple(self._entries)

    @property
    def events(self) -> list[Event]:
        """The kept events, oldest first."""
        return [self.event(entry) for entry in self.entries]

    @property
    def ended(self) -> bool:
        """Whether the stream has ended, or its subscription was disposed."""
        return bool(self._entries) and self._entries[-1].type not in ("next", "subscribed")

    def track(self, labels: Labels, drops: Mapping[int, str]) -> Track:
        """Return the lane as a line of a diagram.

        Args:
            labels: The labels that all lanes of the diagram share.
            drops: See `Track`.
        """
        self.texts.use(labels)
        passage = self.passage
        return Track(
            self.name,
            self.detail,
            self.dir,
            self.entries,
            self.dropped,
            self.omitted,
            self.texts,
            self.nesting,
            None if passage is None else passage.step,
            () if passage is None else tuple(passage.waits),
            drops,
        )

    def event(self, entry: LaneEntry) -> Event:
        kind = "close" if isinstance(entry.data, Close) else entry.type
        return Event(entry.t, self.name, self.dir, kind, entry.data, entry.frame)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Lane {self.name!r}: {len(self)} events>"


def _observable(value: Any) -> RecordedObservable:
    """Return what is kept of an Observable, which may hold much else in memory."""
    return RecordedObservable(label_of(value) or short(value))
