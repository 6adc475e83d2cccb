"""Run a handler on a real server, on a free port of this machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from rxws._aiohttp.acceptor import SERVER_OPTIONS
from rxws._aiohttp.route import RouteHandler, handler_and_options
from rxws._aiohttp.server import setup
from rxws._core.connection import Handler
from rxws._session.option_names import check_names

__all__ = ["TestServer", "serve"]


class TestServer:
    """A running server; `serve` yields one.

    Attributes:
        app: The `aiohttp.web.Application`.
        url: The handler's URL, for `rxws.connect(server.url)`.
    """

    __test__ = False  # pytest must not collect it

    def __init__(self, app: web.Application, url: str) -> None:
        self.app = app
        self.url = url

    def __repr__(self) -> str:
        return f"<TestServer {self.url}>"


@asynccontextmanager
async def serve(
    handler: Handler[Any, Any] | RouteHandler[Any, Any], path: str = "/", **options: Any
) -> AsyncGenerator[TestServer]:
    """Serve a handler on a free port of 127.0.0.1 until the context ends.

    Args:
        handler: As for `rxws.websocket`, or what it returned.
        path: The path of the handler's URL.
        **options: As for `rxws.websocket`.

    Yields:
        The server. Connect to its `url`.

    Examples:
        ```python
        async with serve(shout) as server, rxws.connect(server.url) as conn:
            conn.outgoing.on_next("hey")
        ```
    """
    check_names("rxws.testing.serve", options, SERVER_OPTIONS)
    app = web.Application()
    setup(app)
    route = RouteHandler[Any, Any].of(*handler_and_options(handler, options))
    app.router.add_get(path, route)
    async with AiohttpServer(app, host="127.0.0.1") as running:
        url = running.make_url(path).with_scheme("ws")
        yield TestServer(app, str(url))
