"""The way in by aiohttp's public `receive()`: the fallback, where the parser cannot push."""

from __future__ import annotations

import asyncio
from contextvars import Context
from time import monotonic
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType

from rxws._session.encoding import size
from rxws._session.transport import Receiver

from .private_api import end_of_stream
from .reader import dispatch_control, dispatch_failure

__all__ = ["MessageSource", "PullReader"]

# Seconds after which others get a turn of the loop, though more messages are there.
_SLICE = 0.01

_CONTROL = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class MessageSource(Protocol):
    """What both of aiohttp's WebSockets have to read with."""

    async def receive(self) -> Any:
        """Return the next message, whatever it is."""
        ...


class PullReader:
    """Awaits one message after the other.

    Args:
        ws: The WebSocket, opened with `autoclose=False`, `autoping=False` and no heartbeat, and
            whose own `close` does nothing.
        max_size: Bytes of the largest message that the peer may send.
    """

    __slots__ = ("_gate", "_loop", "_max_size", "_ws", "deferred")

    def __init__(self, ws: MessageSource, max_size: int) -> None:
        self._ws = ws
        self._max_size = max_size
        self._loop = asyncio.get_running_loop()
        self.deferred = 0
        self._gate: asyncio.Future[None] | None = None  # there while reading is paused

    def pause(self) -> None:
        """See `Transport.pause_reading`; a message that is awaited still comes."""
        if self._gate is None:
            self._gate = self._loop.create_future()

    def resume(self) -> None:
        """See `Transport.resume_reading`."""
        if self._gate is not None:
            if not self._gate.done():
                self._gate.set_result(None)
            self._gate = None

    def on_eof(self) -> None:
        """See `Reading.on_eof`."""
        end_of_stream(self._ws)

    def on_lost(self) -> None:
        """See `Reading.on_lost`; aiohttp's protocol is told by the wire, and tells `receive()`."""

    async def run(self, receiver: Receiver, context: Context) -> None:
        """See `Reading.run`; as this runs in a task of the handler's, it is in its context."""
        del context
        until = monotonic() + _SLICE
        while True:
            if monotonic() > until:
                # `receive()` does not wait while there are messages, and the parser goes on within.
                self.deferred += 1
                await asyncio.sleep(0)
                until = monotonic() + _SLICE
            while self._gate is not None:
                await self._gate
            message = await self._ws.receive()
            kind = message.type
            if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
                length = size(message.data)
                if length > self._max_size:  # by a byte, see `Parser`
                    receiver.on_violation(WSCloseCode.MESSAGE_TOO_BIG)
                    return
                receiver.on_message(message.data, length)
            elif kind not in _CONTROL:
                dispatch_failure(message.data if kind is WSMsgType.ERROR else None, receiver)
                return
            elif not dispatch_control(message, receiver):
                return
