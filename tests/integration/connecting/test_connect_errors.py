"""Failed handshakes: what the client raises, what the server answers, which options are refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import web

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
    """`open_timeout` bounds the whole handshake, also a body that never ends."""
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
