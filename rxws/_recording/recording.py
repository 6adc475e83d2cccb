"""Record what streams do and when, for tests, diagrams and files."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from rxws._core.connection import Close, Connection, without_secrets
from rxws._core.streams.stream import Stream
from rxws.codecs import Codec

from .diagram import Diagram, in_order, svg, text
from .diagram.records import Label, Labels, check_label
from .diagram.statuses import RecordedStatus
from .followed import derived
from .inner import InnerLanes
from .jsonl import Event, read, write
from .lane import Lane, RecordingClock
from .links import Links
from .messages import watch_messages
from .passage import Passage, dropped_values
from .replay import replay
from .tap import LaneObserver, tap

__all__ = ["STATUS", "Recording"]

T = TypeVar("T")

STATUS = "status"  # the lane of a reconnecting client's states
_POSITIONS = {"incoming": 0, "outgoing": 2, "errors": 3}  # in a diagram; taps are at 1


def _position(lane: Lane) -> int:
    """Return the position of a lane in diagrams; a reconnecting client's states are at the top."""
    latest = next((each.data for each in reversed(lane.entries) if each.type == "next"), None)
    if isinstance(latest, RecordedStatus):
        return -1
    return _POSITIONS.get(lane.name, 1)


def _is_hidden(lane: Lane) -> bool:
    """Whether diagrams omit the lane: a connection's `closed`, or `errors` without an error."""
    values = [entry.data for entry in lane.entries if entry.type == "next"]
    if lane.name == "errors":
        return not values
    return lane.name == "closed" and all(isinstance(value, Close) for value in values)


