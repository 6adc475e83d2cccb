"""The client: `connect` opens the same kind of `Connection` as a server's handler gets."""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import Coroutine, Generator, Iterable, Mapping
from http import HTTPStatus
from ssl import SSLContext
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, Unpack, overload

import aiohttp
from aiohttp import (
    ClientHttpProxyError,
    ClientProxyConnectionError,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientWebSocketResponse,
    InvalidURL,
    NonHttpUrlClientError,
    RedirectClientError,
    TooManyRedirects,
)
from aiohttp.http import HttpProcessingError
from multidict import CIMultiDict
from yarl import URL

from rxws import closing, codecs
from rxws._core import hints, instrumentation
from rxws._core.checks import check_seconds
from rxws._core.connection import Close, Connection, Handshake, without_secrets
from rxws._core.errors import ConnectError, HandshakeError
from rxws._core.instrumentation import ConnectionTelemetry
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._session.option_names import check_names
from rxws._session.options import OPTION_NAMES, ConnectionOptions, Options
from rxws._session.session import Session
from rxws.codecs import Codec

from .handshake import response_violation
from .http_session import RequestMonitor, SharedClientSession
from .transport.adapter import AiohttpTransport
from .transport.kernel import limit_send_buffer
from .transport.private_api import (
    client_response,
    client_transport,
    disable_auto_close,
    parser_limit,
    ws_connect_of,
)
from .transport.read_path import transport_info

__all__ = ["ClientOptions", "ConnectCall", "DialOptions", "check_client_options", "connect"]

_USE = "use 'await rxws.connect(…)' or 'async with rxws.connect(…) as conn'"

In = TypeVar("In")
Out = TypeVar("Out")

# The options of aiohttp's `ws_connect` that rxws does not allow; `option_names` has the reasons.
_REFUSED = {
    "autoclose",
    "autoping",
    "decode_text",
    "max_msg_size",
    "receive_timeout",
    "timeout",
}

_WS_CONNECT = inspect.signature(ClientSession.ws_connect).parameters.keys() - {"self", "url"}

_CLIENT_OPTIONS = (OPTION_NAMES | _WS_CONNECT | {"session", "open_timeout"}) - _REFUSED


