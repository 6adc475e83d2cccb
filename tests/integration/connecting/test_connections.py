"""`connections` with servers that refuse, disconnect, die and restart, disposed at any moment."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex import operators as ops
from reactivex.abc import DisposableBase

import rxws
from rxws import backoff
from rxws._reconnect.connections import connections
from support.fixtures import Serve
from support.peers.raw import RawClient, RawServer
from support.peers.tls import PEM
from support.subscriber import StatusSubscriber, Subscriber

PATIENCE = 30.0  # seconds; the limit of every wait in a test
NO_DELAY = backoff.constant(0.0)
AnyConnection = rxws.Connection[Any, Any]


class ConnectionsRecorder(Subscriber[AnyConnection]):
    """Subscribes to `connections` and records connections, statuses and the end."""

    def __init__(
        self, url: Any, use: Callable[[AnyConnection], object] | None = None, **options: Any
    ) -> None:
        self.status = StatusSubscriber()
        options.setdefault("backoff", NO_DELAY)
        self.source = connections(url, status=self.status, **options)
        self._use = use or (lambda connection: connection.incoming.subscribe(on_error=_ignore))
        super().__init__(self.source)

    def on_next(self, value: AnyConnection) -> None:
        super().on_next(value)
        self._use(value)

    @property
    def connections(self) -> list[AnyConnection]:
        return self.values

    async def opened(self, count: int) -> AnyConnection:
        """Wait for `count` connections and return the latest."""
        await self.until(lambda: len(self.connections) >= count)
        return self.connections[-1]

    async def waiting(self, count: int = 1) -> None:
        """Wait until the status was `Waiting` `count` times."""
        await self.status.until(lambda: self.status.names.count("Waiting") >= count)

    async def dispose(self) -> None:
        """Dispose the subscription and wait until every connection has closed."""
        self.subscription.dispose()
        for connection in self.connections:
            await asyncio.wait_for(_as_coroutine(connection.closed), PATIENCE)
        assert self.status.names[-1] == "Closed"
        assert len(self.ends) == 0


def _ignore(error: Exception) -> None:
    """Do nothing; `closed` reports it, too."""


async def _as_coroutine(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def response(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


# --- servers that fail ----------------------------------------------------------------------------

Fault = Callable[[RawServer], Awaitable[Any]]


async def resets(server: RawServer) -> None:
    await (await server.accept_tcp()).rst()


async def resets_during_the_handshake(server: RawServer) -> None:
    peer = await server.accept_tcp()
    await peer.read_head()
    await peer.rst()


async def hangs_up(server: RawServer) -> None:
    peer = await server.accept_tcp()
    await peer.read_head()
    peer.sock.close()


async def answers_500(server: RawServer) -> None:
    await server.accept(reply=response("500 Internal Server Error"))


async def answers_503(server: RawServer) -> None:
    await server.accept(reply=response("503 Service Unavailable", "Retry-After: 0"))


async def answers_garbage(server: RawServer) -> None:
    peer = await server.accept(reply=b"\x00\xff\x13 what is this?\r\n\r\n")
    peer.fin()


async def accepts_and_drops(server: RawServer) -> None:
    await (await server.accept()).rst()


async def accepts_and_hangs_up(server: RawServer) -> None:
    (await server.accept()).fin()


async def closes_with_1001(server: RawServer) -> None:
    peer = await server.accept()
    await peer.close(1001)
    await peer.answer_close()


BEFORE_OPENING = [
    resets,
    resets_during_the_handshake,
    hangs_up,
    answers_500,
    answers_503,
    answers_garbage,
]
AFTER_OPENING = [accepts_and_drops, accepts_and_hangs_up, closes_with_1001]


@pytest.mark.promise("transient")
@pytest.mark.parametrize(
    "fault", [*BEFORE_OPENING, *AFTER_OPENING], ids=lambda fault: fault.__name__
)
async def test_a_transient_fault_is_retried(fault: Fault) -> None:
    """After three transient errors, the fourth attempt opens a connection."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        for _ in range(3):
            await fault(server)
        peer = await server.accept()
        connection = await recorder.opened(4 if fault in AFTER_OPENING else 1)
        waited = [each for each in recorder.status.values if isinstance(each, rxws.status.Waiting)]
        assert len(waited) == 3
        connection.outgoing.on_next("hello")
        assert [frame.payload for frame in await peer.messages(1)] == [b"hello"]
        recorder.subscription.dispose()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        await recorder.dispose()


