"""`rxws.connect`: invalid arguments, wrong use, and connections lost during the handshake."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection
from support.peers.raw import PATIENCE, RawServer

URL = "ws://127.0.0.1:9/"


@pytest.mark.parametrize("session", ["session", 1, object()])
def test_an_invalid_session(session: Any) -> None:
    """`connect` refuses a `session` that is not a `ClientSession`."""
    with pytest.raises(TypeError, match="session="):
        rxws.connect(URL, session=session)


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
def test_an_invalid_open_timeout(seconds: float) -> None:
    """`open_timeout` must be a finite number of seconds above 0."""
    with pytest.raises(ValueError, match="open_timeout"):
        rxws.connect(URL, open_timeout=seconds)


@pytest.mark.parametrize("seconds", ["10", None, [1]])
def test_an_open_timeout_of_another_type(seconds: Any) -> None:
    """An `open_timeout` that is not a number is a `TypeError`."""
    with pytest.raises(TypeError):
        rxws.connect(URL, open_timeout=seconds)


async def test_connect_opens_once() -> None:
    """Opening the result of `connect` twice raises; the first connection stays open."""
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        connecting = rxws.connect(server.url)
        conn = await connecting
        peer = await accepting
        with pytest.raises(RuntimeError, match="already"):
            await connecting
        with pytest.raises(RuntimeError, match="already"):
            async with connecting:
                pytest.fail("opened again")
        conn.outgoing.on_next("still there")
        assert [one.payload for one in await peer.messages(1)] == [b"still there"]
        conn.outgoing.on_completed()
        await peer.answer_close()
        assert await conn.closed == rxws.Close()


async def test_connect_can_be_awaited_again_after_a_failure() -> None:
    """The result of `connect` can be awaited again after it failed to open."""
    async with RawServer() as server:
        connecting = rxws.connect(server.url)
        refusing = asyncio.create_task(
            server.accept(reply=b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        )
        with pytest.raises(rxws.HandshakeError):
            await connecting
        await refusing
        accepting = asyncio.create_task(server.accept())
        async with connecting:
            peer = await accepting
            answering = asyncio.create_task(peer.answer_close())
        assert (await answering).code == 1000


async def test_leaving_an_unopened_connect() -> None:
    """Leaving a `connect` that was never entered does nothing."""
    async with AsyncExitStack() as stack:
        stack.push_async_exit(rxws.connect(URL))


async def test_a_refusal_cut_off_within_its_body() -> None:
    """A refusal whose body is cut off has its status and the received part of the body."""
    reply = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"
    async with RawServer() as server:

        async def answer() -> None:
            (await server.accept(reply=reply)).fin()

        answering = asyncio.create_task(answer())
        with pytest.raises(rxws.HandshakeError, match="503") as caught:
            await rxws.connect(server.url)
        await answering
    assert (caught.value.status, caught.value.body) == (503, b"half")


async def test_a_server_that_is_lost_in_the_handshake() -> None:
    """A response without a connection after the upgrade is a `ConnectError`."""

    class Lost(aiohttp.ClientWebSocketResponse[Any]):
        def __init__(
            self, reader: Any, writer: Any, protocol: Any, response: Any, *rest: Any, **options: Any
        ) -> None:
            super().__init__(reader, writer, protocol, response, *rest, **options)
            response.close()

    async with RawServer() as server, aiohttp.ClientSession(ws_response_class=Lost) as session:
        accepting = asyncio.create_task(server.accept())
        with pytest.raises(rxws.ConnectError, match="lost during the handshake"):
            await rxws.connect(server.url, session=session)
        await (await accepting).until_ended()
        assert not session.closed


async def test_a_client_that_is_lost_in_the_handshake(serve: Serve, raw_client: Dial) -> None:
    """If a client disconnects before the upgrade is answered, the handler does not run."""
    ran: list[AnyConnection] = []
    arrived, over = asyncio.Event(), asyncio.Event()
    route = rxws.websocket(ran.append)

    async def wait(request: web.Request, _: web.StreamResponse) -> None:
        arrived.set()
        while request.transport is not None:  # noqa: ASYNC110  # aiohttp has no event for it
            await asyncio.sleep(0.01)

    async def watch(request: web.Request) -> web.StreamResponse:
        try:
            return await route(request)
        finally:
            over.set()

    app = web.Application()
    app.router.add_get("/", watch)
    app.on_response_prepare.append(wait)
    rxws.setup(app)
    port = await serve(app)
    asking = asyncio.create_task(ask(raw_client, port))
    async with asyncio.timeout(PATIENCE):
        await arrived.wait()
        asking.cancel()  # which closes its socket
        await asyncio.wait([asking])
        await over.wait()
    assert not ran


async def ask(dial: Dial, port: int) -> None:
    await dial(port)
