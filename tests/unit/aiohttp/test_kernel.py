"""What the kernel reports about its send buffer, and the limit of it."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rxws._aiohttp.transport.kernel import limit_send_buffer, progress
from rxws._aiohttp.transport.socket_protocol import SocketProtocol
from rxws._session.transport import Delivery
from support.peers.fake_tcp import FakeTcp
from support.peers.raw import PATIENCE

LARGE = bytes(32 << 20)  # more than the kernel buffers of both ends hold together


class Listener:
    """Ignores the events of a `SocketProtocol`."""

    def on_writable(self) -> None: ...
    def on_eof(self) -> None: ...
    def on_lost(self) -> None: ...


@asynccontextmanager
async def connected(family: int) -> AsyncIterator[tuple[SocketProtocol, socket.socket]]:
    """Yield a protocol on one end of a TCP or Unix connection, and the socket at the other end."""
    if family == socket.AF_INET:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            peer, _ = listener.accept()
    else:
        ours, peer = socket.socketpair()
    peer.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
    protocol = SocketProtocol(transport, Listener())
    try:
        yield protocol, peer
    finally:
        peer.close()
        transport.abort()
        await protocol.lost


async def read(peer: socket.socket, size: int) -> None:
    """Read exactly this number of bytes."""
    async with asyncio.timeout(PATIENCE):
        while size:
            size -= len(await asyncio.get_running_loop().sock_recv(peer, min(size, 1 << 20)))


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_UNIX], ids=["tcp", "unix"])
async def test_delivery_follows_the_peer(family: int) -> None:
    """`delivered` grows as the peer reads, and at the end nothing is pending or blocked."""
    async with connected(family) as (protocol, peer):
        before = protocol.delivery()
        assert (before.pending, before.blocked) == (0, False)
        protocol.transport.write(LARGE)
        await asyncio.sleep(0)
        begun = protocol.delivery()
        assert begun.blocked
        assert begun.pending > len(LARGE) // 4
        await read(peer, len(LARGE) // 2)
        half = protocol.delivery()
        assert half.delivered > begun.delivered
        assert half.pending < begun.pending
        await read(peer, len(LARGE) // 2)
        for _ in range(100):  # the peer's kernel may delay its last acknowledgement
            if not protocol.delivery().pending:
                break
            await asyncio.sleep(0.01)
        after = protocol.delivery()
        assert (after.pending, after.blocked) == (0, False)
        total = after.delivered - before.delivered
        if family == socket.AF_INET and sys.platform == "linux":
            assert total == len(LARGE)
        else:  # what the kernel took at once is not counted
            assert 0 < total < len(LARGE)


async def test_delivery_without_a_socket() -> None:
    """If the kernel reports nothing, only what waits in this process is pending."""
    line = FakeTcp(asyncio.Protocol())
    protocol = SocketProtocol(line, Listener())
    assert protocol.delivery() == Delivery(0, 0, False)
    line.write(bytes(5))
    assert protocol.delivery() == Delivery(0, 0, False)
    line.takes = False
    line.write(bytes(7))
    assert protocol.delivery() == Delivery(0, 7, True)
    line.take()
    assert protocol.delivery() == Delivery(7, 0, False)


async def test_a_closed_socket_has_no_progress() -> None:
    """A closed socket reports no progress, and cannot be limited."""
    async with connected(socket.AF_INET) as (protocol, _):
        protocol.transport.abort()
        await protocol.lost
    assert progress(protocol.transport) is None
    limit_send_buffer(protocol.transport, 1)
    assert protocol.delivery().pending == 0


@pytest.mark.skipif(sys.platform not in ("linux", "darwin"), reason="no TCP_NOTSENT_LOWAT")
async def test_only_tcp_can_be_limited(caplog: pytest.LogCaptureFixture) -> None:
    """A transport without a TCP socket is left as it is, with a debug message."""
    with caplog.at_level(logging.DEBUG, "rxws"):
        no_socket: Any = FakeTcp(asyncio.Protocol())
        limit_send_buffer(no_socket, 4096)
        async with connected(socket.AF_UNIX) as (protocol, _):
            limit_send_buffer(protocol.transport, 4096)
    assert caplog.messages == ["kernel_buffer=4096 has no effect on this connection"] * 2
