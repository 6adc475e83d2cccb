"""What ends a connection behind messages that wait for a subscriber, or for the end of a pause.

On sockets, at both ends, on both read paths.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
import websockets
from aiohttp import web
from reactivex import operators as ops
from reactivex.subject import Subject
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

import rxws
from rxws._aiohttp.transport import pull_reader, push_reader
from rxws._session import incoming
from rxws.operators import map_async
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, Links
from support.peers.frames import Op
from support.peers.raw import PATIENCE, RawServer
from support.subscriber import Subscriber

pytestmark = pytest.mark.usefixtures("read_path")


async def closed_of(conn: AnyConnection) -> rxws.Close:
    async with asyncio.timeout(5.0):
        return await conn.closed


@pytest.mark.promise("verdict")
@pytest.mark.parametrize("together", [True, False], ids=["one write", "two writes"])
async def test_a_client_that_awaits_closed_sees_the_servers_close(
    together: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A client that only awaits `closed` gets the server's code at once, and one warning."""
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        conn: AnyConnection = await rxws.connect(server.url, heartbeat=1.0)
        peer = await accepting
        waiting = asyncio.ensure_future(closed_of(conn))
        await asyncio.sleep(0)
        message = peer.build(Op.TEXT, b"hello")
        close = peer.build(Op.CLOSE, (4001).to_bytes(2, "big") + b"bye")
        if together:
            await peer.send(message + close)
        else:
            await peer.send(message)
            await asyncio.sleep(0.05)
            await peer.send(close)
        seen = await waiting
        assert (seen.code, seen.reason, seen.by) == (4001, "bye", "peer")
        assert (await peer.closing()).code == 4001
        peer.fin()
        late: Subscriber[Any] = Subscriber(conn.incoming)
        await late.until(lambda: late.ends)
        assert late.values == ["hello"]
        assert isinstance(late.error, rxws.ConnectionClosed)
        assert len(caplog.records) == 1


@pytest.mark.promise("verdict")
async def test_a_handler_that_awaits_closed_sees_the_clients_close(
    serve: Serve, raw_client: Dial
) -> None:
    """A handler that only awaits `closed` gets the client's code, and the client gets an answer."""
    closes: asyncio.Queue[rxws.Close] = asyncio.Queue()

    async def handler(conn: AnyConnection) -> None:
        closes.put_nowait(await conn.closed)
        conn.incoming.subscribe(on_error=lambda _: None)

    peer = await raw_client(await serve(rxws.websocket(handler)))
    await peer.text("hello")
    await peer.close(4000)
    close = await asyncio.wait_for(closes.get(), 5.0)
    assert (close.code, close.by) == (4000, "peer")
    assert (await peer.closing()).code == 4000
    peer.fin()
    await peer.until_ended()


async def test_leaving_the_client_does_not_wait_for_a_subscriber() -> None:
    """Leaving `async with connect()` after the peer's close drops what nobody subscribed to."""
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        async with asyncio.timeout(5.0):
            async with rxws.connect(server.url) as conn:
                peer = await accepting
                await peer.text("hello")
                await peer.close(4001)
                assert (await conn.closed).code == 4001
                peer.fin()
        assert conn.flow.stats.dropped == {"unobserved": 1}


async def test_a_loss_behind_held_messages_is_reported_at_once(link: Links) -> None:
    """If TCP is lost while messages wait for a subscriber, `closed` reports 1006 at once."""
    one = await link()
    one.seen.incoming.subscription.dispose()
    await one.peer.text("waits")
    await asyncio.sleep(0.05)
    one.peer.fin()
    close = await closed_of(one.conn)
    assert (close.code, close.by) == (1006, "network")
    late: Subscriber[Any] = Subscriber(one.conn.incoming)
    await late.until(lambda: late.ends)
    assert late.values == ["waits"]
    assert isinstance(late.error, rxws.ConnectionClosed)
    await one.peer.until_ended()