class Recording:
    """The latest events of a connection, or of streams that you tap.

    A recording is not a subscriber: it changes neither which messages are delivered nor when.

    It keeps snapshots: if you change a list, a dict or another object with an `__eq__` after it was
    sent or has passed a tap, the record stays the same. Values with more than 2000 items, objects
    without an `__eq__`, and those that `copy.deepcopy` cannot copy are kept as they are. If a codec
    made a message's value, the message's frame is kept beside it.

    Args:
        keep: Number of events to keep of each stream. Older ones are dropped and counted.
        scheduler: The scheduler whose clock times the events; by default the first subscriber's,
            or else the system clock.
        title: The title of diagrams.
        label: What diagrams show of a value: the name of a field of dicts and records, or a
            function that returns a label for a value. Values for which it raises or returns None
            have the default label: of records that is the fields that change from value to value.

    Attributes:
        lanes: The recorded streams by name, each a lane with `events`, `detail` and `dropped`. The
            inner Observables of a stream are in lanes such as `"groups inner 1"`.
        title: The title of diagrams.

    Raises:
        ValueError: `keep` is not a whole number above 0.
        TypeError: `label` is neither a string nor a function.

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
        self,
        *,
        keep: int = 2000,
        scheduler: SchedulerBase | None = None,
        title: str = "",
        label: Label | None = None,
    ) -> None:
        if not isinstance(keep, int) or keep < 1:
            raise ValueError(f"keep={keep!r} must be a whole number of events: use 1 or more")
        self.lanes: dict[str, Lane] = {}
        self.title = title
        self.label = label
        self._keep = keep
        self._watches = CompositeDisposable()
        self._clock = RecordingClock()
        self._links = Links()
        if scheduler is not None:
            self._clock.start(scheduler)

    @property
    def label(self) -> Label | None:
        """What diagrams show of a value; you may change it, also of a loaded recording."""
        return self._labels.label

    @label.setter
    def label(self, label: Label | None) -> None:
        check_label(label)
        self._labels = Labels(label)

    @classmethod
    def of(
        cls, conn: Connection[Any, Any], *, keep: int = 2000, label: Label | None = None
    ) -> Recording:
        """Record a connection: its messages in both directions, its errors and its close.

        Messages are recorded when they are delivered. Without a subscriber to `conn.incoming`, they
        stay buffered, as they do without a recording.

        Args:
            conn: The connection.
            keep: Number of events to keep of each stream. Older ones are dropped and counted.
            label: What diagrams show of a value; see `Recording`.

        Returns:
            A recording with the lanes `incoming`, `outgoing`, `errors` and `closed`.

        Raises:
            TypeError: `conn` was not opened by rxws, or `label` is neither a string nor a function.
            ValueError: `keep` is not a whole number above 0.

        Examples:
            ```python
            conn = await rxws.connect("ws://127.0.0.1:8765/ticks")
            recording = rxws.Recording.of(conn)
            await conn.closed
            print(recording.text())
            ```
        """
        recording = cls(keep=keep, scheduler=conn.scheduler, label=label)
        for name in ("incoming", "outgoing", "errors", "closed"):
            stream: Any = getattr(conn, name)
            if not isinstance(cast(object, stream), Stream):
                raise TypeError(f"{stream!r} is not a stream of rxws: record it with tap() instead")
            lane = recording.lane(name)
            if name == "incoming":
                recording._links.observe(lane, stream)
            record = partial(lane.record, "next")
            recording._watches.add(watch_messages(stream, record, LaneObserver(lane)))
        recording.title = str(without_secrets(conn.handshake.url))
        return recording

    def tap(self, label: str, detail: str = "") -> Callable[[Observable[T]], Observable[T]]:
        """Make an operator that records the values that pass through it, unchanged.

        You may use taps in a recorded connection's chain: all lanes share one clock. If a value is
        an Observable, such as a group, its own values are recorded, too, in lanes of their own. An
        Observable that behaves the same and is equal to it takes its place in the chain.

        Args:
            label: The name of the lane.
            detail: Text that diagrams show below the name, such as an operator's argument.

        Returns:
            The operator.

        Examples:
            >>> import reactivex as rx
            >>> from reactivex import operators as ops
            >>> recording = Recording()
            >>> rx.of(1, 2).pipe(ops.map(str), recording.tap("text", "str")).run()
            '2'
            >>> [event.data for event in recording.lanes["text"].events if event.type == "next"]
            ['1', '2']
        """
        lane = self.lane(label)
        if detail:
            lane.detail = detail

        inner = InnerLanes(self, label, "inner")

        def operator(source: Observable[T]) -> Observable[T]:
            def subscribe(
                observer: ObserverBase[T], scheduler: SchedulerBase | None = None
            ) -> DisposableBase:
                self._clock.start(scheduler)
                with self._links.subscribing(lane):
                    return tap(source, lane, inner, observer, scheduler)

            return derived(source, subscribe)

        return operator

    def lane(self, name: str) -> Lane:
        """Return the lane with this name, and create it if there is none.

        Args:
            name: The name of the lane.

        Returns:
            The lane, whose `events` are the recorded ones.
        """
        if name not in self.lanes:
            self.lanes[name] = Lane(self._clock, name, self._keep)
        return self.lanes[name]

    @property
    def count(self) -> int:
        """The number of events so far, including those that are no longer kept."""
        return self._clock.count

    @property
    def events(self) -> list[Event]:
        """The kept events of all lanes, in the order in which they happened.

        Each has `t` (seconds since the recording began), `lane`, `dir`, `type`, `data` and `frame`:
        the frame of a message that the codec decoded or encoded, else None.
        """
        entries = [(entry, lane) for lane in self.lanes.values() for entry in lane.entries]
        entries.sort(key=lambda pair: (pair[0].t, pair[0].order))
        return [lane.event(entry) for entry, lane in entries]

    def stop(self) -> None:
        """Stop recording the connection. Taps keep recording. Calling it again has no effect."""
        self._watches.dispose()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the recording as a file with one JSON object per event.

        Each line has the keys `t` (seconds), `lane`, `dir`, `type` and `data`, and `frame` for a
        message that the codec decoded or encoded. A value that does not survive the round trip
        through JSON is saved as its `repr`, but `replay` and `simulate` use its frame.

        Args:
            path: The file; it is overwritten.

        Raises:
            OSError: The file cannot be written.
        """
        before: list[Event] = []
        after: list[Event] = []
        for lane in self.lanes.values():
            event = partial(Event, 0.0, lane.name, lane.dir)
            if not len(lane):
                before.append(event("empty", None))
            if lane.nesting is not None:
                before.append(event("nested", lane.nesting))
            if lane.dropped:
                before.append(event("dropped", lane.dropped)._replace(t=lane.events[0].t))
            if lane.passage is not None:
                after.append(event("step", lane.passage.step))
        write(path, [*before, *self.events, *after])

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Load a recording that `save` wrote.

        Args:
            path: The file.

        Returns:
            The recording. Values that were saved as their `repr` are strings, which `replay` and
            `simulate` replace if the file has their frames.

        Raises:
            ValueError: A line is not an event of a recording; the message quotes it.
            OSError: The file cannot be read.

        Examples:
            ```python
            print(rxws.Recording.load("session.jsonl").text())
            ```
        """
        events = read(path)
        recording = cls(keep=max(len(events), 1))
        for event in events:
            lane = recording.lane(event.lane)
            lane.dir = event.dir
            if event.type == "dropped":
                lane.dropped = event.data
            elif event.type == "step":
                lane.passage = Passage(event.data)
            elif event.type == "nested":
                lane.nesting = event.data
            elif event.type != "empty":
                lane.add(event)
        return recording

    def replay(
        self,
        speed: float = 1.0,
        *,
        lane: str = "incoming",
        codec: Codec[Any, Any] | None = None,
        scheduler: SchedulerBase | None = None,
    ) -> Observable[Any]:
        """Make an Observable that emits the events of a lane again, at their times.

        Args:
            speed: Factor by which it is faster than the recording: 2 takes half the time, and
                `math.inf` removes all delays.
            lane: The name of the lane.
            codec: Decodes the recorded frames again; by default the recorded values are emitted.
                You need it for a loaded recording with values that JSON cannot represent.
            scheduler: The scheduler for the delays; defaults to the subscriber's.

        Returns:
            A cold Observable. If the lane had not ended, it completes after the last event. It
            fails if the codec cannot decode a frame.

        Raises:
            KeyError: There is no lane with this name.
            ValueError: `speed` is not above 0, or a value needs `codec`.

        Examples:
            >>> import math
            >>> import reactivex as rx
            >>> recording = Recording()
            >>> rx.of(1, 2).pipe(recording.tap("numbers")).run()
            2
            >>> recording.replay(math.inf, lane="numbers").run()
            2
        """
        if lane not in self.lanes:
            raise KeyError(f"no lane {lane!r}: the recording has {sorted(self.lanes)}")
        # If events were dropped, skip the time before the first that is left.
        start = min((each.events[0].t for each in self.lanes.values() if each.dropped), default=0.0)
        events = [event for event in self.lanes[lane].events if event.type != "subscribed"]
        return replay(events, start, speed, scheduler, codec)

    @property
    def now(self) -> float:
        """The current time, in seconds since the recording began."""
        return self._clock.seconds() - self._clock.began

    def picture(self, until: float | None = None) -> Diagram:
        """Return the recording as a diagram, before it is rendered.

        Args:
            until: The current time, such as `now`, if streams are still running.

        The lines are, from top to bottom: incoming messages, taps, outgoing messages, errors. The
        lines of inner Observables are next to that of their stream. A connection's close is drawn
        at the end of its lines.
        """
        closed = self.lanes.get("closed")
        ends = [each for each in closed.entries if isinstance(each.data, Close)] if closed else []
        lanes = sorted(self.lanes.values(), key=_position)
        drops = dropped_values(self.lanes)
        tracks = in_order(
            lane.track(self._labels, drops.get(lane.name, {}))
            for lane in lanes
            if not _is_hidden(lane)
        )
        if not ends:
            return Diagram(self.title, tracks, until=until)
        return Diagram(self.title, tracks, ends[-1].data, ends[-1].t)

    def svg(self, width: int = 760, window: float | None = None) -> str:
        """Draw a marble diagram as SVG.

        Args:
            width: The width in pixels, at least 200.
            window: How many of the latest seconds to draw; by default everything.

        Returns:
            An `<svg>` element, for a page or a file.

        Raises:
            ValueError: `width` is below 200, or `window` is not above 0.

        Examples:
            ```python
            Path("session.svg").write_text(recording.svg(width=600), encoding="utf-8")
            ```
        """
        return svg(self.picture(), width, window)

    def text(self, cols: int = 48) -> str:
        """Draw a marble diagram as text, for terminals.

        Args:
            cols: The width in columns, without the names; at least 24.

        Returns:
            A title line if there is a title, a line per stream, and the time axis.

        Raises:
            ValueError: `cols` is below 24.
        """
        return text(self.picture(), cols)

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.svg(), "text/plain": self.text()}

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def __repr__(self) -> str:
        lanes = ", ".join(f"{lane.name} {len(lane)}" for lane in self.lanes.values())
        dropped = sum(lane.dropped for lane in self.lanes.values())
        return f"<Recording {lanes or 'empty'}{f', dropped {dropped}' if dropped else ''}>"
