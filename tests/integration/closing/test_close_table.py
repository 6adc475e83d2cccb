"""Each row of the close table, with rxws as the server and as the client."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber, Link, Links
from support.peers.frames import Op
from support.peers.raw import Peer, RawServer

SECRET = "the password is swordfish"
Closed = rxws.ConnectionClosed


@pytest.mark.promise("clean")
@pytest.mark.parametrize("code", [1000, 1001])
async def test_peer_closes_with_1000_or_1001(link: Links, code: int) -> None:
    """A close with 1000 or 1001 completes `incoming` and is echoed."""
    one = await link()
    await one.peer.close(code, "so long")
    await one.ended(code, "so long", by="peer", error=None)
    await one.wire(code)


@pytest.mark.promise("clean")
async def test_peer_closes_without_a_code(link: Links) -> None:
    """A close without a code counts as 1005, completes `incoming`, and is echoed without a code."""
    one = await link()
    await one.peer.close()
    await one.ended(1005, "", by="peer", error=None)
    await one.wire(None)


@pytest.mark.promise("codes")
@pytest.mark.parametrize("code", [1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4002, 4999])
async def test_peer_closes_with_an_error_code(link: Links, code: int) -> None:
    """A close with any other legal code ends `incoming` with an error and is echoed."""
    one = await link()
    await one.peer.close(code, "grün")
    await one.ended(code, "grün", by="peer", error=Closed)
    await one.wire(code)


@pytest.mark.promise("violation")
@pytest.mark.parametrize("code", [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535])
async def test_peer_closes_with_an_illegal_code(link: Links, code: int) -> None:
    """A close code that is not allowed on the wire is a protocol violation: 1002."""
    one = await link()
    await one.peer.close(code, "cheating")
    await one.ended(1002, by="local", error=Closed)
    await one.wire(1002)


@pytest.mark.promise("cut")
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_tcp_ends_without_a_close_frame(link: Links, how: str) -> None:
    """TCP that ends without a close frame is reported as 1006 with `by="network"`."""
    one = await link()
    if how == "rst":
        await one.peer.rst()
    else:
        one.peer.fin()
    await one.ended(1006, by="network", error=Closed)
    if how == "fin":
        await one.silent_wire()


@pytest.mark.promise("dead")
async def test_peer_does_not_answer_a_ping(link: Links) -> None:
    """A peer that does not answer a ping is reported as 1006 with `by="network"`."""
    one = await link(heartbeat=0.2)
    await one.peer.ping(0)
    await one.ended(1006, by="network", error=Closed)
    await one.silent_wire()


async def test_peer_answers_pings_only(link: Links) -> None:
    """A peer that only answers pings stays connected."""
    one = await link(heartbeat=0.4)
    for count in range(5):
        ping = await one.peer.ping(count)
        await one.peer.frame(Op.PONG, ping.payload)
    assert not one.seen.ends
    await one.peer.close(1000)
    await one.ended(1000, by="peer", error=None)


async def bad_text(one: Link) -> None:
    await one.peer.frame(Op.TEXT, b"caf\xe9")


async def bad_reason(one: Link) -> None:
    await one.peer.close(1000, b"caf\xe9")


async def oversize(one: Link) -> None:
    await one.peer.frame(Op.BINARY, bytes(1001))


async def reserved_opcode(one: Link) -> None:
    await one.peer.frame(0x3)


async def short_close(one: Link) -> None:
    await one.peer.frame(Op.CLOSE, b"\x03")


@pytest.mark.promise("violation")
@pytest.mark.parametrize(
    ("cause", "code"),
    [
        pytest.param(bad_text, 1007, id="bad UTF-8"),
        pytest.param(bad_reason, 1007, id="bad UTF-8 in a close"),
        pytest.param(oversize, 1009, id="oversize"),
        pytest.param(reserved_opcode, 1002, id="reserved opcode"),
        pytest.param(short_close, 1002, id="close of one byte"),
    ],
)
async def test_peer_breaks_the_protocol(
    link: Links, cause: Callable[[Link], Awaitable[None]], code: int
) -> None:
    """A protocol violation closes with its code, and `incoming` fails with that code."""
    one = await link(max_message_size=1000)
    await one.peer.text("fine")
    await cause(one)
    await one.ended(code, by="local", error=Closed)
    assert one.seen.values == ["fine"]
    await one.wire(code)


def queue(one: Link, count: int = 50) -> list[bytes]:
    """Send messages and return the payloads that the peer must receive."""
    texts = [f"{number} {'x' * 1000}" for number in range(count)]
    for text in texts:
        one.conn.outgoing.on_next(text)
    return [text.encode() for text in texts]


async def assert_closed_by_us(one: Link, code: int, reason: str, queued: list[bytes]) -> None:
    """Assert that the peer gets the queued messages, then our close; `incoming` completes."""
    got = await one.peer.answer_close()
    assert [message.payload for message in one.peer.data] == queued
    assert got.reason == reason
    await one.ended(code, reason, by="local", error=None)
    await one.wire(code)


@pytest.mark.promise("queued")
async def test_outgoing_completes(link: Links) -> None:
    """`outgoing.on_completed()` closes with 1000 after all queued messages."""
    one = await link()
    queued = queue(one)
    one.conn.outgoing.on_completed()
    await assert_closed_by_us(one, 1000, "", queued)


@pytest.mark.promise("ours")
async def test_outgoing_sends_a_close(link: Links) -> None:
    """A `Close` on `outgoing` is sent after queued messages; later messages count as dropped."""
    one = await link()
    queued = queue(one)
    one.conn.outgoing.on_next(rxws.Close(4001, "why"))
    one.conn.outgoing.on_next("too late")
    one.conn.outgoing.on_next("too late")
    await assert_closed_by_us(one, 4001, "why", queued)
    assert (one.conn.flow.stats.dropped or {}).get("closed") == 2


@pytest.mark.promise("secrets")
async def test_outgoing_fails(link: Links) -> None:
    """`outgoing.on_error()` closes with 1011 and does not reveal the exception to the peer."""
    one = await link()
    queued = queue(one)
    one.conn.outgoing.on_error(RuntimeError(SECRET))
    await assert_closed_by_us(one, 1011, "Unexpected Error", queued)
    assert one.never_said("swordfish")


def raise_on_each_message(error: Exception) -> Callable[[AnyConnection], Observable[Any]]:
    """Return a pipeline that raises `error` for each message."""

    def fail(_: object) -> str:
        raise error

    return lambda conn: conn.incoming.pipe(ops.map(fail))


async def test_pipeline_raises(link: Links) -> None:
    """An exception in the pipeline closes with 1011 and is not revealed to the peer."""
    one = await link(raise_on_each_message(RuntimeError(SECRET)))
    await one.peer.text("go")
    await assert_closed_by_us(one, 1011, "Unexpected Error", [])
    assert one.never_said("swordfish")


async def test_pipeline_raises_connection_closed(link: Links) -> None:
    """A `ConnectionClosed` raised in the pipeline closes with its code and reason."""
    one = await link(raise_on_each_message(rxws.ConnectionClosed(rxws.Close(4003, "no"))))
    await one.peer.text("go")
    await assert_closed_by_us(one, 4003, "no", [])


@pytest.mark.promise("shutdown")
async def test_application_shuts_down(serve: Serve, raw_client: Dial) -> None:
    """A connection that is open while its application shuts down closes with 1001 "Going Away"."""
    seen: list[ConnectionSubscriber] = []
    app = web.Application()
    app.router.add_get("/", rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    rxws.setup(app, drain=1.0)
    client = await raw_client(await serve(app))
    await client.text("here")
    await seen[0].until(lambda: seen[0].values)
    await app.shutdown()
    close = await client.answer_close()
    assert (close.code, close.reason) == (1001, "Going Away")
    assert await seen[0].end() == rxws.Close(1001, "Going Away")
    assert seen[0].closes[0].by == "local"
    assert seen[0].error is None


async def accept_and_answer_close(server: RawServer) -> Peer:
    """Accept a client and answer its close."""
    peer = await server.accept()
    await peer.answer_close()
    return peer


@pytest.mark.promise("leaving")
async def test_client_leaves() -> None:
    """Leaving `async with connect(...)` sends queued messages, and waits for a close with 1000."""
    async with RawServer() as server:
        peer = asyncio.create_task(accept_and_answer_close(server))
        async with rxws.connect(server.url) as conn:
            seen = ConnectionSubscriber(conn)
            conn.outgoing.on_next("last words")
        assert seen.closes == [rxws.Close(1000)]
        assert seen.ends == [None]
        assert [one.payload for one in (await peer).data] == [b"last words"]
        assert (await peer).closes[0].code == 1000


async def test_an_awaited_connection_is_closed_by_completing_outgoing() -> None:
    """Completing `outgoing` closes a connection from `conn = await connect(...)`."""
    async with RawServer() as server:
        peer = asyncio.create_task(accept_and_answer_close(server))
        conn: AnyConnection = await rxws.connect(server.url)
        seen = ConnectionSubscriber(conn)
        conn.outgoing.on_completed()
        assert await seen.end() == rxws.Close(1000)
        await (await peer).until_ended()


@pytest.mark.promise("secrets")
async def test_client_leaves_by_an_exception() -> None:
    """An exception in `async with connect(...)` closes with 1011; the peer never gets its text."""
    seen: list[ConnectionSubscriber] = []

    async def fail(url: str) -> None:
        async with rxws.connect(url) as conn:
            seen.append(ConnectionSubscriber(conn))
            raise RuntimeError(SECRET)

    async with RawServer() as server:
        peer = asyncio.create_task(accept_and_answer_close(server))
        with pytest.raises(RuntimeError, match="swordfish"):
            await fail(server.url)
        assert seen[0].closes == [rxws.Close(1011, "Unexpected Error")]
        assert seen[0].ends == [None]
        assert (await peer).closes[0].code == 1011
        assert not any(b"swordfish" in one.payload for one in (await peer).frames)
