"""The push reader and the pull reader notify the same and answer the same for the same bytes.

A raw peer sends each scenario once to each reader, with rxws as the server and as the client.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from reactivex.abc import DisposableBase
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber, Link, open_links
from support.peers.fake_tcp import force_read_path, loop_turns, record_read_paths, wait_for_messages
from support.peers.frames import Op, close_body, deflate, frame
from support.peers.raw import PATIENCE, Peer, RawServer

PATHS = ["push", "pull"]
ENDS = ["server", "client"]
SIZE = 1000  # bytes; `max_message_size` in the scenarios about sizes

Entry = tuple[Any, ...]
Play = Callable[[Peer], Awaitable[None]]


@dataclass
class Log:
    """Records all notifications of a connection's streams in order."""

    entries: list[Entry] = field(default_factory=list[Entry])

    def attach(self, conn: AnyConnection) -> None:
        streams = {"in": conn.incoming, "fault": conn.errors, "end": conn.closed}
        for name, stream in streams.items():
            stream.subscribe(
                self._note(name, "next"), self._note(name, "error"), self._note(name, "completed")
            )

    def _note(self, stream: str, what: str) -> Callable[..., None]:
        def note(*values: Any) -> None:
            self.entries.append((stream, what, *map(comparable, values)))

        return note


def comparable(value: Any) -> Any:
    """Return the part of a value that both readers must agree on."""
    if isinstance(value, rxws.Close):
        return (value.code, value.reason, value.by)
    if isinstance(value, rxws.ConnectionClosed):
        return (type(value).__name__, comparable(value.close))
    if isinstance(value, Exception):
        return (type(value).__name__, str(value))
    return value


async def run_scenario(
    link: Link, play: Play, log: Log
) -> tuple[list[Entry], list[tuple[int, bytes]], bool]:
    """Run a scenario; return the notifications, the peer's frames and whether it got a FIN."""
    await play(link.peer)
    if not link.peer.closes:
        await loop_turns()
        link.peer.fin()
    await link.seen.end()
    link.peer.fin()
    ended = await link.peer.until_ended()
    frames = [(one.opcode, one.payload) for one in link.peer.frames]
    # rxws sends unsolicited empty pongs while it is busy, as on a loaded machine. No ping here is
    # empty.
    got = [one for one in frames if one != (Op.PONG, b"")]
    return log.entries, got, ended == "eof"


# --- the scenarios -----------------------------------------------------------------------------


def every_length(peer: Peer) -> bytes:
    return b"".join(
        peer.build(opcode, b"x" * length)
        for length in (0, 1, 2, 125, 126, 127, 128, 65535, 65536, 70_000)
        for opcode in (Op.TEXT, Op.BINARY)
    )


def every_character(peer: Peer) -> bytes:
    return b"".join(
        peer.build(Op.TEXT, text.encode()) for text in ("grün", "🦉", "\0", "\uffff", "\U0010ffff")
    )


def fragments(peer: Peer) -> bytes:
    text = "in fünf pieces".encode()
    return b"".join(
        [
            peer.build(Op.TEXT, text[:4], fin=False),
            peer.build(Op.PING, b"between"),
            peer.build(Op.CONT, text[4:5], fin=False),  # in the middle of a character
            peer.build(Op.PONG, b"unsolicited"),
            peer.build(Op.CONT, b"", fin=False),
            peer.build(Op.CONT, text[5:], fin=False),
            peer.build(Op.CONT, b""),
            peer.build(Op.BINARY, b"", fin=False),
            peer.build(Op.CONT, b"\xff"),
            peer.build(Op.TEXT, b"whole"),
        ]
    )


def deflated(peer: Peer) -> bytes:
    data = deflate(b"squeezed " * 5000)
    return b"".join(
        [
            peer.build(Op.TEXT, deflate(b"a" * 1000), rsv=4),
            peer.build(Op.TEXT, b"plain"),
            peer.build(Op.BINARY, data[:10], fin=False, rsv=4),
            peer.build(Op.PING, b"between"),
            peer.build(Op.CONT, data[10:20], fin=False),
            peer.build(Op.CONT, data[20:]),
            peer.build(Op.TEXT, deflate(b""), rsv=4),
            peer.build(Op.TEXT, deflate("ü".encode()), rsv=4),
        ]
    )


