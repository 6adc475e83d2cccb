"""Deadlines on a real socket: `send_timeout`, heartbeats, pauses and `hold_timeout`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex.disposable import Disposable

import rxws
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, Link, Links
from support.peers.raw import PATIENCE
from support.processes.server import KIB, MIB, running

TCP = Path("/proc/self/net/tcp")
PAUSE = 4.0  # seconds


def clock() -> float:
    return asyncio.get_running_loop().time()


# --- send_timeout ---------------------------------------------------------------------------


def our_socket_exists(one: Link) -> tuple[bool, bool]:
    """Return whether a process still pauses our end of the socket, and whether the kernel does."""
    try:
        ours, theirs = one.peer.sock.getpeername()[1], one.peer.sock.getsockname()[1]
    except OSError:  # the peer has seen a reset
        return False, False
    for line in TCP.read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if [int(end.partition(":")[2], 16) for end in (local, remote)] == [ours, theirs]:
            return inode != "0", True
    return False, False


async def read_slowly(one: Link) -> None:
    """Read one byte every 50 ms."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            await loop.sock_recv(one.peer.sock, 1)
        except ConnectionError:
            return
        await asyncio.sleep(0.05)


@pytest.mark.promise("stuck")
@pytest.mark.skipif(not TCP.exists(), reason="sockets are read from /proc")
@pytest.mark.parametrize("trickles", [False, True])
async def test_send_timeout_aborts_a_peer_that_does_not_read(link: Links, trickles: bool) -> None:
    """After `send_timeout` a peer that reads nothing, or a byte now and then, is aborted."""
    one = await link(receive_buffer=4096, max_buffer=64 * MIB, send_timeout=1.0, heartbeat=None)
    await one.peer.stop_reading()
    reader = asyncio.create_task(read_slowly(one)) if trickles else None
    began = clock()
    one.conn.outgoing.on_next(bytes(16 * MIB))
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    assert 0.9 < clock() - began < 3.0  # a single message waits for one `send_timeout`
    async with asyncio.timeout(1.0):
        while our_socket_exists(one)[0]:  # noqa: ASYNC110  # the kernel has no event for it
            await asyncio.sleep(0.01)
    if reader is None:
        await one.silent_wire()
    else:  # reading the kernel's buffer at this pace would take too long
        reader.cancel()
        await asyncio.wait([reader])


@pytest.mark.promise("stuck")
@pytest.mark.skipif(not TCP.exists(), reason="sockets are read from /proc")
async def test_the_kernel_drops_an_aborted_connection(link: Links) -> None:
    """One second after an abort the kernel has dropped the socket and its unsent data."""
    one = await link(receive_buffer=4096, max_buffer=64 * MIB, send_timeout=0.3, heartbeat=None)
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(bytes(16 * MIB))
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    async with asyncio.timeout(1.0):
        while any(our_socket_exists(one)):  # noqa: ASYNC110  # the kernel has no event for it
            await asyncio.sleep(0.01)


# --- heartbeats and pauses ------------------------------------------------------------------


@pytest.mark.promise("dead")
async def test_a_dead_peer_is_detected(link: Links) -> None:
    """A peer that answers no ping is lost within 1.5 times the heartbeat."""
    one = await link(heartbeat=0.6)
    began = clock()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    assert clock() - began < 0.9 + 1.0  # a second for a busy machine


@pytest.mark.promise("pause")
async def test_a_paused_peer_stays_connected(serve: Serve) -> None:
    """A pause of 4 s at either end with a heartbeat of 1 s loses no connection and no message."""
    paused: list[float] = []

    async def echo_with_pause(conn: AnyConnection) -> None:
        async for message in conn.incoming:
            if message == "pause":
                with conn.flow.pause():
                    await asyncio.sleep(PAUSE)
                paused.append(conn.flow.stats.paused)
            conn.outgoing.on_next(message)

    async def send_numbers(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(heartbeat=1.0)
        await ws.prepare(request)
        for number in range(100):
            await ws.send_str(str(number))
        assert (await ws.receive_str()) == "done"
        await ws.close()
        return ws

    async def with_our_server() -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{ours}/", heartbeat=1.0) as ws,
        ):
            await ws.send_str("pause")
            for number in range(100):
                await ws.send_str(str(number))
            answers = [await ws.receive_str() for _ in range(101)]
            assert answers == ["pause", *map(str, range(100))]

    async def with_our_client() -> None:
        async with rxws.connect(f"ws://127.0.0.1:{theirs}/", heartbeat=1.0) as conn:
            got: list[Any] = []
            all_received = asyncio.Event()

            def take(message: object) -> None:
                got.append(message)
                if len(got) == 100:
                    all_received.set()

            pause = conn.flow.pause()
            conn.incoming.subscribe(take)
            await asyncio.sleep(PAUSE)
            assert got == []
            pause.dispose()
            await asyncio.wait_for(all_received.wait(), PATIENCE)
            conn.outgoing.on_next("done")
            assert (await conn.closed).code == 1000

    ours = await serve(rxws.websocket(echo_with_pause, heartbeat=1.0))
    theirs = await serve(send_numbers)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(with_our_server())
        group.create_task(with_our_client())
    assert paused[0] >= PAUSE - 0.1


