"""`connections` on real sockets: servers that refuse, drop, die and come back; leaving any time."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex.abc import DisposableBase

import rxws
from rxws import backoff
from rxws._reconnect.connections import connections
from support.fixtures import Serve
from support.peers.raw import RawServer
from support.peers.tls import PEM
from support.virtual.servers import Statuses

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails
AT_ONCE = backoff.constant(0.0)
AnyConnection = rxws.Connection[Any, Any]


class Watched(Statuses):
    """A status that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = asyncio.Event()

    def on_next(self, value: rxws.Status) -> None:
        super().on_next(value)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Feed:
    """A subscription of `connections`, and all that it is told."""

    def __init__(
        self, url: Any, use: Callable[[AnyConnection], object] | None = None, **options: Any
    ) -> None:
        self.status = Watched()
        options.setdefault("backoff", AT_ONCE)
        self.source = connections(url, status=self.status, **options)
        self.connections: list[AnyConnection] = []
        self.ends: list[Exception | None] = []
        self._use = use or (lambda connection: connection.incoming.subscribe(on_error=_ignore))
        self._changed = asyncio.Event()
        self.subscription: DisposableBase = self.source.subscribe(
            self._next, self._end, lambda: self._end(None)
        )

    def _next(self, connection: AnyConnection) -> None:
        self.connections.append(connection)
        self._changed.set()
        self._use(connection)

    def _end(self, error: Exception | None) -> None:
        self.ends.append(error)
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def opened(self, count: int) -> AnyConnection:
        """Wait for so many connections; the latest."""
        await self.until(lambda: len(self.connections) >= count)
        return self.connections[-1]

    async def waiting(self, count: int = 1) -> None:
        """Wait until it waits, for so many-th time."""
        await self.status.until(lambda: self.status.names.count("Waiting") >= count)

    async def end(self) -> Exception | None:
        await self.until(lambda: self.ends)
        [end] = self.ends
        return end

    async def leave(self) -> None:
        """Dispose, and wait until the present connection has ended."""
        self.subscription.dispose()
        for connection in self.connections:
            await asyncio.wait_for(_of(connection.closed), PATIENCE)
        assert self.status.names[-1] == "Closed"
        assert len(self.ends) == 0


def _ignore(error: Exception) -> None:
    """Nothing: `closed` tells it, too."""


