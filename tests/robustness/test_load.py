"""A server under load, measured from outside: memory, tasks and connections.

`make soak` runs the full time and the full numbers that the documentation names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from support.peers.frames import Frame, Op
from support.peers.raw import RawClient
from support.processes.server import (
    HAS_PROC,
    KIB,
    MIB,
    PATIENCE,
    SOAK,
    Server,
    at_once,
    cycles,
    flood,
    idle_cost,
    running,
)

needs_proc = pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Start a server in another process."""
    async with running() as server:
        yield server


# --- memory ---------------------------------------------------------------------------------


@pytest.mark.promise("memory-in")
@needs_proc
@pytest.mark.soak
@pytest.mark.parametrize("handler", ["echo", "slow"])
async def test_a_flood_leaves_memory_flat(server: Server, handler: str) -> None:
    """A flood uses less than 16 MiB, even if the peer does not read or the subscriber is slow."""
    grown, taken = await flood(server, handler, 20.0 if SOAK else 3.0)
    assert grown < 16 * MIB
    assert taken > 1000, "the peer did not flood"


@pytest.mark.promise("leaks")
@needs_proc
@pytest.mark.soak
async def test_connections_leave_nothing_behind(server: Server) -> None:
    """After thousands of connections, memory is flat, and no task, socket or observer is left."""
    warm_up, count = (1000, 4000) if SOAK else (500, 1000)
    await cycles(server, 10)
    fresh = await server.held()
    await cycles(server, warm_up)
    before = await server.held()
    await cycles(server, count)
    after = await server.held()
    assert after.pop("rss") - before.pop("rss") < 2 * MIB
    fresh.pop("rss")
    assert after == before == fresh


@pytest.mark.promise("idle")
@needs_proc
@pytest.mark.soak
async def test_an_idle_connection_is_cheap() -> None:
    """An idle connection takes at most 6 KiB more than a plain aiohttp connection."""
    count = 2000 if SOAK else 1000
    ours, plain = await idle_cost("route", count), await idle_cost("raw", count)
    print(f"{ours / KIB:.1f} KiB, aiohttp's own {plain / KIB:.1f} KiB")
    assert ours - plain <= 6 * KIB


# --- bursts and ends ------------------------------------------------------------------------


@pytest.mark.promise("order")
@pytest.mark.parametrize(("handler", "count"), [("map_16", 5000), ("map_1", 300)])
async def test_a_burst_is_answered_in_order(server: Server, handler: str, count: int) -> None:
    """All messages of one write are answered in order, although each takes 5 ms."""
    words = [str(number).encode() for number in range(count)]
    peer = await RawClient.connect(server.port, server.path(handler))
    async with asyncio.timeout(PATIENCE):
        await peer.send(b"".join(peer.build(Op.TEXT, word) for word in words))
        while len(peer.data) < count and not peer.ended:
            peer._changed.clear()
            await peer._changed.wait()
    assert [one.payload for one in peer.data] == words
    assert not peer.closes
    await peer.rst()


@pytest.mark.promise("before-end")
@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("handler", ["echo", "map_1"])
async def test_messages_in_the_same_write_as_a_close_are_answered(
    server: Server, handler: str, count: int
) -> None:
    """Every message in the same TCP write as a close is answered, in 300 of 300 runs."""
    words = [str(number).encode() for number in range(count)]
    answered = 0

    async def connect() -> None:
        nonlocal answered
        peer = await RawClient.connect(server.port, server.path(handler))
        frames = [peer.build(Op.TEXT, word) for word in words]
        await peer.send(b"".join(frames) + peer.build(Op.CLOSE, b"\x03\xe8"))
        assert (await peer.closing()).code == 1000
        answered += peer.data == [Frame(Op.TEXT, word) for word in words]
        peer.fin()
        await peer.until_ended()
        await peer.rst()

    await at_once([connect] * 300, width=10)
    assert answered == 300


# --- shutdown -------------------------------------------------------------------------------


@pytest.mark.promise("shutdown")
async def test_a_shutdown_meets_its_deadline() -> None:
    """A shutdown with 200 connections, 10 of which do not read, takes `drain` + 1 s at most."""
    async with running(drain=1.0) as server:
        peers = [await RawClient.connect(server.port, "/echo") for _ in range(190)]
        stuck = [
            await RawClient.connect(server.port, "/push", receive_buffer=4096, reads=False)
            for _ in range(10)
        ]
        for peer in stuck:
            await peer.text("go")
        for peer in (peers[0], peers[-1]):  # let the server's loop run at least one turn
            await peer.text("word")
            await peer.messages(1)
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(peer.answer_close()) for peer in peers]
            report = await server.end()
        assert {answer.result().code for answer in answers} == {1001}
        assert report["seconds"] < 1.0 + 1.0
        assert report["left"] == dict.fromkeys(report["left"], 0)
        for peer in peers + stuck:
            peer.start_reading()
            await peer.until_ended()
            await peer.rst()
