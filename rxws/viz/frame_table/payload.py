"""A value in the table: its size, its line, and the unfolded value."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from rxws._recording.diagram.labels import safe_repr

from .json_tree import is_tree, tree
from .text import MAX_LINE, hex_dump, one_line, printable, text_block

__all__ = ["Payload", "payload"]

MAX_PARSED = 100_000  # characters: longer text is not parsed as JSON
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


def payload(value: Any) -> Payload:
    """Describe a value. It never raises, even if the value's own methods do."""
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
    ascii_only = value.isascii()
    size = _bytes(len(value) if ascii_only else len(value.encode("utf-8", "surrogatepass")))
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
        written = json.dumps(value, ensure_ascii=False)
        size = f"≈ {_bytes(len(written.encode('utf-8', 'surrogatepass')))}"
    except (TypeError, ValueError, RecursionError):  # JSON cannot represent it
        written, size = safe_repr(value), ""
    return Payload("json", size, one_line(written), partial(_tree, value) if value else None)


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
