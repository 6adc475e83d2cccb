"""Below aiohttp's WebSockets: the asyncio protocol between its protocol and its transport."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Coroutine, Generator
from typing import Any

__all__ = ["Begun", "Wire"]

# `struct linger`: on, and for no time at all.
_RESET = struct.pack("ii", 1, 0)

_QUIET = 0.25  # seconds without a byte after which a peer is taken to have said its last


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

    __slots__ = (
        "_discarding",
        "_eof",
        "_inner",
        "_loop",
        "_on_eof",
        "_on_lost",
        "_on_writable",
        "_quiet",
        "finishing",
        "lost",
        "received",
        "transport",
        "writable",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        on_writable: Callable[[bool], None],
        on_lost: Callable[[], None],
        on_eof: Callable[[], None],
    ) -> None:
        self.transport = transport
        self.writable = True
        self.finishing = False  # whether a close frame is on its way, or answered
        self.received = 0
        self._loop = asyncio.get_running_loop()
        self.lost: asyncio.Future[None] = self._loop.create_future()
        self._on_writable = on_writable
        self._on_lost = on_lost
        self._on_eof = on_eof
        self._quiet: asyncio.TimerHandle | None = None
        self._inner: Any = transport.get_protocol()
        self._discarding = False
        self._eof = False  # whether the peer has half-closed
        if transport.is_closing():  # connection_lost was called, or will be on the inner one
            self.lost.set_result(None)
            return
        transport.set_protocol(self)
        # Tell as soon as anything waits: what waits is the session's, to bound and to drop. Not 0,
        # which asyncio's TLS transport takes to be reached by an empty buffer.
        transport.set_write_buffer_limits(high=1, low=0)

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken."""
        # A TLS transport that was closed twice, as aiohttp does it, cannot tell any more.
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def linger(self) -> None:
        """Half-close and discard what comes until the peer ends it too.

        Closing with unread data in the socket resets it, and the peer may never read our close.
        TLS cannot half-close: there we close when the peer, having answered or not, is quiet.
        """
        self._discarding = True
        if self._eof:
            self.transport.close()
            return
        self.transport.resume_reading()
        if not self.transport.can_write_eof():
            self._close_when_quiet(self.received)
            return
        try:
            self.transport.write_eof()
        except OSError:  # the peer is gone, in this very turn
            self.transport.abort()

    def abort(self) -> None:
        """End TCP by a reset, so that the kernel, too, throws away what the peer did not take."""
        sock = self.transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except (OSError, AttributeError):  # closed already, or no socket of the kernel's
            pass
        self.transport.abort()

    def give_up(self) -> None:
        """End TCP with a peer that has ended it, but let it read what it was sent."""
        if self.buffered:
            self.abort()
        else:
            self.transport.close()

    def _close_when_quiet(self, received: int) -> None:
        def check() -> None:
            if self.received == received:
                self.transport.close()
            else:
                self._close_when_quiet(self.received)

        self._quiet = self._loop.call_later(_QUIET, check)

    def data_received(self, data: bytes) -> None:
        """Pass it on, unless nothing that comes now counts."""
        self.received += len(data)
        if not self._discarding:
            self._inner.data_received(data)

    def eof_received(self) -> bool:
        """Pass it on, and tell whether the transport stays open for what we have to say."""
        self._eof = True
        self._inner.eof_received()
        if self._discarding:
            return False  # we have half-closed, too
        if self.transport.can_write_eof():
            # A close frame may be among what is still to be delivered, and wants an answer.
            self._on_eof()
            return True
        if self.buffered and not self.finishing:
            # TLS stays open no longer, but asyncio would wait until the peer has read all.
            self.abort()
        return False

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
        if self._quiet is not None:
            self._quiet.cancel()
        self._inner.connection_lost(exc)
        if not self.lost.done():
            self.lost.set_result(None)
        self._on_lost()
