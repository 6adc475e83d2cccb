"""The rows of the table, made from the recording of a connection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, DecodeError, EncodeError
from rxws._recording.diagram.tooltips import message
from rxws._recording.lane import Lane, LaneEntry
from rxws._recording.recording import Recording

from .payload import Payload, payload
from .text import escape, one_line, text_block

__all__ = ["Row", "Rows", "TableContent"]

_LANES = ("incoming", "outgoing", "errors", "closed")


class Row(NamedTuple):
    """A frame, an error, or the end of the connection."""

    number: int  # position in the recording: identifies the row when it is redrawn
    t: float  # seconds since the recording began
    kind: Literal["in", "out", "error", "end"]
    payload: Payload
    is_error: bool = False  # draws the row in red


@dataclass(frozen=True, slots=True)
class TableContent:
    """The content of the table."""

    title: str
    rows: tuple[Row, ...]  # oldest first
    received: int = 0  # messages so far
    sent: int = 0
    older: int = 0  # rows before the first one, which are left out
    note: str = ""  # a remark below the rows


class Rows:
    """Makes the rows of a recording, and keeps them for the next redraw."""

    def __init__(self, recording: Recording, keep: int, title: str | None = None) -> None:
        self.recording = recording
        self._keep = keep
        self._title = title
        self._rows: dict[int, Row] = {}

    def content(self, hint: str = "") -> TableContent:
        """Return the current content of the table, with the hint as its note if there is one."""
        recording = self.recording
        lanes = {name: lane for name in _LANES if (lane := recording.lanes.get(name)) is not None}
        kept = [(each, lane) for lane in lanes.values() for each in lane.entries if _is_row(each)]
        kept.sort(key=lambda pair: (pair[0].t, pair[0].order))
        latest = kept[-self._keep :]
        rows = self._rows
        self._rows = {
            entry.order: rows.get(entry.order) or self._row(entry, lane) for entry, lane in latest
        }
        return TableContent(
            recording.title if self._title is None else self._title,
            tuple(self._rows.values()),
            _message_count(lanes.get("incoming")),
            _message_count(lanes.get("outgoing")),
            len(kept) - len(latest) + sum(lane.dropped for lane in lanes.values()),
            hint or _note(recording, lanes),
        )

    def _row(self, entry: LaneEntry, lane: Lane) -> Row:
        if lane.name == "errors":
            return Row(entry.order, entry.t, "error", _error(entry.data), True)
        if isinstance(entry.data, Close):
            if lane.name == "outgoing":
                return Row(entry.order, entry.t, "out", _sent_close(entry.data))
            error = self._final_error()
            return Row(entry.order, entry.t, "end", _end(entry.data, error), error is not None)
        return Row(
            entry.order,
            entry.t,
            "in" if lane.name == "incoming" else "out",
            payload(entry.data, entry.frame),
        )

    def _final_error(self) -> BaseException | None:
        """Return the error that ended the connection, or None if it closed without one."""
        incoming, outgoing = self._last_error("incoming"), self._last_error("outgoing")
        return incoming if isinstance(outgoing, ConnectionClosed | None) else outgoing

    def _last_error(self, name: str) -> BaseException | None:
        lane = self.recording.lanes.get(name)
        last = lane.entries[-1] if lane else None
        return last.data if last is not None and last.type == "error" else None


def _is_row(entry: LaneEntry) -> bool:
    return entry.type in ("next", "close")


def _message_count(lane: Lane | None) -> int:
    if lane is None:
        return 0
    # Only the last entries can be a Close and an end: do not search all of them at each redraw.
    last = lane.entries[-3:]
    ends = sum(entry.type != "next" or isinstance(entry.data, Close) for entry in last)
    return lane.dropped + len(lane) - ends


def _note(recording: Recording, lanes: dict[str, Lane]) -> str:
    if lanes or not recording.lanes:
        return "" if any(map(len, lanes.values())) else "no frames yet"
    names = ", ".join(recording.lanes)
    return f"no frames: this is not the recording of a connection, it has only {names}"


def _sent_close(close: Close) -> Payload:
    reason = f" “{close.reason}”" if close.reason else ""
    return Payload("close", "", one_line(f"close with {close.code}{reason}"))


def _end(close: Close, error: BaseException | None) -> Payload:
    known = CLOSE_CODES.get(close.code)
    name = f"({known.name})" if known else ""
    reason = f"“{close.reason}”" if close.reason else ""
    parts = [f"closed with {close.code}", name, reason, f"by {close.by}"]
    cause = error
    if isinstance(error, ConnectionClosed):
        cause = error.__cause__ or error.__context__
    if cause is not None:
        parts[-1] += ","
        parts.append(f"after {_headline(cause)}")
    return Payload("close", "", one_line(" ".join(filter(None, parts)), 400))


def _error(error: Any) -> Payload:
    line = _headline(error)
    value = None  # what could not be decoded or encoded
    if isinstance(error, (DecodeError, EncodeError)):
        value = payload(error.raw if isinstance(error, DecodeError) else error.value)

    def unfold() -> str:
        whole = text_block(line)
        if value is not None:
            direction = "received" if isinstance(error, DecodeError) else "to be sent"
            whole += f"<p>{direction}:</p>{value.whole or f'<pre>{escape(value.line)}</pre>'}"
        cause = error.__cause__ if isinstance(error, BaseException) else None
        if cause is not None:
            whole += f"<p>because of:</p>{text_block(_headline(cause))}"
        return whole

    return Payload("error", value.size if value else "", one_line(line), unfold)


def _headline(error: object) -> str:
    return f"{type(error).__name__}: {message(error)}"
