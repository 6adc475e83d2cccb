"""rxws with the `websockets` package as the peer, as a client and as a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any

import pytest
import websockets
from aiohttp import web
from reactivex import Observable
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.http11 import Request, Response

import rxws
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.raw import PATIENCE

LARGE = "grün " * 40_000  # 240,000 bytes: more than one chunk, and worth compressing
MESSAGES: list[str | bytes] = [
    "text",
    "",
    "grün 🦉",
    b"binary",
    b"",
    bytes(range(256)) * 300,
    LARGE,
]

CODES = [1000, 1001, 1011, 3000, 4001, 4999]


class EchoServer:
    """An rxws echo server; `seen` gets a recorder for each connection."""

    def __init__(self) -> None:
        self.port = 0
        self.seen: asyncio.Queue[ConnectionSubscriber] = asyncio.Queue()

    def echo(self, conn: AnyConnection) -> Observable[str | bytes]:
        self.seen.put_nowait(ConnectionSubscriber(conn))
        return conn.incoming

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/"


async def start(serve: Serve, **options: Any) -> EchoServer:
    server = EchoServer()
    app = web.Application()
    app.router.add_get("/", rxws.websocket(server.echo, **options))
    rxws.setup(app)
    server.port = await serve(app)
    return server


@pytest.mark.promise("independent")
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("compress", [False, True])
async def test_websockets_client(serve: Serve, compression: str | None, compress: bool) -> None:
    """A `websockets` client gets every kind of message back, compressed or not."""
    server = await start(serve, compress=compress)
    async with websockets_connect(server.url, compression=compression) as ws:
        negotiated = "Sec-WebSocket-Extensions" in (ws.response.headers if ws.response else {})
        assert negotiated == (compress and compression is not None)
        for message in MESSAGES:
            await ws.send(message)
        assert [await ws.recv() for _ in MESSAGES] == MESSAGES
        await ws.send(["in ", "three ", "pieces"])
        assert await ws.recv() == "in three pieces"
        await (await ws.ping())
    assert ws.close_code == 1000
    assert await (await server.seen.get()).end() == rxws.Close(1000)


@pytest.mark.parametrize("code", CODES)
async def test_websockets_client_closes(serve: Serve, code: int) -> None:
    """Our server reports a `websockets` client's close and echoes its code."""
    server = await start(serve)
    async with websockets_connect(server.url) as ws:
        await ws.close(code, "why")
    assert ws.close_code == code
    seen = await server.seen.get()
    assert await seen.end() == rxws.Close(code, "why")
    assert seen.closes[0].by == "peer"


@pytest.mark.parametrize("code", CODES)
async def test_rxws_server_closes_a_websockets_client(serve: Serve, code: int) -> None:
    """A `websockets` client receives the code and the reason of our close."""

    def handler(conn: AnyConnection) -> None:
        conn.incoming.subscribe()
        conn.outgoing.on_next("first")
        conn.outgoing.on_next(rxws.Close(code, "because"))

    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler))
    rxws.setup(app)
    async with websockets_connect(f"ws://127.0.0.1:{await serve(app)}/") as ws:
        assert await ws.recv() == "first"
        with pytest.raises(websockets.ConnectionClosed):
            await ws.recv()
    assert (ws.close_code, ws.close_reason) == (code, "because")


async def test_websockets_client_chooses_a_subprotocol(serve: Serve) -> None:
    """The server and a `websockets` client agree on a subprotocol that both support."""
    server = await start(serve, protocols=["v2.chat", "v1.chat"])
    offered = [websockets.Subprotocol(name) for name in ("v0.chat", "v1.chat")]
    async with websockets_connect(server.url, subprotocols=offered) as ws:
        assert ws.subprotocol == "v1.chat"
        seen = await server.seen.get()
        assert seen.conn.handshake.subprotocol == "v1.chat"
    await seen.end()


Route = Callable[[ServerConnection], Awaitable[None]]


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


@asynccontextmanager
async def websockets_server(route: Route = echo, **options: Any) -> AsyncIterator[str]:
    """Run a `websockets` server; yield its address."""
    async with websockets_serve(route, "127.0.0.1", 0, **options) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@pytest.mark.promise("independent")
@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.parametrize("compress", [False, True])
async def test_websockets_server(compression: str | None, compress: bool) -> None:
    """A `websockets` server echoes every kind of message to our client, compressed or not."""
    async with websockets_server(compression=compression) as url:
        async with rxws.connect(url, compress=compress) as conn:
            seen = ConnectionSubscriber(conn)
            for message in MESSAGES:
                conn.outgoing.on_next(message)
            await seen.until(lambda: len(seen.values) == len(MESSAGES))
            assert seen.values == MESSAGES
        assert seen.closes == [rxws.Close(1000)]
        assert seen.closes[0].by == "local"


async def test_websockets_server_sends_fragments() -> None:
    """A fragmented message from a `websockets` server is delivered as one message."""

    async def pieces(ws: ServerConnection) -> None:
        await ws.send(["in ", "three ", "pieces"])
        await ws.send([b"\x00", b"\xff"])

    async with websockets_server(pieces) as url, rxws.connect(url) as conn:
        seen = ConnectionSubscriber(conn)
        assert await seen.end() == rxws.Close(1000)
        assert seen.values == ["in three pieces", b"\x00\xff"]
        assert seen.error is None


@pytest.mark.parametrize("code", CODES)
async def test_websockets_server_closes(code: int) -> None:
    """Our client reports the code and the reason of a `websockets` server's close."""

    async def leave(ws: ServerConnection) -> None:
        await ws.close(code, "because")

    async with websockets_server(leave) as url, rxws.connect(url) as conn:
        seen = ConnectionSubscriber(conn)
        assert await seen.end() == rxws.Close(code, "because")
        assert seen.closes[0].by == "peer"
        assert (seen.error is None) == (code < 1002)


@pytest.mark.parametrize("code", CODES)
async def test_rxws_client_closes_a_websockets_server(code: int) -> None:
    """A `websockets` server receives the code and the reason of our close."""
    closed: asyncio.Queue[tuple[int | None, str | None]] = asyncio.Queue()

    async def watch(ws: ServerConnection) -> None:
        await ws.wait_closed()
        closed.put_nowait((ws.close_code, ws.close_reason))

    async with websockets_server(watch) as url, rxws.connect(url) as conn:
        seen = ConnectionSubscriber(conn)
        conn.outgoing.on_next(rxws.Close(code, "why"))
        assert await seen.end() == rxws.Close(code, "why")
        assert seen.error is None
        assert await asyncio.wait_for(closed.get(), PATIENCE) == (code, "why")


async def test_websockets_server_chooses_a_subprotocol() -> None:
    """Our client and a `websockets` server agree on a subprotocol that both support."""
    known = [websockets.Subprotocol("v1.chat")]
    offered = ["v2.chat", "v1.chat"]
    async with (
        websockets_server(subprotocols=known) as url,
        rxws.connect(url, protocols=offered) as conn,
    ):
        assert conn.handshake.subprotocol == "v1.chat"
        conn.incoming.subscribe()


async def test_websockets_server_refuses() -> None:
    """A `websockets` server's refusal is a `HandshakeError` with its status and body."""

    def refuse(ws: ServerConnection, request: Request) -> Response:
        return ws.respond(HTTPStatus.FORBIDDEN, "not you")

    async with websockets_server(process_request=refuse) as url:
        with pytest.raises(rxws.HandshakeError) as caught:
            async with rxws.connect(url):
                pytest.fail("connected")
        assert (caught.value.status, caught.value.body) == (403, b"not you")
