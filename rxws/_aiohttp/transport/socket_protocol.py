"""The asyncio protocol between a socket's transport and aiohttp's protocol."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any, Protocol

from reactivex.internal import noop

from rxws._session.transport import Delivery

from .kernel import progress

__all__ = ["SocketListener", "SocketProtocol"]

# SO_LINGER switched on with zero seconds: closing the socket sends a reset.
_RESET = struct.pack("ii", 1, 0)

# Seconds of silence after which a TLS peer is assumed to send nothing more.
_QUIET = 0.25


# Make glibc keep large blocks on its heap. asyncio allocates 256 KiB for each read, and glibc calls
# mmap for it (three system calls and a page fault per message) until a larger block has been freed.
# This line frees one. The heap then keeps twice its size: enough for a chunk and its messages. With
# a smaller one, each large message costs ten page faults.
bytearray(512 << 10)


class SocketListener(Protocol):
    """Is notified of the events that a `SocketProtocol` observes."""

    __slots__ = ()

    def on_writable(self) -> None:
        """`SocketProtocol.writable` has changed."""
        ...

    def on_eof(self) -> None:
        """The peer has half-closed TCP; this side may still send."""
        ...

    def on_lost(self) -> None:
        """TCP is lost."""
        ...


class SocketProtocol(asyncio.Protocol):
    """Replaces aiohttp's protocol on an asyncio transport, and passes most events on to it.

    It observes what aiohttp does not report: the number of received bytes, whether the kernel takes
    what is written, and the end of TCP. On the push path, received data goes to `on_data` instead
    of aiohttp. `pause_writing` is never passed on, because aiohttp's sends would then wait.
    """

    __slots__ = (
        "_aiohttp_protocol",
        "_discarding",
        "_eof",
        "_listener",
        "_loop",
        "_lost",
        "_quiet_timer",
        "_waited",
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
        self.finishing = False  # whether `Transport.finish` was called
        self.received = 0  # bytes
        self._loop = asyncio.get_running_loop()
        self.is_lost = transport.is_closing()
        self._lost: asyncio.Future[None] | None = None  # see `lost`
        self._waited = 0  # bytes that had to wait for the kernel so far
        self._listener = listener
        self._quiet_timer: asyncio.TimerHandle | None = None
        protocol: Any = transport.get_protocol()
        self._aiohttp_protocol = protocol
        self.on_data: Callable[[bytes], object] = protocol.data_received
        self._discarding = False
        self._eof = False  # whether the peer has half-closed
        if self.is_lost:  # asyncio notifies aiohttp's protocol of the loss, or has done so
            return
        transport.set_protocol(self)
        # Pause writing as soon as the kernel does not take everything: the session then buffers
        # messages, and applies the limits. With high=0, asyncio's TLS transport would pause even
        # when its buffer is empty.
        transport.set_write_buffer_limits(high=1, low=0)

    @property
    def lost(self) -> asyncio.Future[None]:
        """A future that is done when TCP is lost, created on first use."""
        if self._lost is None or self._lost.cancelled():  # by cancelling a task that awaited it
            self._lost = self._loop.create_future()
            if self.is_lost:
                self._lost.set_result(None)
        return self._lost

    @property
    def buffered(self) -> int:
        """Bytes that the kernel has not taken yet."""
        # get_write_buffer_size() raises if a TLS transport was closed twice, and aiohttp does that.
        return 0 if self.transport.is_closing() else self.transport.get_write_buffer_size()

    def delivery(self) -> Delivery:
        """See `Transport.delivery`; if the kernel reports nothing, its data counts as delivered."""
        buffered = self.buffered
        in_kernel = progress(self.transport)
        if in_kernel is None:
            return Delivery(self._waited - buffered, buffered, buffered > 0)
        delivered, pending, unsent = in_kernel
        return Delivery(delivered, pending + buffered, unsent + buffered > 0)

    @property
    def is_ending(self) -> bool:
        """Whether TCP is closing and need not wait for the peer."""
        transport = self.transport
        return (
            transport.is_closing()
            and transport.can_write_eof()  # false for TLS, which waits for the peer's close_notify
            and not transport.get_write_buffer_size()
        )

    def linger(self) -> None:
        """Half-close TCP, and discard incoming data until the peer closes its side.

        Closing a socket with unread data resets the connection. The peer might then never read the
        close frame. TLS cannot half-close, so close it once the peer is silent.
        """
        self._discarding = True
        if self._eof:
            self.transport.close()
            return
        self.transport.resume_reading()
        if not self.transport.can_write_eof():
            self._close_when_quiet()
            return
        try:
            self.transport.write_eof()
        except OSError:  # the peer has reset the connection, and asyncio has not noticed yet
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
        """Close TCP after the peer has closed its side; reset it if data is still unsent."""
        if self.buffered:
            self.abort()
        else:
            self.transport.close()

    def _close_when_quiet(self, received_before: int = -1) -> None:
        if self.received == received_before:
            self.transport.close()
        else:
            check = self._close_when_quiet
            self._quiet_timer = self._loop.call_later(_QUIET, check, self.received)

    def release(self) -> None:
        """Drop everything that is notified, after TCP is lost."""
        self.on_data = noop
        self._lost = None
        del self._listener, self._aiohttp_protocol

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self._discarding:
            self.on_data(data)

    def eof_received(self) -> bool:
        self._eof = True
        self._aiohttp_protocol.eof_received()
        if self._discarding:
            return False  # both sides have half-closed
        if self.transport.can_write_eof():
            self._listener.on_eof()
            return True  # stay open: undelivered data may contain a close frame to answer
        if self.buffered and not self.finishing:
            self.abort()  # otherwise asyncio's TLS transport waits until the peer reads everything
        return False

    def pause_writing(self) -> None:
        self.writable = False
        self._waited += self.buffered
        self._listener.on_writable()

    def resume_writing(self) -> None:
        self.writable = True
        self._listener.on_writable()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._quiet_timer is not None:
            self._quiet_timer.cancel()
        self._aiohttp_protocol.connection_lost(exc)
        self.is_lost = True
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
        self._listener.on_lost()