class DialOptions(ConnectionOptions, total=False):
    """The options that `ClientOptions` and the options of `connections` share."""

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
    """The keyword arguments of `connect`: these, and all of `ConnectionOptions`.

    - `session`: your own `aiohttp.ClientSession`, with its cookies, headers and middlewares. It
      stays open. By default rxws creates one and closes it.
    - `open_timeout`: seconds for the whole handshake, including DNS and redirects; by default 10.
    - `headers`: additional headers of the request.
    - `params`: query parameters to add to the URL.
    - `origin`: the `Origin` header.
    - `method`: the HTTP method; by default `"GET"`.
    - `auth`: HTTP basic authentication.
    - `ssl`: an `ssl.SSLContext`; an `aiohttp.Fingerprint` to pin a certificate; or False to accept
      any certificate.
    - `server_hostname`: the host name to check the certificate against.
    - `proxy`, `proxy_auth`, `proxy_headers`: the HTTP proxy to use.

    All but the first two are passed on to aiohttp's `ClientSession.ws_connect`.
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
    """Connect to a WebSocket server, with `async with` or `await`.

    At its end, `async with` closes the connection and waits until the socket is closed: with code
    1000, or with 1011 if the body raised. After a plain `await` you close the connection yourself:
    `conn.outgoing.on_completed()`, then `await conn.closed`.

    Args:
        url: The address: `ws://` or `wss://`.
        codec: Converts between messages and values; by default `rxws.codecs.raw`, which passes
            `str` and `bytes`.
        **options: See `rxws.ClientOptions`.

    Returns:
        An object to `await`, or to use in `async with`. Either opens the connection.

    Raises:
        ConnectError: The connection could not be opened. Raised by `await` and `async with`, as is
            `HandshakeError`.
        HandshakeError: The server answered with something other than a WebSocket upgrade, or chose
            a subprotocol or extension that was not offered.
        TypeError: An option is unknown, has the wrong type, or is controlled by rxws.
        ValueError: An option is out of range.

    Examples:
        ```python
        async with rxws.connect("ws://localhost:8080/shout", codec=rxws.codecs.text) as conn:
            conn.incoming.subscribe(print)
            conn.outgoing.on_next("hello")
        ```
    """
    call: ConnectCall[Any, Any] = ConnectCall(url, **options)
    call.warn_if_unused()
    return call


class ConnectCall(Coroutine[Any, Any, Connection[In, Out]], Generic[In, Out]):
    """A connection to be opened by `await` or `async with`; `connect` returns it.

    It is a coroutine, so you may also pass it to `asyncio.create_task` and `asyncio.gather`.
    """

    _is_used = True  # whether it need not be awaited any more

    def __init__(
        self,
        url: str | URL,
        *,
        codec: Codec[Any, Any] = codecs.raw,
        session: ClientSession | None = None,
        open_timeout: float = 10.0,
        **options: Any,
    ) -> None:
        if session is not None and not isinstance(session, ClientSession):
            raise TypeError(f"session={session!r} is not an aiohttp.ClientSession")
        check_client_options("rxws.connect", {**options, "session": session})
        check_seconds("open_timeout", open_timeout)
        names = options.keys() & ConnectionOptions.__annotations__
        self.__name__ = "rxws.connect"  # for the `repr` of a task
        self._url = url
        self._users_client = session
        self._open_timeout = open_timeout
        self._options = Options(codec=codec, **{name: options.pop(name) for name in names})
        self._aiohttp_options = options
        self._shared: SharedClientSession | None = None
        self._session: Session[Any, Any] | None = None  # set once the connection is open
        self._connection: Connection[In, Out] | None = None
        self._running: asyncio.Task[None]  # runs the session
        self._opening: Generator[Any, Any, Connection[In, Out]] | None = None  # if a task awaits it

    def through(self, shared: SharedClientSession) -> ConnectCall[In, Out]:
        """Dial with this client session; `connections` uses one for all of its dials."""
        self._shared = shared
        return self

    def warn_if_unused(self) -> None:
        """Warn if the call is deleted before it is awaited, as Python does for a coroutine."""
        self._is_used = False

    def __await__(self) -> Generator[Any, Any, Connection[In, Out]]:
        self._is_used = True
        return self._open().__await__()

    def send(self, value: None, /) -> Any:
        """See `Coroutine.send`; asyncio's tasks call it."""
        if value is not None:  # meant for the peer
            raise TypeError(f"the connection is not open yet: {_USE}, and conn.outgoing.on_next(…)")
        if self._opening is None:
            self._opening = self.__await__()
        return self._opening.send(value)

    def throw(self, typ: Any, val: Any = None, _: Any = None, /) -> Any:
        """See `Coroutine.throw`."""
        if self._opening is None:
            self._opening = self.__await__()
        return self._opening.throw(typ if val is None else val)

    def close(self) -> None:
        """See `Coroutine.close`."""
        self._is_used = True
        if self._opening is not None:
            self._opening.close()

    async def __aenter__(self) -> Connection[In, Out]:
        self._is_used = True
        return await self._open()

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        self._is_used = True
        if self._session is None or self._connection is None:
            return
        self._connection.outgoing.on_next(Close() if exc is None else closing.UNEXPECTED)
        self._session.stop_waiting()  # if the peer has already closed
        try:
            await asyncio.shield(self._running)
        except asyncio.CancelledError:  # don't wait for the peer's close frame any longer
            self._session.terminate()
            await self._running
            raise

    def __del__(self) -> None:
        if not self._is_used:
            warnings.warn(
                f"rxws.connect({_where(self._url)!r}) was never awaited: {_USE}",
                RuntimeWarning,
                stacklevel=2,
                source=self,
            )

    if not TYPE_CHECKING:  # type checkers report these mistakes themselves

        def __getattr__(self, name: str) -> NoReturn:
            is_known = name in Connection.__dataclass_fields__ or name in hints.CONNECTION
            hint = f": the connection is not open yet, {_USE}" if is_known else ""
            raise AttributeError(f"'ConnectCall' object has no attribute {name!r}{hint}")

        def __enter__(self) -> NoReturn:
            self._is_used = True
            raise TypeError("rxws.connect needs 'async with' instead of 'with'")

        def __exit__(self, *_: object) -> None: ...

        def __aiter__(self) -> NoReturn:
            self._is_used = True
            raise TypeError(
                "rxws.connect opens one connection: use rxws.connections for one after the other, "
                "and 'async for message in conn.incoming' for messages"
            )

    async def _open(self) -> Connection[In, Out]:
        if self._session is not None:
            raise RuntimeError("this connection was already opened: call rxws.connect again")
        with instrumentation.active.client(self._url) as telemetry:
            self._session = await self._open_session(telemetry)
        self._connection = self._session.connection
        return self._connection

    async def _open_session(self, telemetry: ConnectionTelemetry) -> Session[Any, Any]:
        shared = None
        if (client := self._users_client) is None:
            shared = self._shared or SharedClientSession()
            client = shared.session_for_dial()
            shared.acquire()
        monitor = RequestMonitor()
        deadline = asyncio.timeout(self._open_timeout)
        try:
            async with deadline:
                return await self._dial(client, shared, monitor, telemetry)
        except BaseException as exc:
            body = b"" if shared is None else shared.refusal_body
            if isinstance(exc, TimeoutError) and deadline.expired():
                text = f"{_where(self._url)}: no answer in open_timeout={self._open_timeout} s"
                error: ConnectError | None = ConnectError(text)
            else:
                error = self._translate(exc, body, monitor.response)
            if shared is not None:
                await shared.release()
            if error is None:
                raise
            try:
                raise error from exc
            finally:
                error = None  # its traceback refers to this frame: a reference cycle

    async def _dial(
        self,
        client: ClientSession,
        shared: SharedClientSession | None,
        monitor: RequestMonitor,
        telemetry: ConnectionTelemetry,
    ) -> Session[Any, Any]:
        options, aiohttp_options = self._options, self._aiohttp_options
        if trace := telemetry.trace_headers():
            headers = CIMultiDict[str](trace)
            headers.update(aiohttp_options.get("headers") or ())
            aiohttp_options = {**aiohttp_options, "headers": headers}
        ws_connect = ws_connect_of(client, monitor, push=transport_info().path == "push")
        try:
            ws: ClientWebSocketResponse[Any] = await ws_connect(
                self._url,
                autoclose=False,
                autoping=False,
                protocols=options.protocols,
                compress=15 if options.compress else 0,
                max_msg_size=parser_limit(options.max_message_size, options.compress),
                **aiohttp_options,
            )
        except NonHttpUrlClientError as exc:
            if not isinstance(exc, RedirectClientError):
                # Use InvalidURL instead. It is a ValueError, which `connections` does not retry.
                raise InvalidURL(str(self._url), "use ws:// or wss://") from exc
            if monitor.response is None:  # the user's own `ws_connect`
                raise InvalidURL(str(exc), "a redirect must be to http:// or https://") from exc
            raise
        transport = client_transport(ws)
        if transport is None:
            await ws.close()
            raise ConnectionResetError("the connection was lost during the handshake")
        disable_auto_close(ws)
        response = client_response(ws)
        if violation := response_violation(response.request_info.headers, response.headers):
            response.close()
            raise HandshakeError(
                f"{_where(self._url)} sent an invalid response to the upgrade: {violation}",
                response.status,
                response.headers,
            )
        adapter = AiohttpTransport(ws, transport, options.max_message_size)
        if options.kernel_buffer is not None:
            limit_send_buffer(transport, options.kernel_buffer)
        handshake = Handshake(
            response.url, response.headers, ws.protocol, transport.get_extra_info("peername")
        )
        session: Session[Any, Any] = Session(
            adapter, LoopScheduler.running(), options, handshake, telemetry
        )
        running = _run(session, adapter, ws, shared)
        self._running = asyncio.get_running_loop().create_task(running)
        return session

    def _translate(
        self, exc: BaseException, body: bytes, response: ClientResponse | None
    ) -> ConnectError | None:
        """Return the `ConnectError` to raise from an exception; None to raise it unchanged."""
        where = _where(self._url)
        if isinstance(exc, RedirectClientError | TooManyRedirects):
            if isinstance(exc, TooManyRedirects):
                response = exc.history[-1]
                message = f"{where} redirected {len(exc.history)} times"
            else:
                message = (
                    f"{where} redirected to {_where(exc.args[0])!r}, but aiohttp only follows "
                    "redirects to http:// and https://: connect to that address instead"
                )
            if response is not None:
                return HandshakeError(message, response.status, response.headers, body)
        # aiohttp's parser raises the same class for a response that it cannot parse.
        elif isinstance(exc, ClientResponseError) and not isinstance(
            exc.__cause__, HttpProcessingError
        ):
            refuser = "the proxy" if isinstance(exc, ClientHttpProxyError) else where
            message = f"{refuser} refused the WebSocket: HTTP status {exc.status}"
            message += _phrase(exc.status)
            return HandshakeError(message, exc.status, exc.headers or {}, body)
        if isinstance(exc, ClientProxyConnectionError):
            proxy = f"the proxy {exc.host}:{exc.port}"
            return ConnectError(f"cannot connect to {proxy} for {where!r}: {_reason(exc)}")
        if isinstance(exc, aiohttp.ClientError | OSError | ValueError):  # ValueError: a bad URL
            return ConnectError(f"cannot connect to {where!r}: {_reason(exc)}")
        return None


