"""The part of a track within a time window: its values, its ends and its time line."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal, TypeAlias

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed
from rxws.closing import is_clean

from .axis import duration
from .labels import short
from .model import Diagram, Mark, Nesting, Track
from .statuses import RecordedStatus, StatusSpan, status_spans
from .tooltips import full

__all__ = [
    "End",
    "Segment",
    "TimeSpan",
    "VisibleTrack",
    "Window",
    "time_span",
    "visible_tracks",
]

Window: TypeAlias = float | tuple[float, float] | None
"""How many of the latest seconds to draw, or two times to draw between; None for everything."""

_AT_ONCE = 0.01  # seconds: a shorter flow probably ran within one turn of the event loop
_END_LABEL = 14  # columns
_TIMES = "\N{MULTIPLICATION SIGN}"
_time = attrgetter("t")


@dataclass(frozen=True, slots=True)
class TimeSpan:
    """The time that a diagram shows, in seconds."""

    start: float
    stop: float
    now: float  # where the line of a running stream ends


@dataclass(frozen=True, slots=True)
class End:
    """An end of a stream, with its label and the text of its tooltip."""

    t: float
    kind: Literal["completed", "error", "disposed"]
    label: str
    description: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of a track's time line."""

    start: float
    stop: float
    kind: Literal["runs", "open", "disposed", "lost"]  # open: continues; lost: no longer kept
    began: str | None = None  # the label of the inner Observable that begins with it


@dataclass(frozen=True, slots=True)
class VisibleTrack:
    """A track within a span of time."""

    track: Track
    values: Sequence[Mark]  # within the span
    kept: int  # how many values are kept, also those outside the span
    total: int  # all values, also those no longer kept, or not loaded
    ends: tuple[End, ...]  # within the span
    segments: tuple[Segment, ...]
    last: End | None  # the final end, within the span or before it
    ended_before: str  # describes the final end if it is before the span
    only_errors: bool  # whether all values are exceptions
    statuses: tuple[StatusSpan, ...] = ()  # if it is the lane of a client's states

    @property
    def title(self) -> str:
        """The name with an arrow for the direction."""
        if self.track.nesting is not None:
            return _inner_title(self.track.nesting)
        return {"in": "↓ ", "out": "↑ "}.get(self.track.dir or "", "") + self.track.name

    @property
    def count(self) -> str:
        """The number of values, as shown to the right of the lane."""
        if self.statuses:
            return f"{max(self.total - 1, 0)} changes"
        count = len(self.values) if self.track.omitted else self.kept
        return f"{count} of {self.total} ev" if count < self.total else f"{self.total} ev"

    @property
    def drops(self) -> str:
        """The number of values that the next step dropped, as shown below the count."""
        return f"{len(self.track.drops)} dropped" if self.track.drops else ""

    @property
    def summary(self) -> str:
        """The track in words, for its tooltip."""
        kept = f", the last {self.kept} kept" if self.kept < self.total else ""
        if self.track.omitted:
            kept = f", {len(self.values)} of them in this time"
        events = f"{self.total} event{'' if self.total == 1 else 's'}{kept}"
        if self.drops:
            events += f", {self.drops}"
        count = self.track.nesting.inners if self.track.nesting else 0
        inners = f"{count} inner streams, " if count > 1 else ""
        return f"{self._name}: {inners}{events}{f', {self.last.description}' if self.last else ''}"

    @property
    def _name(self) -> str:
        nesting = self.track.nesting
        return self.track.name if nesting is None else f"{self.title} of {nesting.outer}"

    @property
    def is_rest(self) -> bool:
        """Whether it has the values of several inner Observables at the same time."""
        return self.track.nesting is not None and self.track.nesting.rest

    @property
    def shown(self) -> bool:
        """Whether there is anything to draw; an inner track may begin later or have ended."""
        return self.track.nesting is None or bool(self.values or self.segments)


def _inner_title(nesting: Nesting) -> str:
    """Return the name of a lane of inner Observables: the label that all of them share, or none."""
    if nesting.rest:
        return f"{_TIMES}{nesting.inners} more"
    return nesting.label or f"{nesting.inners} streams"


