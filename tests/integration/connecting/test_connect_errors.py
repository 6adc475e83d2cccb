"""Failed handshakes: what the client raises, what the server answers, which options are refused."""

from __future__ import annotations

import asyncio
import socket
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex import operators as ops

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection
from support.peers.raw import RawServer


async def dial(url: str, **options: Any) -> None:
    """Connect to a server with which no connection can open."""
    async with asyncio.timeout(10), rxws.connect(url, **options):
        pytest.fail("connected")


async def test_connection_refused() -> None:
    """A refused TCP connection is a `ConnectError` with the address and its cause."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(rxws.ConnectError, match=r"127\.0\.0\.1") as caught:
            await dial(url)
    assert not isinstance(caught.value, rxws.HandshakeError)
    assert isinstance(caught.value.__cause__, OSError)
    assert str(caught.value).startswith(f"cannot connect to '{url}': ConnectionRefusedError: ")
    assert "ConnectionKey" not in str(caught.value)


async def test_no_such_host() -> None:
    """A host name that does not resolve is a `ConnectError` with its cause."""
    with pytest.raises(rxws.ConnectError) as caught:
        await dial("ws://nowhere.invalid/", open_timeout=5.0)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("reason", [b"Forbidden", b"x" * 300], ids=["standard", "custom"])
async def test_a_refusal_names_the_status_and_hides_the_query(reason: bytes) -> None:
    """A refusal names the status and the address without its query, whatever the reason phrase."""
    reply = b"HTTP/1.1 403 " + reason + b"\r\nContent-Length: 0\r\n\r\n"
    async with answering(reply) as url:
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(f"{url}?token=secret")
    assert str(caught.value) == f"{url} refused the WebSocket: HTTP status 403 Forbidden"


async def test_a_status_without_a_name() -> None:
    """A status without a standard name is reported by its number."""
    async with answering(b"HTTP/1.1 499 x\r\nContent-Length: 0\r\n\r\n") as url:
        with pytest.raises(rxws.HandshakeError, match=r"status 499$"):
            await dial(url)


async def test_a_timeout_of_the_users_session() -> None:
    """If the user's session times out before `open_timeout`, the error does not name that."""
    limit = aiohttp.ClientTimeout(total=0.05)
    async with RawServer() as server, aiohttp.ClientSession(timeout=limit) as session:
        with pytest.raises(rxws.ConnectError) as caught:
            await dial(server.url, session=session)
    assert isinstance(caught.value.__cause__, TimeoutError)
    assert "open_timeout" not in str(caught.value)
    assert type(caught.value.__cause__).__name__ in str(caught.value)


