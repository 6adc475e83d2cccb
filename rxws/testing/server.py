"""A handler on a real server, on a free port of this machine."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer as AiohttpServer

from rxws._aiohttp.server import setup, websocket
from rxws._core.connection import Handler

__all__ = ["TestServer", "serve"]


class TestServer:
    """A server that runs.

    Attributes:
        app: The application.
        url: Where the handler is: `rxws.connect(server.url)`.
    """

    __test__ = False  # pytest: no class of tests

    def __init__(self, app: web.Application, url: str) -> None:
        self.app = app
        self.url = url

    def __repr__(self) -> str:
        return f"<TestServer {self.url}>"


@asynccontextmanager
async def serve(
    handler: Handler[Any, Any], path: str = "/", **options: Any
) -> AsyncGenerator[TestServer]:
    """Serve a handler on a free port of 127.0.0.1, for as long as the context lasts.

    Args:
        handler: As for `rxws.websocket`.
        path: Where it is.
        **options: Those of `rxws.websocket`.

    Yields:
        The server.

    Examples:
        ```python
        async with serve(shout) as server, rxws.connect(server.url) as conn:
            conn.outgoing.on_next("hey")
        ```
    """
    app = web.Application()
    setup(app)
    app.router.add_get(path, websocket(handler, **options))
    async with AiohttpServer(app, host="127.0.0.1") as running:
        url = running.make_url(path).with_scheme("ws")
        yield TestServer(app, str(url))
