"""What a table of frames says of one value: its size, one line, and the whole of it unfolded."""

from __future__ import annotations

import json
from typing import Any, NamedTuple, cast

from .plain import LINE, hex_dump, one_line, printable, shown, text_block
from .tree import is_tree, tree

__all__ = ["Payload", "payload"]

PARSED = 100_000  # characters up to which text is looked at whether it is JSON
BRIEF = 16  # bytes that stand in the line


class Payload(NamedTuple):
    """What a row of the table says of a value.

    Args:
        kind: `"text"`, `"binary"`, `"json"`, `"value"`, `"fault"` or `"close"`.
        size: With its unit; of a decoded value about what it takes as JSON, or nothing.
        line: The value in one line, cut; plain text.
        whole: The value unfolded, as HTML; empty where the line says it all.
    """

    kind: str
    size: str
    line: str
    whole: str


def payload(value: Any) -> Payload:
    """Return what to say of a value; never raises, whatever the value's own methods do."""
    try:
        made = _known(value)
    except Exception:  # a subclass of dict may do anything
        made = None
    if made is not None:
        return made
    text = shown(value)
    size = f"≈ {_bytes(len(text))}" if isinstance(value, (int, float)) else ""
    return Payload("value", size, one_line(text), _folded(text))


def _known(value: Any) -> Payload | None:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return _binary(bytes(cast(Any, value)))
    return _json(value) if is_tree(value) else None


def _text(value: str) -> Payload:
    ascii_only = value.isascii()
    size = _bytes(len(value) if ascii_only else len(value.encode("utf-8", "surrogatepass")))
    if value.lstrip()[:1] in ("{", "[") and len(value) <= PARSED:
        try:
            parsed = json.loads(value)
        except (ValueError, RecursionError):
            parsed = None
        if parsed:
            return Payload("json", size, one_line(value), tree(parsed))
    return Payload("text", size, one_line(value), _folded(value))


def _binary(value: bytes) -> Payload:
    start = value[:BRIEF]
    more = len(value) > BRIEF
    line = f"{start.hex(' ')}{' …' if more else ''}  {printable(start)}" if value else ""
    return Payload("binary", _bytes(len(value)), line, hex_dump(value) if more else "")


def _json(value: Any) -> Payload:
    try:
        written = json.dumps(value, ensure_ascii=False)
        size = f"≈ {_bytes(len(written.encode('utf-8', 'surrogatepass')))}"
    except (TypeError, ValueError, RecursionError):  # it holds what JSON does not have
        written, size = shown(value), ""
    return Payload("json", size, one_line(written), tree(value) if value else "")


def _folded(text: str) -> str:
    return text_block(text) if len(text) > LINE or "\n" in text else ""


def _bytes(count: int) -> str:
    if count < 1000:
        return f"{count} B"
    return f"{count / 1e3:.1f} kB" if count < 999_950 else f"{count / 1e6:.1f} MB"
