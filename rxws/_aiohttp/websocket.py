"""`websocket` and `upgrade`: serve a handler as an aiohttp route, or upgrade a request yourself."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar, Unpack, overload

from aiohttp import web

from rxws._core.connection import Connection, Handler, HandlerResult
from rxws._session.handler import check_handler
from rxws._session.option_names import check_names
from rxws._session.options import ConnectionOptions, Unread
from rxws.codecs import Codec

from .acceptor import SERVER_OPTIONS, Acceptor
from .route import MethodRoute, RouteDecorator, RouteHandler, frozen, handler_and_options

__all__ = ["upgrade", "websocket"]

In = TypeVar("In")
Out = TypeVar("Out")
Owner = TypeVar("Owner")


@overload
def websocket(
    handler: Handler[str | bytes, str | bytes],
    *,
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> RouteHandler[str | bytes, str | bytes]: ...
@overload
def websocket(
    handler: Handler[In, Out],
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> RouteHandler[In, Out]: ...
@overload
def websocket(
    handler: Callable[
        [Owner, Connection[str | bytes, str | bytes]], HandlerResult | Awaitable[HandlerResult]
    ],
) -> MethodRoute[Owner, str | bytes, str | bytes]: ...
@overload
def websocket(
    *,
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> RouteDecorator[str | bytes, str | bytes]: ...
@overload
def websocket(
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> RouteDecorator[In, Out]: ...
def websocket(handler: Any = None, **options: Any) -> Any:
    """Turn a handler into an aiohttp route handler. You may use it as a decorator.

    Args:
        handler: Called with each new connection, to compose its pipeline. See `rxws.Handler`.
        codec: Converts between messages and values; by default `rxws.codecs.raw`, which passes
            `str` and `bytes`.
        origins: The web pages that may connect: None (the default) for pages from the same host and
            port, a list of `scheme://host[:port]`, or `"*"` for any page. The host of an entry may
            begin with `*.`, for all subdomains; `"null"` and `"file://"` are entries, too. Clients
            other than browsers send no origin and may always connect.
        incoming: What happens to messages while nobody subscribes to `conn.incoming`: `"hold"` (the
            default) keeps them for a later subscriber, `"discard"` drops and counts them. Use
            `"discard"` for a handler that only sends.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        A route handler for `web.get`; without `handler`, a decorator that returns one. It keeps the
        handler and the options, so that you can test it: `simulate(shout, "a")`.

    Raises:
        TypeError: The handler is not callable, or an option is unknown or has the wrong type.
        ValueError: An option is out of range.

    Examples:
        ```python
        @rxws.websocket(codec=rxws.codecs.text)
        def shout(conn):
            return conn.incoming.pipe(ops.map(str.upper))

        app = web.Application()
        app.router.add_get("/shout", shout)
        ```
    """
    check_names("rxws.websocket", options, SERVER_OPTIONS)
    if handler is None:
        given = frozen(options)
        return functools.partial(RouteHandler, acceptor=Acceptor(**given), options=given)
    return RouteHandler[Any, Any].of(*handler_and_options(handler, options))


@overload
async def upgrade(
    request: web.Request,
    handler: RouteHandler[Any, Any],
    *,
    origins: str | Iterable[str] | None = None,
    **options: Unpack[ConnectionOptions],
) -> web.StreamResponse: ...
@overload
async def upgrade(
    request: web.Request,
    handler: Handler[str | bytes, str | bytes],
    *,
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> web.StreamResponse: ...
@overload
async def upgrade(
    request: web.Request,
    handler: Handler[In, Out],
    *,
    codec: Codec[In, Out],
    origins: str | Iterable[str] | None = None,
    incoming: Unread = "hold",
    **options: Unpack[ConnectionOptions],
) -> web.StreamResponse: ...
async def upgrade(request: web.Request, handler: Any, **options: Any) -> web.StreamResponse:
    """Upgrade a request in your own aiohttp handler, and run the connection until it ends.

    Use it instead of `websocket` if you want to check a request before the upgrade.

    Args:
        request: The request.
        handler: Called with the connection, to compose its pipeline. See `rxws.Handler`. Or what
            `websocket` returned; then the options given to it are the defaults.
        codec: Converts between messages and values; by default `rxws.codecs.raw`.
        origins: The web pages that may connect; see `websocket`.
        incoming: `"discard"` for a handler that only sends; see `websocket`.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        The response, to be returned to aiohttp.

    Raises:
        aiohttp.web.HTTPForbidden: The page's origin may not connect.
        aiohttp.web.HTTPUpgradeRequired: The request does not ask for a WebSocket, or for a version
            other than 13.
        aiohttp.web.HTTPBadRequest: The handshake is malformed.
        aiohttp.web.HTTPMethodNotAllowed: The request is not a GET.
        aiohttp.web.HTTPServiceUnavailable: The application is shutting down.
        TypeError: The handler is not callable, or an option is unknown or has the wrong type.
        ValueError: An option is out of range.

    Examples:
        ```python
        async def private(request):
            if not await allowed(request):
                raise web.HTTPUnauthorized
            return await rxws.upgrade(request, handler)
        ```
    """
    check_names("rxws.upgrade", options, SERVER_OPTIONS)
    handler, options = handler_and_options(handler, options)
    check_handler(handler)
    return await Acceptor(**options).accept(request, handler)
