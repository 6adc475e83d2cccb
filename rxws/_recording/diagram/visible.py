"""What of a track is seen in a window of time: its values, its ends, and where its line runs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed
from rxws.closing import is_clean

from .axis import duration
from .labels import full, short
from .model import Diagram, Mark, Track

__all__ = ["End", "Line", "Seen", "Span", "see", "span"]

_AT_ONCE = 0.01  # seconds
_CODE = 14  # columns of what stands at an end


@dataclass(frozen=True, slots=True)
class Span:
    """The time that a picture shows, in seconds."""

    start: float
    stop: float
    now: float  # where a stream that still runs has come to


@dataclass(frozen=True, slots=True)
class End:
    """An end of a stream: what stands there, and what a tooltip says."""

    t: float
    kind: Literal["completed", "error", "disposed"]
    label: str
    said: str


@dataclass(frozen=True, slots=True)
class Line:
    """A piece of a time line."""

    start: float
    stop: float
    kind: Literal["runs", "open", "disposed", "lost"]  # open: runs on; lost: no longer kept


@dataclass(frozen=True, slots=True)
class Seen:
    """A track within a span of time."""

    track: Track
    values: Sequence[Mark]  # in the span
    total: int  # of values in all the time, with those that are no longer kept
    ends: tuple[End, ...]  # in the span
    lines: tuple[Line, ...]
    last: End | None  # the end that nothing came after, be it in the span or before
    before: str  # what is said of that end where it was before the span
    faults: bool  # the values are errors

    @property
    def count(self) -> str:
        """How many values there were."""
        kept = self.total - self.track.dropped
        return f"{kept} of {self.total} ev" if self.track.dropped else f"{self.total} ev"

    @property
    def summary(self) -> str:
        """The track in words."""
        kept = f", the last {self.total - self.track.dropped} kept" if self.track.dropped else ""
        events = f"{self.total} event{'' if self.total == 1 else 's'}{kept}"
        return f"{self.track.name}: {events}{f', {self.last.said}' if self.last else ''}"


def span(picture: Diagram, window: float | None) -> Span:
    """Return the time that a picture shows.

    Args:
        picture: The picture.
        window: The seconds up to its end that are shown; all if None.

    Raises:
        ValueError: The window is not above 0.
    """
    if window is not None and not window > 0:
        raise ValueError(f"window={window!r} seconds would show nothing: use more than 0, or None")
    last = max((track.marks[-1].t for track in picture.tracks if track.marks), default=0.0)
    now = max(last, picture.closed_at or 0.0) if picture.until is None else picture.until
    now = max(now, picture.began)
    start = picture.began
    # Before the first event that is kept there is nothing to see, nor before the first of what is
    # done within one turn of a loop: that is what subscribing took.
    if now - start < _AT_ONCE or any(track.dropped for track in picture.tracks):
        firsts = [track.marks[0].t for track in picture.tracks if track.marks]
        start = max(start, min(firsts, default=start))
    stop = now
    if window is not None:
        start = max(start, now - window)
        if picture.until is not None and any(map(_runs, picture.tracks)):
            stop = max(stop, start + window)  # room for what is to come
    if stop <= start:
        stop = now = start + 1.0
    return Span(start, stop, now)


def _runs(track: Track) -> bool:
    return not track.marks or _kind(track.marks[-1]) == "next"


def _kind(mark: Mark) -> str:
    return "close" if isinstance(mark.data, Close) else mark.type


def see(track: Track, picture: Diagram, time: Span) -> Seen:
    """Return what of a track is seen in a span of time."""
    marks = track.marks
    values = [mark for mark in marks if mark.type == "next" and not isinstance(mark.data, Close)]
    ends = [] if len(values) == len(marks) else _ends(track, picture)
    if picture.close is not None and track.dir and not ends:
        ends = [_closed(picture, picture.close, time)]
    lines, last = _lines(track, values, ends, time)
    first = bisect_left(values, time.start, key=_time)
    return Seen(
        track,
        values[first : bisect_right(values, time.stop, key=_time)] if values else values,
        len(values) + track.dropped,
        tuple(end for end in ends if time.start <= end.t <= time.stop),
        lines,
        last,
        _before(last, time),
        bool(values) and all(isinstance(mark.data, BaseException) for mark in values),
    )


def _before(last: End | None, time: Span) -> str:
    # Dashes say that it was disposed.
    if last is None or last.t >= time.start or last.kind == "disposed":
        return ""
    return f"{last.label or last.kind} at {duration(last.t)}"


def _time(mark: Mark) -> float:
    return mark.t


def _ends(track: Track, picture: Diagram) -> list[End]:
    ends: list[End] = []
    close = picture.close if track.dir else None
    for mark in track.marks:
        kind = _kind(mark)
        if kind == "close":
            return [*ends, _end(mark.t, "completed", mark.data)]  # what was sent ends all
        if kind == "completed":
            # One code is not red and green at once: what goes out ends as the connection does.
            failed = close is not None and track.dir == "out" and _told(picture) == "error"
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
    return End(t, kind, short(data, _CODE), f"error {full(data)}")


def _told(picture: Diagram) -> str:
    """What was told last of what comes in."""
    incoming = next((track for track in picture.tracks if track.dir == "in" and track.marks), None)
    return _kind(incoming.marks[-1]) if incoming else "next"


def _closed(picture: Diagram, close: Close, time: Span) -> End:
    """The end of a lane of a connection that did not end itself."""
    told = _told(picture)
    failed = told == "error" if told in ("error", "completed") else not is_clean(close)
    at = time.now if picture.closed_at is None else picture.closed_at
    return _end(at, "error" if failed else "completed", close)


def _lines(
    track: Track, values: Sequence[Mark], ends: list[End], time: Span
) -> tuple[tuple[Line, ...], End | None]:
    lines: list[Line] = []
    marks = track.marks
    start = time.start
    if track.dropped and marks:
        lines.append(Line(time.start, marks[0].t, "lost"))
        start = marks[0].t
    last: End | None = None
    for end in ends:
        lines.append(Line(start, end.t, "runs"))
        # Values after an end are those of another subscription.
        after = bisect_right(values, end.t, key=_time)
        following = next((other.t for other in ends if other.t > end.t), math.inf)
        again = min(values[after].t if after < len(values) else math.inf, following)
        if end.kind == "disposed":
            lines.append(Line(end.t, min(again, time.now), "disposed"))
        if again == math.inf:
            last = end
            break
        start = again
    if last is None:
        lines.append(Line(start, time.now, "open"))
    shown = [
        Line(max(line.start, time.start), min(line.stop, time.stop), line.kind)
        for line in lines
        if line.stop >= time.start and line.start <= time.stop
    ]
    return tuple(line for line in shown if line.stop > line.start or line.kind != "lost"), last
