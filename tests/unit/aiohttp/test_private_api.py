"""What rxws touches of aiohttp: each check of it, what happens without, and what users bring."""

from __future__ import annotations

import asyncio
import base64
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
from rxws._aiohttp.transport import private_api
from rxws._aiohttp.transport.private_api import (
    EarlyBytes,
    Parser,
    PushClientSocket,
    early_bytes_of,
    why_not_push,
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


def test_this_aiohttp_has_it_all() -> None:
    """So the other tests of the push path test it."""
    assert why_not_push() is None


def a_queue_that_does_not_stall(monkeypatch: pytest.MonkeyPatch) -> str:
    class Queue(WebSocketDataQueue):
        def feed_data(self, data: Any, size: int) -> None:
            self._buffer.append((data, size))

    monkeypatch.setattr(private_api, "WebSocketDataQueue", Queue)
    return STALL


def a_queue_without_messages(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "WebSocketDataQueue", object)
    return STALL


def a_queue_that_counts_otherwise(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "_OVERHEAD", 64)
    return STALL


def a_parser_that_goes_its_own_way(monkeypatch: pytest.MonkeyPatch) -> str:
    class Reader:
        def __init__(self, *_: object, **__: object) -> None: ...

        def feed_data(self, data: bytes) -> None: ...

    monkeypatch.setattr(private_api, "WebSocketReader", Reader)
    return STALL


def a_parser_that_accepts_what_is_too_large(monkeypatch: pytest.MonkeyPatch) -> str:
    def lenient(queue: Any, _: int, **options: Any) -> Any:
        return WebSocketReader(queue, 1000, **options)

    monkeypatch.setattr(private_api, "WebSocketReader", lenient)
    return STALL


def a_parser_that_takes_other_arguments(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(private_api, "WebSocketReader", lambda queue: queue)
    return STALL


def a_writer_that_writes_otherwise(monkeypatch: pytest.MonkeyPatch) -> str:
    class Writer(WebSocketWriter):
        def _write_websocket_frame(self, message: bytes, opcode: int, rsv: int) -> None:
            super()._write_websocket_frame(message[::-1], opcode, rsv)

    monkeypatch.setattr(private_api, "WebSocketWriter", Writer)
    return WRITER


def a_writer_that_waits(monkeypatch: pytest.MonkeyPatch) -> str:
    class Writer(WebSocketWriter):
        async def _write_websocket_frame(  # type: ignore[override] # what is wrong with it
            self, message: bytes, opcode: int, rsv: int
        ) -> None:
            raise AssertionError

    monkeypatch.setattr(private_api, "WebSocketWriter", Writer)
    return WRITER


def a_writer_without_its_method(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(WebSocketWriter, "_write_websocket_frame")
    return WRITER


def a_server_socket_that_is_started_otherwise(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(web.WebSocketResponse, "_post_start", lambda self, request: None)
    return HOOKS


def a_server_socket_that_is_not_started(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(web.WebSocketResponse, "_post_start")
    return HOOKS


def a_server_that_takes_no_parser(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.delattr(web.RequestHandler, "set_parser")
    return HOOKS


def a_client_that_makes_its_sockets_otherwise(monkeypatch: pytest.MonkeyPatch) -> str:
    async def connect(self: Any, url: str) -> None:
        raise AssertionError

    monkeypatch.setattr(ClientSession, "_ws_connect", connect)
    return HOOKS


LACKS: list[Callable[[pytest.MonkeyPatch], str]] = [
    a_queue_that_does_not_stall,
    a_queue_without_messages,
    a_queue_that_counts_otherwise,
    a_parser_that_goes_its_own_way,
    a_parser_that_accepts_what_is_too_large,
    a_parser_that_takes_other_arguments,
    a_writer_that_writes_otherwise,
    a_writer_that_waits,
    a_writer_without_its_method,
    a_server_socket_that_is_started_otherwise,
    a_server_socket_that_is_not_started,
    a_server_that_takes_no_parser,
    a_client_that_makes_its_sockets_otherwise,
]


@pytest.mark.parametrize("lack", LACKS, ids=lambda lack: lack.__name__)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # of a writer that waits
def test_what_an_aiohttp_may_lack(
    monkeypatch: pytest.MonkeyPatch, lack: Callable[[pytest.MonkeyPatch], str]
) -> None:
    """It is found by trying, never raised, and told by its reason."""
    with monkeypatch.context() as patch:
        expected = lack(patch)
        reason = why_not_push()
    assert reason is not None
    assert reason.startswith(expected)
    assert why_not_push() is None


def test_a_check_that_fails_tells_how(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exception is part of the reason."""

    def broken(*_: object) -> None:
        raise RuntimeError("out of order")

    monkeypatch.setattr(private_api, "Parser", broken)
    reason = why_not_push()
    assert reason is not None
    assert STALL in reason
    assert "RuntimeError('out of order')" in reason


BREAK = {
    # Each leaves aiohttp in working order: rxws is the only one to notice.
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
class Unlimited:  # an aiohttp of old: its parser does not stop
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
def test_an_aiohttp_that_lacks_something_serves_and_connects(what: str, reason: str) -> None:
    """rxws takes the other way by itself, and messages go both ways."""
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
    closed, told = done.stdout.splitlines()
    assert closed == "Close(code=1000, reason='', by='local')"
    assert told.startswith(f"pull|{reason}")
    assert done.stderr == ""


# --- the parser and the feed ----------------------------------------------------------


def taken(parser: Parser) -> list[Any]:
    """What is there by now, which makes room."""
    found = [message.data for message, _ in parser.messages]
    parser.messages.clear()
    return found


def test_a_parser_parses_no_further_than_its_bound() -> None:
    """By a message at most; what is left comes when what was there is taken."""
    parser = Parser(100, False, ahead=1000)
    sent = [f"{number}" for number in range(100)]
    parser.feed(b"".join(frame(Op.TEXT, each.encode()) for each in sent))
    told: list[Any] = []
    steps = 0
    while True:
        assert len(parser.messages) <= 8  # aiohttp counts 128 bytes for each besides its own
        told += taken(parser)
        if not parser.resume():
            break
        steps += 1
    assert told == sent
    assert steps >= 100 // 8


def test_a_parser_that_nobody_takes_from() -> None:
    """It keeps what is fed, and parses none of it."""
    parser = Parser(100, False, ahead=0)
    for each in (b"a", b"b", b"c"):
        assert parser.feed(frame(Op.TEXT, each)) == (False, b"")
    assert taken(parser) == ["a"]
    assert parser.resume()
    assert taken(parser) == ["b"]
    assert parser.resume()
    assert taken(parser) == ["c"]
    assert not parser.resume()


def test_a_parser_tells_when_it_is_full() -> None:
    """What was taken counts until it is let go on, so that none need be told of by itself."""
    parser = Parser(100, False, ahead=1000)
    sent = [f"{number}" for number in range(100)]
    told: list[Any] = []
    full = 0
    for each in sent:
        parser.feed(frame(Op.TEXT, each.encode()))
        told += taken(parser)
        if parser.full:
            full += 1
            assert not parser.resume()
            assert not parser.full
    assert told == sent
    assert full == 100 // 8


def test_an_error_behind_what_is_left() -> None:
    """It is found when that has been parsed."""
    parser = Parser(100, False, ahead=0)
    parser.feed(frame(Op.TEXT, b"a") + frame(Op.TEXT, b"b") + b"\xff\xff")
    told: list[Any] = []
    while not parser.error:
        told += taken(parser)
        assert parser.resume()
    assert told == ["a", "b"]
    assert parser.feed(b"")[0]


def test_a_feed_keeps_what_comes() -> None:
    """In order; of the end it keeps nothing, as the wire sees that."""
    feed = EarlyBytes()
    assert feed.feed_data(b"ab") == (False, b"")
    feed.feed_eof()
    feed.feed_data(b"c")
    assert feed.data == b"abc"


def test_aiohttps_parser_is_not_taken_by_a_client_socket() -> None:
    """Whatever is put in its place, aiohttp's protocol gets the one feed."""
    ws = PushClientSocket.__new__(PushClientSocket)
    ws._parser = "aiohttp's own"
    feed = ws._parser
    assert isinstance(feed, EarlyBytes)
    assert ws._parser is early_bytes_of(ws) is feed


async def test_aiohttps_own_sockets_and_ours_side_by_side(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process has both parsers at work, of either kind, and none disturbs another."""
    taken = record_read_paths(monkeypatch)
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
    assert taken == ["push"] * 3 + ["pull"] * 3


# --- sessions of the user's --------------------------------------------------------------------


with warnings.catch_warnings():  # aiohttp discourages it, and lets it
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
    made = 0

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        type(self).made += 1


def own_socket() -> ClientSession:
    return ClientSession(ws_response_class=OwnSocket)


def wrapped() -> ClientSession:
    """What a library that traces calls does to a session."""
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
        (own_socket, "pull"),
        (wrapped, "pull"),
    ],
)
async def test_a_session_of_the_users(
    serve: Serve,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[], ClientSession],
    path: str,
) -> None:
    """It is pushed where nothing of the user's stands in between, is used, and stays open."""
    force_read_path(monkeypatch, "push")
    taken = record_read_paths(monkeypatch)
    monkeypatch.setattr(OwnConnect, "calls", 0)
    monkeypatch.setattr(OwnSocket, "made", 0)
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with make() as session:
        for _ in range(2):
            async with rxws.connect(f"ws://127.0.0.1:{port}/", session=session) as conn:
                await echoes(conn)
            assert not session.closed
        async with session.ws_connect(f"ws://127.0.0.1:{port}/") as ws:  # it is as it was
            assert type(ws) is (OwnSocket if make is own_socket else ClientWebSocketResponse)
            await ws.send_str("still the user's")
            assert await ws.receive_str() == "still the user's"
        assert taken == ["push", path, "push", path, "push"]
        if make in (OwnConnect, wrapped):
            assert OwnConnect.calls == 3
        if make is own_socket:
            assert OwnSocket.made == 3


async def echoes(conn: AnyConnection) -> None:
    seen = ConnectionSubscriber(conn)
    sent = ["a", b"b" * 100_000, "ü" * 50_000]
    for message in sent:
        conn.outgoing.on_next(message)
    await wait_for_messages(seen, len(sent))
    assert seen.values == sent


def test_a_socket_of_the_users_that_has_early_bytes() -> None:
    """It is the user's, and no concern of ours."""

    class Theirs:
        early_bytes = "a name that is the user's to take"

    assert early_bytes_of(Theirs()) is None
    assert early_bytes_of(object()) is None


async def test_what_a_session_of_the_users_is_made_with(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its headers, its base URL, its traces and its cookies are in use on the push path, too."""
    force_read_path(monkeypatch, "push")
    traced: list[str] = []
    trace = TraceConfig()

    async def started(_: object, __: object, params: Any) -> None:
        traced.append(str(params.url))

    trace.on_request_start.append(started)
    heard: list[Any] = []

    @rxws.websocket
    def handler(conn: AnyConnection) -> None:
        heard.append((conn.handshake.headers.get("X-Mine"), conn.handshake.headers.get("Cookie")))
        conn.incoming.subscribe()

    base = f"http://127.0.0.1:{await serve(handler)}/"
    async with ClientSession(
        base, headers={"X-Mine": "1"}, cookies={"who": "ada"}, trace_configs=[trace]
    ) as session:
        session.cookie_jar.update_cookies({"who": "ada"})
        async with rxws.connect("/there", session=session):
            pass
    assert heard[0][0] == "1"
    assert traced == [f"{base}there"]


# --- what comes with the handshake --------------------------------------------------------------

EARLY = ["one", "two", "three " * 1000, "four"]


def early(mask: bytes | None) -> bytes:
    return b"".join(frame(Op.TEXT, message.encode(), mask=mask) for message in EARLY)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cut", [0, 1, 7])
async def test_frames_in_the_segment_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, path: str, cut: int
) -> None:
    """A client gets what came with the 101, in order and once, and what follows after it."""
    force_read_path(monkeypatch, path)
    data = early(None)
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


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("cut", [0, 1, 7])
async def test_frames_in_the_segment_of_the_request(
    serve: Serve, raw_client: Dial, monkeypatch: pytest.MonkeyPatch, path: str, cut: int
) -> None:
    """A server gets what came with the request, in order and once, and what follows after it."""
    force_read_path(monkeypatch, path)
    seen: list[ConnectionSubscriber] = []
    port = await serve(rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    data = early(new_mask())
    peer = await raw_client(port, then=data[: len(data) - cut])
    await peer.send(data[len(data) - cut :])
    await peer.text("five")
    await seen[0].until(lambda: "five" in seen[0].values)
    assert seen[0].values == [*EARLY, "five"]
    await peer.close(1000)
    await seen[0].end()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("ends", ["close", "close and fin", "violation"])
async def test_an_end_in_the_segment_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, path: str, ends: str
) -> None:
    """What a server sent with its 101 is told, and then how it ended."""
    force_read_path(monkeypatch, path)
    end = frame(Op.CLOSE, close_body(4001)) if "close" in ends else frame(3)
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept(then=early(None) + end + early(None)))
        conn = await rxws.connect(server.url)
        seen = ConnectionSubscriber(conn)
        peer = await accepting
        if "fin" in ends:
            peer.fin()
        close = await seen.end()
        assert seen.values == EARLY
        assert (close.code, close.by) == ((4001, "peer") if "close" in ends else (1002, "local"))
        assert (await peer.closing()).code == close.code


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_end_of_tcp_in_the_turn_of_the_answer(
    monkeypatch: pytest.MonkeyPatch, path: str, how: str
) -> None:
    """What a server sent with its 101 is told, though it is gone at once; then a 1006."""
    force_read_path(monkeypatch, path)

    async def answer_and_leave(server: RawServer) -> None:
        peer = await server.accept(then=early(None), reads=False)
        peer.fin() if how == "fin" else await peer.rst()

    async with RawServer() as server:
        leaving = asyncio.create_task(answer_and_leave(server))
        conn = await rxws.connect(server.url)
        seen = ConnectionSubscriber(conn)
        close = await seen.end()
        await leaving
        assert seen.values == EARLY
        assert (close.code, close.by) == (1006, "network")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_the_end_of_tcp_in_the_turn_of_the_first_frames(
    serve: Serve, raw_client: Dial, monkeypatch: pytest.MonkeyPatch, path: str, how: str
) -> None:
    """What a client sent is told, though it is gone at once; then a 1006."""
    force_read_path(monkeypatch, path)
    seen: list[ConnectionSubscriber] = []
    port = await serve(rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    peer = await raw_client(port, reads=False, then=early(new_mask()))
    await peer.send(early(new_mask()))
    peer.fin() if how == "fin" else await peer.rst()
    close = await seen[0].end()
    assert seen[0].values == [*EARLY, *EARLY]
    assert (close.code, close.by) == (1006, "network")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_that_is_gone_before_it_is_answered(
    serve: Serve, raw_client: Dial, monkeypatch: pytest.MonkeyPatch, path: str, how: str
) -> None:
    """aiohttp gives up such a request: there was no connection, and the next one is served."""
    force_read_path(monkeypatch, path)
    seen: list[ConnectionSubscriber] = []
    port = await serve(rxws.websocket(lambda conn: seen.append(ConnectionSubscriber(conn))))
    sock = socket.socket()
    gone = Peer(sock, masks=True)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        headers: dict[str, str | None] = {
            "Host": f"127.0.0.1:{port}",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(bytes(16)).decode(),
        }
        await gone.send(encode_head("GET / HTTP/1.1", headers) + early(new_mask()))
        gone.fin() if how == "fin" else await gone.rst()
        peer = await raw_client(port)
        await peer.text("here")
        await seen[0].until(lambda: seen[0].values)
        assert [each.values for each in seen] == [["here"]]
    finally:
        sock.close()
