"""aiohttp's private API: its checks, the fallback without it, and sessions that users bring."""

from __future__ import annotations

import asyncio
import base64
import functools
import os
import socket
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse, TraceConfig, web
from aiohttp._websocket.reader import WebSocketDataQueue
from aiohttp.http import WebSocketReader, WebSocketWriter

import rxws
from rxws._aiohttp.http_session import RequestMonitor
from rxws._aiohttp.transport import private_api
from rxws._aiohttp.transport.private_api import (
    EarlyBytes,
    Parser,
    PushClientSocket,
    early_bytes_of,
    why_not_push,
    ws_connect_of,
)
from support import ROOT
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.fake_tcp import force_read_path, record_read_paths, wait_for_messages
from support.peers.frames import Op, close_body, frame, new_mask
from support.peers.handshake import encode_head
from support.peers.raw import Peer, RawServer

PATHS = ["push", "pull"]
STALL = "aiohttp's parser does not queue"
WRITER = "aiohttp's frame writer cannot be redirected"
HOOKS = "aiohttp's WebSockets lack the hooks"


# --- the checks --------------------------------------------------------------------------------


def test_the_installed_aiohttp_passes_all_checks() -> None:
    """The installed aiohttp passes all checks, so the push path is what other tests test."""
    assert why_not_push() is None


def queue_without_limit(monkeypatch: pytest.MonkeyPatch) -> str:
    class Queue(WebSocketDataQueue):
        def feed_data(self, data: Any, size: int) -> None:
            self._buffer.append((data, size))

    monkeypatch.setattr(private_api, "WebSocketDataQueue", Queue)
    return STALL


def queue_without_messages(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "WebSocketDataQueue", object)
    return STALL


def queue_with_another_overhead(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "_OVERHEAD", 64)
    return STALL


def parser_without_queue(monkeypatch: pytest.MonkeyPatch) -> str:
    class Reader:
        def __init__(self, *_: object, **__: object) -> None: ...

        def feed_data(self, data: bytes) -> None: ...

    monkeypatch.setattr(private_api, "WebSocketReader", Reader)
    return STALL


def parser_without_size_limit(monkeypatch: pytest.MonkeyPatch) -> str:
    def lenient(queue: Any, _: int, **options: Any) -> Any:
        return WebSocketReader(queue, 1000, **options)

    monkeypatch.setattr(private_api, "WebSocketReader", lenient)
    return STALL


def parser_with_other_arguments(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "WebSocketReader", lambda queue: queue)
    return STALL


def writer_with_other_bytes(monkeypatch: pytest.MonkeyPatch) -> str:
    class Writer(WebSocketWriter):
        def _write_websocket_frame(self, message: bytes, opcode: int, rsv: int) -> None:
            super()._write_websocket_frame(message[::-1], opcode, rsv)

    monkeypatch.setattr(private_api, "WebSocketWriter", Writer)
    return WRITER


def writer_that_is_a_coroutine(monkeypatch: pytest.MonkeyPatch) -> str:
    class Writer(WebSocketWriter):
        async def _write_websocket_frame(  # type: ignore[override] # on purpose
            self, message: bytes, opcode: int, rsv: int
        ) -> None:
            raise AssertionError

    monkeypatch.setattr(private_api, "WebSocketWriter", Writer)
    return WRITER