async def test_a_restarted_server_is_dialled_again() -> None:
    """While a server is down it is dialled again, until it is back on its port."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, backoff=backoff.constant(0.01))
        await server.accept()
        await recorder.opened(1)
        port = server.port
    await recorder.waiting(3)
    assert isinstance(recorder.status.values[-1], rxws.status.Waiting)
    async with RawServer() as again:
        again.sock.close()
        again.sock = socket.create_server(("127.0.0.1", port))
        again.sock.setblocking(False)
        peer = await again.accept()
        await recorder.opened(2)
        recorder.subscription.dispose()
        await peer.answer_close()
        await recorder.dispose()


@pytest.mark.parametrize("line", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "200 OK"])
@pytest.mark.promise("final")
async def test_a_refusal_is_final(line: str) -> None:
    """A 401, 403, 404 or 200 fails with a `HandshakeError` and a note; nothing is retried."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        await server.accept(reply=response(line))
        error = await recorder.end()
    assert isinstance(error, rxws.HandshakeError)
    assert str(error.status) in line
    assert "is_retryable returned False" in error.__notes__[0]
    assert recorder.status.names == ["Connecting", "Closed"]


@pytest.mark.parametrize("code", [1008, 4003])
@pytest.mark.promise("final")
async def test_a_final_close_code_fails(code: int) -> None:
    """A close with 1008 or 4003 fails with a `ConnectionClosed` that has the code and a note."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        peer = await server.accept()
        await peer.close(code, "no")
        error = await recorder.end()
        assert isinstance(error, rxws.ConnectionClosed)
        assert error.close == rxws.Close(code, "no")
        assert "returned False" in error.__notes__[0]


async def test_a_close_with_1000_completes() -> None:
    """A peer that closes with 1000 completes `connections`."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        peer = await server.accept()
        await peer.close(1000)
        assert await recorder.end() is None


@pytest.mark.parametrize(
    "url", ["", "nonsense", "foo://127.0.0.1/", "ws://", "ws://127.0.0.1:99999/"]
)
async def test_an_invalid_address_is_final(url: str) -> None:
    """An invalid address fails with a `ConnectError` that names it."""
    recorder = ConnectionsRecorder(url)
    error = await recorder.end()
    assert type(error) is rxws.ConnectError
    assert repr(url) in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert "returned False" in error.__notes__[0]