async def test_an_error_without_a_message() -> None:
    """An error without a message is reported by its type."""

    async def fail(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        raise aiohttp.ClientError

    async with aiohttp.ClientSession(middlewares=[fail]) as session:
        with pytest.raises(rxws.ConnectError, match=r"'ws://a\.invalid/': ClientError$"):
            await dial("ws://a.invalid/", session=session)


async def test_await_raises_connect_error() -> None:
    """`await connect(...)` raises the same error as `async with`."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(rxws.ConnectError):
            await rxws.connect(f"ws://127.0.0.1:{unused.getsockname()[1]}/")


@pytest.mark.promise("garbage")
async def test_a_handshake_error_has_status_headers_and_body(serve: Serve) -> None:
    """A `HandshakeError` has the status, headers and body of the response."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, body=b"\xffnot you", headers={"X-Why": "because"})

    port = await serve(refuse)
    with pytest.raises(rxws.HandshakeError, match="403") as caught:
        await dial(f"ws://127.0.0.1:{port}/")
    error = caught.value
    assert (error.status, error.body) == (403, b"\xffnot you")
    assert error.headers["x-why"] == "because"
    assert isinstance(error, rxws.ConnectError)


async def test_a_refusal_leaves_the_users_session_open(serve: Serve) -> None:
    """A refusal through the user's `ClientSession` has its status and leaves the session open."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401, text="who are you?")

    port = await serve(refuse)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(f"ws://127.0.0.1:{port}/", session=session)
        assert caught.value.status == 401
        assert not session.closed


async def test_a_refusal_by_an_rxws_route(serve: Serve) -> None:
    """The response that a route raises before the upgrade reaches the client."""

    async def private(request: web.Request) -> web.StreamResponse:
        raise web.HTTPUnauthorized(text="a token, please")

    port = await serve(private)
    with pytest.raises(rxws.HandshakeError) as caught:
        await dial(f"ws://127.0.0.1:{port}/")
    assert (caught.value.status, caught.value.body) == (401, b"a token, please")


@asynccontextmanager
async def answering(reply: bytes | None, **headers: str | None) -> AsyncIterator[str]:
    """Give every request this response and EOF; yield the address.

    It answers more than one, since aiohttp dials again if a server hangs up without a response.
    """

    async def answer() -> None:
        while True:
            (await server.accept(headers, reply=reply, reads=False)).fin()

    async with RawServer() as server:
        task = asyncio.create_task(answer())
        try:
            yield server.url
        finally:
            task.cancel()
            await asyncio.wait([task])


OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\nhello"


async def test_a_page_instead_of_a_websocket() -> None:
    """A response with status 200 is a `HandshakeError` with its body."""
    async with answering(OK) as url:
        with pytest.raises(rxws.HandshakeError, match="200") as caught:
            await dial(url)
    assert (caught.value.status, caught.value.body) == (200, b"hello")


@pytest.mark.promise("garbage")
@pytest.mark.parametrize(
    "reply",
    [b"SSH-2.0-OpenSSH_9.6\r\n\r\n", b"\x00\x01\x02\x03" * 100, b"HTTP/1.1 banana\r\n\r\n", b""],
    ids=["another protocol", "binary", "broken HTTP", "EOF"],
)
async def test_a_server_that_does_not_speak_http(reply: bytes) -> None:
    """If a server does not speak HTTP, `connect` raises a `ConnectError` that has a `__cause__`."""
    async with answering(reply) as url:
        with pytest.raises(rxws.ConnectError, match=r"127\.0\.0\.1") as caught:
            await dial(url)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-WebSocket-Accept": "bm90IHRoZSByaWdodCBvbmU="},
        {"Sec-WebSocket-Accept": None},
        {"Upgrade": "h2c"},
        {"Connection": "close"},
    ],
    ids=["wrong accept", "no accept", "another upgrade", "no upgrade"],
)
async def test_an_invalid_101_response(headers: dict[str, str | None]) -> None:
    """A 101 that RFC 6455, section 4.1, requires clients to fail is a `ConnectError`."""
    async with answering(None, **headers) as url:
        with pytest.raises(rxws.ConnectError):
            await dial(url)


@pytest.mark.promise("opening")
async def test_a_server_that_does_not_answer() -> None:
    """If a server accepts TCP and never answers, `connect` fails after `open_timeout`."""
    async with RawServer() as server:
        with pytest.raises(rxws.ConnectError, match="open_timeout") as caught:
            await dial(server.url, open_timeout=0.2)
        assert isinstance(caught.value.__cause__, TimeoutError)
        peer = await server.accept_tcp()
        peer.start_reading()
        await peer.until_ended()  # the client closes the socket


@pytest.mark.promise("opening")
async def test_open_timeout_includes_the_body() -> None:
    """`open_timeout` includes reading the body of an HTTP error response."""
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept(reply=head))
        with pytest.raises(rxws.ConnectError):
            await dial(server.url, open_timeout=0.3)
        await (await accepting).until_ended()


async def test_an_endless_refusal_body_is_cut() -> None:
    """Only the start of an endless refusal body is read."""
    async with RawServer() as server:

        async def answer() -> int:
            head = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000000000\r\n\r\n"
            peer = await server.accept(reply=head)
            return await peer.flood(b"no" * 50_000)

        answering = asyncio.create_task(answer())
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(server.url)
        assert caught.value.status == 403
        assert set(caught.value.body) == set(b"no")
        assert len(caught.value.body) < 10_000_000
        await answering


async def test_cancelling_connect_closes_its_socket() -> None:
    """Cancelling a task that is connecting closes the socket."""
    async with RawServer() as server:
        dialling = asyncio.create_task(dial(server.url))
        peer = await server.accept_tcp()
        await peer.read_head()
        dialling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await dialling
        peer.start_reading()
        await peer.until_ended()


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": None, "Connection": None},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Key": None},
        {"Sec-WebSocket-Key": "short"},
    ],
    ids=["plain GET", "h2c", "no upgrade", "old version", "no key", "bad key"],
)
async def test_a_request_without_a_valid_upgrade_is_refused(
    serve: Serve, raw_client: Dial, headers: dict[str, str | None]
) -> None:
    """`websocket` and `upgrade` answer a request without a valid upgrade with 400 or 426."""
    ran: list[AnyConnection] = []

    async def route(request: web.Request) -> web.StreamResponse:
        return await rxws.upgrade(request, ran.append)

    for handler in (rxws.websocket(ran.append), route):
        app = web.Application()
        app.router.add_get("/", handler)
        rxws.setup(app)
        client = await raw_client(await serve(app), headers=headers)
        assert client.head.status in {400, 426}
    assert not ran


Entry = Callable[..., Awaitable[object]]


async def by_connect(**options: Any) -> None:
    await dial("ws://127.0.0.1:9/", **options)


async def by_websocket(**options: Any) -> None:
    rxws.websocket(lambda conn: None, **options)


@pytest.mark.parametrize("entry", [by_connect, by_websocket])
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("autoclose", False),
        ("max_msg_size", 1 << 20),
        ("receive_timeout", 1.0),
        ("no_such_option", 1),
        ("max_message_size", 0),
        ("max_message_size", -1),
        ("max_buffer", 0),
        ("overflow", "explode"),
        ("codec", "json"),
        ("protocols", "chat"),
    ],
)
async def test_an_invalid_option_is_named(entry: Entry, option: str, value: object) -> None:
    """The error for a reserved, unknown or invalid option names the option."""
    with pytest.raises((TypeError, ValueError), match=option):
        await entry(**{option: value})


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "ws://"])
async def test_an_invalid_address_is_named(url: str) -> None:
    """The error for an invalid WebSocket address contains the address."""
    with pytest.raises((ValueError, rxws.ConnectError)) as caught:
        await dial(url)
    assert url in str(caught.value)


# --- sessions, redirects and proxies ------------------------------------------------------------


async def raise_client_error(response: aiohttp.ClientResponse) -> None:
    if not response.ok:
        raise aiohttp.ClientResponseError(
            response.request_info, response.history, status=response.status
        )


async def raise_own_error(response: aiohttp.ClientResponse) -> None:
    raise LookupError(response.status)


RAISE_FOR_STATUS: list[Any] = [True, raise_client_error, raise_own_error]


@pytest.mark.usefixtures("read_path")
@pytest.mark.promise("garbage")
@pytest.mark.parametrize("raise_for_status", RAISE_FOR_STATUS)
@pytest.mark.parametrize("status", [401, 503])
async def test_a_refusal_does_not_depend_on_raise_for_status(
    serve: Serve, raise_for_status: Any, status: int
) -> None:
    """A session with `raise_for_status` gets the same `HandshakeError` as any other."""
    asked = 0

    async def refuse(request: web.Request) -> web.Response:
        nonlocal asked
        asked += 1
        return web.Response(status=status, headers={"X-Why": "because"})

    url = f"ws://127.0.0.1:{await serve(refuse)}/"
    async with aiohttp.ClientSession(raise_for_status=raise_for_status) as session:
        with pytest.raises(rxws.HandshakeError, match=f"status {status}") as caught:
            await dial(url, session=session)
        assert (caught.value.status, caught.value.headers["x-why"]) == (status, "because")
        feed = rxws.connections(url, session=session, backoff=lambda: iter([0.0]))
        with pytest.raises(rxws.HandshakeError) as caught:
            await feed
    assert asked == (3 if status == 503 else 2)


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("raise_for_status", RAISE_FOR_STATUS)
async def test_a_session_that_raises_for_a_status_connects(
    serve: Serve, raise_for_status: Any
) -> None:
    """A session with `raise_for_status` opens a connection."""

    @rxws.websocket
    def handler(conn: AnyConnection) -> None:
        conn.incoming.subscribe(conn.outgoing)

    url = f"ws://127.0.0.1:{await serve(handler)}/"
    async with (
        aiohttp.ClientSession(raise_for_status=raise_for_status) as session,
        rxws.connect(url, session=session) as conn,
    ):
        conn.outgoing.on_next("hello")
        assert await conn.incoming.pipe(ops.first()) == "hello"


async def test_a_refusal_through_a_subclass_of_the_session(serve: Serve) -> None:
    """A subclass with its own `ws_connect` gets a `HandshakeError` for a refusal, too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # aiohttp warns about subclasses

        class OwnSession(aiohttp.ClientSession):
            def ws_connect(self, *args: Any, **options: Any) -> Any:
                return super().ws_connect(*args, **options)

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401)

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async with OwnSession(raise_for_status=True) as session:
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(f"ws://127.0.0.1:{await serve(refuse)}/", session=session)
        assert caught.value.status == 401
        port = await serve(redirect)
        for target in ("ws://elsewhere.invalid/", "http://"):
            with pytest.raises(rxws.ConnectError, match=target) as other:
                await dial(f"ws://127.0.0.1:{port}/?to={target}", session=session)
            assert isinstance(other.value.__cause__, ValueError)