@pytest.mark.promise("before-end")
@pytest.mark.parametrize("end", ["close", "fin"])
async def test_a_subscriber_that_pauses_answers_before_the_end(link: Links, end: str) -> None:
    """A subscriber that pauses can answer all messages that came before a close or a FIN."""
    one = await link(lambda conn: conn.incoming.pipe(map_async(answer_slowly)))
    data = b"".join(one.peer.build(Op.TEXT, b"%d" % number) for number in range(3))
    if end == "close":
        data += one.peer.build(Op.CLOSE, (4001).to_bytes(2, "big"))
    await one.peer.send(data)
    if end == "fin":
        one.peer.fin()
    frames = await one.peer.messages(3)
    assert [frame.payload for frame in frames] == [b"0!", b"1!", b"2!"]
    if end == "close":
        await one.ended(4001, by="peer", error=rxws.ConnectionClosed)
        await one.wire(4001)
    else:
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        await one.silent_wire()


async def answer_slowly(value: str) -> str:
    await asyncio.sleep(0.05)
    return f"{value}!"


@pytest.mark.promise("pings")
@pytest.mark.parametrize("held", ["unsubscribed", "paused"])
async def test_a_ping_behind_held_messages_is_answered(link: Links, held: str) -> None:
    """A ping behind a message that waits is answered at once."""
    one = await link(heartbeat=None)
    if held == "paused":
        one.conn.flow.pause()
    else:
        one.seen.incoming.subscription.dispose()
    await one.peer.text("waits")
    await one.peer.frame(Op.PING, b"there?")
    await one.peer.until(lambda: [f for f in one.peer.frames if f.payload == b"there?"])
    assert one.conn.flow.stats.received_messages == 1
    assert one.seen.values == []
    one.conn.outgoing.on_completed()
    await one.peer.answer_close()
    one.peer.fin()
    await one.peer.until_ended()


