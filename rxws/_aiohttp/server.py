"""`serve`: a handler on an HTTP server of its own, for notebooks, small programs and tests."""

from __future__ import annotations

import asyncio
import enum
import warnings
from collections.abc import Generator, Iterable, Mapping
from ssl import SSLContext
from typing import Any, Self, TypeAlias, TypeVar, Unpack, cast, overload

from aiohttp import web
from yarl import URL

from rxws._core.checks import check_port
from rxws._core.connection import Handler
from rxws._session.handler import handler_hint
from rxws._session.option_names import check_names
from rxws._session.options import ConnectionOptions, Unread
from rxws.codecs import Codec

from .acceptor import SERVER_OPTIONS
from .route import RouteHandler, handler_and_options
from .shutdown import CONNECTIONS, setup

__all__ = ["Server", "ServerOptions", "serve"]

In = TypeVar("In")
Out = TypeVar("Out")

_Routes: TypeAlias = Mapping[str, Handler[Any, Any] | RouteHandler[Any, Any]]

_OWN_OPTIONS = {"path", "drain", "ssl_context"}

# A server that listens on all interfaces is reached by the loopback address.
_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class ServerOptions(ConnectionOptions, total=False):
    """The keyword arguments of `serve`: these, and all of `ConnectionOptions`.

    - `origins`, `incoming`: as for `websocket`.
    - `path`: the path of the handler's URL; by default `"/"`.
    - `drain`: seconds to wait for the peers' close frames at the end; by default 2.
    - `ssl_context`: an `ssl.SSLContext` with a certificate, to serve `wss://`.

    Examples:
        ```python
        options: rxws.ServerOptions = {"path": "/chat", "heartbeat": 5}
        server = await rxws.serve(handler, port=8080, **options)
        ```
    """

    origins: str | Iterable[str] | None
    incoming: Unread
    path: str
    drain: float
    ssl_context: SSLContext | None


@overload
def serve(
    handler: RouteHandler[Any, Any] | Handler[str | bytes, str | bytes] | _Routes,
    host: str = ...,
    port: int = ...,
    **options: Unpack[ServerOptions],
) -> Server: ...
@overload
def serve(
    handler: Handler[In, Out] | _Routes,
    host: str = ...,
    port: int = ...,
    *,
    codec: Codec[In, Out],
    **options: Unpack[ServerOptions],
) -> Server: ...
def serve(handler: Any, host: str = "127.0.0.1", port: int = 0, **options: Any) -> Server:
    """Serve a handler, with `async with` or `await`, in a notebook, a small program or a test.

    `async with` stops the server at its end. After a plain `await`, the server runs until you call
    `await server.aclose()`. Both close open connections with 1001.

    To serve other routes, too, or in production, use `websocket` in an `aiohttp.web.Application`.

    Args:
        handler: Called with each new connection, to compose its pipeline. See `rxws.Handler`. Or
            what `websocket` returned; then the options given to it are the defaults. Or a `dict` of
            such handlers by path.
        host: The address to listen on. By default, only this machine can connect; use `"0.0.0.0"`
            for all IPv4 interfaces.
        port: The port to listen on, or 0 for a free one.
        codec: Converts between messages and values; by default `rxws.codecs.raw`.
        **options: See `rxws.ServerOptions`.

    Returns:
        The server, to `await`, or to use in `async with`. Either starts it.

    Raises:
        OSError: The port is in use, or the host is not one of this machine. Raised by `await` and
            `async with`.
        RuntimeError: The server was closed. Raised by `await` and `async with`.
        TypeError: A handler is not callable, or an option is unknown or has the wrong type.
        ValueError: An option is out of range.

    Examples:
        ```python
        async with rxws.serve(handler) as server, rxws.connect(server.url) as conn:
            conn.outgoing.on_next("hello")
        ```

        ```python
        asyncio.run(rxws.serve({"/chat": chat, "/news": news}, port=8080).serve_forever())
        ```
    """
    return Server(handler, host, port, **options)


class _State(enum.Enum):
    NEW = enum.auto()
    STARTED = enum.auto()
    CLOSED = enum.auto()