async def test_open_timeout_is_retried() -> None:
    """A server that does not answer is dialled again after `open_timeout`."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, open_timeout=0.3)
        silent = await server.accept_tcp()
        await silent.read_head()
        again = await server.accept_tcp()
        await again.read_head()
        [_, waiting, connecting, *_] = recorder.status.values
        assert isinstance(waiting, rxws.status.Waiting)
        assert "open_timeout=0.3" in str(waiting.cause)
        assert connecting == rxws.status.Connecting(2)
        await recorder.dispose()
        for peer in (silent, again):
            peer.start_reading()
            assert await peer.until_ended() == "eof"


@pytest.mark.promise("hammer")
async def test_a_server_that_disconnects_at_once_is_not_dialled_again_at_once() -> None:
    """If a server disconnects immediately, the client waits before it reconnects."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, backoff=backoff.exponential(random=lambda: 1.0))
        await (await server.accept()).rst()
        await recorder.opened(1)
        await asyncio.wait_for(_as_coroutine(recorder.connections[0].closed), PATIENCE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.get_running_loop().sock_accept(server.sock)
        await recorder.dispose()


# --- addresses and headers for each attempt -------------------------------------------------------


def numbered(text: str) -> Callable[[], str]:
    numbers = iter(range(1, 100))
    return lambda: text.format(next(numbers))


@pytest.mark.parametrize("is_async", [False, True])
async def test_address_and_headers_are_computed_for_each_attempt(is_async: bool) -> None:
    """Functions and coroutine functions compute the address and headers for each attempt."""
    async with RawServer() as server:
        url, token = numbered(server.url + "?ticket={}"), numbered("token-{}")

        async def ask_url() -> str:
            await asyncio.sleep(0)
            return url()

        async def ask_headers() -> dict[str, str]:
            return {"Authorization": token()}

        recorder = (
            ConnectionsRecorder(ask_url, headers=ask_headers)
            if is_async
            else ConnectionsRecorder(url, headers=lambda: {"Authorization": token()})
        )
        for nth in (1, 2, 3):
            peer = await server.accept()
            assert f"ticket={nth} " in peer.head.line
            assert peer.head.headers["authorization"] == f"token-{nth}"
            await recorder.opened(nth)
            if nth < 3:
                await peer.rst()
        recorder.subscription.dispose()
        await peer.answer_close()
        await recorder.dispose()


def fails() -> Any:
    raise LookupError("no ticket")


async def fails_later() -> Any:
    await asyncio.sleep(0)
    raise LookupError("no ticket")


@pytest.mark.parametrize("ask", [fails, fails_later])
@pytest.mark.parametrize("name", ["url", "headers"])
async def test_a_function_that_raises_is_final(ask: Callable[[], Any], name: str) -> None:
    """An exception in such a function is final, unless `retryable` accepts it."""
    asked: dict[str, Any] = {"url": "ws://unused.invalid/", name: ask}
    recorder = ConnectionsRecorder(**asked)
    assert isinstance(await recorder.end(), LookupError)
    again = ConnectionsRecorder(**asked, retryable=lambda _: True, backoff=lambda: iter([0.0, 0.0]))
    error = await again.end()
    assert isinstance(error, LookupError)
    assert "attempt 3" in error.__notes__[-1]


async def test_open_timeout_includes_the_address_function() -> None:
    """`open_timeout` bounds the function that computes the address."""

    async def hangs() -> str:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def times_out() -> str:
        raise TimeoutError("mine")

    recorder = ConnectionsRecorder(hangs, open_timeout=0.02, backoff=lambda: iter(()))
    error = await recorder.end()
    assert type(error) is rxws.ConnectError
    assert "url() did not return in open_timeout=0.02 s" in str(error)
    own = await ConnectionsRecorder(times_out, backoff=lambda: iter(())).end()
    assert type(own) is TimeoutError


class TicketServer:
    """A server of tickets, and the functions of a client that fetch one."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.asked = 0
        self.answers: list[Callable[[], object]] = []
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]

    async def start(self) -> web.AppRunner:
        """Start it on its port."""

        async def answer(request: web.Request) -> web.Response:
            if self.answers:
                self.answers.pop(0)()
            return web.Response(text="t1")

        app = web.Application()
        app.router.add_post("/", answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        return runner

    async def fetch_url(self) -> str:
        """Return the address with a ticket."""
        return f"{self._url}?ticket={(await self.fetch_headers())['X-Ticket']}"

    async def fetch_headers(self) -> dict[str, str]:
        """Return headers with a ticket."""
        self.asked += 1
        address = f"http://127.0.0.1:{self.port}/"
        timeout = aiohttp.ClientTimeout(total=0.5)
        async with self._session.post(address, timeout=timeout) as response:
            response.raise_for_status()
            return {"X-Ticket": await response.text()}


@pytest.mark.promise("ticket")
@pytest.mark.parametrize("name", ["url", "headers"])
async def test_a_ticket_server_that_is_down_is_asked_again(name: str) -> None:
    """While the server that `url` or `headers` asks is down or busy, the client retries."""

    def busy() -> None:
        raise web.HTTPServiceUnavailable

    async with RawServer() as server, aiohttp.ClientSession() as session:
        tickets = TicketServer(session, server.url)
        options: dict[str, Any] = {"url": server.url, "backoff": backoff.constant(0.01)}
        options[name] = tickets.fetch_url if name == "url" else tickets.fetch_headers
        recorder = ConnectionsRecorder(**options)
        await recorder.waiting(3)
        assert tickets.asked >= 3
        tickets.answers = [busy]
        runner = await tickets.start()
        peer = await server.accept()
        ticket = peer.head.headers.get("x-ticket") or peer.head.line
        assert "t1" in ticket
        await recorder.opened(1)
        causes = [
            each.cause for each in recorder.status.values if isinstance(each, rxws.status.Waiting)
        ]
        assert isinstance(causes[0], aiohttp.ClientConnectorError)
        assert isinstance(causes[-1], aiohttp.ClientResponseError)
        recorder.subscription.dispose()
        await peer.answer_close()
        await recorder.dispose()
        await runner.cleanup()


async def test_a_ticket_server_that_refuses_is_final() -> None:
    """A 401 of the server that `url` asks is final."""

    def refuse() -> None:
        raise web.HTTPUnauthorized

    async with aiohttp.ClientSession() as session:
        tickets = TicketServer(session, "ws://unused.invalid/")
        tickets.answers = [refuse]
        runner = await tickets.start()
        error = await ConnectionsRecorder(tickets.fetch_url).end()
        assert isinstance(error, aiohttp.ClientResponseError)
        assert error.status == 401
        assert tickets.asked == 1
        await runner.cleanup()


# --- resubscribing --------------------------------------------------------------------------------


@pytest.mark.promise("hammer")
@pytest.mark.parametrize("kind", ["connections", "subject"])
async def test_retry_above_a_refusal_does_not_hammer_the_server(serve: Serve, kind: str) -> None:
    """After a 401, `ops.retry()` retries at once the first time, then waits as the backoff says."""
    asked: list[float] = []
    fifth = asyncio.Event()

    async def refuse(_: web.Request) -> web.StreamResponse:
        asked.append(asyncio.get_running_loop().time())
        if len(asked) == 5:
            fifth.set()
        raise web.HTTPUnauthorized

    url = f"ws://127.0.0.1:{await serve(refuse)}/"
    waits = backoff.exponential(first=0.1, random=lambda: 1.0)
    feed: Any = (
        connections(url, backoff=waits)
        if kind == "connections"
        else rxws.WebSocketSubject(url, backoff=waits)
    )
    subscription = feed.pipe(ops.retry()).subscribe()
    await asyncio.wait_for(fifth.wait(), PATIENCE)
    subscription.dispose()
    gaps = [later - earlier for earlier, later in pairwise(asked)]
    assert all(gap >= wait for gap, wait in zip(gaps, [0.0, 0.1, 0.2, 0.4], strict=False))


@pytest.mark.promise("replay")
async def test_retry_above_a_lost_connection_leaves_the_loop_running(serve: Serve) -> None:
    """`conn.incoming.pipe(ops.retry())` does not block the loop after a loss, at either end."""
    handled: list[rxws.Connection] = []
    subscriptions: list[DisposableBase] = []

    def retry(connection: AnyConnection) -> None:
        subscriptions.append(connection.incoming.pipe(ops.retry()).subscribe())

    @rxws.websocket(heartbeat=None)
    def handler(connection: rxws.Connection) -> None:
        handled.append(connection)
        retry(connection)

    port = await serve(handler)
    peer = await RawClient.connect(port)
    await asyncio.sleep(0)
    await peer.rst()
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        connection = await rxws.connect(server.url)
        retry(connection)
        await (await accepting).rst()
        for each in (connection, handled[0]):
            close = await asyncio.wait_for(_as_coroutine(each.closed), PATIENCE)
            assert close.code == 1006
    late = connection.incoming.pipe(ops.retry()).subscribe()
    began = asyncio.get_running_loop().time()
    await asyncio.sleep(0.1)
    assert asyncio.get_running_loop().time() - began < 2.0
    for subscription in [late, *subscriptions]:
        subscription.dispose()


async def ask_first(connection: AnyConnection) -> None:
    with suppress(rxws.ConnectionClosed):
        await connection.incoming.pipe(ops.first())


async def ask_iterate(connection: AnyConnection) -> None:
    with suppress(rxws.ConnectionClosed):
        async for _ in connection.incoming:
            pass


async def ask_closed(connection: AnyConnection) -> None:
    await connection.closed


@pytest.mark.promise("replay")
@pytest.mark.parametrize("ask", [ask_first, ask_iterate, ask_closed])
async def test_an_endless_loop_after_the_end_leaves_the_loop_running(
    ask: Callable[[AnyConnection], Awaitable[None]],
) -> None:
    """A coroutine that awaits an ended stream in an endless loop does not block other tasks."""
    asked = 0

    async def ask_for_ever(connection: AnyConnection) -> None:
        nonlocal asked
        while True:
            asked += 1
            await ask(connection)

    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        connection = await rxws.connect(server.url)
        await (await accepting).rst()
        connection.incoming.subscribe(on_error=_ignore)
        await connection.closed
        task = asyncio.create_task(ask_for_ever(connection))
        await asyncio.sleep(0.1)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    assert 50 <= asked <= 100


# --- the HTTP client ------------------------------------------------------------------------------


class CookieServer:
    """A server that sets a cookie, disconnects, and records the cookies it receives."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []

    async def accept(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(dict(request.cookies))
        ws = web.WebSocketResponse()
        ws.set_cookie("visit", str(len(self.seen)))
        await ws.prepare(request)
        if len(self.seen) < 3:
            await ws.close(code=1012)
        else:
            await ws.receive()
        return ws


async def test_one_session_per_subscription_keeps_cookies(serve: Serve) -> None:
    """All connections of a subscription share one `ClientSession`, which is closed at the end."""
    server = CookieServer()
    port = await serve(server.accept)
    # aiohttp keeps no cookies for an IP address.
    recorder = ConnectionsRecorder(f"ws://localhost:{port}/", session=None)
    await recorder.opened(3)
    assert server.seen == [{}, {"visit": "1"}, {"visit": "2"}]
    await recorder.dispose()
    gc.collect()  # a session that was not closed would warn


async def test_the_users_session_is_used_and_left_open(serve: Serve) -> None:
    """The user's `ClientSession` is used with its headers and cookies, and left open."""
    heads: list[Any] = []

    async def accept(request: web.Request) -> web.StreamResponse:
        heads.append((request.headers.get("X-Mine"), dict(request.cookies)))
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await (ws.close(code=1012) if len(heads) < 2 else ws.receive())
        return ws

    port = await serve(accept)
    jar = aiohttp.CookieJar(unsafe=True)  # keep cookies for an IP address
    async with aiohttp.ClientSession(
        headers={"X-Mine": "yes"}, cookies={"a": "b"}, cookie_jar=jar
    ) as session:
        recorder = ConnectionsRecorder(f"ws://127.0.0.1:{port}/", session=session)
        await recorder.opened(2)
        await recorder.dispose()
        assert not session.closed
        assert heads == [("yes", {"a": "b"})] * 2


async def test_each_refusal_has_its_own_body() -> None:
    """Each refused dial reports its own response body."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
        await server.accept(reply=busy)
        await server.accept(reply=response("404 Not Found"))
        error = await recorder.end()
    [first] = [
        each.cause for each in recorder.status.values if isinstance(each, rxws.status.Waiting)
    ]
    assert isinstance(first, rxws.HandshakeError)
    assert first.body == b"busy"
    assert isinstance(error, rxws.HandshakeError)
    assert error.body == b""


async def test_an_untrusted_certificate_is_final() -> None:
    """`ssl=` is used for each dial; an untrusted certificate is final."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    drops = iter([True, False])

    async def accept(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await (ws.close(code=1012) if next(drops) else ws.receive())
        return ws

    app = web.Application()
    app.router.add_get("/", accept)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        url = f"wss://127.0.0.1:{runner.addresses[0][1]}/"
        recorder = ConnectionsRecorder(url, ssl=ssl.create_default_context(cafile=str(PEM)))
        await recorder.opened(2)
        await recorder.dispose()
        error = await ConnectionsRecorder(url).end()
        assert type(error) is rxws.ConnectError
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_refusal_by_a_proxy(status: str) -> None:
    """A 407 from a proxy is final, a 502 is retried, and the error names the proxy."""
    async with RawServer() as proxy:
        recorder = ConnectionsRecorder(
            "wss://peer.invalid/",
            proxy=f"http://127.0.0.1:{proxy.port}",
            backoff=lambda: iter([0.0]),
        )
        peer = await proxy.accept(reply=response(status))
        assert peer.head.line.startswith("CONNECT peer.invalid:443 ")
        if status.startswith("502"):
            await proxy.accept(reply=response(status))
        error = await recorder.end()
        assert isinstance(error, rxws.HandshakeError)
        assert "the proxy refused" in str(error)
        assert status.startswith(str(error.status))


async def test_a_connection_through_a_forwarding_proxy() -> None:
    """With an `http://` address, a connection through a forwarding proxy opens."""
    async with RawServer() as proxy:
        recorder = ConnectionsRecorder(
            "http://peer.invalid/x", proxy=f"http://127.0.0.1:{proxy.port}"
        )
        peer = await proxy.accept()
        assert peer.head.line.startswith("GET http://peer.invalid/x ")
        await recorder.opened(1)
        recorder.subscription.dispose()
        await peer.answer_close()
        await recorder.dispose()


# --- disposing ------------------------------------------------------------------------------------


async def test_dispose_in_the_same_turn() -> None:
    """Disposing in the same turn of the loop dials nothing."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        await recorder.dispose()
        with pytest.raises(BlockingIOError):
            server.sock.accept()


async def test_dispose_while_tcp_connects() -> None:
    """Disposing while TCP connects to a server with a full backlog leaves nothing open."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers: list[socket.socket] = []
        for _ in range(4):
            fillers.append(filler := socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        recorder = ConnectionsRecorder(f"ws://127.0.0.1:{full.getsockname()[1]}/")
        for _ in range(20):
            await asyncio.sleep(0)
        await recorder.dispose()
        for filler in fillers:
            filler.close()


async def test_dispose_during_the_handshake() -> None:
    """Disposing during the handshake closes the socket."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        peer = await server.accept_tcp()
        await peer.read_head()
        await recorder.dispose()
        peer.start_reading()
        assert await peer.until_ended() in ("eof", "reset")


@pytest.mark.promise("left")
async def test_dispose_at_any_turn_of_the_dial(serve: Serve) -> None:
    """Disposing at any time while a connection opens leaves nothing open."""

    @rxws.websocket
    def accept(connection: rxws.Connection) -> None:
        connection.incoming.subscribe()

    port = await serve(accept)
    opened = 0
    for turns in range(200):
        recorder = ConnectionsRecorder(f"ws://127.0.0.1:{port}/")
        for _ in range(turns):
            await asyncio.sleep(0)
        opened = len(recorder.connections)
        await recorder.dispose()
        if opened:
            break
    assert opened


async def test_dispose_while_waiting() -> None:
    """Disposing while it waits to redial closes its `ClientSession`."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, backoff=backoff.constant(1000.0))
        await answers_500(server)
        await recorder.waiting()
        await recorder.dispose()
    gc.collect()


@pytest.mark.parametrize("answers", [True, False])
async def test_dispose_while_closing(answers: bool) -> None:
    """Disposing while a close is under way sends no second close, answered or not."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, close_timeout=0.05)
        peer = await server.accept()
        connection = await recorder.opened(1)
        connection.outgoing.on_next(rxws.Close(4001))
        await peer.closing()
        recorder.subscription.dispose()
        if answers:
            await peer.answer_close()
        await recorder.dispose()
        assert len(peer.closes) == 1


async def test_dispose_from_another_thread() -> None:
    """Disposing from another thread closes the connection with 1000."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        peer = await server.accept()
        await recorder.opened(1)
        thread = threading.Thread(target=recorder.subscription.dispose)
        thread.start()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        thread.join()
        await recorder.dispose()


def test_dispose_from_another_thread_after_the_loop() -> None:
    """Disposing from another thread after the loop ended does nothing."""

    async def main() -> ConnectionsRecorder:
        async with RawServer() as server:
            recorder = ConnectionsRecorder(server.url, backoff=backoff.constant(1000.0))
            await answers_500(server)
            await recorder.waiting()
            return recorder

    recorder = asyncio.run(main())
    raised: list[BaseException] = []

    def dispose() -> None:
        try:
            recorder.subscription.dispose()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=dispose)
    thread.start()
    thread.join()
    assert raised == []


@pytest.mark.parametrize("moment", ["dialling", "open", "waiting"])
def test_a_loop_that_ends_leaves_nothing_open(moment: str) -> None:
    """The end of the loop leaves no task, socket or client session open."""

    async def main() -> None:
        server = RawServer()
        recorder = ConnectionsRecorder(server.url, backoff=backoff.constant(1000.0))
        if moment == "open":
            await server.accept()
            await recorder.opened(1)
        elif moment == "waiting":
            await answers_500(server)
            await recorder.waiting()
        else:
            await server.accept_tcp()
        for peer in server.peers:
            await peer.rst()
        server.sock.close()

    asyncio.run(main())
    gc.collect()


async def test_a_cancelled_dial_is_an_error() -> None:
    """A dial whose task is cancelled from outside fails with an `RxwsError`."""
    async with RawServer() as server:
        before = asyncio.all_tasks()
        recorder = ConnectionsRecorder(server.url)
        await server.accept_tcp()
        for task in asyncio.all_tasks() - before:
            task.cancel()
        error = await recorder.end()
        assert isinstance(error, rxws.RxwsError)
        assert "was cancelled" in str(error)


class Interrupt(BaseException):
    """An exception that `except Exception` does not catch."""


async def raise_interrupt() -> Any:
    await asyncio.sleep(0)
    raise Interrupt


@pytest.mark.promise("faults")
@pytest.mark.parametrize("option", ["url", "headers"])
async def test_a_base_exception_of_a_function(option: str) -> None:
    """A `BaseException` of `url=` or `headers=` fails the client and reaches the loop."""
    loop = asyncio.get_running_loop()
    unhandled: list[Any] = []
    loop.set_exception_handler(lambda _, context: unhandled.append(context["exception"]))
    options: dict[str, Any] = {"url": "ws://127.0.0.1:9/", option: raise_interrupt}
    feed = rxws.WebSocketSubject(options.pop("url"), **options)
    status = StatusSubscriber(feed.status)
    error = await Subscriber(feed).end()
    assert isinstance(error, rxws.RxwsError)
    assert isinstance(error.__cause__, Interrupt)
    assert status.names[-1] == "Closed"
    await asyncio.sleep(0)
    assert [type(each) for each in unhandled] == [Interrupt]


async def test_each_subscription_has_its_own_connection() -> None:
    """Each subscription dials its own connection."""
    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url)
        first = await server.accept()
        await recorder.opened(1)
        others: list[AnyConnection] = []
        other = recorder.source.subscribe(others.append)
        second = await server.accept()
        other.dispose()
        first_alone = recorder.connections[0]
        second.fin()
        third: list[AnyConnection] = []
        again = recorder.source.subscribe(third.append)
        peer = await server.accept()
        first_alone.outgoing.on_next("still here")
        assert len(await first.messages(1)) == 1
        again.dispose()
        recorder.subscription.dispose()
        for each in (first, peer):
            if third or each is first:
                await each.answer_close()
        for connection in [*others, *third, first_alone]:
            await asyncio.wait_for(_as_coroutine(connection.closed), PATIENCE)


async def test_a_subscriber_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber that raises closes with 1011, is logged once, and a redial follows."""

    def use(connection: AnyConnection) -> None:
        if len(recorder.connections) == 1:
            raise LookupError("a mistake")

    async with RawServer() as server:
        recorder = ConnectionsRecorder(server.url, use)
        assert (await (await server.accept()).answer_close()).payload.startswith(b"\x03\xf3")
        peer = await server.accept()
        await recorder.opened(2)
        recorder.subscription.dispose()
        await peer.answer_close()
        await recorder.dispose()
    assert len(caplog.records) == 1


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"autoclose": True}, TypeError),
        ({"session": "none"}, TypeError),
        ({"open_timeout": 0}, ValueError),
        ({"max_message_size": 0}, ValueError),
        ({"backoff": 3}, TypeError),
        ({"retryable": None}, TypeError),
        ({"stable_after": -1}, ValueError),
    ],
)
def test_invalid_options_are_refused_by_the_call(
    options: dict[str, Any], kind: type[Exception]
) -> None:
    """`connections` itself refuses invalid options, not the first dial."""
    with pytest.raises(kind):
        connections("ws://peer.invalid/", **options)


def test_a_subscription_without_a_loop() -> None:
    """A subscription without a running loop fails with a `RuntimeError`."""
    errors: list[Exception] = []
    connections("ws://peer.invalid/").subscribe(on_error=errors.append)
    [error] = errors
    assert isinstance(error, RuntimeError)