@pytest.mark.promise("pause")
@pytest.mark.parametrize(
    ("handler", "theirs"),
    [
        pytest.param("map_1", 1.0, id="coroutine"),
        pytest.param("slow", None, id="blocked-loop"),
        pytest.param("slow", 1.0, id="blocked-loop-with-peer-heartbeat"),
    ],
)
async def test_a_slow_handler_stays_connected(handler: str, theirs: float | None) -> None:
    """More than 2.5 s of work in a handler with a heartbeat of 1 s loses no connection."""
    async with (
        running() as server,
        aiohttp.ClientSession() as session,
        session.ws_connect(server.url(handler, heartbeat=1.0), heartbeat=theirs) as ws,
    ):
        for _ in range({"map_1": 500}.get(handler, 4000 if theirs else 2500)):
            await ws.send_str("x" * KIB)
        await ws.send_str("are you there?")
        answers: list[str] = []
        async with asyncio.timeout(60):
            while answers[-1:] not in (["yes"], ["are you there?"]):
                answers.append(await ws.receive_str())


# --- pauses ----------------------------------------------------------------------------------


async def test_reading_resumes_after_the_last_pause(link: Links) -> None:
    """Nothing is read until the last of several pauses is disposed."""
    one = await link()
    pauses = [one.conn.flow.pause() for _ in range(3)]
    for number in range(10):
        await one.peer.text(str(number))
    for pause in pauses:
        await one.peer.frame(0x9, b"there?")  # a pong would show that we still read
        await asyncio.sleep(0.05)
        assert one.seen.values == []
        pause.dispose()
        pause.dispose()
    await one.seen.until(lambda: len(one.seen.values) == 10)
    assert one.seen.values == [str(number) for number in range(10)]
    assert one.conn.flow.stats.paused >= 0.1


@pytest.mark.promise("memory-out")
async def test_an_echo_stops_reading_a_peer_that_does_not_read(link: Links) -> None:
    """If a peer does not read its echoes, reading pauses until the peer reads again."""
    one = await link(lambda conn: conn.incoming, receive_buffer=4096, heartbeat=None)
    await one.peer.stop_reading()
    size, sent = 64 * KIB, 0
    block = one.peer.build(0x2, bytes(size))

    async def send() -> None:
        nonlocal sent
        while True:
            await one.peer.send(block)
            sent += 1

    sending = asyncio.create_task(send())
    seen = -1
    while seen != sent:  # until nothing was sent for 0.3 s
        seen = sent
        await asyncio.sleep(0.3)
    assert one.conn.flow.buffered < 64 * KIB + 4 * size
    assert not sending.done()
    one.peer.start_reading()
    await one.peer.messages(sent)
    sending.cancel()
    await asyncio.wait([sending])


@pytest.mark.promise("memory-in")
async def test_a_loop_pauses_while_its_body_is_busy(link: Links) -> None:
    """While the body of `async for` is busy, few messages are read; the others follow in order."""
    one = await link(high_water=1000)
    one.seen.values.clear()
    busy, seen = asyncio.Event(), []
    free = asyncio.Event()

    async def body() -> None:
        async for message in one.conn.incoming:
            seen.append(message)
            busy.set()
            await free.wait()

    task = asyncio.create_task(body())
    await asyncio.sleep(0)
    for number in range(200):
        await one.peer.text(str(number))
    await asyncio.wait_for(busy.wait(), PATIENCE)
    await asyncio.sleep(0.1)
    assert len(seen) == 1
    assert one.conn.flow.stats.received_messages <= 10, "more was read than `high_water` allows"
    free.set()
    await one.peer.close(1000)
    await asyncio.wait_for(task, PATIENCE)
    assert seen == [str(number) for number in range(200)]


@pytest.mark.promise("counted")
async def test_hold_timeout_drops_messages_without_a_subscriber(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """After `hold_timeout`, messages without a subscriber are dropped, counted and logged once."""
    closes: asyncio.Queue[rxws.Close] = asyncio.Queue()
    conns: list[AnyConnection] = []

    handled = asyncio.Event()

    def silent(conn: AnyConnection) -> Disposable:
        conns.append(conn)
        conn.closed.subscribe(closes.put_nowait)
        return Disposable(handled.set)  # after the messages are dropped

    app = web.Application()
    app.router.add_get("/", rxws.websocket(silent, hold_timeout=0.3))
    rxws.setup(app)
    port = await serve(app)
    with caplog.at_level(logging.WARNING, "rxws"):
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{port}/") as ws,
        ):
            for number in range(10):
                await ws.send_str(str(number))
            await ws.close(code=4001)
        close = await asyncio.wait_for(closes.get(), PATIENCE)
        closed_at = asyncio.get_running_loop().time()
        await asyncio.wait_for(handled.wait(), PATIENCE)
    assert (close.code, close.by) == (4001, "peer")
    stats = conns[0].flow.stats
    assert dict(stats.dropped) == {"unobserved": 10}
    assert asyncio.get_running_loop().time() - closed_at >= 0.2
    assert len(caplog.records) == 1
    assert "subscribe" in caplog.text
