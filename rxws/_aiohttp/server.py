"""The server end: a handler as an aiohttp route, or behind one's own checks."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, Unpack, overload

from aiohttp import web

from rxws._core.connection import Handler
from rxws._session.handler import check_handler
from rxws._session.options import ConnectionOptions
from rxws.codecs import Codec

from .acceptor import Acceptor
from .shutdown import setup

__all__ = ["RouteHandler", "setup", "upgrade", "websocket"]

In = TypeVar("In")
Out = TypeVar("Out")

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
"""What aiohttp routes to."""


@overload
def websocket(
    handler: Handler[str | bytes, str | bytes],
    *,
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> RouteHandler: ...
@overload
def websocket(
    handler: Handler[In, Out],
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> RouteHandler: ...
@overload
def websocket(
    *,
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> Callable[[Handler[str | bytes, str | bytes]], RouteHandler]: ...
@overload
def websocket(
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> Callable[[Handler[In, Out]], RouteHandler]: ...
def websocket(handler: Handler[Any, Any] | None = None, **options: Any) -> Any:
    """Make an aiohttp route handler of a handler, as a function or as a decorator.

    Args:
        handler: Composes one connection's pipeline; it runs once per connection.
        codec: Between frames and values; `rxws.codecs.raw` if not given.
        origins: Which web pages may connect: by default those of the same host and port, else a
            list of `scheme://host[:port]`, or `"*"`.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        A coroutine function for `web.get`, or, without a handler, a decorator that makes one.

    Raises:
        TypeError: The handler is not callable, or an option of the wrong type or unknown.
        ValueError: An option is out of range.

    Examples:
        ```python
        @rxws.websocket(codec=rxws.codecs.text)
        def shout(conn):
            return conn.incoming.pipe(ops.map(str.upper))
        ```
    """
    acceptor = Acceptor(**options)
    if handler is None:
        return functools.partial(_route, acceptor=acceptor)
    return _route(handler, acceptor)


def _route(handler: Handler[Any, Any], acceptor: Acceptor) -> RouteHandler:
    check_handler(handler)

    # A partial of a coroutine method, not a coroutine function of its own around it: that would be
    # one frame more for as long as each connection lives.
    route = functools.partial(acceptor.accept, handler=handler)
    return functools.update_wrapper(route, handler)


@overload
async def upgrade(
    request: web.Request,
    handler: Handler[str | bytes, str | bytes],
    *,
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> web.StreamResponse: ...
@overload
async def upgrade(
    request: web.Request,
    handler: Handler[In, Out],
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> web.StreamResponse: ...
async def upgrade(
    request: web.Request, handler: Handler[Any, Any], **options: Any
) -> web.StreamResponse:
    """Upgrade a request inside an aiohttp handler of your own, and run the connection to its end.

    Args:
        request: The request.
        handler: Composes the connection's pipeline.
        codec: Between frames and values; `rxws.codecs.raw` if not given.
        origins: As for `websocket`.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        The response, for aiohttp.

    Raises:
        aiohttp.web.HTTPForbidden: The page may not connect.
        aiohttp.web.HTTPUpgradeRequired: The request is no WebSocket, or of another version.
        aiohttp.web.HTTPBadRequest: The WebSocket handshake is malformed.
        aiohttp.web.HTTPMethodNotAllowed: The request is no GET.
        TypeError: The handler is not callable, or an option of the wrong type or unknown.
        ValueError: An option is out of range.

    Examples:
        ```python
        async def private(request):
            if not await allowed(request):
                raise web.HTTPUnauthorized
            return await rxws.upgrade(request, handler)
        ```
    """
    check_handler(handler)
    return await Acceptor(**options).accept(request, handler)
