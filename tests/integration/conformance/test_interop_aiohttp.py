"""rxws with plain aiohttp as the peer: a `ClientSession` or a serve_rxws."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest
from aiohttp import WSMsgType, web
from reactivex import Observable
from reactivex import operators as ops

import rxws
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.raw import PATIENCE

LARGE = "grün " * 40_000  # 240,000 bytes: more than one chunk, and worth compressing
MESSAGES: list[str | bytes] = ["text", "", "grün 🦉", b"binary", b"", bytes(1000) * 76, LARGE]
CODES = [1000, 1001, 1011, 3000, 4001, 4999]


async def serve_rxws(serve: Serve, handler: rxws.Handler, compress: bool = True) -> str:
    """Serve an rxws handler and return its address."""
    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler, compress=compress, protocols=["v1.chat"]))
    rxws.setup(app)
    return f"ws://127.0.0.1:{await serve(app)}/"


@pytest.mark.promise("independent")
@pytest.mark.parametrize("window", [0, 15])
@pytest.mark.parametrize("compress", [False, True])
async def test_aiohttp_client(serve: Serve, window: int, compress: bool) -> None:
    """An aiohttp client gets every kind of message back, compressed or not."""
    seen: list[ConnectionSubscriber] = []

    def echo(conn: AnyConnection) -> Observable[str | bytes]:
        seen.append(ConnectionSubscriber(conn))
        return conn.incoming

    url = await serve_rxws(serve, echo, compress)
    async with aiohttp.ClientSession() as session:
        async with session.ws_connect(url, compress=window, protocols=["v1.chat"]) as ws:
            assert bool(ws.compress) == (compress and window > 0)
            assert ws.protocol == "v1.chat"
            for message in MESSAGES:
                if isinstance(message, str):
                    await ws.send_str(message)
                else:
                    await ws.send_bytes(message)
            assert [(await ws.receive()).data for _ in MESSAGES] == MESSAGES
            await ws.close(code=4001, message=b"why")
        assert await seen[0].end() == rxws.Close(4001, "why")
        assert isinstance(seen[0].error, rxws.ConnectionClosed)


@pytest.mark.parametrize("code", CODES)
async def test_rxws_server_closes_an_aiohttp_client(serve: Serve, code: int) -> None:
    """An aiohttp client receives the code and the reason of our close."""

    def leave(conn: AnyConnection) -> None:
        conn.incoming.subscribe()
        conn.outgoing.on_next("first")
        conn.outgoing.on_next(rxws.Close(code, "because"))

    url = await serve_rxws(serve, leave)
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        assert await ws.receive_str() == "first"
        message = await ws.receive()
        assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "because")


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("theirs", [False, True])
async def test_aiohttp_server(serve: Serve, compress: bool, theirs: bool) -> None:
    """An aiohttp server echoes every kind of message to our client, compressed or not."""

    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=theirs, protocols=["v1.chat"])
        await ws.prepare(request)
        assert bool(ws.compress) == (compress and theirs)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    url = f"ws://127.0.0.1:{await serve(echo)}/"
    async with rxws.connect(url, compress=compress, protocols=["v1.chat"]) as conn:
        assert conn.handshake.subprotocol == "v1.chat"
        seen = ConnectionSubscriber(conn)
        for message in MESSAGES:
            conn.outgoing.on_next(message)
        await seen.until(lambda: len(seen.values) == len(MESSAGES))
        assert seen.values == MESSAGES
    assert seen.closes == [rxws.Close(1000)]


@pytest.mark.parametrize("code", CODES)
async def test_aiohttp_server_closes(serve: Serve, code: int) -> None:
    """Our client reports the code and the reason of an aiohttp server's close."""

    async def leave(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.close(code=code, message=b"because")
        return ws

    async with rxws.connect(f"ws://127.0.0.1:{await serve(leave)}/") as conn:
        seen = ConnectionSubscriber(conn)
        assert await seen.end() == rxws.Close(code, "because")
        assert seen.closes[0].by == "peer"
        assert (seen.error is None) == (code < 1002)


@pytest.mark.parametrize("code", CODES)
async def test_rxws_client_closes_an_aiohttp_server(serve: Serve, code: int) -> None:
    """An aiohttp server receives the code and the reason of our close."""
    closed: asyncio.Queue[tuple[object, ...]] = asyncio.Queue()

    async def watch(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        message = await ws.receive()
        closed.put_nowait((message.type, message.data, message.extra))
        return ws

    async with rxws.connect(f"ws://127.0.0.1:{await serve(watch)}/") as conn:
        seen = ConnectionSubscriber(conn)
        conn.outgoing.on_next(rxws.Close(code, "why"))
        # aiohttp answers every close with 1000; the first close counts.
        assert await seen.end() == rxws.Close(code, "why")
        got = await asyncio.wait_for(closed.get(), PATIENCE)
        assert got == (WSMsgType.CLOSE, code, "why")


async def test_the_users_session_stays_open(serve: Serve) -> None:
    """A connection through the user's `ClientSession` uses its cookies and leaves it open."""

    def hello(conn: AnyConnection) -> None:
        conn.incoming.subscribe()
        request = conn.handshake.request
        assert request is not None
        conn.outgoing.on_next(request.cookies["user"])

    url = await serve_rxws(serve, hello)
    jar = aiohttp.CookieJar(unsafe=True)  # keep cookies for an IP address
    async with aiohttp.ClientSession(cookies={"user": "ann"}, cookie_jar=jar) as session:
        for _ in range(2):
            async with rxws.connect(url, session=session) as conn:
                name = await conn.incoming.pipe(ops.first())
                assert name == "ann"
        assert not session.closed


async def test_rxws_at_both_ends(serve: Serve) -> None:
    """Our client and our server exchange all messages and report the same close."""
    at_server: list[ConnectionSubscriber] = []

    def echo(conn: AnyConnection) -> Observable[str | bytes]:
        at_server.append(ConnectionSubscriber(conn))
        return conn.incoming

    async with rxws.connect(await serve_rxws(serve, echo)) as conn:
        seen = ConnectionSubscriber(conn)
        for message in MESSAGES:
            conn.outgoing.on_next(message)
        await seen.until(lambda: len(seen.values) == len(MESSAGES))
        assert seen.values == MESSAGES
        conn.outgoing.on_next(rxws.Close(4001, "why"))
        assert await seen.end() == rxws.Close(4001, "why")
        assert await at_server[0].end() == rxws.Close(4001, "why")
        assert (seen.closes[0].by, at_server[0].closes[0].by) == ("local", "peer")
