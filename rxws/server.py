"""The server end: a handler as an aiohttp route, or behind one's own checks."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, Unpack, cast, overload

from aiohttp import web
from reactivex import Observable
from reactivex.abc import ObserverBase

from .acceptor import Acceptor
from .codecs import Codec
from .connection import Connection, Handler
from .handling import check_handler
from .options import ConnectionOptions
from .shutdown import setup

__all__ = ["RouteHandler", "listener", "pipeline", "setup", "upgrade", "websocket"]

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


def pipeline(*operators: Callable[[Any], Any]) -> Handler[Any, Any]:
    """Make a handler of an operator chain, composed afresh for each connection.

    Args:
        *operators: From `reactivex.operators`, `rxws.operators` or your own.

    Examples:
        ```python
        app.router.add_get("/lower", rxws.websocket(rxws.pipeline(ops.map(str.lower))))
        ```
    """

    def handler(conn: Connection[Any, Any]) -> Observable[Any]:
        return cast(Observable[Any], conn.incoming.pipe(*operators))

    return handler


def listener(
    incoming: ObserverBase[Any],
    outgoing: Observable[Any],
    errors: ObserverBase[Exception] | None = None,
) -> Handler[Any, Any]:
    """Make a handler of three streams that you made yourself, for one connection.

    Args:
        incoming: Observes the messages that come in, and the end.
        outgoing: What it emits is sent; its end closes the connection.
        errors: Observes the faults.

    Returns:
        A handler for one connection; a second one that gets it is closed with 1011.

    Examples:
        ```python
        async def route(request):
            incoming, outgoing = Subject(), Subject()
            incoming.subscribe(outgoing)
            return await rxws.upgrade(request, rxws.listener(incoming, outgoing))
        ```
    """
    used = False

    def handler(conn: Connection[Any, Any]) -> Observable[Any]:
        nonlocal used
        if used:
            raise RuntimeError(
                "this listener has served a connection already: make new streams for each one"
            )
        used = True
        if errors is not None:
            conn.errors.subscribe(errors, scheduler=conn.scheduler)
        conn.incoming.subscribe(incoming, scheduler=conn.scheduler)
        return outgoing

    return handler
