"""The file format of recordings: one event per line of JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, RxwsError
from rxws._core.log import logger

from .diagram import Nesting, RecordedObservable, Role, Step
from .diagram.statuses import RecordedStatus, State

__all__ = [
    "ABOUT",
    "Direction",
    "Event",
    "RecordedError",
    "RecordedValue",
    "as_line",
    "parse_line",
    "read",
]

Direction: TypeAlias = Literal["in", "out"] | None
"""The direction of a connection's lane; None for other lanes."""


ABOUT = frozenset({"recording", "dropped", "step", "nested", "empty"})
"""The types of lines that say something about the recording or a lane: they are no events."""


class RecordedError(RxwsError):
    """An error that was loaded from a file; its message holds the original type and message."""


class RecordedValue(str):
    """The `repr` of a value that JSON cannot represent, loaded from a file."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Event(NamedTuple):
    """A recorded event of a stream.

    Args:
        t: Seconds since the recording began.
        lane: The name of the lane.
        dir: `"in"` or `"out"` for a connection's messages, otherwise None.
        type: `"next"`, `"close"`, `"error"`, `"completed"` or `"disposed"`; or `"subscribed"` where
            an inner Observable begins.
        data: The value, the `Close` or the exception; for an Observable and for `"subscribed"` the
            label of the Observable; otherwise None.
        frame: The frame of a connection's message if the codec made another value of it; otherwise
            None.
    """

    t: float
    lane: str
    dir: Direction
    type: str
    data: Any
    frame: str | bytes | None = None


def as_line(event: Event) -> bytes:
    """Return the line of a file that holds an event."""
    kind, data = _pack(event)
    line: dict[str, Any] = {"t": round(event.t, 6), "lane": event.lane, "dir": event.dir}
    line |= {"type": kind, "data": data}
    if event.frame is not None:
        frame_type, frame = _pack_frame(event.frame)
        line["frame"] = {"type": frame_type, "data": frame}
    return json.dumps(line).encode() + b"\n"


def parse_line(line: bytes, number: int, name: str) -> Event | None:
    """Return the event in a line of a file; None for an empty line.

    Args:
        line: The line. If it is the last one, and a process was killed while it wrote it, then it
            has no line feed and is no event: it is skipped, and the log says so.
        number: Its number, from 1.
        name: The name of the file.

    Raises:
        ValueError: The line is not an event of a recording.
    """
    if not line.strip():
        return None
    try:
        return _parse(json.loads(line.decode()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        if number > 1 and not line.endswith(b"\n"):
            logger.warning("%s, line %d is cut off, and is skipped", name, number)
            return None
        raise ValueError(
            f"{name}, line {number} is not a recorded event ({exc!s:.200}): "
            f"{line.strip().decode(errors='backslashreplace'):.80}"
        ) from exc


def read(lines: Iterable[bytes], name: str) -> Iterator[Event]:
    """Read the events in the lines of a file, one at a time.

    Raises:
        ValueError: A line is not an event of a recording.
        OSError: The file cannot be read.
    """
    for number, line in enumerate(lines, 1):
        event = parse_line(line, number, name)
        if event is not None:
            yield event


def _parse(line: dict[str, Any]) -> Event:
    kind, data = _unpack(line["type"], line.get("data"))
    direction = line.get("dir")
    if direction not in ("in", "out", None):
        raise ValueError(f"dir={direction!r} must be 'in', 'out' or null")
    if not math.isfinite(line["t"]):
        raise ValueError(f"t={line['t']!r} must be a finite number of seconds")
    frame = None
    if "frame" in line:
        frame_type, packed = line["frame"]["type"], line["frame"]["data"]
        if frame_type not in ("text", "binary") or not isinstance(packed, str):
            raise ValueError(f"frame={line['frame']!r:.80} must be text or binary")
        _, frame = _unpack(frame_type, packed)
    return Event(float(line["t"]), str(line["lane"]), direction, kind, data, frame)


def _pack(event: Event) -> tuple[str, Any]:
    data = event.data
    if event.type == "close":
        return "close", _close_fields(data)
    if event.type == "error":
        close = data.close if isinstance(data, ConnectionClosed) else None
        error = {"type": type(data).__name__, "message": str(data)}
        return "error", {**error, "close": _close_fields(close)} if close else error
    if event.type == "step":
        return "step", data._asdict()
    if event.type == "nested":
        return "nested", asdict(data)
    if event.type != "next":
        return event.type, data
    if isinstance(data, RecordedStatus):
        return "status", data._asdict()
    if isinstance(data, RecordedObservable):
        return "observable", str(data)
    if isinstance(data, RecordedValue):
        return "repr", str(data)
    if isinstance(data, str | bytes):
        return _pack_frame(data)
    return ("json", data) if _is_json(data) else ("repr", _repr(data))


def _pack_frame(frame: str | bytes) -> tuple[str, str]:
    if isinstance(frame, str):
        return "text", frame
    return "binary", base64.b64encode(frame).decode()


def _is_json(value: Any) -> bool:
    """Whether a value survives the round trip through JSON unchanged."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except Exception:  # a value's own == may raise anything
        return False


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # one broken repr must not lose the whole recording
        return object.__repr__(value)


def _close_fields(close: Close) -> dict[str, Any]:
    return {"code": close.code, "reason": close.reason, "by": close.by}


def _check(texts: tuple[object, ...], seconds: float | None) -> None:
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{texts!r} must be strings")
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError(f"seconds={seconds!r} must be a finite number or null")


def _unpack_step(above: str, operator: str, seconds: float | None) -> Step:
    _check((above, operator), seconds)
    return Step(above, operator, seconds)


def _unpack_status(
    state: State, label: str, text: str, seconds: float | None, failed: bool
) -> RecordedStatus:
    if state not in get_args(State):
        raise ValueError(f"state={state!r} must be one of {get_args(State)}")
    _check((label, text), seconds)
    return RecordedStatus(state, label, text, seconds, bool(failed))


def _unpack(kind: str, data: Any) -> tuple[str, Any]:
    if kind == "close":
        return kind, Close(**data)
    if kind == "error":
        close = data.get("close")
        text = f"{data['type']}: {data['message']}"
        return kind, ConnectionClosed(Close(**close)) if close else RecordedError(text)
    if kind in ("completed", "disposed", "empty"):
        return kind, None
    if kind == "dropped":
        return kind, int(data)
    if kind == "step":
        return kind, _unpack_step(**data)
    if kind == "status":
        return "next", _unpack_status(**data)
    if kind == "nested":
        role = data["role"]
        if role not in get_args(Role):
            raise ValueError(f"role={role!r} must be one of {get_args(Role)}")
        counts = int(data["inners"]), int(data["values"])
        return kind, Nesting(str(data["outer"]), role, bool(data["rest"]), *counts, data["label"])
    if kind == "subscribed":
        return kind, str(data)
    if kind == "recording":
        return kind, {name: str(data[name]) for name in ("title", "subprotocol") if data.get(name)}
    if kind == "observable":
        return "next", RecordedObservable(data)
    if kind not in ("text", "binary", "json", "repr"):
        raise ValueError(f"unknown type {kind!r}")
    if kind == "binary":
        return "next", base64.b64decode(data, validate=True)
    return "next", RecordedValue(data) if kind == "repr" else data