async def _of(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def answer(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", *headers, "Content-Length: 0", "", ""]).encode()


# --- servers that do what servers do --------------------------------------------------------------

Fault = Callable[[RawServer], Awaitable[Any]]


async def resets(server: RawServer) -> None:
    await (await server.accept_tcp()).rst()


async def resets_within_the_upgrade(server: RawServer) -> None:
    peer = await server.accept_tcp()
    await peer.read_head()
    await peer.rst()


async def hangs_up(server: RawServer) -> None:
    peer = await server.accept_tcp()
    await peer.read_head()
    peer.sock.close()


async def has_an_error(server: RawServer) -> None:
    await server.accept(reply=answer("500 Internal Server Error"))


async def is_busy(server: RawServer) -> None:
    await server.accept(reply=answer("503 Service Unavailable", "Retry-After: 0"))


async def answers_garbage(server: RawServer) -> None:
    peer = await server.accept(reply=b"\x00\xff\x13 what is this?\r\n\r\n")
    peer.fin()


async def accepts_and_drops(server: RawServer) -> None:
    await (await server.accept()).rst()


async def accepts_and_hangs_up(server: RawServer) -> None:
    (await server.accept()).fin()


async def goes_away(server: RawServer) -> None:
    peer = await server.accept()
    await peer.close(1001)
    await peer.answer_close()


BEFORE = [resets, resets_within_the_upgrade, hangs_up, has_an_error, is_busy, answers_garbage]
AFTER = [accepts_and_drops, accepts_and_hangs_up, goes_away]


@pytest.mark.parametrize("fault", [*BEFORE, *AFTER], ids=lambda fault: fault.__name__)
@pytest.mark.promise("final")
async def test_after_any_passing_fault_it_is_dialled_again(fault: Fault) -> None:
    """Three times the same fault, then an open connection."""
    async with RawServer() as server:
        feed = Feed(server.url)
        for _ in range(3):
            await fault(server)
        peer = await server.accept()
        connection = await feed.opened(4 if fault in AFTER else 1)
        waited = [each for each in feed.status.told if isinstance(each, rxws.status.Waiting)]
        assert len(waited) == 3
        connection.outgoing.on_next("hello")
        assert [frame.payload for frame in await peer.messages(1)] == [b"hello"]
        feed.subscription.dispose()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        await feed.leave()


async def test_a_server_that_is_killed_and_restarted_is_found_again() -> None:
    """Nobody listens for a while; the same port then has another server."""
    async with RawServer() as server:
        feed = Feed(server.url, backoff=backoff.constant(0.01))
        await server.accept()
        await feed.opened(1)
        port = server.port
    await feed.waiting(3)
    assert isinstance(feed.status.told[-1], rxws.status.Waiting)
    async with RawServer() as again:
        again.sock.close()
        again.sock = socket.create_server(("127.0.0.1", port))
        again.sock.setblocking(False)
        peer = await again.accept()
        await feed.opened(2)
        feed.subscription.dispose()
        await peer.answer_close()
        await feed.leave()


@pytest.mark.parametrize("line", ["401 Unauthorized", "403 Forbidden", "404 Not Found", "200 OK"])
async def test_a_refusal_is_final(line: str) -> None:
    """It fails with the status, and is not dialled again."""
    async with RawServer() as server:
        feed = Feed(server.url)
        await server.accept(reply=answer(line))
        error = await feed.end()
    assert isinstance(error, rxws.HandshakeError)
    assert str(error.status) in line
    assert "is_retryable takes it as final" in error.__notes__[0]
    assert feed.status.names == ["Connecting", "Closed"]


@pytest.mark.parametrize("code", [1008, 4003])
async def test_a_close_that_is_final_fails_with_it(code: int) -> None:
    """A policy violation, or what the application means by its own."""
    async with RawServer() as server:
        feed = Feed(server.url)
        peer = await server.accept()
        await peer.close(code, "no")
        error = await feed.end()
        assert isinstance(error, rxws.ConnectionClosed)
        assert error.close == rxws.Close(code, "no")
        assert "final" in error.__notes__[0]


async def test_a_peer_that_is_done_completes_it() -> None:
    """With 1000."""
    async with RawServer() as server:
        feed = Feed(server.url)
        peer = await server.accept()
        await peer.close(1000)
        assert await feed.end() is None


@pytest.mark.parametrize(
    "url", ["", "nonsense", "foo://127.0.0.1/", "ws://", "ws://127.0.0.1:99999/"]
)
async def test_an_address_that_is_none_is_final(url: str) -> None:
    """With a `ConnectError` that names it."""
    feed = Feed(url)
    error = await feed.end()
    assert type(error) is rxws.ConnectError
    assert repr(url) in str(error)
    assert isinstance(error.__cause__, ValueError)
    assert "final" in error.__notes__[0]


async def test_a_server_that_says_nothing_is_given_up_after_open_timeout_and_dialled_again() -> (
    None
):
    """The time-out is one of the handshake, and a passing fault."""
    async with RawServer() as server:
        feed = Feed(server.url, open_timeout=0.3)
        silent = await server.accept_tcp()
        await silent.read_head()
        again = await server.accept_tcp()
        await again.read_head()
        [_, waiting, connecting, *_] = feed.status.told
        assert isinstance(waiting, rxws.status.Waiting)
        assert "open_timeout=0.3" in str(waiting.cause)
        assert connecting == rxws.status.Connecting(2)
        await feed.leave()
        for peer in (silent, again):
            peer.start_reading()
            assert await peer.until_ended() == "eof"


@pytest.mark.promise("hammer")
async def test_by_default_a_server_that_drops_at_once_is_not_hammered() -> None:
    """In the time of the first wait there is one dial."""
    async with RawServer() as server:
        feed = Feed(server.url, backoff=backoff.exponential(random=lambda: 1.0))
        await (await server.accept()).rst()
        await feed.opened(1)
        await asyncio.wait_for(_of(feed.connections[0].closed), PATIENCE)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.get_running_loop().sock_accept(server.sock)
        await feed.leave()


# --- what is asked anew for each attempt ----------------------------------------------------------


def numbered(text: str) -> Callable[[], str]:
    numbers = iter(range(1, 100))
    return lambda: text.format(next(numbers))


@pytest.mark.parametrize("is_async", [False, True])
async def test_address_and_headers_are_asked_anew_for_each_attempt(is_async: bool) -> None:
    """By functions or coroutine functions, as for a ticket that serves once."""
    async with RawServer() as server:
        url, token = numbered(server.url + "?ticket={}"), numbered("token-{}")

        async def ask_url() -> str:
            await asyncio.sleep(0)
            return url()

        async def ask_headers() -> dict[str, str]:
            return {"Authorization": token()}

        feed = (
            Feed(ask_url, headers=ask_headers)
            if is_async
            else Feed(url, headers=lambda: {"Authorization": token()})
        )
        for nth in (1, 2, 3):
            peer = await server.accept()
            assert f"ticket={nth} " in peer.head.line
            assert peer.head.headers["authorization"] == f"token-{nth}"
            await feed.opened(nth)
            if nth < 3:
                await peer.rst()
        feed.subscription.dispose()
        await peer.answer_close()
        await feed.leave()


def fails() -> Any:
    raise LookupError("no ticket")


async def fails_later() -> Any:
    await asyncio.sleep(0)
    raise LookupError("no ticket")


@pytest.mark.parametrize("ask", [fails, fails_later])
@pytest.mark.parametrize("name", ["url", "headers"])
async def test_a_function_that_raises_is_final(ask: Callable[[], Any], name: str) -> None:
    """Unless `retryable` says otherwise; nothing is dialled."""
    asked: dict[str, Any] = {"url": "ws://unused.invalid/", name: ask}
    feed = Feed(**asked)
    assert isinstance(await feed.end(), LookupError)
    again = Feed(**asked, retryable=lambda _: True, backoff=lambda: iter([0.0, 0.0]))
    error = await again.end()
    assert isinstance(error, LookupError)
    assert "attempt 3" in error.__notes__[-1]


async def test_a_ticket_that_does_not_come_is_a_time_out() -> None:
    """`open_timeout` bounds it; one of its own it may have."""

    async def hangs() -> str:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def times_out() -> str:
        raise TimeoutError("mine")

    feed = Feed(hangs, open_timeout=0.02, backoff=lambda: iter(()))
    error = await feed.end()
    assert type(error) is rxws.ConnectError
    assert "url() gave no answer in open_timeout=0.02 s" in str(error)
    own = await Feed(times_out).end()
    assert type(own) is TimeoutError


# --- the HTTP client below ------------------------------------------------------------------------


class Cookies:
    """A server that sets a cookie and drops, and notes what comes."""

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


async def test_one_client_session_of_our_own_keeps_cookies_and_is_closed(serve: Serve) -> None:
    """For all connections of a subscription; another subscription has another."""
    server = Cookies()
    port = await serve(server.accept)
    feed = Feed(f"ws://localhost:{port}/", session=None)  # no cookies are kept for an IP address
    await feed.opened(3)
    assert server.seen == [{}, {"visit": "1"}, {"visit": "2"}]
    await feed.leave()
    gc.collect()  # a session that was not closed would say so


async def test_a_session_of_the_users_is_used_and_left_open(serve: Serve) -> None:
    """With its headers and cookies."""
    heads: list[Any] = []

    async def accept(request: web.Request) -> web.StreamResponse:
        heads.append((request.headers.get("X-Mine"), dict(request.cookies)))
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await (ws.close(code=1012) if len(heads) < 2 else ws.receive())
        return ws

    port = await serve(accept)
    jar = aiohttp.CookieJar(unsafe=True)  # else it keeps none for an IP address
    async with aiohttp.ClientSession(
        headers={"X-Mine": "yes"}, cookies={"a": "b"}, cookie_jar=jar
    ) as session:
        feed = Feed(f"ws://127.0.0.1:{port}/", session=session)
        await feed.opened(2)
        await feed.leave()
        assert not session.closed
        assert heads == [("yes", {"a": "b"})] * 2


async def test_a_refusals_body_is_that_of_its_own_dial() -> None:
    """With a client session for all dials, too."""
    async with RawServer() as server:
        feed = Feed(server.url)
        busy = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"
        await server.accept(reply=busy)
        await server.accept(reply=answer("404 Not Found"))
        error = await feed.end()
    [first] = [each.cause for each in feed.status.told if isinstance(each, rxws.status.Waiting)]
    assert isinstance(first, rxws.HandshakeError)
    assert first.body == b"busy"
    assert isinstance(error, rxws.HandshakeError)
    assert error.body == b""


async def test_tls_by_a_context_and_without_trust_final() -> None:
    """A certificate that does not hold is no passing fault."""
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
        feed = Feed(url, ssl=ssl.create_default_context(cafile=str(PEM)))
        await feed.opened(2)
        await feed.leave()
        error = await Feed(url).end()
        assert type(error) is rxws.ConnectError
        assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
async def test_a_proxys_refusal_counts_by_its_status(status: str) -> None:
    """407 is final, 502 is dialled again; it is told that it was the proxy."""
    async with RawServer() as proxy:
        feed = Feed(
            "wss://peer.invalid/",
            proxy=f"http://127.0.0.1:{proxy.port}",
            backoff=lambda: iter([0.0]),
        )
        peer = await proxy.accept(reply=answer(status))
        assert peer.head.line.startswith("CONNECT peer.invalid:443 ")
        if status.startswith("502"):
            await proxy.accept(reply=answer(status))
        error = await feed.end()
        assert isinstance(error, rxws.HandshakeError)
        assert "the proxy refused" in str(error)
        assert status.startswith(str(error.status))


async def test_through_a_proxy_it_opens() -> None:
    """One that passes requests on, as for `ws://`."""
    async with RawServer() as proxy:
        feed = Feed("ws://peer.invalid/x", proxy=f"http://127.0.0.1:{proxy.port}")
        peer = await proxy.accept()
        assert peer.head.line.startswith("GET ws://peer.invalid/x ")
        await feed.opened(1)
        feed.subscription.dispose()
        await peer.answer_close()
        await feed.leave()


# --- leaving --------------------------------------------------------------------------------------


async def test_disposed_at_once_nothing_was_dialled() -> None:
    """In the same turn of the loop."""
    async with RawServer() as server:
        feed = Feed(server.url)
        await feed.leave()
        with pytest.raises(BlockingIOError):
            server.sock.accept()


async def test_disposed_while_tcp_connects_nothing_is_left() -> None:
    """A server whose queue is full answers no SYN."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers: list[socket.socket] = []
        for _ in range(4):
            fillers.append(filler := socket.socket())
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        feed = Feed(f"ws://127.0.0.1:{full.getsockname()[1]}/")
        for _ in range(20):
            await asyncio.sleep(0)
        await feed.leave()
        for filler in fillers:
            filler.close()


async def test_disposed_while_the_upgrade_is_under_way_the_server_sees_it_go() -> None:
    """It was asked, and had not answered."""
    async with RawServer() as server:
        feed = Feed(server.url)
        peer = await server.accept_tcp()
        await peer.read_head()
        await feed.leave()
        peer.start_reading()
        assert await peer.until_ended() in ("eof", "reset")


@pytest.mark.promise("left")
async def test_disposed_at_any_turn_of_the_dial_nothing_is_left(serve: Serve) -> None:
    """After 0, 1, 2 ... turns of the loop, until it is open by then."""

    @rxws.websocket
    def accept(connection: rxws.Connection) -> None:
        connection.incoming.subscribe()

    port = await serve(accept)
    opened = 0
    for turns in range(200):
        feed = Feed(f"ws://127.0.0.1:{port}/")
        for _ in range(turns):
            await asyncio.sleep(0)
        opened = len(feed.connections)
        await feed.leave()
        if opened:
            break
    assert opened


async def test_disposed_while_it_waits_nothing_is_left() -> None:
    """The client session of its own is closed with no dial under way."""
    async with RawServer() as server:
        feed = Feed(server.url, backoff=backoff.constant(1000.0))
        await has_an_error(server)
        await feed.waiting()
        await feed.leave()
    gc.collect()


@pytest.mark.parametrize("answers", [True, False])
async def test_disposed_while_closing_nothing_is_left(answers: bool) -> None:
    """The peer answers the close that is under way, or never does."""
    async with RawServer() as server:
        feed = Feed(server.url, close_timeout=0.05)
        peer = await server.accept()
        connection = await feed.opened(1)
        connection.outgoing.on_next(rxws.Close(4001))
        await peer.closing()
        feed.subscription.dispose()
        if answers:
            await peer.answer_close()
        await feed.leave()
        assert len(peer.closes) == 1


async def test_another_thread_may_dispose() -> None:
    """The connection is closed with 1000 by the loop."""
    async with RawServer() as server:
        feed = Feed(server.url)
        peer = await server.accept()
        await feed.opened(1)
        thread = threading.Thread(target=feed.subscription.dispose)
        thread.start()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        thread.join()
        await feed.leave()


def test_disposed_by_another_thread_after_the_loop_nothing_happens() -> None:
    """All that ran on it is gone."""

    async def main() -> Feed:
        async with RawServer() as server:
            feed = Feed(server.url, backoff=backoff.constant(1000.0))
            await has_an_error(server)
            await feed.waiting()
            return feed

    feed = asyncio.run(main())
    raised: list[BaseException] = []

    def dispose() -> None:
        try:
            feed.subscription.dispose()
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=dispose)
    thread.start()
    thread.join()
    assert raised == []


@pytest.mark.parametrize("moment", ["dialling", "open", "waiting"])
def test_a_loop_that_ends_leaves_nothing_open(moment: str) -> None:
    """Nobody has disposed; no task, socket or client session is left to complain."""

    async def main() -> None:
        server = RawServer()
        feed = Feed(server.url, backoff=backoff.constant(1000.0))
        if moment == "open":
            await server.accept()
            await feed.opened(1)
        elif moment == "waiting":
            await has_an_error(server)
            await feed.waiting()
        else:
            await server.accept_tcp()
        for peer in server.peers:
            await peer.rst()
        server.sock.close()

    asyncio.run(main())
    gc.collect()


async def test_a_dial_that_somebody_else_cancels_is_an_error() -> None:
    """One that cancels all tasks, as the end of a program does."""
    async with RawServer() as server:
        before = asyncio.all_tasks()
        feed = Feed(server.url)
        await server.accept_tcp()
        for task in asyncio.all_tasks() - before:
            task.cancel()
        error = await feed.end()
        assert isinstance(error, rxws.RxwsError)
        assert "was cancelled" in str(error)


async def test_subscribed_again_it_dials_again_and_each_for_itself() -> None:
    """Two at a time, and a third when one has left."""
    async with RawServer() as server:
        feed = Feed(server.url)
        first = await server.accept()
        await feed.opened(1)
        told: list[AnyConnection] = []
        other = feed.source.subscribe(told.append)
        second = await server.accept()
        other.dispose()
        first_alone = feed.connections[0]
        second.fin()
        third: list[AnyConnection] = []
        again = feed.source.subscribe(third.append)
        peer = await server.accept()
        first_alone.outgoing.on_next("still here")
        assert len(await first.messages(1)) == 1
        again.dispose()
        feed.subscription.dispose()
        for each in (first, peer):
            if third or each is first:
                await each.answer_close()
        for connection in [*told, *third, first_alone]:
            await asyncio.wait_for(_of(connection.closed), PATIENCE)


async def test_a_subscriber_that_raises_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """It is logged once, and dialled again."""

    def use(connection: AnyConnection) -> None:
        if len(feed.connections) == 1:
            raise LookupError("a mistake")

    async with RawServer() as server:
        feed = Feed(server.url, use)
        assert (await (await server.accept()).answer_close()).payload.startswith(b"\x03\xf3")
        peer = await server.accept()
        await feed.opened(2)
        feed.subscription.dispose()
        await peer.answer_close()
        await feed.leave()
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
def test_options_that_make_no_sense_are_refused_at_once(
    options: dict[str, Any], kind: type[Exception]
) -> None:
    """By the call, and not by the first dial."""
    with pytest.raises(kind):
        connections("ws://peer.invalid/", **options)


def test_without_a_loop_a_subscription_says_so() -> None:
    """As an error; nothing was begun."""
    errors: list[Exception] = []
    connections("ws://peer.invalid/").subscribe(on_error=errors.append)
    [error] = errors
    assert isinstance(error, RuntimeError)
