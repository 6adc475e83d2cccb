"""Every error that rxws raises or notifies, each with the data a program needs to go on."""

from __future__ import annotations

from collections.abc import Mapping

from .connection import Close

__all__ = [
    "BufferOverflow",
    "ConnectError",
    "ConnectionClosed",
    "DecodeError",
    "EncodeError",
    "HandshakeError",
    "OpeningError",
    "RxwsError",
    "SendTimeout",
]


class RxwsError(Exception):
    """Root of the errors of rxws."""


class ConnectionClosed(RxwsError):
    """A connection ended other than well; raised in a pipeline it closes the connection so.

    Args:
        close: How it ended.
    """

    def __init__(self, close: Close) -> None:
        super().__init__(close)
        self.close = close

    def __str__(self) -> str:
        reason = f" {self.close.reason!r}" if self.close.reason else ""
        return f"closed with {self.close.code}{reason} by {self.close.by}"


class BufferOverflow(ConnectionClosed):
    """The peer took less than was sent, and the outbound bound `max_buffer` was hit."""


class SendTimeout(ConnectionClosed):
    """The peer did not take within `send_timeout` what waited for it."""


class ConnectError(RxwsError):
    """No WebSocket was opened: nobody listens, or no WebSocket there; `__cause__` tells more."""


class HandshakeError(ConnectError):
    """The server answered the upgrade with something else than a WebSocket.

    Args:
        message: What was wrong.
        status: The HTTP status of the answer.
        headers: The headers of the answer.
        body: The body of the answer, as far as it was read.
    """

    def __init__(
        self, message: str, status: int, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        super().__init__(message, status, headers, body)
        self.status = status
        self.headers = headers
        self.body = body

    def __str__(self) -> str:
        return str(self.args[0])


class OpeningError(RxwsError):
    """What `opening=` of a `WebSocketSubject` raised, which is its `__cause__`."""


class DecodeError(RxwsError):
    """A frame the codec cannot decode.

    Args:
        message: What was wrong.
        raw: The frame as it came, `str` or `bytes`.
        code: The close code where nobody observes the fault: 1007, or 1003 for the wrong kind of
            frame (RFC 6455, section 7.4.1).
    """

    def __init__(self, message: str, raw: str | bytes, code: int = 1007) -> None:
        super().__init__(message, raw, code)
        self.raw = raw
        self.code = code

    def __str__(self) -> str:
        return str(self.args[0])


class EncodeError(RxwsError):
    """A value that the codec cannot encode.

    Args:
        message: What was wrong, and what could be sent instead.
        value: The value.
    """

    def __init__(self, message: str, value: object) -> None:
        super().__init__(message, value)
        self.value = value

    def __str__(self) -> str:
        return str(self.args[0])
