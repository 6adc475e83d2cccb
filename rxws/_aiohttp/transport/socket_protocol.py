"""Below aiohttp's WebSockets: the asyncio protocol between its protocol and its transport."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

__all__ = ["SocketListener", "SocketProtocol"]

# `struct linger`: on, and for no time at all.
_RESET = struct.pack("ii", 1, 0)

_QUIET = 0.25  # seconds without a byte after which a peer is taken to have said its last


# asyncio takes 256 KiB for each read. With glibc that is, until a larger block was freed, a mapping
# of its own: three system calls and a page fault for each message. So one is freed. The heap keeps
# twice as much from then on instead of giving it back: enough for a chunk and the messages in it,
# which are parsed before they are delivered, or else each large one costs ten page faults.
bytearray(512 << 10)


class SocketListener(Protocol):
    """Who is told what the wire sees."""

    def on_writable(self) -> None:
        """`SocketProtocol.writable` has changed."""
        ...

    def on_eof(self) -> None:
        """The peer has half-closed, and TCP stays open for what we have to say."""
        ...

    def on_lost(self) -> None:
        """TCP is lost."""
        ...


class SocketProtocol(asyncio.Protocol):
    """Stands between an asyncio transport and aiohttp's protocol, and passes on what comes in.

    Data goes to aiohttp's protocol, or, on the push path, to `on_data`. The wire sees what aiohttp
    does not tell: signs of life, whether the kernel takes what is written, and the end of TCP.
    aiohttp's protocol is not told of a full wire: it would block inside sends.
    """

    __slots__ = (
        "_discarding",
        "_eof",
        "_inner",
        "_listener",
        "_loop",
        "_lost",
        "_quiet",
        "finishing",
        "is_lost",
        "on_data",
        "received",
        "transport",
        "writable",
    )

    def __init__(self, transport: asyncio.Transport, listener: SocketListener) -> None:
        self.transport = transport
        self.writable = True
        self.finishing = False  # whether a close frame is on its way, or answered
        self.received = 0
        self._loop = asyncio.get_running_loop()
        self.is_lost = transport.is_closing()
        self._lost: asyncio.Future[None] | None = None  # made when somebody waits
        self._listener = listener
        self._quiet: asyncio.TimerHandle | None = None
        self._inner = cast(Any, transport.get_protocol())
        self.on_data: Callable[[bytes], object] = self._inner.data_received
        self._discarding = False
        self._eof = False  # whether the peer has half-closed
        if self.is_lost:  # connection_lost was called, or will be on the inner one
            return
        transport.set_protocol(self)
        # Tell as soon as anything waits: what waits is the session's, to bound and to drop. Not 0,
        # which asyncio's TLS transport takes to be reached by an empty buffer.
        transport.set_write_buffer_limits(high=1, low=0)

    @property
    def lost(self) -> asyncio.Future[None]:
        """Done when TCP is lost."""
        if self._lost is None or self._lost.cancelled():  # with the task that waited for it
            self._lost = self._loop.create_future()
            if self.is_lost:
                self._lost.set_result(None)
        return self._lost

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken."""
        # A TLS transport that was closed twice, as aiohttp does it, cannot tell any more.
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    @property
    def is_ending(self) -> bool:
        """Whether TCP is being ended, and the peer has no say in when."""
        transport = self.transport
        return (
            transport.is_closing()
            and transport.can_write_eof()  # TLS says goodbye, and waits for the peer's
            and not transport.get_write_buffer_size()
        )

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
        except (OSError, ValueError, AttributeError):  # closed already, or no socket at all
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
            self.on_data(data)

    def eof_received(self) -> bool:
        """Pass it on, and tell whether the transport stays open for what we have to say."""
        self._eof = True
        self._inner.eof_received()
        if self._discarding:
            return False  # we have half-closed, too
        if self.transport.can_write_eof():
            # A close frame may be among what is still to be delivered, and wants an answer.
            self._listener.on_eof()
            return True
        if self.buffered and not self.finishing:
            # TLS stays open no longer, but asyncio would wait until the peer has read all.
            self.abort()
        return False

    def pause_writing(self) -> None:
        """Tell that the kernel does not take all."""
        self.writable = False
        self._listener.on_writable()

    def resume_writing(self) -> None:
        """Tell that the kernel took all."""
        self.writable = True
        self._listener.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, and let those go who wait for it."""
        if self._quiet is not None:
            self._quiet.cancel()
        self._inner.connection_lost(exc)
        self.is_lost = True
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._listener.on_lost()
