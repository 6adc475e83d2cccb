"""What a live flow did and when: one thing and one file format for tests, pictures and tools."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from rxws._core.connection import Close, Connection, without_secrets
from rxws._core.schedulers import seconds_of
from rxws._core.streams import Stream

from .diagram import Diagram, Track, svg, text
from .jsonl import Event, read, write
from .lane import Lane
from .replay import replay
from .tap import LaneObserver, tap

__all__ = ["Recording"]

T = TypeVar("T")


def _place(lane: Lane) -> int:
    """Where a lane stands among the others."""
    return {"incoming": 0, "outgoing": 2, "errors": 3}.get(lane.name, 1)


def _untold(lane: Lane) -> bool:
    """Whether a picture leaves it out: the end of a connection, and faults that there are none."""
    values = (note.data for note in lane.notes if note.type == "next")
    return lane.name in ("closed", "errors") and not any(
        lane.name == "errors" or not isinstance(value, Close) for value in values
    )


class Recording:
    """What streams did and when, of each the latest events.

    Args:
        keep: Events that each lane keeps; older ones are dropped and counted.
        scheduler: The time; that of the connection, or of the first who subscribes, if not given.
        title: What a picture says above it.

    Examples:
        ```python
        @rxws.websocket
        def handler(conn):
            recording = rxws.Recording.of(conn)
            conn.closed.subscribe(lambda _: recording.save("session.jsonl"))
            return conn.incoming.pipe(ops.debounce(0.3), recording.tap("debounced"))
        ```
    """

    def __init__(
        self, *, keep: int = 2000, scheduler: SchedulerBase | None = None, title: str = ""
    ) -> None:
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(
                f"keep={keep!r} would record nothing, or without a bound: use 1 or more"
            )
        self.lanes: dict[str, Lane] = {}
        self.title = title
        self.count = 0
        self._keep = keep
        self._watching = CompositeDisposable()
        self.seconds: Callable[[], float] = self._start_now
        self.began = 0.0
        self._started = False
        if scheduler is not None:
            self._start(scheduler)

    @classmethod
    def of(cls, conn: Connection[Any, Any], *, keep: int = 2000) -> Recording:
        """Record a connection: what comes in and goes out, its faults and its end.

        It is no subscriber: what nobody subscribes waits as it would without the recording.

        Raises:
            TypeError: It is no connection of rxws.
        """
        recording = cls(keep=keep, scheduler=conn.scheduler)
        for name in ("incoming", "outgoing", "errors", "closed"):
            recording._watch(name, getattr(conn, name))
        recording.title = str(without_secrets(conn.handshake.url))
        return recording

    def _start(self, scheduler: SchedulerBase | None) -> None:
        if not self._started:
            self._started = True
            self.seconds = time.monotonic if scheduler is None else seconds_of(scheduler)
            self.began = self.seconds()

    def _start_now(self) -> float:
        """Begin with the first event: nobody has said whose time it is."""
        self._start(None)
        return self.began

    def tap(self, label: str, detail: str = "") -> Callable[[Observable[T]], Observable[T]]:
        """Make an operator that records what passes through, and changes nothing.

        Args:
            label: The name of the lane.
            detail: What a picture says below the name, as what an operator was given.

        Returns:
            The operator.
        """
        lane = self.lane(label)
        if detail:
            lane.detail = detail

        def tapped(source: Observable[T]) -> Observable[T]:
            def subscribe(
                observer: ObserverBase[T], scheduler: SchedulerBase | None = None
            ) -> DisposableBase:
                self._start(scheduler)
                return tap(source, lane, observer, scheduler)

            return Observable(subscribe)

        return tapped

    def lane(self, name: str) -> Lane:
        """Return the lane of this name; it is made if there is none."""
        if name not in self.lanes:
            self.lanes[name] = Lane(self, name, self._keep)
        return self.lanes[name]

    @property
    def events(self) -> list[Event]:
        """All events that are kept, in their order."""
        notes = [(note, lane) for lane in self.lanes.values() for note in lane.notes]
        notes.sort(key=lambda pair: (pair[0].t, pair[0].order))
        return [lane.event(note) for note, lane in notes]

    def stop(self) -> None:
        """Record no more of the connection."""
        self._watching.dispose()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a file of JSON lines: `{"t", "lane", "dir", "type", "data"}`.

        Values that JSON does not have, or would not give back as they were, are written as their
        `repr`.

        Raises:
            OSError: It cannot be written.
        """
        dropped = [
            Event(lane.events[0].t, lane.name, lane.dir, "dropped", lane.dropped)
            for lane in self.lanes.values()
            if lane.dropped
        ]
        empty = [
            Event(0.0, lane.name, lane.dir, "empty", None)
            for lane in self.lanes.values()
            if not len(lane)
        ]
        write(path, [*empty, *dropped, *self.events])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a file that `save` wrote.

        Raises:
            ValueError: It is no such file; the message has the line.
            OSError: It cannot be read.
        """
        events = read(path)
        recording = cls(keep=max(len(events), 1))
        for event in events:
            lane = recording.lane(event.lane)
            lane.dir = event.dir
            if event.type == "dropped":
                lane.dropped = event.data
            elif event.type != "empty":
                lane.put(event)
        return recording

    def replay(
        self,
        speed: float = 1.0,
        *,
        lane: str = "incoming",
        scheduler: SchedulerBase | None = None,
    ) -> Observable[Any]:
        """Make an Observable that tells a lane again, at its times.

        Args:
            speed: 2 is twice as fast; `math.inf` leaves no time between.
            lane: Which one.
            scheduler: The time; the subscriber's if not given.

        Returns:
            A cold Observable. A lane that had not ended completes behind its last event.

        Raises:
            KeyError: There is no such lane.
            ValueError: The speed is not above 0.
        """
        if lane not in self.lanes:
            raise KeyError(f"no lane {lane!r}; there are {sorted(self.lanes)}")
        began = min((each.events[0].t for each in self.lanes.values() if each.dropped), default=0.0)
        return replay(self.lanes[lane].events, began, speed, scheduler)

    def picture(self) -> Diagram:
        """Return what is to be drawn; of a connection its end stands at the end of its lanes.

        What comes in stands above the taps of a chain, and what goes out below them.
        """
        closed = self.lanes.get("closed")
        ends = [note for note in closed.notes if isinstance(note.data, Close)] if closed else []
        tracks = tuple(
            Track(lane.name, lane.detail, lane.dir, lane.notes, lane.dropped)
            for lane in sorted(self.lanes.values(), key=_place)
            if not _untold(lane)
        )
        if not ends:
            return Diagram(self.title, tracks)
        return Diagram(self.title, tracks, ends[-1].data, ends[-1].t)

    def svg(self, width: int = 760, window: float | None = None) -> str:
        """Draw it as a marble diagram.

        Args:
            width: Its width in pixels.
            window: The seconds up to the last event that are drawn; all if not given.

        Returns:
            SVG, for a file or a page.
        """
        return svg(self.picture(), width, window)

    def text(self, cols: int = 48) -> str:
        """Draw it as a marble diagram for terminals.

        Args:
            cols: The columns that it may take, without the names.

        Returns:
            Lines of text.
        """
        return text(self.picture(), cols)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        """What a notebook shows: an SVG within HTML, once, or the text."""
        return {"text/html": self.svg(), "text/plain": self.text()}

    def _watch(self, name: str, stream: Any) -> None:
        if not isinstance(cast(object, stream), Stream):
            raise TypeError(
                f"{stream!r} is no stream of a connection: use tap() in a chain of yours"
            )
        watch: Callable[[ObserverBase[Any]], DisposableBase] = stream.watch
        self._watching.add(watch(LaneObserver(self.lane(name))))

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def __repr__(self) -> str:
        lanes = ", ".join(f"{lane.name} {len(lane)}" for lane in self.lanes.values())
        dropped = sum(lane.dropped for lane in self.lanes.values())
        return f"<Recording {lanes or 'empty'}{f', dropped {dropped}' if dropped else ''}>"
