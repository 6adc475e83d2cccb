"""The rows of a table of frames, made of what a recording of a connection has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, DecodeError, EncodeError
from rxws._recording.lane import Lane, LaneEntry
from rxws._recording.recording import Recording

from .payload import Payload, payload
from .text import escape, one_line, text_block

__all__ = ["Frames", "Row", "Rows"]

_LANES = ("incoming", "outgoing", "errors", "closed")


class Row(NamedTuple):
    """One row.

    Args:
        number: Its place among all events of the recording, the same at each drawing.
        t: Seconds since the recording began.
        sort: `"in"` and `"out"` for frames, `"fault"`, `"end"` for how the connection ended.
        payload: What the other columns say.
        bad: Whether it tells of an error.
    """

    number: int
    t: float
    sort: Literal["in", "out", "fault", "end"]
    payload: Payload
    bad: bool = False


@dataclass(frozen=True, slots=True)
class Frames:
    """All that a table shows.

    Args:
        title: What stands above it.
        rows: From the oldest to the newest.
        received: Messages that came in so far.
        sent: Messages that went out so far.
        older: Rows that there were before the first one.
        note: What is to be said below the rows.
    """

    title: str
    rows: tuple[Row, ...]
    received: int = 0
    sent: int = 0
    older: int = 0
    note: str = ""


class Rows:
    """Makes the latest rows of a recording; each row once.

    Args:
        recording: Of a connection.
        keep: Rows at most.
        title: What stands above the table; that of the recording if not given.
    """

    def __init__(self, recording: Recording, keep: int, title: str | None = None) -> None:
        self.recording = recording
        self._keep = keep
        self._title = title
        self._made: dict[int, Row] = {}

    def over(self) -> bool:
        """Whether nothing can come any more."""
        lanes = self.recording.lanes
        return bool(lanes) and all(lane.ended for lane in lanes.values())

    def frames(self, hint: str = "") -> Frames:
        """Return what the table shows now.

        Args:
            hint: Why perhaps nothing comes.
        """
        recording = self.recording
        lanes = {name: lane for name in _LANES if (lane := recording.lanes.get(name)) is not None}
        kept = [(note, lane) for lane in lanes.values() for note in lane.notes if _is_row(note)]
        kept.sort(key=lambda pair: (pair[0].t, pair[0].order))
        latest = kept[-self._keep :]
        made = self._made
        # Made once: a value costs the same at 8 drawings a second as at one.
        self._made = {
            note.order: made.get(note.order) or self._row(note, lane) for note, lane in latest
        }
        return Frames(
            recording.title if self._title is None else self._title,
            tuple(self._made.values()),
            _messages(lanes.get("incoming")),
            _messages(lanes.get("outgoing")),
            len(kept) - len(latest) + sum(lane.dropped for lane in lanes.values()),
            hint or _note(recording, lanes),
        )

    def _row(self, note: LaneEntry, lane: Lane) -> Row:
        if lane.name == "errors":
            return Row(note.order, note.t, "fault", _fault(note.data), True)
        if isinstance(note.data, Close):
            if lane.name == "outgoing":
                return Row(note.order, note.t, "out", _closing(note.data))
            why = self._why()
            return Row(note.order, note.t, "end", _end(note.data, why), why is not None)
        return Row(
            note.order, note.t, "in" if lane.name == "incoming" else "out", payload(note.data)
        )

    def _why(self) -> BaseException | None:
        """What was wrong with the end of the connection, if anything."""
        for name in ("outgoing", "incoming"):
            lane = self.recording.lanes.get(name)
            for note in list(lane.notes)[-1:] if lane else []:
                if note.type == "error" and (
                    name == "incoming" or not isinstance(note.data, ConnectionClosed)
                ):
                    error: BaseException = note.data
                    return error
        return None


def _is_row(note: LaneEntry) -> bool:
    return note.type in ("next", "close")


def _messages(lane: Lane | None) -> int:
    if lane is None:
        return 0
    ends = sum(
        note.type != "next" or isinstance(note.data, Close) for note in list(lane.notes)[-3:]
    )
    return lane.dropped + len(lane) - ends


def _note(recording: Recording, lanes: dict[str, Lane]) -> str:
    if lanes or not recording.lanes:
        return "" if any(map(len, lanes.values())) else "no frames yet"
    names = ", ".join(recording.lanes)
    return f"no frames: this recording is of no connection, it has only {names}"


def _closing(close: Close) -> Payload:
    reason = f" “{close.reason}”" if close.reason else ""
    return Payload("close", "", one_line(f"close with {close.code}{reason}"))


def _end(close: Close, why: BaseException | None) -> Payload:
    name = NAMES.get(close.code)
    reason = f"“{close.reason}”" if close.reason else ""
    said = [f"closed with {close.code}", f"({name})" if name else "", reason, f"by {close.by}"]
    cause = (why.__cause__ or why.__context__) if isinstance(why, ConnectionClosed) else why
    if cause is not None:
        said[-1] += ","
        said.append(f"after {type(cause).__name__}: {_message(cause)}")
    return Payload("close", "", one_line(" ".join(filter(None, said)), 400))


def _fault(error: Any) -> Payload:
    line = f"{type(error).__name__}: {_message(error)}"
    subject = None
    if isinstance(error, (DecodeError, EncodeError)):
        subject = payload(error.raw if isinstance(error, DecodeError) else error.value)

    def unfold() -> str:
        whole = text_block(line)
        if subject is not None:
            said = "received" if isinstance(error, DecodeError) else "to be sent"
            whole += f"<p>{said}:</p>{subject.whole or f'<pre>{escape(subject.line)}</pre>'}"
        cause = error.__cause__ if isinstance(error, BaseException) else None
        if cause is not None:
            text = f"{type(cause).__name__}: {_message(cause)}"
            whole += f"<p>because of:</p>{text_block(text)}"
        return whole

    return Payload("fault", subject.size if subject else "", one_line(line), unfold)


def _message(error: object) -> str:
    try:
        return str(error)
    except Exception as exc:  # a user's own class of errors may do anything
        return f"(its message raised {type(exc).__name__})"


# RFC 6455, section 7.4.1, and what IANA's registry has added since.
NAMES = {
    1000: "Normal Closure",
    1001: "Going Away",
    1002: "Protocol Error",
    1003: "Unsupported Data",
    1005: "no code",
    1006: "no close frame",
    1007: "Invalid Payload Data",
    1008: "Policy Violation",
    1009: "Message Too Big",
    1010: "Mandatory Extension",
    1011: "Internal Error",
    1012: "Service Restart",
    1013: "Try Again Later",
    1014: "Bad Gateway",
}
