"""The interface of both readers, and how they dispatch control frames and errors."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextvars import Context
from typing import Any, Protocol

from aiohttp import ClientError, WSCloseCode, WSMsgType

from rxws._session.transport import Receiver

__all__ = ["Reader", "dispatch_control", "dispatch_failure", "pass_on"]

# The errors of aiohttp and asyncio that mean that TCP has ended.
_LOST = (OSError, ClientError, EOFError)


class Reader(Protocol):
    """Reads frames and calls a `Receiver` with them."""

    __slots__ = ()

    deferred: int
    """See `Transport.deferred`."""

    def pause(self) -> None:
        """See `Transport.pause_reading`."""
        ...

    def resume(self) -> None:
        """See `Transport.resume_reading`."""
        ...

    def on_eof(self) -> None:
        """The peer has half-closed TCP: deliver the data before that, then report the end."""
        ...

    def on_lost(self) -> None:
        """TCP is lost: deliver the data before that, then report the end."""
        ...

    def run(self, receiver: Receiver, context: Context) -> Awaitable[None]:
        """Call a receiver in this context, until the end has been reported to it."""
        ...

    def release(self) -> None:
        """Drop the parser and the receiver, after the end."""
        ...


def dispatch_control(message: Any, receiver: Receiver) -> bool:
    """Dispatch a ping, a pong or a close frame; return whether more frames may follow."""
    kind = message.type
    if kind is WSMsgType.PING:
        receiver.on_ping(bytes(message.data))
        return True
    if kind is WSMsgType.PONG:
        receiver.on_pong(bytes(message.data))
        return True
    # aiohttp reports the code 0 for a close frame without a code. It rejects a real 0.
    receiver.on_close(message.data or None, message.extra or "")
    return False


def dispatch_failure(error: object, receiver: Receiver) -> None:
    """Dispatch aiohttp's error: the peer broke the protocol, or TCP has ended, as None means."""
    if error is None or isinstance(error, _LOST):
        receiver.on_lost()
    else:
        # aiohttp's errors have a close code. zlib's errors, for broken compressed data, have none.
        receiver.on_violation(getattr(error, "code", WSCloseCode.INVALID_TEXT))


def pass_on(error: BaseException) -> None:
    """Pass on what a subscriber raised, once it has ended the connection with 1011.

    asyncio would abort TCP if a protocol raised it, and the close frame would be lost. So only what
    stops the loop is raised. The loop's exception handler gets the rest.
    """
    if isinstance(error, KeyboardInterrupt | SystemExit):
        raise error

    def raise_error() -> None:
        raise error

    asyncio.get_running_loop().call_soon(raise_error)
