"""The frames that a session and its transport exchange."""

import enum
from typing import NamedTuple

__all__ = ["Frame", "Opcode"]


class Opcode(enum.IntEnum):
    """The type of a frame (RFC 6455, section 5.2)."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """One frame to send."""

    opcode: Opcode
    payload: bytes

    @property
    def size(self) -> int:
        """The size of the payload in bytes."""
        return len(self.payload)