class Server:
    """A server for one or more handlers; `serve` returns it.

    Attributes:
        app: The `aiohttp.web.Application`. You may change it until the server starts.
    """

    _function = "rxws.serve"
    _state = _State.CLOSED  # if `__init__` raises

    def __init__(
        self,
        handler: Any,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        path: str = "/",
        drain: float = 2.0,
        ssl_context: SSLContext | None = None,
        **options: Any,
    ) -> None:
        check_names(self._function, options, SERVER_OPTIONS | _OWN_OPTIONS)
        if not isinstance(host, str):
            raise TypeError(f'host={host!r} is not a str: use an address such as "127.0.0.1"')
        check_port(port)
        if ssl_context is not None and not isinstance(ssl_context, SSLContext):
            raise TypeError(f"ssl_context={ssl_context!r} is not an ssl.SSLContext")
        self.app = web.Application()
        setup(self.app, drain)
        for route_path, route in _routes(self._function, handler, path).items():
            self.app.router.add_get(
                route_path, RouteHandler[Any, Any].of(*handler_and_options(route, options))
            )
        self._host = host
        self._port = port
        self._path = "" if isinstance(handler, Mapping) else path
        self._ssl_context = ssl_context
        self._runner = web.AppRunner(self.app, shutdown_timeout=drain)
        self._starting: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()
        self._state = _State.NEW

    @property
    def port(self) -> int:
        """The port that the server listens on.

        Raises:
            RuntimeError: The server has not been started.
        """
        if self._state is _State.NEW:
            raise RuntimeError(f"the server has not been started: {self._remedy}")
        return self._port

    @property
    def url(self) -> str:
        """The handler's URL, for `rxws.connect`; if there are several, without a path.

        Raises:
            RuntimeError: The server has not been started.
        """
        scheme = "ws" if self._ssl_context is None else "wss"
        port = self.port
        return str(URL.build(scheme=scheme, host=self._host, port=port, path=self._path))

    def is_serving(self) -> bool:
        """Return whether the server has been started, and is not closed."""
        return self._state is _State.STARTED

    async def serve_forever(self) -> None:
        """Start the server if that is still to do, and serve until it is closed.

        If you cancel this, for example by Ctrl-C in `asyncio.run`, the server is closed.
        """
        async with self:
            await self._closed.wait()

    async def aclose(self) -> None:
        """Stop the server, close open connections with 1001, and wait until they are closed.

        If you cancel this, the connections are aborted.
        """
        self._state = _State.CLOSED
        if self._starting is not None and self._closing is None:
            stopping = self._stop(self._starting)
            self._closing = asyncio.get_running_loop().create_task(stopping)
            self._closing.add_done_callback(lambda _: self._closed.set())
        if self._closing is not None:
            try:
                await asyncio.shield(self._closing)
            except asyncio.CancelledError:
                self.app[CONNECTIONS].abort()
                await asyncio.wait([self._closing])  # which a second cancellation does not stop
                raise

    def __await__(self) -> Generator[Any, Any, Self]:
        return self._start().__await__()

    async def __aenter__(self) -> Self:
        return await self._start()

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _start(self) -> Self:
        if self._state is _State.CLOSED:
            raise RuntimeError(f"the server is closed: call {self._function} again")
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._listen())
        try:
            # Cancelling `create_server` may leave its sockets open.
            await asyncio.shield(self._starting)
        except BaseException:
            await self.aclose()
            raise
        if not self.is_serving():
            raise RuntimeError("the server was closed while it was being started")
        return self

    async def _stop(self, starting: asyncio.Task[None]) -> None:
        await asyncio.wait([starting])
        await self._runner.cleanup()

    async def _listen(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._ssl_context)
        try:
            await site.start()
        except OSError as exc:  # asyncio's text has no host if that is unknown
            where = f"host={self._host!r}, port={self._port}"
            exc.strerror = f"cannot serve on {where}: {exc.strerror}"
            raise
        address, self._port = self._runner.addresses[0][:2]
        self._host = _LOOPBACK.get(address, self._host)
        if self._state is _State.NEW:  # not closed meanwhile
            self._state = _State.STARTED

    @property
    def _remedy(self) -> str:
        return f"use 'await {self._function}(…)' or 'async with {self._function}(…) as server'"

    def __del__(self) -> None:
        if self._state is _State.NEW:
            text = f"{self._function}() was never awaited: {self._remedy}"
            warnings.warn(text, RuntimeWarning, stacklevel=2, source=self)
        elif self._state is _State.STARTED:
            text = (
                f"{self!r} was deleted, but is still running: keep a reference to it and call "
                f"'await server.aclose()', or use 'async with {self._function}(…) as server'"
            )
            warnings.warn(text, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        if self._state is _State.NEW:
            return f"<{type(self).__name__} not started>"
        return f"<{type(self).__name__} {self.url}{'' if self.is_serving() else ' closed'}>"


def _routes(function: str, handler: Any, path: str) -> _Routes:
    if hint := handler_hint(handler):
        raise TypeError(f"{handler!r:.100} is no handler{hint}")
    is_dict = isinstance(handler, Mapping)
    routes: dict[str, Any] = dict(cast(_Routes, handler)) if is_dict else {path: handler}
    if any(isinstance(one, web.Application) for one in (handler, *routes.values())):
        raise TypeError(f"{function} takes a handler: serve an application with web.run_app")
    if is_dict and path != "/":
        raise TypeError(f"path={path!r} is for a single handler: the keys of a dict are the paths")
    if not routes:
        raise ValueError("there is no handler in the dict")
    for each in routes:
        if not each.startswith("/"):
            raise ValueError(f"path={each!r} does not start with a slash: use {'/' + each!r}")
    return routes
