"""The client end: `connect`, which gives the same `Connection` as on the server."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Generator, Mapping
from http import HTTPStatus
from ssl import SSLContext
from types import TracebackType
from typing import Any, Generic, TypeVar, Unpack, cast, overload

import aiohttp
from aiohttp import (
    ClientHttpProxyError,
    ClientSession,
    ClientWebSocketResponse,
    InvalidURL,
    NonHttpUrlClientError,
    NonHttpUrlRedirectClientError,
    WSServerHandshakeError,
)
from yarl import URL

from rxws import closing, codecs
from rxws._core.connection import Close, Connection, Handshake, without_secrets
from rxws._core.errors import ConnectError, HandshakeError
from rxws._core.loop_scheduler import LoopScheduler
from rxws._session.options import ConnectionOptions, Options
from rxws._session.session import Session
from rxws.codecs import Codec

from .handshake import answer_fault
from .http_session import SharedClientSession
from .transport.adapter import AiohttpTransport
from .transport.private_api import (
    client_response,
    client_transport,
    disable_auto_close,
    parser_limit,
    with_push,
)
from .transport.read_path import transport_info

__all__ = ["ClientOptions", "ConnectCall", "DialOptions", "connect"]

In = TypeVar("In")
Out = TypeVar("Out")

# What rxws decides itself, with the option that stands for it where there is one.
_REFUSED = {
    "autoclose": "the close table decides",
    "autoping": "the session answers pings",
    "decode_text": "use codec=",
    "max_msg_size": "use max_message_size=",
    "receive_timeout": "use heartbeat=, or ops.timeout() in the pipeline",
    "timeout": "use open_timeout= and close_timeout=",
}


class DialOptions(ConnectionOptions, total=False):
    """What `ClientOptions` and those of `connections` have in common."""

    session: ClientSession | None
    open_timeout: float
    auth: aiohttp.BasicAuth | None
    method: str
    origin: str | None
    params: Mapping[str, Any] | str | None
    proxy: str | URL | None
    proxy_auth: aiohttp.BasicAuth | None
    proxy_headers: Mapping[str, str] | None
    server_hostname: str | None
    ssl: SSLContext | bool | aiohttp.Fingerprint


class ClientOptions(DialOptions, total=False):
    """The keyword arguments of `connect`: `ConnectionOptions`, and those of aiohttp's `ws_connect`.

    `session`: an `aiohttp.ClientSession` of yours, which stays open; else rxws makes one.
    `open_timeout`: seconds for the whole handshake.
    The rest is aiohttp's, as its documentation says.
    """

    headers: Mapping[str, str] | None


@overload
def connect(
    url: str | URL, **options: Unpack[ClientOptions]
) -> ConnectCall[str | bytes, str | bytes]: ...
@overload
def connect(
    url: str | URL, *, codec: Codec[In, Out], **options: Unpack[ClientOptions]
) -> ConnectCall[In, Out]: ...
def connect(url: str | URL, **options: Any) -> ConnectCall[Any, Any]:
    """Open a connection: by `async with` for as long as the body runs, or by `await`.

    Leaving the `async with` closes with 1000, leaving it by an exception with 1011, and either
    waits until the connection is gone. After a plain `await` the connection is yours to end:
    `conn.outgoing.on_completed()`, then `await conn.closed`.

    Args:
        url: `ws://` or `wss://`.
        codec: Between frames and values; `rxws.codecs.raw` if not given.
        **options: See `rxws.ClientOptions`.

    Returns:
        What can be awaited or entered.

    Raises:
        ConnectError: From the `await` or `async with`: nobody listens, or no WebSocket there.
        HandshakeError: Likewise: the server answered with something else, or chose what was not
            offered. With a session of yours its `body` is empty, as aiohttp keeps that for itself.
        TypeError: An option is of the wrong type, unknown, or one that rxws decides itself.
        ValueError: An option is out of range.

    Examples:
        ```python
        async with rxws.connect("ws://localhost:8080/shout", codec=rxws.codecs.text) as conn:
            conn.incoming.subscribe(print)
            conn.outgoing.on_next("hello")
        ```
    """
    return ConnectCall(url, **options)


class ConnectCall(Generic[In, Out]):
    """A connection to be opened, by `await` or `async with`."""

    def __init__(
        self,
        url: str | URL,
        *,
        codec: Codec[Any, Any] = codecs.raw,
        session: ClientSession | None = None,
        open_timeout: float = 10.0,
        **options: Any,
    ) -> None:
        for name, remedy in _REFUSED.items():
            if name in options:
                raise TypeError(f"{name}= is not an option of rxws.connect: {remedy}")
        if session is not None and not isinstance(session, ClientSession):
            raise TypeError(f"session={session!r} is no aiohttp.ClientSession")
        if not 0 < open_timeout < math.inf:
            raise ValueError(f"open_timeout={open_timeout!r}: use a number of seconds above 0")
        own = {
            name: options.pop(name) for name in ConnectionOptions.__annotations__ if name in options
        }
        self._url = url
        self._session = session
        self._open_timeout = open_timeout
        self._options = Options(codec=codec, **own)
        self._request = options
        self._link: _Link | None = None
        self._own: SharedClientSession | None = None

    def through(self, own: SharedClientSession) -> ConnectCall[In, Out]:
        """Dial through an HTTP client of rxws's own that others use, too; for `connections`."""
        self._own = own
        return self

    def __await__(self) -> Generator[Any, Any, Connection[In, Out]]:
        return self._open().__await__()

    async def __aenter__(self) -> Connection[In, Out]:
        return await self._open()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._link is not None:
            await self._link.leave(Close() if exc is None else closing.UNEXPECTED)

    async def _open(self) -> Connection[In, Out]:
        if self._link is not None:
            raise RuntimeError("this connection was opened already: call rxws.connect for another")
        # A session of the user's is the user's to close, and has the user's middlewares.
        own = (self._own or SharedClientSession()) if self._session is None else None
        client = self._session if own is None else own.session_for_dial()
        assert client is not None
        if own is not None:
            own.hold()
        try:
            async with asyncio.timeout(self._open_timeout):
                self._link = await self._dial(client, own)
        except BaseException as exc:
            error = self._explain(exc, b"" if own is None else own.refusal)
            if own is not None:
                await own.let_go()
            if error is None:
                raise
            raise error from exc
        return self._link.session.connection

    async def _dial(self, client: ClientSession, own: SharedClientSession | None) -> _Link:
        options = self._options
        # Either one's overloads take no **options.
        pushing = transport_info().path == "push"
        dial = with_push(client) if pushing else cast(Any, client.ws_connect)
        try:
            ws: ClientWebSocketResponse[Any] = await dial(
                self._url,
                autoclose=False,
                autoping=False,
                protocols=options.protocols,
                compress=15 if options.compress else 0,
                max_msg_size=parser_limit(options.max_message_size, options.compress),
                **self._request,
            )
        except (
            NonHttpUrlClientError
        ) as exc:  # the one bad address that aiohttp has as no ValueError
            if isinstance(exc, NonHttpUrlRedirectClientError):
                raise InvalidURL(f"{exc}", "redirects go to http:// or https:// only") from exc
            raise InvalidURL(str(self._url), "use ws:// or wss://") from exc
        transport = client_transport(ws)
        if transport is None:
            await ws.close()
            raise ConnectionResetError("the connection was lost during the handshake")
        disable_auto_close(ws)
        response = client_response(ws)
        if fault := answer_fault(response.request_info.headers, response.headers):
            response.close()
            raise HandshakeError(
                f"{_where(self._url)} answered the upgrade as it must not: {fault}",
                response.status,
                response.headers,
            )
        adapter = AiohttpTransport(ws, transport, options.max_message_size)
        handshake = Handshake(
            response.url, response.headers, ws.protocol, transport.get_extra_info("peername")
        )
        session: Session[Any, Any] = Session(adapter, LoopScheduler.running(), options, handshake)
        return _Link(session, adapter, ws, own)

    def _explain(self, exc: BaseException, refusal: bytes) -> ConnectError | None:
        """Return the error to raise instead of what aiohttp raised, if any."""
        where = _where(self._url)
        if isinstance(exc, WSServerHandshakeError | ClientHttpProxyError):
            who = where if isinstance(exc, WSServerHandshakeError) else "the proxy"
            return HandshakeError(
                f"{who} refused the WebSocket: HTTP status {exc.status}{_phrase(exc.status)}",
                exc.status,
                exc.headers or {},
                refusal,
            )
        if isinstance(exc, TimeoutError):
            return ConnectError(f"{where}: no answer in open_timeout={self._open_timeout} s")
        if isinstance(exc, aiohttp.ClientError | OSError | ValueError):  # ValueError: no URL
            return ConnectError(f"cannot connect to {where!r}: {_reason(exc)}")
        return None