async def test_a_middleware_of_the_users_session_sees_each_request(serve: Serve) -> None:
    """The session's own middlewares run, before the one of rxws."""
    seen: list[tuple[str, int]] = []

    async def middleware(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response: aiohttp.ClientResponse = await handler(request)
        seen.append((request.url.path, response.status))
        return response

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound("/there")

    app = web.Application()
    app.router.add_get("/here", redirect)
    app.router.add_get("/there", rxws.websocket(lambda conn: None))
    rxws.setup(app)
    url = f"ws://127.0.0.1:{await serve(app)}/here"
    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as session,
        rxws.connect(url, session=session) as conn,
    ):
        assert conn.handshake.url.path == "/there"
    assert seen == [("/here", 302), ("/there", 101)]


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("given", [False, True], ids=["rxws's session", "the user's session"])
@pytest.mark.parametrize(
    ("status", "location", "named"),
    [
        (302, "ws://other.invalid/x?key=secret", "'ws://other.invalid/x'"),
        (307, "wss://other.invalid/", "'wss://other.invalid/'"),
        (301, "ftp://other.invalid/", "'ftp://other.invalid/'"),
        (308, "http://", "'http://'"),
        (302, "/again", "10 times"),
    ],
)
async def test_a_redirect_that_cannot_be_followed(
    serve: Serve, status: int, location: str, named: str, given: bool
) -> None:
    """A redirect that cannot be followed is a `HandshakeError` that names its target."""

    async def redirect(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location}, text="moved")

    app = web.Application()
    app.router.add_get("/{path:.*}", redirect)
    url = f"ws://127.0.0.1:{await serve(app)}/"
    async with aiohttp.ClientSession() as session:
        options: dict[str, Any] = {"session": session} if given else {}
        with pytest.raises(rxws.HandshakeError, match="redirected") as caught:
            await dial(url, **options)
        error = caught.value
        assert (error.status, error.headers["Location"]) == (status, location)
        assert named in str(error)
        assert "secret" not in str(error)
        assert error.body == (b"" if given else b"moved")
        with pytest.raises(rxws.HandshakeError) as caught:
            await rxws.connections(url, **options)
        assert "returned False" in caught.value.__notes__[-1]


