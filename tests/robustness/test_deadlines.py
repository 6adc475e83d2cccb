"""Time on a real socket: `send_timeout`, heartbeats, pauses, `hold_timeout`."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

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


def our_end(one: Link) -> tuple[bool, bool]:
    """Whether a process still holds our end of the socket, and whether the kernel does."""
    try:
        ours, theirs = one.peer.sock.getpeername()[1], one.peer.sock.getsockname()[1]
    except OSError:  # reset, and the peer has seen it
        return False, False
    for line in TCP.read_text().splitlines()[1:]:
        _, local, remote, _, _, _, _, _, _, inode, *_ = line.split()
        if [int(end.partition(":")[2], 16) for end in (local, remote)] == [ours, theirs]:
            return inode != "0", True
    return False, False


async def trickle(one: Link) -> None:
    """Take a byte now and then."""
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
async def test_who_does_not_take_what_waits_is_aborted(link: Links, trickles: bool) -> None:
    """After `send_timeout`, also if a byte leaves now and then; the socket is gone in a second."""
    one = await link(receive_buffer=4096, max_buffer=64 * MIB, send_timeout=1.0, heartbeat=None)
    await one.peer.stop_reading()
    reader = asyncio.create_task(trickle(one)) if trickles else None
    began = clock()
    one.conn.outgoing.on_next(bytes(16 * MIB))
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    assert 0.9 < clock() - began < 3.0  # one pushed in one go waits for one `send_timeout`
    async with asyncio.timeout(1.0):
        while our_end(one)[0]:  # noqa: ASYNC110  # nothing tells when the kernel has dropped it
            await asyncio.sleep(0.01)
    if reader is None:
        await one.silent_wire()
    else:  # what the kernel had taken would take this one long to read
        reader.cancel()
        await asyncio.wait([reader])


@pytest.mark.promise("stuck")
@pytest.mark.skipif(not TCP.exists(), reason="sockets are read from /proc")
async def test_the_kernel_lets_go_of_an_aborted_peer_too(link: Links) -> None:
    """Nothing of an aborted connection is left a second later, 2.8 MB of unsent data least."""
    one = await link(receive_buffer=4096, max_buffer=64 * MIB, send_timeout=0.3, heartbeat=None)
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(bytes(16 * MIB))
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    async with asyncio.timeout(1.0):
        while any(our_end(one)):  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.01)


# --- heartbeats and pauses ------------------------------------------------------------------


@pytest.mark.promise("dead")
async def test_a_dead_peer_is_found(link: Links) -> None:
    """One that answers no ping is lost within 1.5 times the heartbeat."""
    one = await link(heartbeat=0.6)
    began = clock()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    assert clock() - began < 0.9 + 1.0  # a second for a busy machine


@pytest.mark.promise("pause")
async def test_a_pause_is_no_death(serve: Serve) -> None:
    """Four seconds of it, either end paused, both ends with a heartbeat of 1: all is delivered."""
    paused: list[float] = []

    async def pausing(conn: AnyConnection) -> None:
        async for message in rxws.iterate(conn.incoming):
            if message == "pause":
                with conn.flow.pause():
                    await asyncio.sleep(PAUSE)
                paused.append(conn.flow.stats.paused)
            conn.outgoing.on_next(message)

    async def plain(request: web.Request) -> web.WebSocketResponse:
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
            all_here = asyncio.Event()

            def take(message: object) -> None:
                got.append(message)
                if len(got) == 100:
                    all_here.set()

            hold = conn.flow.pause()
            conn.incoming.subscribe(take)
            await asyncio.sleep(PAUSE)
            assert got == []
            hold.dispose()
            await asyncio.wait_for(all_here.wait(), PATIENCE)
            conn.outgoing.on_next("done")
            assert (await conn.closed).code == 1000

    ours = await serve(rxws.websocket(pausing, heartbeat=1.0))
    theirs = await serve(plain)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(with_our_server())
        group.create_task(with_our_client())
    assert paused[0] >= PAUSE - 0.1


@pytest.mark.promise("pause")
@pytest.mark.parametrize(
    ("handler", "theirs"),
    [
        pytest.param("map_1", 1.0, id="a-coroutine"),
        pytest.param("slow", None, id="the-loop-blocked"),
        pytest.param("slow", 1.0, id="the-loop-blocked-and-they-count-pongs"),
    ],
)
async def test_a_slow_handler_is_no_death(handler: str, theirs: float | None) -> None:
    """More than 2.5 s of work in the wire, both ends with a heartbeat of 1: nobody gives up."""
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


# --- holds ----------------------------------------------------------------------------------


async def test_holds_add_up(link: Links) -> None:
    """Nothing is read while one of them lives, and all of it in order after the last."""
    one = await link()
    holds = [one.conn.flow.pause() for _ in range(3)]
    for number in range(10):
        await one.peer.text(str(number))
    for hold in holds:
        await one.peer.frame(0x9, b"there?")  # an answer would show that it is read on
        await asyncio.sleep(0.05)
        assert one.seen.values == []
        hold.dispose()
        hold.dispose()
    await one.seen.until(lambda: len(one.seen.values) == 10)
    assert one.seen.values == [str(number) for number in range(10)]
    assert one.conn.flow.stats.paused >= 0.1


@pytest.mark.promise("memory-out")
async def test_a_peer_that_sends_and_does_not_read_is_read_no_further(link: Links) -> None:
    """An echo above `high_water` pauses, so that the peer's own writes stop; then all arrives."""
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
    while seen != sent:  # until nothing has moved for a while
        seen = sent
        await asyncio.sleep(0.3)
    assert one.conn.flow.buffered < 64 * KIB + 4 * size
    assert not sending.done()
    one.peer.start_reading()
    await one.peer.messages(sent)
    sending.cancel()
    await asyncio.wait([sending])


@pytest.mark.promise("memory-in")
async def test_iterate_holds_while_the_body_is_busy(link: Links) -> None:
    """What comes in meanwhile waits at the peer, not here, and comes in order."""
    one = await link()
    one.seen.values.clear()
    busy, seen = asyncio.Event(), []
    free = asyncio.Event()

    async def body() -> None:
        async for message in rxws.iterate(one.conn.incoming):
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
    assert one.conn.flow.stats.received_messages <= 2, "one, and one that was on its way"
    free.set()
    await one.peer.close(1000)
    await asyncio.wait_for(task, PATIENCE)
    assert seen == [str(number) for number in range(200)]


@pytest.mark.promise("counted")
async def test_who_never_subscribes_is_waited_for_only_so_long(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """After `hold_timeout` what comes in is dropped, counted and logged once; the end is seen."""
    closes: asyncio.Queue[rxws.Close] = asyncio.Queue()
    conns: list[AnyConnection] = []

    def silent(conn: AnyConnection) -> None:
        conns.append(conn)
        conn.closed.subscribe(closes.put_nowait)

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
    assert (close.code, close.by) == (4001, "peer")
    stats = conns[0].flow.stats
    assert dict(stats.dropped) == {"unobserved": 10}
    assert stats.paused >= 0.25
    assert len(caplog.records) == 1
    assert "subscribe" in caplog.text