async def test_a_conversation_answers_all_messages_of_one_write(
    serve: Serve, raw_client: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two messages and a close in one write: a handler that awaits each answers both."""
    for module in (incoming, pull_reader, push_reader):
        # Otherwise a slow machine may read the last message and the close later, in one turn.
        monkeypatch.setattr(module, "_YIELD_AFTER", math.inf)

    async def handler(conn: AnyConnection) -> None:
        for _ in range(2):
            message = await conn.incoming.pipe(ops.first())
            conn.outgoing.on_next(message.upper())

    peer = await raw_client(await serve(rxws.websocket(handler)))
    data = peer.build(Op.TEXT, b"a") + peer.build(Op.TEXT, b"b")
    await peer.send(data + peer.build(Op.CLOSE, (1000).to_bytes(2, "big")))
    assert [frame.payload for frame in await peer.messages(2)] == [b"A", b"B"]
    assert (await peer.closing()).code == 1000
    peer.fin()
    await peer.until_ended()


@pytest.mark.parametrize(
    "compose",
    [
        lambda incoming: rx.concat(rx.timer(0.2).pipe(ops.ignore_elements()), incoming),
        lambda incoming: incoming.pipe(ops.delay_subscription(0.2)),
    ],
    ids=["concat", "delay_subscription"],
)
@pytest.mark.promise("first")
async def test_a_pipeline_that_subscribes_late_loses_nothing(
    serve: Serve, raw_client: Dial, compose: Callable[[Any], rx.Observable[Any]]
) -> None:
    """A returned pipeline gets all messages, even if it subscribes to `incoming` late."""
    peer = await raw_client(await serve(rxws.websocket(lambda conn: compose(conn.incoming))))
    await peer.text("ONE")
    await peer.text("TWO")
    assert [frame.payload for frame in await peer.messages(2)] == [b"ONE", b"TWO"]
    await peer.close(1000)
    await peer.closing()
    peer.fin()
    await peer.until_ended()


@pytest.mark.parametrize("how", ["websocket", "upgrade", "listener"])
async def test_a_handler_that_only_sends(serve: Serve, raw_client: Dial, how: str) -> None:
    """`incoming="discard"` drops and counts messages, and sees the close at once."""
    conns: list[AnyConnection] = []

    def push(conn: AnyConnection) -> Any:
        conns.append(conn)
        return listener(conn) if how == "listener" else outgoing

    outgoing: Subject[Any] = Subject()
    listener: rxws.Handler[Any, Any] = rxws.listener("discard", outgoing)

    async def upgrade(request: Any) -> Any:
        return await rxws.upgrade(request, push, incoming="discard")

    routes: dict[str, Callable[[], Any]] = {
        "websocket": lambda: rxws.websocket(push, incoming="discard"),
        "upgrade": lambda: upgrade,
        "listener": lambda: rxws.websocket(push),
    }
    peer = await raw_client(await serve(routes[how]()))
    await peer.text("a")
    await peer.text("b")
    await peer.close(4001)
    assert (await peer.closing()).code == 4001
    peer.fin()
    await peer.until_ended()
    [conn] = conns
    assert (await conn.closed).code == 4001
    assert conn.flow.stats.dropped == {"unobserved": 2}


# --- the `websockets` package as the peer -----------------------------------------------------


@pytest.mark.promise("independent")
async def test_a_websockets_client_waits_for_a_long_call(serve: Serve) -> None:
    """A `websockets` client keeps its connection while `map_async` is busy with one message."""

    async def work(value: str) -> str:
        await asyncio.sleep(1.5)
        return f"{value}!"

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        return conn.incoming.pipe(map_async(work))

    port = await serve(rxws.websocket(handler))
    url = f"ws://127.0.0.1:{port}/"
    async with websockets_connect(url, ping_interval=0.2, ping_timeout=0.4) as ws:
        await ws.send("a")
        await ws.send("waits behind the call")
        async with asyncio.timeout(PATIENCE):
            assert await ws.recv() == "a!"
            assert await ws.recv() == "waits behind the call!"


@pytest.mark.promise("independent")
async def test_a_websockets_server_waits_for_a_long_loop() -> None:
    """A `websockets` server keeps a client that has no subscriber, or whose loop body is busy."""

    async def handler(ws: ServerConnection) -> None:
        await ws.send("a")
        await ws.send("b")
        await ws.wait_closed()

    async with websockets_serve(
        handler, "127.0.0.1", 0, ping_interval=0.2, ping_timeout=0.4
    ) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with rxws.connect(f"ws://127.0.0.1:{port}/", codec=rxws.codecs.text) as conn:
            await asyncio.sleep(1.0)  # nobody subscribes
            got: list[str] = []
            async for message in rxws.iterate(conn.incoming.pipe(ops.take(2))):
                got.append(message)
                await asyncio.sleep(1.0)
            assert got == ["a", "b"]


async def test_a_websockets_client_that_closes_is_answered(serve: Serve) -> None:
    """The `close()` of a `websockets` client returns at once although nobody reads its message."""
    port = await serve(rxws.websocket(lambda _: None, hold_timeout=0.5))
    async with websockets_connect(f"ws://127.0.0.1:{port}/") as ws:
        await ws.send("hello")
        async with asyncio.timeout(5.0):
            await ws.close(4000)
    assert ws.close_code == 4000
    assert isinstance(ws, websockets.ClientConnection)


async def test_a_shutdown_does_not_wait_for_a_subscriber(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """An application shuts down although messages of a closed connection wait for a subscriber."""
    app = web.Application()
    seen: asyncio.Queue[AnyConnection] = asyncio.Queue()
    app.router.add_get("/", rxws.websocket(seen.put_nowait))
    rxws.setup(app)
    port = await serve(app)
    async with websockets_connect(f"ws://127.0.0.1:{port}/") as ws:
        await ws.send("hello")
        await ws.close(4000)
    conn = await seen.get()
    with caplog.at_level(logging.WARNING):
        async with asyncio.timeout(1.5):
            await app.shutdown()
    assert conn.flow.stats.dropped == {"unobserved": 1}
    assert (await conn.closed).code == 4000