def _where(url: str | URL) -> str:
    # What is no address is shown as it is, so that its mistake can be seen.
    try:
        parsed = URL(str(url))
        return str(without_secrets(parsed)) if parsed.host else str(url)
    except ValueError:
        return str(url)


def _phrase(status: int) -> str:
    # Not the server's own words, which may be any and of any length.
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _reason(exc: Exception) -> str:
    """Say why no connection came about, in one line that begins with what matters.

    aiohttp's own words tell the host again, and a log or a status shows only so many characters.
    """
    for name in ("certificate_error", "os_error"):
        exc = getattr(exc, name, exc)
    said = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    return f"{type(exc).__name__}: {said}" if said else type(exc).__name__


class _Link:
    """What runs below an open client connection, from its first frame to its last socket.

    Args:
        session: The session.
        adapter: Its transport.
        ws: aiohttp's WebSocket.
        own: The HTTP client, if it is of ours.
    """

    def __init__(
        self,
        session: Session[Any, Any],
        adapter: AiohttpTransport,
        ws: ClientWebSocketResponse[Any],
        own: SharedClientSession | None,
    ) -> None:
        self.session = session
        self._adapter = adapter
        self._ws = ws
        self._own = own
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def leave(self, close: Close) -> None:
        """Close, and wait until the connection is gone."""
        self.session.outgoing.on_next(close)
        try:
            await asyncio.shield(self._task)
        except asyncio.CancelledError:  # who waits wants to wait no longer
            self.session.kill()
            await self._task
            raise

    async def _run(self) -> None:
        try:
            await self._adapter.run(self.session)
        finally:
            client_response(self._ws).close()
            if self._own is not None:
                await self._own.let_go()