def many_pings(peer: Peer) -> bytes:
    return b"".join(
        peer.build(Op.PING, f"{number}".encode()) + peer.build(Op.TEXT, f"{number}".encode())
        for number in range(20)
    )


def message_of_size(
    count: int, opcode: int, compressed: bool, pieces: int
) -> Callable[[Peer], bytes]:
    """Build a message of `count` bytes between two small messages."""

    def build(peer: Peer) -> bytes:
        data = b"x" * count
        if compressed:
            data = deflate(data)
        step = -(-len(data) // pieces)
        parts = [data[at : at + step] for at in range(0, len(data), step)]
        return (
            peer.build(Op.TEXT, b"before")
            + b"".join(
                peer.build(
                    opcode if number == 0 else Op.CONT,
                    part,
                    fin=number == len(parts) - 1,
                    rsv=4 if compressed and number == 0 else 0,
                )
                for number, part in enumerate(parts)
            )
            + peer.build(Op.TEXT, b"behind")
        )

    return build


def amid_messages(
    *frames: tuple[Any, ...], rsv: int = 0, fin: bool = True
) -> Callable[[Peer], bytes]:
    """Build two messages, these frames, and two more messages."""

    def build(peer: Peer) -> bytes:
        around = [peer.build(Op.TEXT, text) for text in (b"1", b"2", b"3", b"4")]
        between = (peer.build(*each, rsv=rsv, fin=fin) for each in frames)
        return b"".join([*around[:2], *between, *around[2:]])

    return build


Build = Callable[[Peer], bytes]
SCENARIOS: dict[str, Build] = {
    "every length": every_length,
    "every character": every_character,
    "fragments": fragments,
    "deflated": deflated,
    "many pings": many_pings,
    "nothing": lambda _: b"",
    "half a frame": lambda peer: peer.build(Op.TEXT, b"1") + peer.build(Op.TEXT, b"2")[:-1],
    "half a message": lambda peer: peer.build(Op.TEXT, b"1", fin=False) + peer.build(Op.PING),
    # Closes.
    "close": amid_messages((Op.CLOSE, b"")),
    "close 1000": amid_messages((Op.CLOSE, close_body(1000, "bye"))),
    "close 1001": amid_messages((Op.CLOSE, close_body(1001))),
    "close 1011": amid_messages((Op.CLOSE, close_body(1011, "broken"))),
    "close 3000": amid_messages((Op.CLOSE, close_body(3000))),
    "close 4999": amid_messages((Op.CLOSE, close_body(4999, "ü" * 61))),
    "close twice": amid_messages((Op.CLOSE, close_body(1000)), (Op.CLOSE, close_body(4000))),
    "close within a message": lambda peer: (
        peer.build(Op.TEXT, b"1", fin=False) + peer.build(Op.CLOSE, close_body(1000))
    ),
    # Protocol violations.
    "close 0": amid_messages((Op.CLOSE, close_body(0))),
    "close 999": amid_messages((Op.CLOSE, close_body(999))),
    "close 1004": amid_messages((Op.CLOSE, close_body(1004))),
    "close 1005": amid_messages((Op.CLOSE, close_body(1005))),
    "close 1006": amid_messages((Op.CLOSE, close_body(1006))),
    "close 2999": amid_messages((Op.CLOSE, close_body(2999))),
    "close 5000": amid_messages((Op.CLOSE, close_body(5000))),
    "close of one byte": amid_messages((Op.CLOSE, b"\x03")),
    "close with invalid UTF-8": amid_messages((Op.CLOSE, close_body(1000, b"\xff"))),
    "invalid UTF-8": amid_messages((Op.TEXT, b"\xff")),
    "incomplete UTF-8": amid_messages((Op.TEXT, "ü".encode()[:1])),
    "reserved opcode": amid_messages((3, b"")),
    "reserved control opcode": amid_messages((0xB, b"")),
    "reserved bit 1": amid_messages((Op.TEXT, b"x"), rsv=1),
    "reserved bit 2": amid_messages((Op.TEXT, b"x"), rsv=2),
    "continuation without a message": amid_messages((Op.CONT, b"x")),
    "a message within another": amid_messages((Op.TEXT, b"x"), (Op.TEXT, b"y"), fin=False),
    "a fragmented ping": amid_messages((Op.PING, b"x"), fin=False),
    "a long ping": amid_messages((Op.PING, bytes(126))),
    "invalid deflate data": amid_messages((Op.TEXT, b"\xff\xff\xff\xff"), rsv=4),
    "an announced length of 1 TiB": lambda peer: (
        peer.build(Op.TEXT, b"1")
        + frame(Op.TEXT, claim=1 << 40, mask=bytes(4) if peer.masks else None)
    ),
    "an HTTP request": lambda _: b"GET / HTTP/1.1\r\n\r\n",
}
SIZES: dict[str, Build] = {
    f"{Op(opcode).name} of {count - SIZE:+} in {pieces}{suffix}": message_of_size(
        count, opcode, bool(suffix), pieces
    )
    for count in (SIZE - 1, SIZE, SIZE + 1, SIZE + 2, 10 * SIZE)
    for opcode in (Op.TEXT, Op.BINARY)
    for suffix in ("", " deflated")
    for pieces in (1, 3)
}


def at_once(build: Build) -> Play:
    async def play(peer: Peer) -> None:
        await peer.send(build(peer))

    return play


def byte_by_byte(build: Build) -> Play:
    async def play(peer: Peer) -> None:
        data = build(peer)
        step = max(1, len(data) // 300)
        try:
            for at in range(0, len(data), step):
                await peer.send(data[at : at + step])
                await asyncio.sleep(0)
        except ConnectionError:
            pass  # we closed and TCP ended before all was sent

    return play


@pytest.mark.promise("paths")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", [*SCENARIOS, *SIZES])
async def test_both_readers_notify_the_same(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    """Both readers give the same notifications for any split of the bytes."""
    options = {"max_message_size": SIZE} if name in SIZES else {}
    build = (SCENARIOS | SIZES)[name]
    results: list[Any] = []
    for path in PATHS:
        force_read_path(monkeypatch, path)
        paths = record_read_paths(monkeypatch)
        for cut in (at_once, byte_by_byte):
            async with open_links(end, serve) as links:
                log = Log()
                link = await links(log.attach, deflate=True, heartbeat=None, **options)
                results.append(await run_scenario(link, cut(build), log))
        assert paths == [path, path]
    push, push_cut, pull, pull_cut = results
    assert push[0] == pull[0]
    assert push == pull
    assert push_cut[0] == pull_cut[0] == push[0]
    assert push_cut[1] == pull_cut[1]
    ends = [note for note in push[0] if note[0] == "end"]
    assert [what for _, what, *_ in ends] == ["next", "completed"]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", SIZES)
async def test_both_readers_refuse_the_same_size(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, name: str, end: str
) -> None:
    """With both readers `max_message_size` bytes are accepted; one byte more closes with 1009."""
    fits = any(f" of {more} " in name for more in ("-1", "+0"))
    for path in PATHS:
        force_read_path(monkeypatch, path)
        async with open_links(end, serve) as links:
            link = await links(deflate=True, max_message_size=SIZE)
            await link.peer.send(SIZES[name](link.peer))
            if fits:
                await wait_for_messages(link.seen, 3)
                assert len(link.seen.values[1]) in (SIZE - 1, SIZE)
                assert not link.seen.closes
            else:
                await link.ended(1009, by="local", error=rxws.ConnectionClosed)
                assert link.seen.values == ["before"]
                await link.wire(1009)


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("read_path")
async def test_max_message_size_does_not_bound_control_frames(
    serve: Serve, end: str, deflate: bool
) -> None:
    """Control frames may have 125 bytes, however small `max_message_size` is."""
    async with open_links(end, serve) as links:
        link = await links(deflate=deflate, max_message_size=10)
        await link.peer.frame(Op.PONG, bytes(125))
        await link.peer.frame(Op.PING, bytes(125))
        await link.peer.text("ten bytes!")
        await link.peer.close(4000, "x" * 123)
        await link.ended(4000, "x" * 123, by="peer", error=rxws.ConnectionClosed)
        assert link.seen.values == ["ten bytes!"]
        await link.peer.until_ended()
        pongs = [one.payload for one in link.peer.frames if one.opcode == Op.PONG]
        assert pongs == [bytes(125)]


# --- pauses ------------------------------------------------------------------------------------


def text_frames(peer: Peer, messages: list[str]) -> bytes:
    return b"".join(peer.build(Op.TEXT, message.encode()) for message in messages)


def pause_at(conn: AnyConnection, at: str) -> list[DisposableBase]:
    """Pause the flow when this message arrives."""
    pauses: list[DisposableBase] = []

    def look(message: str) -> None:
        if message == at:
            pauses.append(conn.flow.pause())

    conn.incoming.subscribe(look)
    return pauses


NUMBERS = [f"{number}" for number in range(10)]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("read_path")
async def test_a_pause_within_a_chunk(serve: Serve, end: str) -> None:
    """After a pause no message of the same chunk is delivered until another thread resumes.

    But the ping behind these messages is answered.
    """
    async with open_links(end, serve) as links:
        link = await links()
        pauses = pause_at(link.conn, "3")
        await link.peer.send(text_frames(link.peer, NUMBERS))
        await link.peer.frame(Op.PING, b"behind")
        await link.seen.until(lambda: "3" in link.seen.values)
        await loop_turns()
        assert link.seen.values == NUMBERS[:4]
        await link.peer.until(lambda: any(one.opcode == Op.PONG for one in link.peer.frames))
        assert link.conn.flow.stats.received_messages == len(NUMBERS)
        assert link.seen.values == NUMBERS[:4]
        thread = threading.Thread(target=pauses[0].dispose)
        thread.start()
        await wait_for_messages(link.seen, len(NUMBERS))
        thread.join(PATIENCE)
        assert link.seen.values == NUMBERS


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("how", ["fin", "rst", "close", "violation"])
@pytest.mark.usefixtures("read_path")
async def test_a_close_during_a_pause(serve: Serve, end: str, how: str) -> None:
    """After a pause, the messages before the close are delivered, then the close."""
    async with open_links(end, serve) as links:
        link = await links()
        pauses = pause_at(link.conn, "3")
        await link.peer.send(text_frames(link.peer, NUMBERS))
        await link.seen.until(lambda: "3" in link.seen.values)
        if how == "fin":
            link.peer.fin()
        elif how == "rst":
            await link.peer.rst()
        else:
            await link.peer.send(
                link.peer.build(Op.CLOSE, close_body(4000)) if how == "close" else b"\xff\xff"
            )
        await loop_turns()
        assert link.seen.values == NUMBERS[:4]
        assert not link.seen.closes
        pauses[0].dispose()
        close = await link.seen.end()
        assert link.seen.values == NUMBERS
        assert close.code == {"close": 4000, "violation": 1002}.get(how, 1006)


@pytest.mark.promise("memory-in")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("read_path")
async def test_a_flood_during_a_pause(serve: Serve, end: str) -> None:
    """During a pause TCP holds back a peer that floods, and no message is lost."""
    async with open_links(end, serve) as links:
        link = await links(receive_buffer=None)
        pause = link.conn.flow.pause()
        sent = 0

        async def flood() -> None:
            nonlocal sent
            while sent < 1000:
                await link.peer.frame(Op.BINARY, bytes(50_000))
                sent += 1

        flooding = asyncio.create_task(flood())
        before = -1
        async with asyncio.timeout(PATIENCE):
            while before != sent:  # until TCP is full and nothing more is sent
                before = sent
                await loop_turns(200)
        assert sent < 1000
        assert link.seen.values == []
        pause.dispose()
        async with asyncio.timeout(PATIENCE):
            await flooding
        await wait_for_messages(link.seen, 1000)
        assert {len(value) for value in link.seen.values} == {50_000}


# --- the loop ----------------------------------------------------------------------------------


@pytest.mark.promise("turns")
@pytest.mark.parametrize("end", ENDS)
async def test_a_burst_of_tiny_frames_does_not_block_the_loop(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Other tasks run while a slow pipeline handles a burst of 40,000 tiny frames."""
    force_read_path(monkeypatch, "push")
    count = 40_000
    loop = asyncio.get_running_loop()
    async with open_links(end, serve) as links:
        link = await links(heartbeat=None)
        seen = 0
        seen_at_turns: list[int] = []

        def busy(_: object) -> None:
            nonlocal seen
            seen += 1
            until = time.monotonic() + 0.000_005
            while time.monotonic() < until:
                pass

        def tick() -> None:
            seen_at_turns.append(seen)
            if seen < count:
                loop.call_later(0, tick)

        link.conn.incoming.subscribe(busy)
        data = frame(Op.TEXT, b"x", mask=bytes(4) if link.peer.masks else None) * count
        sending = asyncio.create_task(link.peer.send(data))
        tick()
        await wait_for_messages(link.seen, count)
        await sending
        assert len(set(seen_at_turns)) > 3


class BlockingReader:
    """Reads a peer's socket in a thread, also while the loop is blocked."""

    def __init__(self, peer: Peer) -> None:
        self._sock = peer.sock.dup()
        self._sock.setblocking(True)
        self._sock.settimeout(PATIENCE)
        self.got = threading.Event()
        self.data = b""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        with self._sock:
            self.data = self._sock.recv(1 << 16)
        self.got.set()

    def join(self) -> None:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.usefixtures("read_path")
async def test_a_reply_is_sent_before_the_next_message_is_handled(serve: Serve, end: str) -> None:
    """A peer gets the reply to one message while the pipeline blocks on the next."""
    async with open_links(end, serve) as links:
        link = await links(heartbeat=None, compress=False)
        await link.peer.stop_reading()
        reader = BlockingReader(link.peer)
        read_in_time: list[bool] = []

        def slow(message: str) -> None:
            if message == "1":
                until = time.monotonic() + 0.005
                while time.monotonic() < until:
                    pass
                link.conn.outgoing.on_next("reply")
            else:
                read_in_time.append(reader.got.wait(PATIENCE))

        link.conn.incoming.subscribe(slow)
        await link.peer.send(text_frames(link.peer, ["1", "2"]))
        await wait_for_messages(link.seen, 2)
        await loop_turns()
        reader.join()
        assert read_in_time == [True]
        link.peer.start_reading()


# --- contexts ----------------------------------------------------------------------------------

USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
ROOM: contextvars.ContextVar[str] = contextvars.ContextVar("room", default="nowhere")


def record_contexts(conn: AnyConnection, where: dict[str, tuple[str, str]]) -> None:
    """Record the context variables of each kind of notification."""

    def note(name: str) -> Callable[..., None]:
        return lambda *_: where.__setitem__(name, (USER.get(), ROOM.get()))

    conn.incoming.subscribe(note("next"), note("end"), note("end"))
    conn.closed.subscribe(note("closed"))


async def leave(peer: Peer, how: str) -> None:
    if how == "fin":
        peer.fin()
    elif how == "rst":
        await peer.rst()
    elif how == "close":
        await peer.close(1000)
    else:
        await peer.send(b"\xff\xff")


@pytest.mark.parametrize("how", ["close", "violation", "fin", "rst"])
@pytest.mark.usefixtures("read_path")
async def test_the_context_of_a_handler(serve: Serve, raw_client: Dial, how: str) -> None:
    """The pipeline sees the context variables that a middleware and the handler set."""
    where: dict[str, tuple[str, str]] = {}
    seen: list[ConnectionSubscriber] = []

    @web.middleware
    async def log_in(request: web.Request, handler: Any) -> web.StreamResponse:
        USER.set("ada")
        response: web.StreamResponse = await handler(request)
        return response

    def handler(conn: AnyConnection) -> None:
        ROOM.set("attic")
        record_contexts(conn, where)
        seen.append(ConnectionSubscriber(conn))

    app = web.Application(middlewares=[log_in])
    app.router.add_get("/", rxws.websocket(handler))
    rxws.setup(app)
    peer = await raw_client(await serve(app))
    await peer.text("x")
    await seen[0].until(lambda: seen[0].values)
    assert where == {"next": ("ada", "attic")}
    await leave(peer, how)
    await seen[0].end()
    assert where == dict.fromkeys(["next", "end", "closed"], ("ada", "attic"))
    assert (USER.get(), ROOM.get()) == ("nobody", "nowhere")


@pytest.mark.usefixtures("read_path")
async def test_a_context_variable_set_by_a_pipeline(serve: Serve, raw_client: Dial) -> None:
    """A context variable set by a pipeline holds for later messages of that connection only."""
    seen: list[ConnectionSubscriber] = []
    rooms: list[list[str]] = [[], []]

    def handler(conn: AnyConnection) -> None:
        mine = rooms[len(seen)]

        def move(message: str) -> None:
            mine.append(ROOM.get())
            ROOM.set(message)

        conn.incoming.subscribe(move)
        seen.append(ConnectionSubscriber(conn))

    port = await serve(rxws.websocket(handler))
    peers = [await raw_client(port) for _ in range(2)]
    for number in range(3):
        for index, peer in enumerate(peers):
            await peer.text(f"{index}{number}")
            await wait_for_messages(seen[index], number + 1)
    assert rooms == [["nowhere", "00", "01"], ["nowhere", "10", "11"]]


@pytest.mark.usefixtures("read_path")
async def test_the_context_of_a_client() -> None:
    """A client's pipeline sees the context variables set before it connected."""
    where: dict[str, tuple[str, str]] = {}
    async with RawServer() as server:

        async def visit() -> None:
            USER.set("ada")
            ROOM.set("cellar")
            async with rxws.connect(server.url) as conn:
                USER.set("somebody else")
                seen = ConnectionSubscriber(conn)
                record_contexts(conn, where)
                pauses = pause_at(conn, "1")
                peer = await accepting
                await peer.send(text_frames(peer, ["1", "2"]))
                await seen.until(lambda: pauses)
                where.clear()
                contextvars.Context().run(pauses[0].dispose)
                await wait_for_messages(seen, 2)
                closing = asyncio.create_task(peer.answer_close())
            await closing

        accepting = asyncio.create_task(server.accept())
        await asyncio.create_task(visit())
    assert where["next"] == ("ada", "cellar")


# --- another implementation --------------------------------------------------------------------

TAKEOVER: list[str | bytes] = [
    message
    for number in range(60)
    for message in (
        f"the same words again and again, number {number}",
        b"bytes and bytes " * number,
        f"{number}" * (1500 * (number % 7)),  # aiohttp compresses the large ones in an executor
    )
]


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.usefixtures("read_path")
async def test_a_websockets_client_with_context_takeover(
    serve: Serve, compression: str | None
) -> None:
    """Bursts of a `websockets` client come back in order, with one compressor for all."""
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with websockets_connect(f"ws://127.0.0.1:{port}/", compression=compression) as ws:
        negotiated = "Sec-WebSocket-Extensions" in (ws.response.headers if ws.response else {})
        assert negotiated == (compression is not None)

        async def send() -> None:
            for message in TAKEOVER:
                await ws.send(message)
            await ws.send(["in ", "three ", "pieces"])

        sending = asyncio.create_task(send())
        assert [await ws.recv() for _ in TAKEOVER] == TAKEOVER
        assert await ws.recv() == "in three pieces"
        await sending
        await (await ws.ping(b"still there"))
    assert ws.close_code == 1000


@pytest.mark.parametrize("compression", [None, "deflate"])
@pytest.mark.usefixtures("read_path")
async def test_a_websockets_server_with_context_takeover(compression: str | None) -> None:
    """Bursts to a `websockets` server come back in order, with one compressor for all."""

    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(message)
        negotiated.append(bool(ws.protocol.extensions))

    negotiated: list[bool] = []
    async with websockets_serve(echo, "127.0.0.1", 0, compression=compression) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with rxws.connect(f"ws://127.0.0.1:{port}/", max_buffer=1 << 24) as conn:
            seen = ConnectionSubscriber(conn)
            for message in TAKEOVER:
                conn.outgoing.on_next(message)
            await wait_for_messages(seen, len(TAKEOVER))
            assert seen.values == TAKEOVER
        assert seen.closes == [rxws.Close(1000)]
    assert negotiated == [compression is not None]
