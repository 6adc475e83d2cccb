"""The rows of the table, made from the recording of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, DecodeError, EncodeError
from rxws._recording.lane import Lane, LaneEntry
from rxws._recording.recording import Recording

from .payload import Payload, payload
from .text import escape, one_line, text_block

__all__ = ["Frames", "Row", "Rows"]

_LANES = ("incoming", "outgoing", "errors", "closed")


class Row(NamedTuple):
    """One row."""

    number: int  # position in the recording: identifies the row when it is redrawn
    t: float  # seconds since the recording began
    sort: Literal["in", "out", "error", "end"]  # a frame, an error, or the close
    payload: Payload
    bad: bool = False  # whether it shows an error


@dataclass(frozen=True, slots=True)
class Frames:
    """The content of the table."""

    title: str
    rows: tuple[Row, ...]  # oldest first
    received: int = 0  # messages so far
    sent: int = 0
    older: int = 0  # rows before the first one, which are left out
    note: str = ""  # a remark below the rows


class Rows:
    """Makes the latest rows of a recording, and reuses them when the table is redrawn."""

    def __init__(self, recording: Recording, keep: int, title: str | None = None) -> None:
        self.recording = recording
        self._keep = keep
        self._title = title
        self._rows: dict[int, Row] = {}

    def frames(self, hint: str = "") -> Frames:
        """Return the current content of the table; a hint says why nothing may arrive."""
        recording = self.recording
        lanes = {name: lane for name in _LANES if (lane := recording.lanes.get(name)) is not None}
        kept = [(each, lane) for lane in lanes.values() for each in lane.entries if _is_row(each)]
        kept.sort(key=lambda pair: (pair[0].t, pair[0].order))
        latest = kept[-self._keep :]
        rows = self._rows
        self._rows = {
            entry.order: rows.get(entry.order) or self._row(entry, lane) for entry, lane in latest
        }
        return Frames(
            recording.title if self._title is None else self._title,
            tuple(self._rows.values()),
            _messages(lanes.get("incoming")),
            _messages(lanes.get("outgoing")),
            len(kept) - len(latest) + sum(lane.dropped for lane in lanes.values()),
            hint or _note(recording, lanes),
        )

    def _row(self, entry: LaneEntry, lane: Lane) -> Row:
        if lane.name == "errors":
            return Row(entry.order, entry.t, "error", _error(entry.data), True)
        if isinstance(entry.data, Close):
            if lane.name == "outgoing":
                return Row(entry.order, entry.t, "out", _closing(entry.data))
            why = self._why()
            return Row(entry.order, entry.t, "end", _end(entry.data, why), why is not None)
        return Row(
            entry.order, entry.t, "in" if lane.name == "incoming" else "out", payload(entry.data)
        )

    def _why(self) -> BaseException | None:
        """Return the error that ended the connection, or None if it closed without one."""
        for name in ("outgoing", "incoming"):
            lane = self.recording.lanes.get(name)
            for entry in list(lane.entries)[-1:] if lane else []:
                if entry.type == "error" and (
                    name == "incoming" or not isinstance(entry.data, ConnectionClosed)
                ):
                    error: BaseException = entry.data
                    return error
        return None


def _is_row(entry: LaneEntry) -> bool:
    return entry.type in ("next", "close")


def _messages(lane: Lane | None) -> int:
    if lane is None:
        return 0
    ends = sum(
        entry.type != "next" or isinstance(entry.data, Close) for entry in list(lane.entries)[-3:]
    )
    return lane.dropped + len(lane) - ends


def _note(recording: Recording, lanes: dict[str, Lane]) -> str:
    if lanes or not recording.lanes:
        return "" if any(map(len, lanes.values())) else "no frames yet"
    names = ", ".join(recording.lanes)
    return f"no frames: this is not the recording of a connection, it has only {names}"


def _closing(close: Close) -> Payload:
    reason = f" “{close.reason}”" if close.reason else ""
    return Payload("close", "", one_line(f"close with {close.code}{reason}"))


def _end(close: Close, why: BaseException | None) -> Payload:
    known = CLOSE_CODES.get(close.code)
    name = f"({known.name})" if known else ""
    reason = f"“{close.reason}”" if close.reason else ""
    parts = [f"closed with {close.code}", name, reason, f"by {close.by}"]
    cause = (why.__cause__ or why.__context__) if isinstance(why, ConnectionClosed) else why
    if cause is not None:
        parts[-1] += ","
        parts.append(f"after {type(cause).__name__}: {_message(cause)}")
    return Payload("close", "", one_line(" ".join(filter(None, parts)), 400))


def _error(error: Any) -> Payload:
    line = f"{type(error).__name__}: {_message(error)}"
    subject = None
    if isinstance(error, (DecodeError, EncodeError)):
        subject = payload(error.raw if isinstance(error, DecodeError) else error.value)

    def unfold() -> str:
        whole = text_block(line)
        if subject is not None:
            direction = "received" if isinstance(error, DecodeError) else "to be sent"
            whole += f"<p>{direction}:</p>{subject.whole or f'<pre>{escape(subject.line)}</pre>'}"
        cause = error.__cause__ if isinstance(error, BaseException) else None
        if cause is not None:
            text = f"{type(cause).__name__}: {_message(cause)}"
            whole += f"<p>because of:</p>{text_block(text)}"
        return whole

    return Payload("error", subject.size if subject else "", one_line(line), unfold)


def _message(error: object) -> str:
    try:
        return str(error)
    except Exception as exc:  # a user's own exception class may raise anything
        return f"(its message raised {type(exc).__name__})"
