"""Run a handler on a real server, on a free port of this machine."""

from __future__ import annotations

from typing import Any

from rxws._aiohttp.route import RouteHandler
from rxws._aiohttp.server import Server
from rxws._core.connection import Handler

__all__ = ["TestServer", "serve"]


class TestServer(Server):
    """A server of a test, as `rxws.Server`; `serve` returns it."""

    __test__ = False  # pytest must not collect it
    _function = "rxws.testing.serve"


def serve(
    handler: Handler[Any, Any] | RouteHandler[Any, Any], path: str = "/", **options: Any
) -> TestServer:
    """Serve a handler on a free port of 127.0.0.1, as `rxws.serve` does.

    Args:
        handler: As for `rxws.websocket`, or what it returned.
        path: The path of the handler's URL.
        **options: As for `rxws.serve`.

    Returns:
        The server, to `await`, or to use in `async with`. Connect to its `url`.

    Examples:
        ```python
        async with serve(shout) as server, rxws.connect(server.url) as conn:
            conn.outgoing.on_next("hey")
        ```
    """
    return TestServer(handler, path=path, **options)