def check_client_options(
    function: str, options: Mapping[str, Any], others: Iterable[str] = ()
) -> None:
    """Check the names of a client's options.

    Args:
        function: The function that was called.
        options: Its options.
        others: The names of options that it has in addition to those of `connect`.

    Raises:
        TypeError: One is unknown, or one that rxws sets itself.
    """
    known = {*_CLIENT_OPTIONS, *others}
    ws_connect = getattr(options.get("session"), "ws_connect", ClientSession.ws_connect)
    if getattr(ws_connect, "__func__", ws_connect) is not ClientSession.ws_connect:
        known |= options.keys() - _REFUSED  # a method of the user may take other options
    check_names(function, options, known)


def _where(url: str | URL) -> str:
    # An invalid URL is returned unchanged, so that the user can see the mistake.
    try:
        parsed = URL(str(url))
        return str(without_secrets(parsed)) if parsed.host else str(url)
    except ValueError:
        return str(url)


def _phrase(status: int) -> str:
    # The standard phrase, because the server may send any text of any length.
    try:
        return f" {HTTPStatus(status).phrase}"
    except ValueError:
        return ""


def _reason(exc: Exception) -> str:
    """Return why connecting failed, in one line.

    The message of the wrapped error is shorter than aiohttp's, which repeats the host.
    """
    for name in ("certificate_error", "os_error"):
        exc = getattr(exc, name, exc)
    text = (exc.strerror if isinstance(exc, OSError) else None) or str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


async def _run(
    session: Session[Any, Any],
    adapter: AiohttpTransport,
    ws: ClientWebSocketResponse[Any],
    shared: SharedClientSession | None,
) -> None:
    """Run an open connection until its socket is closed."""
    try:
        await adapter.run(session)
    finally:
        client_response(ws).close()
        if shared is not None:
            await shared.release()
