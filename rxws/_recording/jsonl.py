"""The file format of recordings: an event as a line of JSON."""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, TypeAlias

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, RxwsError

__all__ = ["Direction", "Event", "RecordedError", "RecordedValue", "read", "write"]

Direction: TypeAlias = Literal["in", "out"] | None
"""Which way a lane of a connection goes."""


class RecordedError(RxwsError):
    """An error out of a file: its type is the text that it was written as."""


class RecordedValue(str):
    """A value out of a file that could be written only as its `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


class Event(NamedTuple):
    """Something that a stream did.

    Args:
        t: Seconds since the recording began.
        lane: The stream.
        dir: `"in"` or `"out"` where it is a connection's.
        type: `"next"`, `"close"`, `"error"`, `"completed"` or `"disposed"`.
        data: The value, the `Close`, or the error.
    """

    t: float
    lane: str
    dir: Direction
    type: str
    data: Any


# How values are written: the type of the line says how `data` is to be read.
_VALUES = ("text", "binary", "json", "repr")


def write(path: str | os.PathLike[str], events: Iterable[Event]) -> None:
    """Write events to a file."""
    with open(path, "w", encoding="utf-8") as file:
        for event in events:
            kind, data = _pack(event)
            line = {"t": round(event.t, 6), "lane": event.lane, "dir": event.dir}
            file.write(json.dumps({**line, "type": kind, "data": data}) + "\n")


def read(path: str | os.PathLike[str]) -> list[Event]:
    """Read a file of events.

    Raises:
        ValueError: A line is none of ours.
    """
    events: list[Event] = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                events.append(_event(json.loads(line.decode())))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
                raise ValueError(
                    f"{os.fspath(path)}, line {number} is no event of a recording ({exc!s:.200}): "
                    f"{line.strip().decode(errors='backslashreplace'):.80}"
                ) from exc
    return events


def _event(line: dict[str, Any]) -> Event:
    kind, data = line["type"], line.get("data")
    direction = line.get("dir")
    if direction not in ("in", "out", None):
        raise ValueError(f"dir {direction!r} is neither 'in' nor 'out'")
    kind, data = _unpack(kind, data)
    if not math.isfinite(line["t"]):
        raise ValueError(f"t {line['t']!r} is no time")
    return Event(float(line["t"]), str(line["lane"]), direction, kind, data)


def _pack(event: Event) -> tuple[str, Any]:
    data = event.data
    if event.type == "close":
        return "close", _close(data)
    if event.type == "error":
        close = data.close if isinstance(data, ConnectionClosed) else None
        told = {"type": type(data).__name__, "message": str(data)}
        return "error", {**told, "close": _close(close)} if close else told
    if event.type != "next":
        return event.type, data
    if isinstance(data, RecordedValue):
        return "repr", str(data)
    if isinstance(data, str):
        return "text", data
    if isinstance(data, bytes):
        return "binary", base64.b64encode(data).decode()
    return ("json", data) if _is_json(data) else ("repr", _repr(data))


def _is_json(value: Any) -> bool:
    """Whether JSON gives it back as it was."""
    try:
        return bool(json.loads(json.dumps(value, allow_nan=False)) == value)
    except Exception:  # whatever a value's own == raises
        return False


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception:  # a recording is not lost for one value that cannot be shown
        return object.__repr__(value)


def _close(close: Close) -> dict[str, Any]:
    return {"code": close.code, "reason": close.reason, "by": close.by}


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
    if kind not in _VALUES:
        raise ValueError(f"the type {kind!r} is unknown")
    if kind == "binary":
        return "next", base64.b64decode(data, validate=True)
    return "next", RecordedValue(data) if kind == "repr" else data
