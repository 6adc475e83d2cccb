"""Data in the kernel's send buffer: pings that wait behind it, and `kernel_buffer`."""

from __future__ import annotations

import asyncio
import itertools
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
from reactivex import operators as ops

import rxws
from support.peers.endpoints import AnyConnection, Link, Links
from support.peers.frames import Op
from support.peers.raw import PATIENCE
from support.peers.tls import PEM

KIB, MIB = 1 << 10, 1 << 20
HEARTBEAT = 1.0  # seconds
LARGE = bytes(3 * MIB)  # takes several heartbeats at 1 MiB/s

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="other kernels do not report what the peer has taken"
)


async def read_steadily(one: Link, until: Callable[[], object]) -> None:
    """Read 1 MiB/s or less, without a pause, and answer pings, until a condition holds."""
    peer, answered = one.peer, 0
    async with asyncio.timeout(3 * PATIENCE):
        while not until():
            await peer.read_some(32 * KIB)
            pings = [frame for frame in peer.frames if frame.opcode == Op.PING]
            for ping in pings[answered:]:
                await peer.frame(Op.PONG, ping.payload)
            answered = len(pings)
            await asyncio.sleep(1 / 32)


@pytest.mark.promise("taking")
@pytest.mark.usefixtures("read_path")
async def test_a_peer_that_reads_steadily_is_alive(link: Links) -> None:
    """A ping may wait longer than the heartbeat while the peer reads the 3 MiB sent before it."""
    one = await link(receive_buffer=256 * KIB, heartbeat=HEARTBEAT, send_timeout=60.0)
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(LARGE)
    await read_steadily(one, until=lambda: one.peer.data)
    assert one.seen.closes == []
    assert one.peer.data[0].payload == LARGE
    one.peer.start_reading()
    one.conn.outgoing.on_next(rxws.Close(4001))
    assert (await one.peer.answer_close()).code == 4001
    await one.ended(4001, by="local", error=None)


@pytest.mark.promise("queued")
async def test_our_close_waits_for_data_in_the_kernel(link: Links) -> None:
    """`close_timeout` does not reset a peer that still reads what was sent before the close."""
    one = await link(receive_buffer=256 * KIB, heartbeat=None, send_timeout=60.0, close_timeout=0.5)
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next(rxws.Close(4001))
    await read_steadily(one, until=lambda: one.peer.closes)
    assert one.peer.data[0].payload == LARGE
    one.peer.start_reading()
    assert (await one.peer.answer_close()).code == 4001
    await one.ended(4001, by="local", error=None)


@pytest.mark.promise("dead")
@pytest.mark.usefixtures("read_path")
async def test_a_peer_that_stops_reading_is_lost(link: Links) -> None:
    """The heartbeat detects a peer that stops reading, even if much data waits before the ping."""
    one = await link(receive_buffer=256 * KIB, heartbeat=HEARTBEAT, send_timeout=60.0)
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(LARGE)
    await read_steadily(one, until=lambda: len(one.peer.received) > 1 * MIB)
    assert one.seen.closes == []
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)


@asynccontextmanager
async def slow_relay(port: int) -> AsyncIterator[int]:
    """Relay one TCP connection to a port: 1 MiB/s or less to the client, anything to the server."""
    loop = asyncio.get_running_loop()
    listener, server = socket.create_server(("127.0.0.1", 0)), socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * KIB)
    sockets = [listener, server]
    for sock in sockets:
        sock.setblocking(False)

    async def copy(source: socket.socket, target: socket.socket, pause: float) -> None:
        with suppress(OSError):
            while data := await loop.sock_recv(source, 32 * KIB):
                await loop.sock_sendall(target, data)
                await asyncio.sleep(pause)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    async def relay() -> None:
        client, _ = await loop.sock_accept(listener)
        sockets.append(client)
        await loop.sock_connect(server, ("127.0.0.1", port))
        await asyncio.gather(copy(client, server, 0), copy(server, client, 1 / 32))

    task = asyncio.create_task(relay())
    try:
        yield listener.getsockname()[1]
    finally:
        task.cancel()
        await asyncio.wait([task])
        for sock in sockets:
            sock.close()


@pytest.mark.promise("taking")
@pytest.mark.promise("tls")
@pytest.mark.usefixtures("read_path")
async def test_a_tls_peer_that_reads_steadily_is_alive() -> None:
    """Over TLS, a ping may also wait while the peer reads what was sent before it."""
    closed: asyncio.Future[rxws.Close] = asyncio.Future()

    def send_large(conn: AnyConnection) -> None:
        conn.incoming.subscribe(on_error=lambda _: None)
        conn.closed.subscribe(closed.set_result)
        conn.outgoing.on_next(LARGE)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    ours: rxws.ServerOptions = {
        "ssl_context": context,
        "heartbeat": HEARTBEAT,
        "send_timeout": 60.0,
        "max_buffer": 4 * MIB,
    }
    theirs: rxws.ClientOptions = {
        "ssl": ssl.create_default_context(cafile=str(PEM)),
        "heartbeat": None,
        "compress": False,
        "max_message_size": 4 * MIB,
    }
    async with rxws.serve(send_large, **ours) as server, slow_relay(server.port) as port:
        url = f"wss://127.0.0.1:{port}/"
        async with asyncio.timeout(PATIENCE), rxws.connect(url, **theirs) as conn:
            assert await conn.incoming.pipe(ops.first()) == LARGE
            conn.outgoing.on_next(rxws.Close(4001))
            assert await closed == rxws.Close(4001)


async def send_until_conflated(one: Link, most: int) -> int:
    """Send small messages until one is conflated, or `most` bytes; return the number of bytes."""
    for count in itertools.count():
        one.conn.outgoing.on_next(str(count).ljust(100))
        if count % 100 == 0:
            await asyncio.sleep(0)
        if one.conn.flow.stats.dropped or count * 100 > most:
            return count * 100
    raise AssertionError  # pragma: no cover


@pytest.mark.promise("kernel")
async def test_the_kernel_takes_little_with_latest(link: Links) -> None:
    """With `overflow.latest`, messages are conflated soon after the peer stops reading."""
    one = await link(receive_buffer=32 * KIB, overflow=rxws.overflow.latest(), heartbeat=None)
    await one.peer.stop_reading()
    assert await send_until_conflated(one, 4 * MIB) < 512 * KIB


@pytest.mark.promise("kernel")
async def test_kernel_buffer_works_with_every_policy(link: Links) -> None:
    """`kernel_buffer` limits what the kernel takes with every overflow policy."""
    one = await link(
        receive_buffer=32 * KIB,
        kernel_buffer=1,
        max_buffer=4 * KIB,
        overflow="drop_oldest",
        heartbeat=None,
    )
    await one.peer.stop_reading()
    assert await send_until_conflated(one, 4 * MIB) < 512 * KIB
    assert one.conn.flow.buffered > 0
