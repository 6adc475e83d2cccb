"""Read frames with aiohttp's public `receive()`, where aiohttp does not support the push path."""

from __future__ import annotations

import asyncio
from contextvars import Context
from time import monotonic
from typing import Any, Protocol

from aiohttp import WSCloseCode, WSMsgType

from rxws._session.encoding import size
from rxws._session.transport import Receiver

from .private_api import feed_eof
from .reader import Reader, dispatch_control, dispatch_failure, pass_on

__all__ = ["MessageSource", "PullReader"]

# The loop gets a turn after so many seconds, even if more messages are there.
_YIELD_AFTER = 0.01

_CONTROL = (WSMsgType.PING, WSMsgType.PONG, WSMsgType.CLOSE)


class MessageSource(Protocol):
    """The part of aiohttp's client and server WebSockets that reads."""

    async def receive(self) -> Any:
        """Return the next message of any type."""
        ...


class PullReader(Reader):
    """Awaits one message after another."""

    __slots__ = ("_gate", "_loop", "_max_size", "_ws", "deferred")

    def __init__(self, ws: MessageSource, max_size: int) -> None:
        self._ws = ws
        self._max_size = max_size
        self._loop = asyncio.get_running_loop()
        self.deferred = 0
        self._gate: asyncio.Future[None] | None = None  # set while reading is paused

    def pause(self) -> None:
        if self._gate is None:
            self._gate = self._loop.create_future()

    def resume(self) -> None:
        if self._gate is not None:
            if not self._gate.done():
                self._gate.set_result(None)
            self._gate = None

    def on_eof(self) -> None:
        feed_eof(self._ws)

    def on_lost(self) -> None:
        """Do nothing: aiohttp's protocol is notified as well, and then `receive()` returns."""

    def release(self) -> None:
        del self._ws

    async def run(self, receiver: Receiver, context: Context) -> None:
        del context  # the caller's task already runs in it
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
            try:
                if not self._dispatch(message, receiver):
                    return
            except BaseException as exc:  # such as a CancelledError of a subscriber
                receiver.on_cancelled()  # unless the session has ended the connection already
                pass_on(exc)
                return

    def _dispatch(self, message: Any, receiver: Receiver) -> bool:
        """Dispatch a message; return whether more messages may follow."""
        kind = message.type
        if kind is WSMsgType.TEXT or kind is WSMsgType.BINARY:
            length = size(message.data)
            if length > self._max_size:  # see `parser_limit`
                receiver.on_violation(WSCloseCode.MESSAGE_TOO_BIG)
                return False
            receiver.on_message(message.data, length)
            return True
        if kind not in _CONTROL:
            error = message.data if kind is WSMsgType.ERROR else None
            dispatch_failure(error, receiver)
            if error is not None:
                # aiohttp's reader keeps the error, whose traceback refers to the WebSocket.
                error.__traceback__ = None
            return False
        return dispatch_control(message, receiver)
