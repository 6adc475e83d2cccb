"""How received values are printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

from ._output import printable

__all__ = ["Format", "Style", "as_json", "as_text", "parsed"]

Style = Literal["text", "json", "raw", "pretty"]

_MAX_HEX = 256  # bytes of a binary message that a terminal shows


class Format:
    """Formats received values.

    Args:
        style: `"text"`: as they are, binary as hex, other values as JSON. `"json"`: one line of
            JSON for each. `"raw"`: without a line feed, binary as it is. `"pretty"`: JSON with
            line breaks.
        time: Whether to add the time, and how long after the last sent message it is.
        terminal: Whether to escape what a terminal obeys, and to shorten binary messages.
        now: Returns the local time.
    """

    def __init__(
        self,
        style: Style,
        *,
        time: bool = False,
        terminal: bool = False,
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self._style = style
        self._time = time
        self._terminal = terminal
        self._now = now

    def __call__(self, value: Any, elapsed: float | None = None) -> str | bytes:
        """Format a value.

        Args:
            value: The value.
            elapsed: Seconds since the last message was sent, if this is the first one after it.
        """
        if self._style == "raw":
            return value if isinstance(value, bytes) else as_text(value)
        if self._style == "json":
            return self._line_of_json(value, elapsed) + "\n"
        text = _pretty(value) if self._style == "pretty" else self._text(value)
        return self._stamp(elapsed) + (printable(text) if self._terminal else text) + "\n"

    def _text(self, value: Any) -> str:
        if self._terminal and isinstance(value, bytes) and len(value) > _MAX_HEX:
            return f"{value[:_MAX_HEX].hex()}… ({len(value)} bytes)"
        return as_text(value)

    def _line_of_json(self, value: Any, elapsed: float | None) -> str:
        value = parsed(value)
        if self._time:
            time = self._now().astimezone().isoformat(timespec="milliseconds")
            value = {"time": time, "elapsed": elapsed, "message": value}
        # Escapes all control characters, but not those that hide or reorder text.
        return printable(as_json(value)) if self._terminal else as_json(value)

    def _stamp(self, elapsed: float | None) -> str:
        if not self._time:
            return ""
        time = self._now().isoformat(" ", "milliseconds").partition(" ")[2]
        return f"{time} {'' if elapsed is None else f'(+{elapsed * 1000:.1f} ms) '}"


def parsed(value: Any) -> Any:
    """Return what a text message means, if it is JSON."""
    if isinstance(value, str):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _pretty(value: Any) -> str:
    found = parsed(value)
    return as_json(found, indent=2) if isinstance(found, dict | list) else as_text(value)


def as_text(value: Any) -> str:
    """Return a value as text: bytes as hex, and other values as JSON."""
    if isinstance(value, str):
        return value
    return value.hex() if isinstance(value, bytes) else as_json(value)


def as_json(value: Any, indent: int | None = None) -> str:
    """Return a value as JSON: bytes as hex, and what JSON does not have as its `repr`."""
    return json.dumps(value, ensure_ascii=False, indent=indent, default=_other)


def _other(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