def time_span(diagram: Diagram, window: Window) -> TimeSpan:
    """Return the time that a diagram shows, limited to its last `window` seconds if given."""
    if isinstance(window, tuple):
        start, stop = window
        if not start < stop < math.inf:
            raise ValueError(f"window={window!r} must be two times in seconds, the earlier first")
        return TimeSpan(start, stop, max(_now(diagram), stop))
    if window is not None and not window > 0:
        raise ValueError(f"window={window!r} seconds would show nothing: use more than 0, or None")
    now = _now(diagram)
    start = diagram.began
    # Start at the first event if older ones are gone. Start there as well if everything happened
    # within one turn of the event loop: the time before it is only the cost of subscribing.
    if now - start < _AT_ONCE or any(track.dropped for track in diagram.tracks):
        firsts = [track.marks[0].t for track in diagram.tracks if track.marks]
        start = max(start, min(firsts, default=start))
    stop = now
    if window is not None:
        start = max(start, now - window)
        if diagram.until is not None and any(map(_is_running, diagram.tracks)):
            stop = max(stop, start + window)  # leave room for the next events
    if stop <= start:
        stop = now = start + 1.0
    return TimeSpan(start, stop, now)


def _now(diagram: Diagram) -> float:
    last = max((track.marks[-1].t for track in diagram.tracks if track.marks), default=0.0)
    now = max(last, diagram.closed_at or 0.0) if diagram.until is None else diagram.until
    return max(now, diagram.began)


def _is_running(track: Track) -> bool:
    return not track.marks or _kind(track.marks[-1]) in ("next", "subscribed")


def _kind(mark: Mark) -> str:
    return "close" if isinstance(mark.data, Close) else mark.type


def visible_tracks(diagram: Diagram, time: TimeSpan) -> list[VisibleTrack]:
    """Return the tracks to draw within a span of time, from top to bottom."""
    parts = [_visible_part(track, diagram, time) for track in diagram.tracks]
    return [part for part in parts if part.shown]


def _visible_part(track: Track, diagram: Diagram, time: TimeSpan) -> VisibleTrack:
    """Return the part of a track within a span of time."""
    marks = track.marks
    values = [mark for mark in marks if mark.type == "next" and not isinstance(mark.data, Close)]
    ends = [] if len(values) == len(marks) else _ends(track, diagram)
    if diagram.close is not None and track.dir and not ends:
        ends = [_end_at_close(diagram, diagram.close, time)]
    find = _segments if track.nesting is None else _inner_segments
    segments, last = find(track, values, ends, time)
    first = bisect_left(values, time.start, key=_time)
    return VisibleTrack(
        track,
        values[first : bisect_right(values, time.stop, key=_time)] if values else values,
        len(values),
        len(values) + track.dropped + track.omitted
        if track.nesting is None
        else track.nesting.values,
        tuple(end for end in ends if time.start <= end.t <= time.stop),
        segments,
        last,
        _ended_before(last, time),
        bool(values) and all(isinstance(mark.data, BaseException) for mark in values),
        tuple(status_spans(marks, time.start, time.now))
        if values and isinstance(values[-1].data, RecordedStatus)
        else (),
    )


def _ended_before(last: End | None, time: TimeSpan) -> str:
    # The dashed line of a disposed track says enough.
    if last is None or last.t >= time.start or last.kind == "disposed":
        return ""
    return f"{last.label or last.kind} at {duration(last.t)}"


def _ends(track: Track, diagram: Diagram) -> list[End]:
    ends: list[End] = []
    for mark in track.marks:
        close = diagram.close_after(mark.t) if track.dir else None
        kind = _kind(mark)
        if kind == "close":
            return [
                *ends,
                _end(mark.t, "completed", mark.data),
            ]  # a sent Close ends the lane
        if kind == "completed":
            # Draw the close code in the same colour on both lanes of a connection.
            failed = close is not None and track.dir == "out" and _has_failed(diagram, close)
            ends.append(_end(mark.t, "error" if failed else "completed", close))
        elif kind == "error":
            ends.append(_end(mark.t, "error", mark.data))
        elif kind == "disposed":
            ends.append(End(mark.t, "disposed", "", "disposed"))
    return ends


