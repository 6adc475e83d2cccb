"""Where a connection stands between its first frame and its verdict."""

from __future__ import annotations

import enum

__all__ = ["State"]


class State(enum.Enum):
    """Where a connection stands. It only ever moves down this list."""

    OPEN = enum.auto()
    """Messages go both ways."""
    DRAINING = enum.auto()
    """Our close frame waits behind what is queued."""
    CLOSING = enum.auto()
    """Our close frame has left; the peer's answer is waited for."""
    CLOSED = enum.auto()
    """The verdict is told. The wire may still be busy with the close frame."""
