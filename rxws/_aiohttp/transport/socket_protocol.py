"""An asyncio protocol between a socket's transport and aiohttp's protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol, cast

__all__ = ["SocketListener", "SocketProtocol"]

# SO_LINGER switched on with zero seconds: closing the socket sends a reset.
_RESET = struct.pack("ii", 1, 0)

# A TLS peer that has been silent for so many seconds is taken to have finished.
_QUIET = 0.25


# asyncio allocates 256 KiB for each read. glibc serves that by mmap (three system calls and a page
# fault per message) until a larger block has been freed, so we free one here. From then on the heap
# keeps twice as much instead of returning it. That is enough for a chunk and the messages parsed
# from it; with less, each large message costs ten page faults.
bytearray(512 << 10)


class SocketListener(Protocol):
    """Receives the events that a `SocketProtocol` observes."""

    __slots__ = ()

    def on_writable(self) -> None:
        """`SocketProtocol.writable` has changed."""
        ...

    def on_eof(self) -> None:
        """The peer has half-closed; we may still send."""
        ...

    def on_lost(self) -> None:
        """TCP is lost."""
        ...


class SocketProtocol(asyncio.Protocol):
    """Takes the place of aiohttp's protocol at an asyncio transport, and passes events on to it.

    It observes what aiohttp does not report: received bytes, whether the kernel takes what is
    written, and the end of TCP. On the push path, received data goes to `on_data` instead of
    aiohttp. aiohttp never learns that writing is paused, because its sends would then block.
    """

    __slots__ = (
        "_aiohttp_protocol",
        "_discarding",
        "_eof",
        "_listener",
        "_loop",
        "_lost",
        "_quiet_timer",
        "finishing",
        "is_lost",
        "on_data",
        "received",
        "transport",
        "writable",
    )

    def __init__(self, transport: asyncio.Transport, listener: SocketListener) -> None:
        self.transport = transport
        self.writable = True  # whether the kernel takes what is written
        self.finishing = False  # set by the owner once a close frame was sent or answered
        self.received = 0  # bytes
        self._loop = asyncio.get_running_loop()
        self.is_lost = transport.is_closing()
        self._lost: asyncio.Future[None] | None = None  # created when somebody waits
        self._listener = listener
        self._quiet_timer: asyncio.TimerHandle | None = None
        self._aiohttp_protocol = cast(Any, transport.get_protocol())
        self.on_data: Callable[[bytes], object] = self._aiohttp_protocol.data_received
        self._discarding = False
        self._eof = False  # whether the peer has half-closed
        if self.is_lost:  # aiohttp's protocol gets connection_lost, or has got it
            return
        transport.set_protocol(self)
        # Report every byte that the kernel does not take, so that messages wait in the session,
        # which bounds and drops them. Not 0: asyncio's TLS transport pauses then when it is empty.
        transport.set_write_buffer_limits(high=1, low=0)

    @property
    def lost(self) -> asyncio.Future[None]:
        """A future that is done when TCP is lost."""
        if self._lost is None or self._lost.cancelled():  # together with a task that awaited it
            self._lost = self._loop.create_future()
            if self.is_lost:
                self._lost.set_result(None)
        return self._lost

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        # get_write_buffer_size() raises on a TLS transport that was closed twice, as aiohttp does.
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    @property
    def is_ending(self) -> bool:
        """Whether TCP is closing and will be gone without waiting for the peer."""
        transport = self.transport
        return (
            transport.is_closing()
            and transport.can_write_eof()  # false for TLS, which waits for the peer's close_notify
            and not transport.get_write_buffer_size()
        )

    def linger(self) -> None:
        """Half-close, and discard incoming data until the peer closes its side.

        Closing a socket that has unread data resets it, so the peer might never read our close
        frame. TLS cannot half-close: there, close once the peer has been silent for a while.
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
        except OSError:  # the peer has reset the connection; asyncio does not know yet
            self.transport.abort()

    def abort(self) -> None:
        """Reset TCP, which also discards unsent data in the kernel."""
        sock = self.transport.get_extra_info("socket")
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        except (OSError, ValueError, AttributeError):  # closed already, or not a socket
            pass
        self.transport.abort()

    def close_or_abort(self) -> None:
        """Close TCP after the peer has ended it; reset it if the peer does not read our data."""
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

        self._quiet_timer = self._loop.call_later(_QUIET, check)

    def data_received(self, data: bytes) -> None:
        """Pass a chunk on, unless data is being discarded."""
        self.received += len(data)
        if not self._discarding:
            self.on_data(data)

    def eof_received(self) -> bool:
        """Pass EOF on; return whether the transport stays open for sending."""
        self._eof = True
        self._aiohttp_protocol.eof_received()
        if self._discarding:
            return False  # both sides have half-closed
        if self.transport.can_write_eof():
            # Undelivered data may contain a close frame, which needs an answer.
            self._listener.on_eof()
            return True
        if self.buffered and not self.finishing:
            # A TLS transport closes now, but asyncio would wait until the peer has read everything.
            self.abort()
        return False

    def pause_writing(self) -> None:
        """Note that the kernel's buffer is full."""
        self.writable = False
        self._listener.on_writable()

    def resume_writing(self) -> None:
        """Note that the kernel has taken everything."""
        self.writable = True
        self._listener.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass the loss on, and complete `lost`."""
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._aiohttp_protocol.connection_lost(exc)
        self.is_lost = True
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._listener.on_lost()
