"""The proxy itself: bytes pass whole, once and in order, up to the cut and not beyond."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.frames import Close
from websockets.protocol import Side

from support.faults.proxy import Proxy
from support.faults.proxy_lane import BLANK, PACES, WHOLE, Cut, CutKind, Pace
from support.peers.decoder import decode
from support.peers.frames import Op, close_body, deflate, frame
from support.peers.raw import Peer, RawClient, RawServer

DATA = random.Random(7).randbytes(100_000)


@asynccontextmanager
async def joined(
    cut: Cut | None = None, pace: Pace = WHOLE, receive_buffer: int | None = None
) -> AsyncIterator[tuple[Proxy, RawClient, Peer]]:
    """A proxy between a client and a server whose handshake is done."""
    async with (
        RawServer() as server,
        Proxy(server.port, cut, pace, pace, receive_buffer=receive_buffer) as proxy,
    ):
        accepting = asyncio.create_task(server.accept())
        client = await RawClient.connect(proxy.port)
        peer = await accepting
        try:
            yield proxy, client, peer
        finally:
            await client.rst()
            await peer.rst()


@pytest.mark.parametrize("pace", PACES, ids=str)
async def test_all_passes_at_any_pace(pace: Pace) -> None:
    """Both ways at once, in order, up to the end of TCP, which passes, too."""
    async with joined(pace=pace, receive_buffer=4096) as (proxy, client, peer):
        async with asyncio.TaskGroup() as group:
            group.create_task(client.send(DATA))
            group.create_task(peer.send(DATA[::-1]))
        await client.until(lambda: len(client.received) == len(DATA))
        client.fin()
        assert await peer.until_ended() == "eof"
        assert client.ended is None, "the other way is still open"
        peer.fin()
        assert await client.until_ended() == "eof"
        await proxy.ended()
        assert bytes(peer.received) == DATA
        assert bytes(client.received) == DATA[::-1]
        assert (proxy.how, proxy.resets) == (None, False)
        up = proxy.lanes["up"]
        assert up.forwarded == len(up.received) == up.head_length + len(DATA)
        assert bytes(up.received[: up.head_length]).endswith(BLANK)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("count", [0, 1, 999, 70_000])
async def test_a_cut_is_exact(how: CutKind, count: int) -> None:
    """So many bytes pass and no more; both ends see the end; what is said after it goes nowhere."""
    async with joined(Cut("up", "bytes", count, how)) as (proxy, client, peer):
        await client.send(DATA)
        ends = [await client.until_ended(), await peer.until_ended()]
        assert ends == ["eof" if how == "fin" else "reset"] * 2
        # What the kernel had when the reset came may be lost.
        assert peer.received == DATA[: count if how == "fin" else len(peer.received)]
        assert len(peer.received) <= count
        if how == "fin":
            await peer.send(b"too late")
            peer.fin()
            client.fin()
        await proxy.ended()
        up = proxy.lanes["up"]
        assert (proxy.how, up.forwarded) == (how, up.head_length + count)
        assert not client.received


@pytest.mark.parametrize("count", [0, 1, 5, 8])
async def test_a_cut_within_the_close_frame(count: int) -> None:
    """All that is before the close frame passes, and so many bytes of it, however it is split."""
    async with joined(Cut("up", "close", count, "fin"), Pace(1, 0.0, 50)) as (proxy, client, peer):
        before = client.build(Op.TEXT, b"\x88" * 200) + client.build(Op.PING)
        close = client.build(Op.CLOSE, close_body(1000))
        await client.send(before)
        await client.send(close + b"more")
        await peer.until_ended()
        assert peer.received == before + close[:count]
        peer.fin()
        client.fin()
        await proxy.ended()


async def test_a_reset_of_an_end_passes() -> None:
    """An end that resets is no cut of the proxy's, and is a reset to the other end."""
    async with joined() as (proxy, client, peer):
        await client.rst()
        assert await peer.until_ended() == "reset"
        await proxy.ended()
        assert proxy.resets


async def test_what_is_whole_is_parsed() -> None:
    """Whole messages and a whole close frame, fragments and compressed ones among them."""
    whole = [
        frame(Op.TEXT, "ü".encode()[:1], fin=False),
        frame(Op.PING),
        frame(Op.CONT, "ü".encode()[1:]),
        frame(Op.BINARY, deflate(b"bytes"), rsv=4),
        frame(Op.CLOSE, close_body(4001, "why")),
    ]
    for count, messages in ((2, []), (3, ["ü"]), (4, ["ü", b"bytes"])):
        cut = b"".join(whole[:count]) + whole[count][:-1]
        found = decode(cut, Side.CLIENT, "permessage-deflate")
        assert (found.messages, found.close) == (messages, None)
    found = decode(b"".join(whole), Side.CLIENT, "permessage-deflate")
    assert (found.messages, found.close) == (["ü", b"bytes"], Close(4001, "why"))
