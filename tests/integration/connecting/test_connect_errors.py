"""No WebSocket comes about: what the client raises, what the server answers, what is refused."""

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
    """Connect where no connection can come about."""
    async with asyncio.timeout(10), rxws.connect(url, **options):
        pytest.fail("connected")


async def test_nobody_listens() -> None:
    """A port where nobody listens is a `ConnectError` with the address, its cause attached."""
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
    """A name that does not resolve is a `ConnectError`, its cause attached."""
    with pytest.raises(rxws.ConnectError) as caught:
        await dial("ws://nowhere.invalid/", open_timeout=5.0)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("reason", [b"Forbidden", b"x" * 300], ids=["its name", "another"])
async def test_what_a_refusal_says_in_one_line(reason: bytes) -> None:
    """The status and its name, whatever the server calls it, and the address without secrets."""
    reply = b"HTTP/1.1 403 " + reason + b"\r\nContent-Length: 0\r\n\r\n"
    async with answering(reply) as url:
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(f"{url}?token=secret")
    assert str(caught.value) == f"{url} refused the WebSocket: HTTP status 403 Forbidden"


async def test_a_status_without_a_name() -> None:
    """A status that nobody has named is told by its number."""
    async with answering(b"HTTP/1.1 499 x\r\nContent-Length: 0\r\n\r\n") as url:
        with pytest.raises(rxws.HandshakeError, match=r"status 499$"):
            await dial(url)


async def test_an_error_without_words() -> None:
    """An error that says nothing is told by its type."""

    async def mute(request: aiohttp.ClientRequest, handler: object) -> aiohttp.ClientResponse:
        raise aiohttp.ClientError

    async with aiohttp.ClientSession(middlewares=[mute]) as session:
        with pytest.raises(rxws.ConnectError, match=r"'ws://a\.invalid/': ClientError$"):
            await dial("ws://a.invalid/", session=session)


async def test_awaited_it_raises_alike() -> None:
    """`await connect(...)` raises what `async with` does."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(rxws.ConnectError):
            await rxws.connect(f"ws://127.0.0.1:{unused.getsockname()[1]}/")


@pytest.mark.promise("garbage")
async def test_a_refusal_tells_its_status_headers_and_body(serve: Serve) -> None:
    """A server that answers 403 is a `HandshakeError` with all that the answer said."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=403, body=b"\xffnot you", headers={"X-Why": "because"})

    port = await serve(refuse)
    with pytest.raises(rxws.HandshakeError, match="403") as caught:
        await dial(f"ws://127.0.0.1:{port}/")
    error = caught.value
    assert (error.status, error.body) == (403, b"\xffnot you")
    assert error.headers["x-why"] == "because"
    assert isinstance(error, rxws.ConnectError)


async def test_a_refusal_through_a_session_of_the_users(serve: Serve) -> None:
    """With a session of the user's, a refusal tells its status, and the session stays open."""

    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=401, text="who are you?")

    port = await serve(refuse)
    async with aiohttp.ClientSession() as session:
        with pytest.raises(rxws.HandshakeError) as caught:
            await dial(f"ws://127.0.0.1:{port}/", session=session)
        assert caught.value.status == 401
        assert not session.closed


async def test_our_own_refusal_arrives(serve: Serve) -> None:
    """What a route raises before the upgrade reaches our client whole."""

    async def private(request: web.Request) -> web.StreamResponse:
        raise web.HTTPUnauthorized(text="a token, please")

    port = await serve(private)
    with pytest.raises(rxws.HandshakeError) as caught:
        await dial(f"ws://127.0.0.1:{port}/")
    assert (caught.value.status, caught.value.body) == (401, b"a token, please")


@asynccontextmanager
async def answering(reply: bytes | None, **headers: str | None) -> AsyncIterator[str]:
    """A server that gives every request this answer, and EOF; its address.

    Every request, since aiohttp dials once more where a server hangs up without a word.
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
    """An HTTP server that answers 200 is a `HandshakeError` with its page."""
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
async def test_a_server_that_says_garbage(reply: bytes) -> None:
    """A TCP server that speaks no HTTP is a `ConnectError`, its cause attached."""
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
async def test_an_upgrade_that_is_none(headers: dict[str, str | None]) -> None:
    """A 101 that RFC 6455, section 4.1, tells the client to fail is a `ConnectError`."""
    async with answering(None, **headers) as url:
        with pytest.raises(rxws.ConnectError):
            await dial(url)


@pytest.mark.promise("opening")
async def test_a_server_that_says_nothing() -> None:
    """A server that accepts and is silent is a `ConnectError` after `open_timeout`."""
    async with RawServer() as server:
        with pytest.raises(rxws.ConnectError, match="open_timeout") as caught:
            await dial(server.url, open_timeout=0.2)
        assert isinstance(caught.value.__cause__, TimeoutError)
        peer = await server.accept_tcp()
        peer.start_reading()
        await peer.until_ended()  # the client does not hang on to what it gave up


@pytest.mark.promise("opening")
async def test_a_server_that_stops_within_its_answer() -> None:
    """`open_timeout` holds for the whole opening, a body that never ends included."""
    head = b"HTTP/1.1 503 Busy\r\nContent-Length: 100\r\n\r\nhalf"
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept(reply=head))
        with pytest.raises(rxws.ConnectError):
            await dial(server.url, open_timeout=0.3)
        await (await accepting).until_ended()


async def test_a_refusal_with_a_body_without_end() -> None:
    """Of a refusal's body no more is read than can be held, though the server sends on."""
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


async def test_a_cancelled_dial_leaves_nothing() -> None:
    """A task that is cancelled while it dials is cancelled, and its socket closed."""
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
async def test_a_request_that_is_no_websocket(
    serve: Serve, raw_client: Dial, headers: dict[str, str | None]
) -> None:
    """`websocket` and `upgrade` answer what is no WebSocket with 400 or 426; no handler runs."""
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
async def test_an_option_that_is_refused_is_named(entry: Entry, option: str, value: object) -> None:
    """An option that rxws decides itself, does not know or cannot have is refused by its name."""
    with pytest.raises((TypeError, ValueError), match=option):
        await entry(**{option: value})


@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1/", "ws://"])
async def test_an_address_that_is_none_is_named(url: str) -> None:
    """What is no WebSocket address is refused with the address in the message."""
    with pytest.raises((ValueError, rxws.ConnectError)) as caught:
        await dial(url)
    assert url in str(caught.value)