def writer_without_its_method(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(WebSocketWriter, "_write_websocket_frame")
    return WRITER


def server_socket_with_another_post_start(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(web.WebSocketResponse, "_post_start", lambda self, request: None)
    return HOOKS


def server_socket_without_post_start(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(web.WebSocketResponse, "_post_start")
    return HOOKS


def server_without_set_parser(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(web.RequestHandler, "set_parser")
    return HOOKS


def client_with_another_ws_connect(monkeypatch: pytest.MonkeyPatch) -> str:
    async def connect(self: Any, url: str) -> None:
        raise AssertionError

    monkeypatch.setattr(ClientSession, "_ws_connect", connect)
    return HOOKS


DIFFERENCES: list[Callable[[pytest.MonkeyPatch], str]] = [
    queue_without_limit,
    queue_without_messages,
    queue_with_another_overhead,
    parser_without_queue,
    parser_without_size_limit,
    parser_with_other_arguments,
    writer_with_other_bytes,
    writer_that_is_a_coroutine,
    writer_without_its_method,
    server_socket_with_another_post_start,
    server_socket_without_post_start,
    server_without_set_parser,
    client_with_another_ws_connect,
]


@pytest.mark.parametrize("difference", DIFFERENCES, ids=lambda difference: difference.__name__)
@pytest.mark.filterwarnings(
    "ignore:coroutine .* was never awaited"
)  # by writer_that_is_a_coroutine
def test_a_difference_in_aiohttp_is_the_reason_against_push(
    monkeypatch: pytest.MonkeyPatch, difference: Callable[[pytest.MonkeyPatch], str]
) -> None:
    """A difference in aiohttp is found by the checks and returned as the reason."""
    with monkeypatch.context() as patch:
        expected = difference(patch)
        reason = why_not_push()
    assert reason is not None
    assert reason.startswith(expected)
    assert why_not_push() is None


def test_an_exception_in_a_check_is_part_of_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a check is part of the reason."""

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(private_api, "Parser", broken)
    reason = why_not_push()
    assert reason is not None
    assert STALL in reason
    assert "RuntimeError('out of order')" in reason


BREAK = {
    # Each change keeps aiohttp working; only rxws notices it.
    "sockets": """
from aiohttp import web
post_start = web.WebSocketResponse._post_start
web.WebSocketResponse._post_start = lambda self, *args: post_start(self, *args)
""",
    "writer": """
from aiohttp._websocket.writer import WebSocketWriter
write = WebSocketWriter._write_websocket_frame
def in_two(self, message, opcode, rsv, more=None):
    if more is None and isinstance(self.transport, asyncio.BaseTransport):
        return write(self, message, opcode, rsv)
    raise TypeError("more is needed")
WebSocketWriter._write_websocket_frame = in_two
""",
    "parser": """
import os
os.environ["AIOHTTP_NO_EXTENSIONS"] = "1"
from aiohttp._websocket.reader import WebSocketDataQueue
class Unlimited:  # as in an old aiohttp, whose parser has no limit
    def __get__(self, queue, owner=None):
        return 1 << 30
    def __set__(self, queue, limit): ...
WebSocketDataQueue._limit = Unlimited()
""",
}
ROUND_TRIP = """
from aiohttp import web
import rxws
from reactivex import operators as ops

async def main():
    app = web.Application()
    app.router.add_get("/", rxws.websocket(lambda conn: conn.incoming))
    rxws.setup(app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    sent = ["a", b"b" * 100_000, "c" * 100_000, ""]
    async with rxws.connect(f"ws://127.0.0.1:{runner.addresses[0][1]}/") as conn:
        for message in sent:
            conn.outgoing.on_next(message)
        assert await conn.incoming.pipe(ops.take(4), ops.to_list()) == sent
    print(await conn.closed)
    await runner.cleanup()

asyncio.run(main())
print(rxws.transport_info().path, rxws.transport_info().reason, sep="|")
"""


@pytest.mark.parametrize(
    ("what", "reason"), [("sockets", HOOKS), ("writer", WRITER), ("parser", STALL)]
)
def test_a_different_aiohttp_falls_back_to_pull(what: str, reason: str) -> None:
    """With a different aiohttp, client and server fall back to the pull path."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "import asyncio\n" + BREAK[what] + ROUND_TRIP],
        cwd=ROOT,
        env={name: each for name, each in os.environ.items() if name != "RXWS_TRANSPORT"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    closed, info = done.stdout.splitlines()
    assert closed == "Close(code=1000, reason='', by='local')"
    assert info.startswith(f"pull|{reason}")
    assert done.stderr == ""


# --- the parser and early bytes ----------------------------------------------------------------


def take_all(parser: Parser) -> list[Any]:
    """Take all parsed messages, which makes room for more."""
    found = [message.data for message, _ in parser.messages]
    parser.messages.clear()
    return found


def test_a_parser_parses_up_to_its_bound() -> None:
    """The parser stops at its bound, and `resume` parses the rest."""
    parser = Parser(100, False, ahead=1000)
    sent = [f"{number}" for number in range(100)]
    parser.feed(b"".join(frame(Op.TEXT, each.encode()) for each in sent))
    messages: list[Any] = []
    steps = 0
    while True:
        assert len(parser.messages) <= 8  # aiohttp counts 128 bytes for each besides its own
        messages += take_all(parser)
        if not parser.resume():
            break
        steps += 1
    assert messages == sent
    assert steps >= 100 // 8


def test_a_parser_whose_messages_are_not_taken_stops() -> None:
    """With `ahead=0` the parser parses one message at a time and keeps the other bytes."""
    parser = Parser(100, False, ahead=0)
    for each in (b"a", b"b", b"c"):
        assert parser.feed(frame(Op.TEXT, each)) == (False, b"")
    assert take_all(parser) == ["a"]
    assert parser.resume()
    assert take_all(parser) == ["b"]
    assert parser.resume()
    assert take_all(parser) == ["c"]
    assert not parser.resume()


def test_a_parser_is_full_until_it_is_resumed() -> None:
    """Taken messages count towards `full` until `resume`."""
    parser = Parser(100, False, ahead=1000)
    sent = [f"{number}" for number in range(100)]
    messages: list[Any] = []
    full = 0
    for each in sent:
        parser.feed(frame(Op.TEXT, each.encode()))
        messages += take_all(parser)
        if parser.full:
            full += 1
            assert not parser.resume()
            assert not parser.full
    assert messages == sent
    assert full == 100 // 8


def test_an_error_is_found_after_the_messages_before_it() -> None:
    """An error is found when the messages before it have been parsed."""
    parser = Parser(100, False, ahead=0)
    parser.feed(frame(Op.TEXT, b"a") + frame(Op.TEXT, b"b") + b"\xff\xff")
    messages: list[Any] = []
    while not parser.error:
        messages += take_all(parser)
        assert parser.resume()
    assert messages == ["a", "b"]
    assert parser.feed(b"")[0]


def test_early_bytes_are_kept_in_order() -> None:
    """`EarlyBytes` keeps all data in order, and ignores EOF."""
    feed = EarlyBytes()
    assert feed.feed_data(b"ab") == (False, b"")
    feed.feed_eof()
    feed.feed_data(b"c")
    assert feed.data == b"abc"


def test_a_client_socket_replaces_aiohttps_parser() -> None:
    """A client socket returns its `EarlyBytes`, whatever parser aiohttp sets."""
    ws = PushClientSocket.__new__(PushClientSocket)
    ws._parser = "aiohttp's own"
    feed = ws._parser
    assert isinstance(feed, EarlyBytes)
    assert ws._parser is early_bytes_of(ws) is feed


async def test_both_read_paths_and_aiohttps_own_sockets_coexist(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections of both read paths and aiohttp's own sockets work in one process."""
    take_all = record_read_paths(monkeypatch)
    echo = rxws.websocket(lambda conn: conn.incoming)
    ports: list[int] = []
    for path in PATHS:
        force_read_path(monkeypatch, path)
        ports.append(await serve(echo))
        async with (
            ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{ports[-1]}/") as ws,
            rxws.connect(f"ws://127.0.0.1:{ports[0]}/") as conn,
        ):
            seen = ConnectionSubscriber(conn)
            for number in range(50):
                conn.outgoing.on_next(f"{number}")
                await ws.send_str(f"{number}")
                assert await ws.receive_str() == f"{number}"
            await wait_for_messages(seen, 50)
            assert seen.values == [f"{number}" for number in range(50)]
    assert take_all == ["push"] * 3 + ["pull"] * 3


# --- the user's own ClientSession --------------------------------------------------------------


with warnings.catch_warnings():  # aiohttp warns about subclasses
    warnings.simplefilter("ignore", DeprecationWarning)

    class Subclass(ClientSession):
        pass

    class OwnConnect(ClientSession):
        calls = 0

        def ws_connect(self, *args: Any, **options: Any) -> Any:
            type(self).calls += 1
            return super().ws_connect(*args, **options)

    class OwnPrivateConnect(ClientSession):
        async def _ws_connect(self, *args: Any, **options: Any) -> Any:
            return await super()._ws_connect(*args, **options)


class OwnSocket(ClientWebSocketResponse):
    created = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        type(self).created += 1


def session_with_own_socket() -> ClientSession:
    return ClientSession(ws_response_class=OwnSocket)


def wrapped_session() -> ClientSession:
    """Wrap `ws_connect` of a session, as tracing libraries do."""
    session = ClientSession()
    connect = session.ws_connect

    def ws_connect(*args: Any, **options: Any) -> Any:
        OwnConnect.calls += 1
        return connect(*args, **options)

    object.__setattr__(session, "ws_connect", ws_connect)
    return session


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (ClientSession, "push"),
        (Subclass, "push"),
        (OwnConnect, "pull"),
        (OwnPrivateConnect, "pull"),
        (session_with_own_socket, "pull"),
        (wrapped_session, "pull"),
    ],
)
async def test_the_users_session_is_used_and_left_open(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], ClientSession],
    path: str,
) -> None:
    """The user's session is used and left open; push needs one without overrides."""
    force_read_path(monkeypatch, "push")
    take_all = record_read_paths(monkeypatch)
    monkeypatch.setattr(OwnConnect, "calls", 0)
    monkeypatch.setattr(OwnSocket, "created", 0)
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with make() as session:
        for _ in range(2):
            async with rxws.connect(f"ws://127.0.0.1:{port}/", session=session) as conn:
                await check_echo(conn)
            assert not session.closed
        async with session.ws_connect(f"ws://127.0.0.1:{port}/") as ws:  # the session is unchanged
            assert type(ws) is (
                OwnSocket if make is session_with_own_socket else ClientWebSocketResponse
            )
            await ws.send_str("still the user's")
            assert await ws.receive_str() == "still the user's"
        assert take_all == ["push", path, "push", path, "push"]
        if make in (OwnConnect, wrapped_session):
            assert OwnConnect.calls == 3
        if make is session_with_own_socket:
            assert OwnSocket.created == 3


async def check_echo(conn: AnyConnection) -> None:
    seen = ConnectionSubscriber(conn)
    sent = ["a", b"b" * 100_000, "ü" * 50_000]
    for message in sent:
        conn.outgoing.on_next(message)
    await wait_for_messages(seen, len(sent))
    assert seen.values == sent


def test_early_bytes_of_the_users_own_socket_are_ignored() -> None:
    """An attribute `early_bytes` of a user's socket class is ignored."""

    class UsersSocket:
        early_bytes = "the user's own attribute"

    assert early_bytes_of(UsersSocket()) is None
    assert early_bytes_of(object()) is None


async def test_the_options_of_the_users_session_are_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base URL, headers, cookies and traces of the user's session are used."""
    force_read_path(monkeypatch, "push")
    traced: list[str] = []
    trace = TraceConfig()

    async def started(_: object, __: object, params: Any) -> None:
        traced.append(str(params.url))

    trace.on_request_start.append(started)
    requests: list[Any] = []

    @rxws.websocket
    def handler(conn: AnyConnection) -> None:
        requests.append(
            (conn.handshake.headers.get("X-Mine"), conn.handshake.headers.get("Cookie"))
        )
        conn.incoming.subscribe()

    base = f"http://127.0.0.1:{await serve(handler)}/"
    async with ClientSession(
        base, headers={"X-Mine": "1"}, cookies={"user": "ada"}, trace_configs=[trace]
    ) as session:
        session.cookie_jar.update_cookies({"user": "ada"})
        async with rxws.connect("/there", session=session):
            pass
    assert requests[0][0] == "1"
    assert traced == [f"{base}there"]


# --- data that arrives with the handshake -------------------------------------------------------

EARLY = ["one", "two", "three " * 1000, "four"]


def early_frames(mask: bytes | None) -> bytes:
    return b"".join(frame(Op.TEXT, message.encode(), mask=mask) for message in EARLY)


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.usefixtures("read_path")
async def test_frames_in_the_segment_of_the_101(cut: int) -> None:
    """A client gets frames that came with the 101 once and in order, then later ones."""
    data = early_frames(None)
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept(then=data[: len(data) - cut]))
        conn = await rxws.connect(server.url)
        peer = await accepting
        await peer.send(data[len(data) - cut :])
        seen = ConnectionSubscriber(conn)
        await peer.text("five")
        await seen.until(lambda: "five" in seen.values)
        assert seen.values == [*EARLY, "five"]
        await peer.close(1000)
        await seen.end()


@pytest.mark.parametrize("cut", [0, 1, 7])
@pytest.mark.usefixtures("read_path")
async def test_frames_in_the_segment_of_the_request(
    serve: Serve, raw_client: Dial, cut: int
) -> None:
    """A server gets frames that came with the request once and in order, then later ones."""
    seen: list[ConnectionSubscriber] = []
    port = await serve(rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    data = early_frames(new_mask())
    peer = await raw_client(port, then=data[: len(data) - cut])
    await peer.send(data[len(data) - cut :])
    await peer.text("five")
    await seen[0].until(lambda: "five" in seen[0].values)
    assert seen[0].values == [*EARLY, "five"]
    await peer.close(1000)
    await seen[0].end()


@pytest.mark.parametrize("ends", ["close", "close and fin", "violation"])
@pytest.mark.usefixtures("read_path")
async def test_an_end_in_the_segment_of_the_101(ends: str) -> None:
    """A client gets the messages that came with the 101, and then the end."""
    end = frame(Op.CLOSE, close_body(4001)) if "close" in ends else frame(3)
    async with RawServer() as server:
        accepting = asyncio.create_task(
            server.accept(then=early_frames(None) + end + early_frames(None))
        )
        conn = await rxws.connect(server.url)
        seen = ConnectionSubscriber(conn)
        peer = await accepting
        if "fin" in ends:
            peer.fin()
        close = await seen.end()
        assert seen.values == EARLY
        assert (close.code, close.by) == ((4001, "peer") if "close" in ends else (1002, "local"))
        assert (await peer.closing()).code == close.code


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.usefixtures("read_path")
async def test_tcp_that_ends_with_the_101(how: str) -> None:
    """If a server ends TCP with its 101, the client gets its messages and then a 1006."""

    async def answer_and_leave(server: RawServer) -> None:
        peer = await server.accept(then=early_frames(None), reads=False)
        peer.fin() if how == "fin" else await peer.rst()

    async with RawServer() as server:
        leaving = asyncio.create_task(answer_and_leave(server))
        conn = await rxws.connect(server.url)
        seen = ConnectionSubscriber(conn)
        close = await seen.end()
        await leaving
        assert seen.values == EARLY
        assert (close.code, close.by) == (1006, "network")


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.usefixtures("read_path")
async def test_tcp_that_ends_with_the_first_frames(
    serve: Serve, raw_client: Dial, how: str
) -> None:
    """If a client ends TCP with its first frames, the server gets them and then a 1006."""
    seen: list[ConnectionSubscriber] = []
    port = await serve(rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    peer = await raw_client(port, reads=False, then=early_frames(new_mask()))
    await peer.send(early_frames(new_mask()))
    peer.fin() if how == "fin" else await peer.rst()
    close = await seen[0].end()
    assert seen[0].values == [*EARLY, *EARLY]
    assert (close.code, close.by) == (1006, "network")


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.usefixtures("read_path")
async def test_a_client_that_disconnects_before_the_101(
    serve: Serve, raw_client: Dial, how: str
) -> None:
    """A client that disconnects before the 101 makes no connection; the next one is served."""
    seen: list[ConnectionSubscriber] = []
    accept = rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn)))
    disconnected = asyncio.Event()

    async def upgrade(request: web.Request) -> web.StreamResponse:
        # aiohttp starts the handler before it reads the end of TCP from Python 3.12 on.
        while not disconnected.is_set() and request.transport is not None:  # noqa: ASYNC110
            await asyncio.sleep(0)
        disconnected.set()
        return await accept(request)

    port = await serve(upgrade)
    sock = socket.socket()
    disconnecting = Peer(sock, masks=True)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        headers: dict[str, str | None] = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        }
        await disconnecting.send(encode_head("GET / HTTP/1.1", headers) + early_frames(new_mask()))
        disconnecting.fin() if how == "fin" else await disconnecting.rst()
        async with asyncio.timeout(5):
            await disconnected.wait()
        peer = await raw_client(port)
        await peer.text("here")
        await seen[0].until(lambda: seen[0].values)
        assert [each.values for each in seen] == [["here"]]
    finally:
        sock.close()


@pytest.mark.parametrize("lack", ["name", "function"])
async def test_a_session_without_hooks_uses_its_own_ws_connect(
    lack: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If aiohttp's session has changed, the session's public `ws_connect` is used as it is."""

    def changed() -> None: ...

    private_api._session_has_hooks.cache_clear()
    monkeypatch.setattr(
        ClientSession, "_ws_connect", changed if lack == "name" else functools.partial(changed)
    )
    async with ClientSession() as session:
        assert ws_connect_of(session, RequestMonitor(), push=True) == session.ws_connect
    monkeypatch.undo()
    private_api._session_has_hooks.cache_clear()
    async with ClientSession() as session:
        assert ws_connect_of(session, RequestMonitor(), push=True) != session.ws_connect
