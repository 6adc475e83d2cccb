"""`serve`: a handler on a real server; and rxws with pytest-aiohttp."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestClient
from reactivex import operators as ops

import rxws
from rxws import codecs
from rxws.testing import serve

AiohttpClient = Callable[[web.Application], Awaitable[TestClient[web.Request, web.Application]]]


@rxws.websocket(codec=codecs.text)
def shout(conn: rxws.Connection[str, str]) -> Any:
    return conn.incoming.pipe(ops.map(str.upper))


def application() -> web.Application:
    app = web.Application()
    app.router.add_get("/shout", shout)
    rxws.setup(app)
    return app


async def test_a_handler_is_served_with_its_options() -> None:
    """A handler is served at its path on a free port of 127.0.0.1, with its options."""
    async with serve(
        lambda conn: conn.incoming.pipe(ops.map(lambda value: [value])),
        "/here",
        codec=codecs.json,
    ) as server:
        assert server.url.startswith("ws://127.0.0.1:")
        assert server.url.endswith("/here")
        assert repr(server) == f"<TestServer {server.url}>"
        assert isinstance(server.app, web.Application)
        async with rxws.connect(server.url, codec=codecs.json) as client:
            client.outgoing.on_next({"a": 1})
            assert await client.incoming.pipe(ops.first()) == [{"a": 1}]


async def test_leaving_the_context_shuts_the_application_down() -> None:
    """Leaving the context shuts the application down: connections get 1001."""
    async with serve(lambda conn: conn.incoming) as server:
        client = await rxws.connect(server.url)
        client.incoming.subscribe()
    assert await client.closed == rxws.Close(1001, "Going Away")


async def test_rxws_connects_to_pytest_aiohttp_s_server(aiohttp_client: AiohttpClient) -> None:
    """`rxws.connect` works with pytest-aiohttp's server and its session."""
    client = await aiohttp_client(application())
    url = client.make_url("/shout").with_scheme("ws")
    async with rxws.connect(url, session=client.session, codec=codecs.text) as conn:
        conn.outgoing.on_next("hey")
        assert await conn.incoming.pipe(ops.first()) == "HEY"
    assert not client.session.closed
    async with rxws.connect(url, codec=codecs.text) as conn:
        conn.outgoing.on_next("ho")
        assert await conn.incoming.pipe(ops.first()) == "HO"


async def test_pytest_aiohttp_s_own_websocket_talks_to_rxws(aiohttp_client: AiohttpClient) -> None:
    """pytest-aiohttp's WebSocket client works with a handler."""
    client = await aiohttp_client(application())
    async with client.ws_connect("/shout") as ws:
        await ws.send_str("hey")
        assert await ws.receive_str() == "HEY"
        await ws.send_bytes(b"binary")
        message = await ws.receive()
        assert message.type is aiohttp.WSMsgType.CLOSE
        assert message.data == 1003
