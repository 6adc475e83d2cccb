"""Frames around a close: before it, after it, instead of an answer, or crossing ours."""

from __future__ import annotations

import asyncio

import pytest

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import ConnectionSubscriber, Link, Links
from support.peers.frames import Op, close_body, frame
from support.peers.raw import RawServer

Closed = rxws.ConnectionClosed


@pytest.mark.promise("ours")
async def test_a_close_that_nobody_answers_keeps_its_code(link: Links) -> None:
    """If the peer does not answer our close, our code stands, and the socket is aborted."""
    one = await link(close_timeout=0.3)
    one.conn.outgoing.on_next(rxws.Close(4001, "why"))
    assert (await one.peer.closing()).code == 4001
    await one.ended(4001, "why", by="local", error=None)
    await one.peer.until_ended()
    assert len(one.peer.closes) == 1


@pytest.mark.promise("ours")
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_close_answered_by_the_end_of_tcp_keeps_its_code(link: Links, how: str) -> None:
    """If the peer ends TCP instead of answering our close, our code stands."""
    one = await link()
    one.conn.outgoing.on_next(rxws.Close(4001, "why"))
    await one.peer.closing()
    if how == "fin":
        one.peer.fin()
    else:
        await one.peer.rst()
    await one.ended(4001, "why", by="local", error=None)


@pytest.mark.promise("crossing")
async def test_a_close_that_crosses_ours_changes_nothing(link: Links) -> None:
    """Once we have sent a close, a close from the peer changes nothing, whatever its code."""
    one = await link()
    one.conn.outgoing.on_completed()
    await one.peer.closing()
    await one.peer.close(4002, "crossed")
    await one.ended(1000, "", by="local", error=None)
    await one.wire(1000)


async def link_with_queued_close(link: Links) -> Link:
    """Return a connection whose close is queued behind messages that the peer does not read."""
    one = await link(
        receive_buffer=4096, max_buffer=64 << 20, send_timeout=60.0, close_timeout=60.0
    )
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(bytes(16 << 20))
    one.conn.outgoing.on_next(rxws.Close(4001, "ours"))
    return one


@pytest.mark.promise("crossing")
async def test_a_close_that_arrives_before_ours_is_sent_wins(link: Links) -> None:
    """A peer's close that arrives while ours is still queued ends the connection."""
    one = await link_with_queued_close(link)
    await one.peer.close(4002, "first")
    await one.ended(4002, "first", by="peer", error=Closed)
    one.peer.start_reading()
    await one.wire(4002)


async def test_a_violation_before_our_close_is_sent_wins(link: Links) -> None:
    """A protocol violation that arrives while our close is still queued ends the connection."""
    one = await link_with_queued_close(link)
    await one.peer.frame(0x3)
    await one.ended(1002, by="local", error=Closed)
    one.peer.start_reading()
    await one.wire(1002)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_tcp_that_ends_before_our_close_is_sent_is_1006(link: Links, how: str) -> None:
    """TCP that ends while our close is still queued is reported as 1006."""
    one = await link_with_queued_close(link)
    if how == "fin":
        one.peer.fin()
    else:
        await one.peer.rst()
    await one.ended(1006, by="network", error=Closed)


@pytest.mark.parametrize("high_water", [1 << 10, 64 << 20], ids=["paused", "reading"])
async def test_a_close_and_fin_while_messages_are_queued(link: Links, high_water: int) -> None:
    """A peer that sends a close and a FIN at once still gets the queued messages and the answer."""
    one = await link(
        receive_buffer=4096,
        max_buffer=64 << 20,
        high_water=high_water,
        send_timeout=60.0,
        close_timeout=60.0,
    )
    await one.peer.stop_reading()
    one.conn.outgoing.on_next(bytes(16 << 20))
    close = one.peer.build(Op.CLOSE, close_body(4002, "enough"))
    await one.peer.send(one.peer.build(Op.TEXT, b"last") + close)
    one.peer.fin()
    one.peer.start_reading()
    await one.ended(4002, "enough", by="peer", error=Closed)
    assert one.seen.values == ["last"]
    await one.wire(4002)


@pytest.mark.promise("before-end")
async def test_messages_before_a_close_all_arrive(link: Links) -> None:
    """Messages in the same write as a close are all delivered before it."""
    one = await link()
    data = b"".join(one.peer.build(Op.TEXT, b"%d" % number) for number in range(100))
    await one.peer.send(data + one.peer.build(Op.CLOSE, close_body(4002, "done")))
    await one.ended(4002, "done", by="peer", error=Closed)
    assert one.seen.values == [str(number) for number in range(100)]
    await one.wire(4002)


@pytest.mark.promise("before-end")
async def test_messages_after_a_close_are_ignored(link: Links) -> None:
    """Messages that a peer sends after its close frame are ignored."""
    one = await link()
    data = one.peer.build(Op.CLOSE, close_body(1000)) + one.peer.build(Op.TEXT, b"zombie")
    await one.peer.send(data)
    await one.ended(1000, by="peer", error=None)
    assert one.seen.values == []
    await one.wire(1000)


async def test_a_close_in_the_same_write_as_the_response() -> None:
    """A server may send a message and a close in one write with the handshake response."""
    async with RawServer() as server:
        first = b"\x81\x02hi" + b"\x88\x02\x0f\xa2"
        accepting = asyncio.create_task(server.accept(then=first))
        async with rxws.connect(server.url) as conn:
            seen = ConnectionSubscriber(conn)
            close = await seen.end()
            (await accepting).fin()
        assert (close.code, close.by) == (4002, "peer")
        assert seen.values == ["hi"]


async def test_a_close_in_the_same_write_as_the_request(serve: Serve, raw_client: Dial) -> None:
    """A client may send a message and a close in one write with the handshake request."""
    opened: asyncio.Queue[ConnectionSubscriber] = asyncio.Queue()
    port = await serve(rxws.websocket(lambda conn: opened.put_nowait(ConnectionSubscriber(conn))))
    mask = bytes(4)
    first = frame(Op.TEXT, b"hi", mask=mask) + frame(Op.CLOSE, close_body(4002), mask=mask)
    client = await raw_client(port, then=first)
    seen = await opened.get()
    assert await seen.end() == rxws.Close(4002)
    assert (seen.values, seen.closes[0].by) == (["hi"], "peer")
    assert (await client.closing()).code == 4002
