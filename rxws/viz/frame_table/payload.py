"""A value in the table: its size, its line, and the unfolded value."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from rxws._recording.diagram.tooltips import safe_repr

from .json_tree import is_tree, pairs_of, tree
from .text import MAX_LINE, hex_dump, one_line, printable, text_block

__all__ = ["Payload", "payload"]

MAX_PARSED = 100_000  # characters: longer text is not parsed as JSON
MAX_SIZED = 5000  # items: the size of a larger value as JSON is not measured
MAX_DEPTH = 100  # levels that are written as JSON
MAX_BYTES = 16  # bytes that the line shows


class Payload:
    """A value as a row of the table shows it.

    Args:
        kind: `"text"`, `"binary"`, `"json"`, `"value"`, `"error"` or `"close"`.
        size: The size with its unit, for a decoded value its size as JSON; or an empty string.
        line: The value as one line of plain text, cut.
        unfold: Makes the HTML of the whole value; None if the line shows all of it.
    """

    __slots__ = ("_unfold", "_whole", "kind", "line", "size")

    def __init__(
        self, kind: str, size: str, line: str, unfold: Callable[[], str] | None = None
    ) -> None:
        self.kind = kind
        self.size = size
        self.line = line
        self._unfold = unfold
        self._whole = ""

    @property
    def unfolds(self) -> bool:
        """Whether the line does not show the whole value."""
        return self._unfold is not None

    @property
    def whole(self) -> str:
        """The whole value as HTML, made on first use: most values are never unfolded."""
        if self._unfold is not None and not self._whole:
            self._whole = self._unfold()
        return self._whole


def payload(value: Any, frame: str | bytes | None = None) -> Payload:
    """Describe a value, with the size of its frame if that is known.

    It never raises, even if the value's own methods do.
    """
    made = _payload(value)
    if frame is not None:
        made.size = _bytes(len(frame) if isinstance(frame, bytes) else _length(frame))
    return made


def _payload(value: Any) -> Payload:
    try:
        if isinstance(value, str):
            return _text(value)
        if isinstance(value, (bytes, bytearray, memoryview)):
            return _binary(bytes(cast(Any, value)))
        if is_tree(value):
            return _json(value)
    except Exception:  # a subclass of dict may raise anything
        pass
    text = safe_repr(cast(object, value))
    size = f"≈ {_bytes(len(text))}" if isinstance(value, (int, float)) else ""
    return Payload("value", size, one_line(text), _block(text))


def _text(value: str) -> Payload:
    size = _bytes(_length(value))
    if value.lstrip()[:1] in ("{", "[") and 2 < len(value) <= MAX_PARSED:
        return Payload("json", size, one_line(value), partial(_parsed, value))
    return Payload("text", size, one_line(value), _block(value))


def _binary(value: bytes) -> Payload:
    start = value[:MAX_BYTES]
    more = len(value) > MAX_BYTES
    line = f"{start.hex(' ')}{' …' if more else ''}  {printable(start)}" if value else ""
    return Payload("binary", _bytes(len(value)), line, partial(hex_dump, value) if more else None)


def _json(value: Any) -> Payload:
    try:
        written, size = _start_of_json(value)
    except (TypeError, ValueError, RecursionError):  # JSON cannot represent it
        written, size = safe_repr(value), ""
    return Payload("json", size, one_line(written), partial(_tree, value) if value else None)


def _start_of_json(value: Any) -> tuple[str, str]:
    """Return a value's JSON and its size, or the start of it and a lower limit.

    Raises:
        ValueError: JSON cannot represent the value, or it is nested too deeply.
    """
    if _is_small(value):
        written = _encoder.encode(value)
        return written, f"≈ {_bytes(_length(written))}"
    parts: list[str] = []
    room = MAX_LINE
    for part in _encoder.iterencode(value):
        parts.append(part)
        room -= len(part)
        if room < 0:
            break
    return "".join(parts), f"> {_bytes(2 * MAX_SIZED)}"  # an item takes two bytes or more


def _is_small(value: Any) -> bool:
    """Whether a list or an object has at most `MAX_SIZED` items, with those inside."""
    level = [value]
    count = 0
    for _ in range(MAX_DEPTH):
        count += sum(map(len, level))
        if count > MAX_SIZED:
            return False
        level = [item for each in level for _, item in pairs_of(each) if is_tree(item)]
        if not level:
            return True
    raise ValueError("nested too deeply")


_encoder = json.JSONEncoder(ensure_ascii=False)


def _length(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _parsed(text: str) -> str:
    try:
        return tree(json.loads(text))
    except (ValueError, RecursionError):  # it is not JSON
        return text_block(text)


def _tree(value: Any) -> str:
    try:
        return tree(value)
    except Exception:  # a subclass of dict may raise anything
        return text_block(safe_repr(value))


def _block(text: str) -> Callable[[], str] | None:
    return partial(text_block, text) if len(text) > MAX_LINE or "\n" in text else None


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 999_950 else f"{count / 1e6:.1f} MB"
