"""What the two ways in have in common: what aiohttp's control messages and errors mean."""

from __future__ import annotations

from collections.abc import Awaitable
from contextvars import Context
from typing import Any, Protocol

from aiohttp import ClientError, WSCloseCode, WSMsgType

from rxws._session.transport import Receiver

__all__ = ["Reader", "dispatch_control", "dispatch_failure"]

# What aiohttp reports as an error of its own and is the end of TCP.
_LOST = (OSError, ClientError, EOFError)


class Reader(Protocol):
    """A way in."""

    deferred: int
    """See `Transport.deferred`."""

    def pause(self) -> None:
        """See `Transport.pause_reading`."""
        ...

    def resume(self) -> None:
        """See `Transport.resume_reading`."""
        ...

    def on_eof(self) -> None:
        """The peer has ended its half of TCP; what came before is told first."""
        ...

    def on_lost(self) -> None:
        """TCP is lost; what came before is told first."""
        ...

    def run(self, receiver: Receiver, context: Context) -> Awaitable[None]:
        """Tell a session what comes in, in this context; done when it has been told of the end."""
        ...


def dispatch_control(message: Any, receiver: Receiver) -> bool:
    """Tell of a ping, a pong or a close frame, and whether anything may follow it."""
    kind = message.type
    if kind is WSMsgType.PING:
        receiver.on_ping(bytes(message.data))
        return True
    if kind is WSMsgType.PONG:
        receiver.on_pong(bytes(message.data))
        return True
    # aiohttp says 0 for a close frame without a code, and refuses a 0 on the wire.
    receiver.on_close(message.data or None, message.extra or "")
    return False


def dispatch_failure(error: object, receiver: Receiver) -> None:
    """Tell of what the parser or aiohttp's protocol reports instead of a message."""
    if error is None or isinstance(error, _LOST):
        receiver.on_lost()
    else:
        # Besides its own error the parser lets through what zlib raises on broken data.
        receiver.on_violation(getattr(error, "code", WSCloseCode.INVALID_TEXT))
