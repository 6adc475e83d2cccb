"""`rate_limit` on sockets, at both ends, on both read paths."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from rxws.operators import rate_limit
from support.peers.endpoints import Links
from support.peers.frames import Op
from support.peers.raw import PATIENCE

pytestmark = pytest.mark.usefixtures("read_path")

COUNT, RATE, BURST = 60, 200, 10


@pytest.mark.promise("rate")
@pytest.mark.parametrize("end", ["close", "fin"])
async def test_pipelined_messages_are_held_and_all_answered_before_the_end(
    link: Links, end: str
) -> None:
    """Messages and the end in one write: all are answered at the rate, in order, then it ends."""
    limit = rate_limit(RATE, per=1.0, burst=BURST)
    one = await link(lambda conn: conn.incoming.pipe(limit))
    loop = asyncio.get_running_loop()
    start = loop.time()
    data = b"".join(one.peer.build(Op.TEXT, b"%d" % number) for number in range(COUNT))
    if end == "close":
        data += one.peer.build(Op.CLOSE, (4001).to_bytes(2, "big"))
    await one.peer.send(data)
    if end == "fin":
        one.peer.fin()
    frames = await one.peer.messages(COUNT)
    assert loop.time() - start >= (COUNT - BURST) / RATE - 0.001
    assert [frame.payload for frame in frames] == [b"%d" % number for number in range(COUNT)]
    if end == "close":
        await one.ended(4001, by="peer", error=rxws.ConnectionClosed)
        await one.wire(4001)
    else:
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        await one.silent_wire()
    assert one.conn.flow.stats.dropped == {}


@pytest.mark.promise("memory-in")
async def test_a_held_connection_slows_down_its_peer(link: Links) -> None:
    """If a peer exceeds `rate_limit`, TCP slows it down once `high_water` bytes wait."""
    high_water, chunk = 64 << 10, bytes(16 << 10)
    one = await link(lambda conn: conn.incoming.pipe(rate_limit(1, 60.0)), high_water=high_water)
    flow: Any = one.conn.flow
    paused, on_paused = asyncio.Event(), flow.gate.on_paused

    def pause() -> None:
        on_paused()
        paused.set()

    flow.gate.on_paused = pause
    flooding = asyncio.create_task(one.peer.flood(one.peer.build(Op.BINARY, chunk)))
    async with asyncio.timeout(PATIENCE):
        await paused.wait()
    # One message passed, one waits for a token; of the others a chunk from TCP may be too many.
    assert flow.stats.received_bytes <= 2 * len(chunk) + high_water + (256 << 10)
    assert not flooding.done()
    flooding.cancel()
    await one.peer.rst()


@pytest.mark.promise("rate")
async def test_a_peer_that_exceeds_the_limit_gets_the_close(link: Links) -> None:
    """With a `Close`, the peer gets the answers to its first messages, then the close frame."""
    limit = rate_limit(3, per=60.0, excess=rxws.Close(1008, "too fast"))
    one = await link(lambda conn: conn.incoming.pipe(limit))
    await one.peer.send(b"".join(one.peer.build(Op.TEXT, b"%d" % number) for number in range(9)))
    got = await one.peer.answer_close()
    assert [frame.payload for frame in one.peer.data] == [b"0", b"1", b"2"]
    assert (got.code, got.reason) == (1008, "too fast")
    await one.ended(1008, "too fast", by="local", error=rxws.ConnectionClosed)
    await one.peer.until_ended()
    assert one.conn.flow.stats.dropped["rate_limit"] == 1
