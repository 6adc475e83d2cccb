"""Record what streams do and when, for tests, diagrams and files."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from typing import IO, Any, TypeVar, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SerialDisposable

from rxws._core.connection import Close, Connection, without_secrets
from rxws._core.streams.scheduled import scheduler_of
from rxws._core.streams.stream import Stream
from rxws.codecs import Codec
from rxws.status import Open, Status

from .client import STATUS, Client, watch_status
from .diagram import Diagram, in_order, svg, text, to_ascii
from .diagram.records import Label, Labels, check_label
from .diagram.statuses import RecordedStatus
from .diagram.visible import Window
from .followed import derived
from .inner import InnerLanes
from .jsonl import Event, as_line, read
from .lane import Lane, RecordingClock
from .links import Links
from .messages import watch_messages
from .passage import Passage, dropped_values
from .recording_file import OnError, RecordingFile
from .replay import replay
from .tap import LaneObserver, tap

__all__ = ["Recording"]

T = TypeVar("T")

_ENDS = ("completed", "error", "disposed")
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
        subprotocol: The subprotocol of the recorded connection, or None.

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
        self.subprotocol: str | None = None
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
        cls,
        source: Connection[Any, Any] | Client,
        *,
        keep: int = 2000,
        label: Label | None = None,
    ) -> Recording:
        """Record a connection: its messages in both directions, its errors and its close.

        Messages are recorded when they are delivered. Without a subscriber to `conn.incoming`, they
        stay buffered, as they do without a recording.

        Args:
            source: The connection; or a client that reconnects, such as a `WebSocketSubject`. Then
                each of its connections is recorded, in the same lanes.
            keep: Number of events to keep of each stream. Older ones are dropped and counted.
            label: What diagrams show of a value; see `Recording`.

        Returns:
            A recording with the lanes `incoming`, `outgoing`, `errors` and `closed`. That of a
            client has the lane `status`, too.

        Raises:
            TypeError: `source` was not opened by rxws, or `label` is neither a string nor a
                function.
            ValueError: `keep` is not a whole number above 0.

        Examples:
            ```python
            conn = await rxws.connect("ws://127.0.0.1:8765/ticks")
            recording = rxws.Recording.of(conn)
            await conn.closed
            print(recording.text())
            ```
        """
        if isinstance(cast(object, source), Connection):
            conn = cast("Connection[Any, Any]", source)
            recording = cls(keep=keep, scheduler=conn.scheduler, label=label)
            recording._watches.add(recording._watch(conn))
            return recording
        client = cast("Client", source)
        scheduler = None
        with suppress(RuntimeError):  # no loop is running
            scheduler = scheduler_of(cast(Any, client))
        recording = cls(keep=keep, scheduler=scheduler, label=label)
        watches = SerialDisposable()  # of the latest connection

        def on_status(status: Status) -> None:
            if isinstance(status, Open) and client.connection is not None:
                watches.disposable = recording._watch(client.connection)

        recording._watches.add(watch_status(client, recording.lane(STATUS), on_status))
        recording._watches.add(watches)
        return recording

    def _watch(self, conn: Connection[Any, Any]) -> DisposableBase:
        """Record a connection, whose lanes may have those of an earlier one."""
        watches = CompositeDisposable()
        for name in ("incoming", "outgoing", "errors", "closed"):
            stream: Any = getattr(conn, name)
            if not isinstance(cast(object, stream), Stream):
                raise TypeError(f"{stream!r} is not a stream of rxws: record it with tap() instead")
            lane = self.lane(name)
            if name == "incoming":
                self._links.observe(lane, stream)
            record = partial(lane.record, "next")
            watches.add(watch_messages(stream, record, LaneObserver(lane)))
        self.title = str(without_secrets(conn.handshake.url))
        self.subprotocol = conn.handshake.subprotocol
        for follow in self._clock.followers:  # files that began before the connection
            follow(self._about())
        return watches

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
        with open(path, "wb") as file:
            file.writelines(map(as_line, [*self._head(), *self.events, *self._tail()]))

    def stream_to(
        self,
        target: str | os.PathLike[str] | IO[bytes],
        *,
        append: bool = False,
        on_error: OnError | None = None,
    ) -> RecordingFile:
        """Write each event to a file as it happens, after those that are kept.

        The file is that of `save`, and can be loaded at any time, also if the process is killed.
        With a small `keep`, you can record for days.

        Args:
            target: The path of the file, or a binary file that is open for writing.
            append: Whether to continue the recording in the file, if it exists. The times of the
                events then continue, too. By default the file is overwritten.
            on_error: Called if the file cannot be written, with the error; by default it is logged.
                Nothing is written after that. The recorded streams do not notice.

        Returns:
            The file, which you close with `dispose` or with `with`.

        Raises:
            OSError: The file cannot be opened.
            ValueError: The file to continue is not a recording.

        Examples:
            ```python
            with rxws.Recording.of(conn, keep=100).stream_to("session.jsonl"):
                await conn.closed
            ```
        """
        file = RecordingFile(target, append, on_error, self._clock, self._tail)
        for event in [*self._head(), *self.events]:
            file.write(event)
        self._clock.followers += (file.write,)
        return file

    def _head(self) -> list[Event]:
        """Return what a file begins with: what the events do not contain."""
        head: list[Event] = []
        if self.title or self.subprotocol:
            head.append(self._about())
        for lane in self.lanes.values():
            event = partial(Event, 0.0, lane.name, lane.dir)
            if not len(lane):
                head.append(event("empty", None))
            if lane.dropped:
                head.append(event("dropped", lane.dropped)._replace(t=lane.events[0].t))
        return head

    def _about(self) -> Event:
        about = {"title": self.title, "subprotocol": self.subprotocol}
        return Event(0.0, "", None, "recording", about)

    def _tail(self) -> list[Event]:
        """Return what a file ends with: what is known of the lanes at the end."""
        tail: list[Event] = []
        for lane in self.lanes.values():
            event = partial(Event, self.now, lane.name, lane.dir)
            if lane.nesting is not None:
                tail.append(event("nested", lane.nesting))
            if lane.passage is not None:
                tail.append(event("step", lane.passage.step))
        return tail

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
        recording = cls(keep=sys.maxsize)
        with open(path, "rb") as file:
            for event in read(file, os.fspath(path)):
                recording.add(event)
        return recording

    def add(self, event: Event) -> None:
        """Add an event that was recorded elsewhere, such as one from a file.

        Args:
            event: An event later than those in its lane.
        """
        if event.type == "recording":
            self.title = event.data.get("title", self.title)
            self.subprotocol = event.data.get("subprotocol", self.subprotocol)
            return
        lane = self.lane(event.lane)
        lane.dir = event.dir
        match event.type:
            case "dropped":
                lane.dropped += event.data
            case "step":
                lane.passage = Passage(event.data)
            case "nested":
                lane.nesting = event.data
            case "omitted":
                lane.omitted += event.data
            case "empty":
                pass
            case _:
                lane.add(event)

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
            fails if the codec cannot decode a frame. The messages of several connections, of a
            client that reconnected, are emitted as one stream.

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
        self._check_lane(lane)
        # If events were dropped, skip the time before the first that is left.
        start = min((each.events[0].t for each in self.lanes.values() if each.dropped), default=0.0)
        events = [event for event in self.lanes[lane].events if event.type != "subscribed"]
        if self.lanes[lane].dir is not None:  # after a reconnect, messages follow an end
            earlier = [event for event in events[:-1] if event.type not in _ENDS]
            events = earlier + events[-1:]
        return replay(events, start, speed, scheduler, codec)

    def _check_lane(self, name: str) -> None:
        if name not in self.lanes:
            raise KeyError(f"no lane {name!r}: the recording has {sorted(self.lanes)}")

    @property
    def duration(self) -> float:
        """The time of the latest event, in seconds since the recording began."""
        return max((lane.entries[-1].t for lane in self.lanes.values() if len(lane)), default=0.0)

    @property
    def now(self) -> float:
        """The current time, in seconds since the recording began."""
        return self._clock.seconds() - self._clock.began

    def picture(
        self, until: float | None = None, *, lanes: Collection[str] | None = None
    ) -> Diagram:
        """Return the recording as a diagram, before it is rendered.

        Args:
            until: The current time, such as `now`, if streams are still running.
            lanes: The names of the lanes to draw, with those of their inner Observables; by default
                all.

        The lines are, from top to bottom: incoming messages, taps, outgoing messages, errors. The
        lines of inner Observables are next to that of their stream. A connection's close is drawn
        at the end of its lines.

        Raises:
            KeyError: There is no lane with one of the names.
        """
        for name in lanes or ():
            self._check_lane(name)
        closed = self.lanes.get("closed")
        ends = [each for each in closed.entries if isinstance(each.data, Close)] if closed else []
        drops = dropped_values(self.lanes)
        tracks = in_order(
            lane.track(self._labels, drops.get(lane.name, {}))
            for lane in sorted(self.lanes.values(), key=_position)
            if (
                not _is_hidden(lane)
                if lanes is None
                else (lane.name if lane.nesting is None else lane.nesting.outer) in lanes
            )
        )
        if not ends:
            return Diagram(self.title, tracks, until=until)
        earlier = tuple((end.t, end.data) for end in ends[:-1])
        return Diagram(self.title, tracks, ends[-1].data, ends[-1].t, earlier=earlier)

    def svg(
        self,
        width: int = 760,
        window: Window = None,
        *,
        lanes: Collection[str] | None = None,
    ) -> str:
        """Draw a marble diagram as SVG.

        Args:
            width: The width in pixels, at least 200.
            window: How many of the latest seconds to draw, or the seconds to begin and to stop at;
                by default everything.
            lanes: The names of the lanes to draw; by default all.

        Returns:
            An `<svg>` element, for a page or a file.

        Raises:
            KeyError: There is no lane with one of the names.
            ValueError: `width` is below 200, `window` is not above 0, or it ends before it begins.

        Examples:
            ```python
            Path("session.svg").write_text(recording.svg(width=600), encoding="utf-8")
            ```
        """
        return svg(self.picture(lanes=lanes), width, window)

    def text(
        self,
        cols: int = 48,
        window: Window = None,
        *,
        lanes: Collection[str] | None = None,
        width: int | None = None,
        ascii: bool = False,  # noqa: A002 # as `json.dumps` has `ensure_ascii`
    ) -> str:
        """Draw a marble diagram as text, for terminals.

        Args:
            cols: The width in columns, without the names; at least 24.
            window: How many of the latest seconds to draw, or the seconds to begin and to stop at;
                by default everything.
            lanes: The names of the lanes to draw; by default all.
            width: The width in columns with the names, such as that of the terminal, instead of
                `cols`. The time has at least 24 columns.
            ascii: Whether to use ASCII characters only. Other characters of labels become `?`.

        Returns:
            A title line if there is a title, a line per stream, and the time axis.

        Raises:
            KeyError: There is no lane with one of the names.
            ValueError: `cols` is below 24, `window` is not above 0, or it ends before it begins.
        """
        drawn = text(self.picture(lanes=lanes), cols, window, width=width)
        return to_ascii(drawn) if ascii else drawn

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return {"text/html": self.svg(), "text/plain": self.text()}

    def __len__(self) -> int:
        return sum(map(len, self.lanes.values()))

    def __repr__(self) -> str:
        lanes = ", ".join(f"{lane.name} {len(lane)}" for lane in self.lanes.values())
        dropped = sum(lane.dropped for lane in self.lanes.values())
        return f"<Recording {lanes or 'empty'}{f', dropped {dropped}' if dropped else ''}>"
