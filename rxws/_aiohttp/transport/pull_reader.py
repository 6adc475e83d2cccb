"""Read frames by aiohttp's public `receive()`: the fallback where the push path is missing."""

from __future__ import annotations

import asyncio
from contextvars import Context
from time import monotonic
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType

from rxws._session.encoding import size
from rxws._session.transport import Receiver

from .private_api import feed_eof
from .reader import Reader, dispatch_control, dispatch_failure

__all__ = ["MessageSource", "PullReader"]

# Seconds after which the loop gets a turn, even if more messages are there.
_YIELD_AFTER = 0.01

_CONTROL = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class MessageSource(Protocol):
    """The part of aiohttp's client and server WebSockets that reads."""

    async def receive(self) -> Any:
        """Return the next message of any type."""
        ...


class PullReader(Reader):
    """Awaits one message after another.

    Args:
        ws: The WebSocket, as `AiohttpTransport` requires it.
        max_size: Bytes of the largest message that the peer may send.
    """

    __slots__ = ("_gate", "_loop", "_max_size", "_ws", "deferred")

    def __init__(self, ws: MessageSource, max_size: int) -> None:
        self._ws = ws
        self._max_size = max_size
        self._loop = asyncio.get_running_loop()
        self.deferred = 0
        self._gate: asyncio.Future[None] | None = None  # set while reading is paused

    def pause(self) -> None:
        """See `Transport.pause_reading`; a message that is already awaited is still delivered."""
        if self._gate is None:
            self._gate = self._loop.create_future()

    def resume(self) -> None:
        """See `Transport.resume_reading`."""
        if self._gate is not None:
            if not self._gate.done():
                self._gate.set_result(None)
            self._gate = None

    def on_eof(self) -> None:
        """See `Reader.on_eof`."""
        feed_eof(self._ws)

    def on_lost(self) -> None:
        """Do nothing: `SocketProtocol` reports it to aiohttp, so `receive()` returns it."""

    async def run(self, receiver: Receiver, context: Context) -> None:
        """See `Reader.run`; the caller's task runs in the right context already."""
        del context
        until = monotonic() + _YIELD_AFTER
        while True:
            if monotonic() > until:
                # `receive()` does not suspend while there are messages, so yield here.
                self.deferred += 1
                await asyncio.sleep(0)
                until = monotonic() + _YIELD_AFTER
            while self._gate is not None:
                await self._gate
            message = await self._ws.receive()
            kind = message.type
            if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
                length = size(message.data)
                if length > self._max_size:  # see `parser_limit`
                    receiver.on_violation(WSCloseCode.MESSAGE_TOO_BIG)
                    return
                receiver.on_message(message.data, length)
            elif kind not in _CONTROL:
                dispatch_failure(message.data if kind is WSMsgType.ERROR else None, receiver)
                return
            elif not dispatch_control(message, receiver):
                return
