"""Below aiohttp's WebSockets: the asyncio protocol between its protocol and its transport."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["Begun", "Wire"]


class Begun:
    """A coroutine that was run by hand up to its first await; awaiting it runs the rest."""

    def __init__(self, coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        waits_for = self._waits_for
        while True:
            try:
                value = yield waits_for
            except BaseException as exc:
                resume: Callable[[], Any] = _thrower(self._coroutine, exc)
            else:
                resume = _sender(self._coroutine, value)
            try:
                waits_for = resume()
            except StopIteration:
                return


def _sender(coroutine: Coroutine[Any, Any, None], value: Any) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def _thrower(coroutine: Coroutine[Any, Any, None], exc: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(exc)


class Wire(asyncio.Protocol):
    """Stands between an asyncio transport and aiohttp's protocol, and passes on what comes in.

    It sees what aiohttp does not tell: signs of life, whether the kernel takes what is written, and
    the end of TCP. aiohttp's protocol is not told of a full wire: it would block inside sends.
    """

    def __init__(self, transport: asyncio.Transport, on_writable: Callable[[bool], None]) -> None:
        self.transport = transport
        self.writable = True
        self.received = 0
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_writable = on_writable
        self._inner: Any = transport.get_protocol()
        self._discarding = False
        if transport.is_closing():  # connection_lost was called, or will be on the inner one
            self.lost.set_result(None)
            return
        transport.set_protocol(self)
        # Tell as soon as anything waits: what waits is the session's, to bound and to drop.
        transport.set_write_buffer_limits(high=0)

    def linger(self) -> None:
        """Half-close and discard what comes until the peer ends it too.

        Closing with unread data in the socket resets it, and the peer may never read our close.
        """
        self._discarding = True
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:  # TLS
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Pass it on, unless nothing that comes now counts."""
        self.received += len(data)
        if not self._discarding:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on; asyncio closes the transport then."""
        keep_open: bool | None = self._inner.eof_received()
        return keep_open

    def pause_writing(self) -> None:
        """Tell that the kernel does not take all."""
        self.writable = False
        self._on_writable(False)

    def resume_writing(self) -> None:
        """Tell that the kernel took all."""
        self.writable = True
        self._on_writable(True)

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, and let those go who wait for it."""
        self._inner.connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)