def _end(t: float, kind: Literal["completed", "error"], data: Any) -> End:
    close = data.close if isinstance(data, ConnectionClosed) else data
    if isinstance(close, Close):
        reason = f" {close.reason}" if close.reason else ""
        return End(t, kind, str(close.code), f"closed with {close.code}{reason} by {close.by}")
    if kind == "completed":
        return End(t, kind, "", "completed")
    return End(t, kind, short(data, _END_LABEL), f"error {full(data)}")


def _has_failed(diagram: Diagram, close: Close) -> bool:
    """Whether `incoming` failed when the connection closed."""
    if close is diagram.close:
        return _incoming_end(diagram) == "error"
    return not is_clean(close)


def _incoming_end(diagram: Diagram) -> str:
    """Return the type of the last incoming mark; `"next"` if there is none."""
    incoming = next((track for track in diagram.tracks if track.dir == "in" and track.marks), None)
    return _kind(incoming.marks[-1]) if incoming else "next"


def _end_at_close(diagram: Diagram, close: Close, time: TimeSpan) -> End:
    """Return the end of a lane that recorded none, although its connection has closed."""
    incoming = _incoming_end(diagram)
    failed = incoming == "error" or (incoming != "completed" and not is_clean(close))
    at = time.now if diagram.closed_at is None else diagram.closed_at
    return _end(at, "error" if failed else "completed", close)


def _segments(
    track: Track, values: Sequence[Mark], ends: list[End], time: TimeSpan
) -> tuple[tuple[Segment, ...], End | None]:
    """Return the visible segments and the final end; None if the stream is still running."""
    segments: list[Segment] = []
    marks = track.marks
    start = time.start
    if track.dropped and marks:
        segments.append(Segment(time.start, marks[0].t, "lost"))
        start = marks[0].t
    last: End | None = None
    for end in ends:
        segments.append(Segment(start, end.t, "runs"))
        # Values after an end belong to the next subscription.
        after = bisect_right(values, end.t, key=_time)
        next_end = next((other.t for other in ends if other.t > end.t), math.inf)
        resumed = min(values[after].t if after < len(values) else math.inf, next_end)
        if end.kind == "disposed":
            segments.append(Segment(end.t, min(resumed, time.now), "disposed"))
        if resumed == math.inf:
            last = end
            break
        start = resumed
    if last is None:
        segments.append(Segment(start, time.now, "open"))
    return _within(segments, time), last


def _inner_segments(
    track: Track, _: Sequence[Mark], ends: list[End], time: TimeSpan
) -> tuple[tuple[Segment, ...], End | None]:
    """Do as `_segments`, for a lane of inner Observables: each begins somewhere."""
    segments: list[Segment] = []
    remaining = iter(ends)
    # The oldest start may be among the events that are no longer kept.
    start = track.marks[0].t if (track.dropped or track.omitted) and track.marks else None
    label: str | None = None
    last: End | None = None
    for mark in track.marks:
        if mark.type == "subscribed" and label is None:
            start, label, last = mark.t, mark.data, None
        elif mark.type not in ("next", "subscribed") and start is not None:
            last = next(remaining)
            segments.append(Segment(start, last.t, "runs", label))
            start = label = None
    if start is not None:
        segments.append(Segment(start, time.now, "open", label))
    return _within(segments, time), last


def _within(segments: list[Segment], time: TimeSpan) -> tuple[Segment, ...]:
    visible = [
        Segment(
            max(each.start, time.start),
            min(each.stop, time.stop),
            each.kind,
            each.began if each.start >= time.start else None,
        )
        for each in segments
        if each.stop >= time.start and each.start <= time.stop
    ]
    return tuple(each for each in visible if each.stop > each.start or each.kind != "lost")
