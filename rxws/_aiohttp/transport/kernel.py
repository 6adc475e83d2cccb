"""Read and limit the kernel's send buffer of a socket."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from typing import NamedTuple

from rxws._core.log import logger

__all__ = ["Progress", "limit_send_buffer", "progress"]

# Of `struct tcp_info` in <linux/tcp.h>: tcpi_bytes_acked (since Linux 4.1) and tcpi_notsent_bytes
# (since 4.6).
_BYTES_ACKED = struct.Struct("120xQ")
_NOTSENT_BYTES = struct.Struct("144xI")
_TCP_INFO_SIZE = _NOTSENT_BYTES.size
_INT = struct.Struct("i")

# Bytes that may wait unsent in the kernel before it reports the socket as full. Linux and macOS
# have the option; Python names it only on Linux.
_TCP_NOTSENT_LOWAT = {"linux": 25, "darwin": 0x201}.get(sys.platform)


class Progress(NamedTuple):
    """How much of the written data the peer's kernel has acknowledged.

    Args:
        acknowledged: A counter of acknowledged bytes.
        pending: The bytes in the kernel that are not acknowledged yet.
        unsent: How many of them were not even sent.
    """

    acknowledged: int
    pending: int
    unsent: int


if sys.platform == "linux":
    import fcntl
    import termios

    def progress(transport: asyncio.Transport) -> Progress | None:
        """Return the progress of a transport, or None if the kernel does not report it."""
        sock = transport.get_extra_info("socket")
        try:
            info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
            queued = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
        except (OSError, ValueError, AttributeError):  # closed already, or not a TCP socket
            return None
        if len(info) < _TCP_INFO_SIZE:  # pragma: no cover # an old kernel
            return None
        (acknowledged,) = _BYTES_ACKED.unpack_from(info)
        (unsent,) = _NOTSENT_BYTES.unpack_from(info)
        (pending,) = _INT.unpack(queued)
        return Progress(acknowledged, pending, unsent)

else:  # pragma: no cover # the tests run on Linux

    def progress(transport: asyncio.Transport) -> Progress | None:
        """Return None: other kernels do not report it in a common way."""
        return None


def limit_send_buffer(transport: asyncio.Transport, size: int) -> None:
    """Let the kernel take no more unsent data than this number of bytes, where it can.

    The limit does not count data in flight, so it does not slow a fast peer down over a long
    distance, as a small SO_SNDBUF would.
    """
    if _TCP_NOTSENT_LOWAT is None:  # pragma: no cover # the tests run on Linux
        return
    sock = transport.get_extra_info("socket")
    try:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, size)
    except (OSError, ValueError, AttributeError):  # closed already, or not a TCP socket
        logger.debug("kernel_buffer=%d has no effect on this connection", size)
