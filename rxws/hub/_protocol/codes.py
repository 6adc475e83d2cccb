"""The codes of errors, of ended connections and of ended subscriptions."""

from __future__ import annotations

import enum
from typing import NamedTuple

from rxws._core.connection import Close

__all__ = [
    "Disconnect",
    "ErrorCode",
    "ErrorReply",
    "UnsubscribeCode",
    "close_of",
    "is_terminal",
    "resubscribes",
]


class ErrorCode(enum.IntEnum):
    """The codes of errors that answer a command."""

    INTERNAL = 100
    """The server cannot answer now: try again. Also sent to spread a storm of subscribers."""
    UNAUTHORIZED = 101
    """The connection has no user."""
    UNKNOWN_CHANNEL = 102
    """There is no such topic, or clients may not use its name."""
    PERMISSION_DENIED = 103
    """The user may not do this."""
    METHOD_NOT_FOUND = 104
    """There is no such command."""
    ALREADY_SUBSCRIBED = 105
    """The connection has a subscription to this topic already."""
    LIMIT_EXCEEDED = 106
    """The connection has as many subscriptions as it may have."""
    BAD_REQUEST = 107
    """A field of the command is missing, or has a wrong type or value."""
    NOT_AVAILABLE = 108
    """The server does not support this."""
    TOKEN_EXPIRED = 109
    """Send a new token."""
    EXPIRED = 110
    """The user's right has expired."""
    TOO_MANY_REQUESTS = 111
    """Send commands more slowly."""
    UNRECOVERABLE_POSITION = 112
    """Messages after this position are missing."""

    @property
    def text(self) -> str:
        """The message of the error, such as "permission denied"."""
        return _TEXTS.get(self) or self.name.lower().replace("_", " ")

    @property
    def temporary(self) -> bool:
        """Whether a client tries again."""
        return self in _TEMPORARY


_TEXTS = {ErrorCode.INTERNAL: "internal server error"}
_TEMPORARY = frozenset({ErrorCode.INTERNAL, ErrorCode.TOO_MANY_REQUESTS})


class ErrorReply(NamedTuple):
    """An error that answers a command.

    Args:
        code: An `ErrorCode`, or the code of another server.
        message: Text for humans.
        temporary: Whether the client may try again.
    """

    code: int
    message: str = ""
    temporary: bool = False

    @classmethod
    def of(cls, code: ErrorCode, detail: str = "") -> ErrorReply:
        """Return the error for a code; `detail` says what was wrong."""
        message = f"{code.text}: {detail}" if detail else code.text
        return cls(int(code), message, code.temporary)


class Disconnect(enum.IntEnum):
    """The codes with which a server closes a connection."""

    SHUTDOWN = 3001
    SERVER_ERROR = 3004
    EXPIRED = 3005
    SLOW = 3008
    INSUFFICIENT_STATE = 3010
    FORCE_RECONNECT = 3011
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013
    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    STALE = 3502
    FORCE_NO_RECONNECT = 3503
    CHANNEL_LIMIT = 3505
    INAPPROPRIATE_PROTOCOL = 3506
    PERMISSION_DENIED = 3507
    NOT_AVAILABLE = 3508

    def close(self, detail: str = "") -> Close:
        """Return the close to send; `detail` says what was wrong."""
        reason = _REASONS.get(self) or self.name.lower().replace("_", " ")
        reason = f"{reason}: {detail}" if detail else reason
        return Close(int(self), _cut(reason, 123))  # RFC 6455, section 5.5


_REASONS = {
    Disconnect.SERVER_ERROR: "internal server error",
    Disconnect.EXPIRED: "connection expired",
    Disconnect.FORCE_NO_RECONNECT: "force disconnect",
}


def _cut(text: str, size: int) -> str:
    return text.encode(errors="replace")[:size].decode(errors="ignore")


def close_of(code: int, reason: str) -> Close:
    """Return the close of a server's push; a code that no close can have counts as a shutdown."""
    valid = code if 1000 <= code <= 4999 else int(Disconnect.SHUTDOWN)
    return Close(valid, _cut(reason, 123), by="peer")


def is_terminal(code: int) -> bool:
    """Return whether a client must not reconnect after a close code."""
    return 3500 <= code < 4000 or 4500 <= code < 5000


class UnsubscribeCode(enum.IntEnum):
    """The codes with which a server ends a subscription."""

    SERVER = 2000
    """The server has ended it: the client does not subscribe again."""
    INSUFFICIENT_STATE = 2500
    """Messages are missing: the client subscribes again, and continues after its position."""
    EXPIRED = 2501
    """The user's right has expired: the client subscribes again, with a new token."""

    @property
    def reason(self) -> str:
        """Text for humans."""
        return _UNSUBSCRIBED[self]


_UNSUBSCRIBED = {
    UnsubscribeCode.SERVER: "server unsubscribe",
    UnsubscribeCode.INSUFFICIENT_STATE: "insufficient state",
    UnsubscribeCode.EXPIRED: "subscription expired",
}


def resubscribes(code: int) -> bool:
    """Return whether a client subscribes again after this code of an ended subscription."""
    return code >= 2500