@asynccontextmanager
async def unused_proxy() -> AsyncIterator[str]:
    """Yield the address of a proxy; at the end nobody may have connected to it."""
    async with RawServer() as server:
        yield f"http://127.0.0.1:{server.port}"
        with pytest.raises(BlockingIOError):
            server.sock.accept()


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("source", ["option", "option with a session", "session", "environment"])
async def test_a_proxy_for_an_unencrypted_connection(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ws://` through an HTTP proxy fails before dialing, and the error names the remedy."""
    async with unused_proxy() as proxy:
        options: dict[str, Any] = {}
        if source == "session":
            options["session"] = aiohttp.ClientSession(proxy=proxy)
        elif source == "environment":
            monkeypatch.setenv("ws_proxy", proxy)
            options["session"] = aiohttp.ClientSession(trust_env=True)
        else:
            options["proxy"] = proxy
            if source != "option":
                options["session"] = aiohttp.ClientSession()
        with pytest.raises(rxws.ConnectError, match=r"Use wss://, or a session") as caught:
            await dial("ws://peer.invalid/", **options)
        assert not isinstance(caught.value, rxws.HandshakeError)
        with pytest.raises(rxws.ConnectError) as caught:
            await rxws.connections("ws://peer.invalid/", **options)
        assert "returned False" in caught.value.__notes__[-1]
        if "session" in options:
            await options["session"].close()


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("scheme", ["socks5", "ftp"])
async def test_a_proxy_that_does_not_speak_http(scheme: str) -> None:
    """A proxy with another scheme than HTTP fails before dialing, and the error names it."""
    async with unused_proxy() as proxy:
        with pytest.raises(
            rxws.ConnectError, match=f"no support for {scheme}:// proxies"
        ) as caught:
            await dial("wss://peer.invalid/", proxy=proxy.replace("http", scheme))
        assert not rxws.backoff.is_retryable(caught.value)


async def test_a_proxy_that_is_down() -> None:
    """If a proxy refuses the TCP connection, the error blames the proxy; it is retried."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        with pytest.raises(rxws.ConnectError, match=f"to the proxy 127.0.0.1:{port} for") as caught:
            await dial("wss://peer.invalid/", proxy=f"http://127.0.0.1:{port}")
        assert rxws.backoff.is_retryable(caught.value)


@pytest.mark.parametrize("variable", ["wss_proxy", "https_proxy"])
async def test_the_proxy_of_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `trust_env=True` aiohttp uses `WSS_PROXY` for `wss://`, but not `HTTPS_PROXY`."""
    refusal = b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with RawServer() as proxy, aiohttp.ClientSession(trust_env=True) as session:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        dialing = asyncio.create_task(dial("wss://peer.invalid/", session=session))
        if variable == "wss_proxy":
            peer = await proxy.accept(reply=refusal)
            assert peer.head.line.startswith("CONNECT peer.invalid:443 ")
        with pytest.raises(rxws.ConnectError) as caught:
            await dialing
        assert isinstance(caught.value, rxws.HandshakeError) == (variable == "wss_proxy")
