"""The way out: order around what is compressed elsewhere, full wires, the last write, the lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import zlib
from collections.abc import AsyncIterator, Awaitable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from aiohttp import ClientConnectionResetError

import rxws
from rxws._aiohttp.transport.frame_writer import finish_coroutine
from rxws._core.frames import Frame as Outgoing
from rxws._core.frames import Opcode
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, Link, Links, open_links
from support.peers.fake_tcp import (
    PushConnection,
    force_read_path,
    loop_turns,
    push_connection,
)
from support.peers.frames import Frame, Op
from support.peers.raw import PATIENCE
from support.receiver import RecordingReceiver

ENDS_AND_PATHS = [(end, path) for end in ("server", "client") for path in ("push", "pull")]
# aiohttp compresses what is larger than 16 KiB in the loop's default executor.
LARGE = "compressed in another thread " * 4096


@pytest.fixture(params=ENDS_AND_PATHS, ids="-".join)
async def link(
    request: pytest.FixtureRequest, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Links]:
    """Open a connection with a raw peer: at each end, on each read path."""
    end, path = request.param
    force_read_path(monkeypatch, path)
    async with open_links(end, serve) as links:
        yield links


class Executor:
    """A loop's default executor, in which nothing gets its turn until it is let."""

    def __init__(self) -> None:
        self._may_go = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._pool.submit(self._may_go.wait)
        asyncio.get_running_loop().set_default_executor(self._pool)

    def go(self) -> None:
        """Do what waits, and all that comes."""
        self._may_go.set()


@contextlib.contextmanager
def busy() -> Iterator[Executor]:
    executor = Executor()
    try:
        yield executor
    finally:
        executor.go()


class Inflating:
    """Reads messages of a peer with context takeover, as permessage-deflate has it by default."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def read(self, one: Frame) -> str:
        if not one.rsv:
            return one.payload.decode()
        assert one.rsv == 4
        return self._inflate.decompress(one.payload + b"\x00\x00\xff\xff").decode()


def read(link: Link) -> list[str | tuple[str, bytes]]:
    """What the peer got: messages, and the control frames among them but for signs of life."""
    inflating = Inflating()
    return [
        inflating.read(one) if one.opcode < Op.CLOSE else (Op(one.opcode).name, one.payload)
        for one in link.peer.frames
        if one.opcode != Op.PONG or one.payload
    ]


# --- what is compressed elsewhere ---------------------------------------------------------------


@pytest.mark.promise("order")
async def test_order_around_a_message_that_is_compressed_in_another_thread(link: Links) -> None:
    """What was sent before leaves before, at once; what follows, pongs included, leaves after."""
    with busy() as executor:
        one = await link(deflate=True, heartbeat=None)
        one.conn.outgoing.on_next("before")
        one.conn.outgoing.on_next(LARGE)
        one.conn.outgoing.on_next("after")
        await one.peer.messages(1)
        await one.peer.frame(Op.PING, b"while it is being compressed")
        await one.peer.text("heard")
        await one.seen.until(lambda: one.seen.values)
        assert read(one) == ["before"]
        assert not await_writable(one.conn)
        executor.go()
        await one.peer.messages(3)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("last")
    await one.peer.messages(5)
    pong = ("PONG", b"while it is being compressed")
    # A pong goes before messages that wait, and never into one.
    assert read(one) == ["before", LARGE, pong, "after", LARGE, "last"]
    assert await_writable(one.conn)


def await_writable(conn: AnyConnection) -> bool:
    latest: list[bool] = []
    conn.flow.writable.subscribe(latest.append).dispose()
    return latest[-1]


async def test_replies_of_one_chunk_around_one_that_is_compressed_in_another_thread(
    link: Links,
) -> None:
    """A chunk whose replies are partly large: all arrive, in order."""
    replies = {"a": "A", "b": LARGE, "c": "C", "d": LARGE[::-1], "e": "E"}
    one = await link(deflate=True)
    one.conn.incoming.subscribe(lambda key: one.conn.outgoing.on_next(replies[key]))
    await one.peer.send(b"".join(one.peer.build(Op.TEXT, key.encode()) for key in replies))
    await one.peer.messages(len(replies))
    assert read(one) == list(replies.values())


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_wire_that_is_lost_while_a_message_is_compressed(link: Links, how: str) -> None:
    """The loss is told at once, and what comes out of the compressor later goes nowhere."""
    with busy() as executor:
        one = await link(deflate=True)
        one.conn.outgoing.on_next(LARGE)
        one.conn.outgoing.on_next("behind it")
        one.peer.fin() if how == "fin" else await one.peer.rst()
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        assert one.conn.flow.buffered == 0
        executor.go()
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().run_in_executor(None, bool)
        await loop_turns()
    one.conn.outgoing.on_next("late")
    if how == "fin":
        await one.silent_wire()
        assert not one.peer.data


async def test_a_close_behind_a_message_that_is_compressed(link: Links) -> None:
    """The close frame waits for its turn, and the end of TCP for the close frame."""
    with busy() as executor:
        one = await link(deflate=True)
        one.conn.outgoing.on_next(LARGE)
        one.conn.outgoing.on_completed()
        await loop_turns()
        assert one.peer.frames == []
        executor.go()
        await one.peer.answer_close()
    await one.ended(1000, by="local", error=None)
    assert read(one) == [LARGE, ("CLOSE", b"\x03\xe8")]
    assert await one.peer.until_ended() == "eof"


async def test_small_messages_do_not_wait_for_a_large_one_behind_them(link: Links) -> None:
    """What waited for a full wire leaves, though what follows it is still being compressed."""
    with busy() as executor:
        one = await link(deflate=True, receive_buffer=4096, max_buffer=64 << 20)
        await one.peer.stop_reading()
        fillers = 0
        while await_writable(one.conn):
            one.conn.outgoing.on_next(os.urandom(16_000))  # which nothing compresses
            fillers += 1
            await asyncio.sleep(0)
        one.conn.outgoing.on_next("small")
        one.conn.outgoing.on_next(LARGE[:40_000])  # below `high_water`: nothing else happens
        one.peer.start_reading()
        await one.peer.messages(fillers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await one.peer.messages(fillers + 1)
        got = len(one.peer.data)
        executor.go()
        await one.peer.messages(fillers + 2)
    assert got == fillers + 1


# --- all of it leaves ---------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_a_backlog_leaves_before_the_end(link: Links, deflate: bool) -> None:
    """Whatever waits when a connection closes is read by a slow peer, then the close, then FIN."""
    messages = [f"{number:03}".ljust(10_000 + 100 * number, "x") for number in range(200)]
    one = await link(deflate=deflate, receive_buffer=4096, max_buffer=64 << 20)
    await one.peer.stop_reading()
    for message in messages:
        one.conn.outgoing.on_next(message)
    one.conn.outgoing.on_completed()
    await loop_turns()
    one.peer.start_reading()
    await one.peer.answer_close()
    await one.ended(1000, by="local", error=None)
    assert await one.peer.until_ended() == "eof"
    assert read(one) == [*messages, ("CLOSE", b"\x03\xe8")]


async def test_a_backlog_leaves_before_the_answer_to_a_close(link: Links) -> None:
    """A peer that has closed reads what was sent to it before, then our answer, then the FIN."""
    one = await link(receive_buffer=4096, max_buffer=64 << 20, compress=False)
    await one.peer.stop_reading()
    for number in range(300):
        one.conn.outgoing.on_next(f"{number:03}".ljust(20_000, "x"))
    assert one.conn.flow.buffered
    await one.peer.close(4000)
    await loop_turns()
    one.peer.start_reading()
    await one.ended(4000, by="peer", error=rxws.ConnectionClosed)
    assert await one.peer.until_ended() == "eof"
    assert [int(each.payload[:3]) for each in one.peer.data] == list(range(300))
    assert [each.code for each in one.peer.closes] == [4000]


async def test_what_is_left_is_written_before_tcp_is_closed() -> None:
    """Also where the last write fills the wire: TCP is ended once that is gone."""
    async with push_connection() as one:
        one.line.takes = False
        one.receiver.frames.append(Outgoing(Opcode.CLOSE, b"\x03\xe8"))
        one.adapter.finish(linger=False)
        await loop_turns()
        assert one.line.calls == []
        assert [each.opcode for each in one.line.frames] == [Op.CLOSE]
        one.line.take()
        await loop_turns()
        assert one.line.calls == ["close"]


async def test_to_finish_within_a_chunk() -> None:
    """The reply, the close frame and the end leave in this order."""
    async with push_connection() as one:

        def leave(_: object) -> None:
            one.reply("bye")
            one.receiver.frames.append(Outgoing(Opcode.CLOSE, b""))
            one.adapter.finish(linger=True)

        one.receiver.react = leave
        one.line.arrive(b"\x81\x01x")
        assert [each.opcode for each in one.line.frames] == [Op.TEXT, Op.CLOSE]
        await loop_turns()
        assert one.line.calls[-1] == "write_eof"  # and nothing is written after it
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["x"]


# --- sends from within --------------------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_sends_from_within_writable(link: Links, deflate: bool) -> None:
    """Who sends when told that the wire is full, or free again, is heard in order, and once."""
    one = await link(deflate=deflate, receive_buffer=4096, max_buffer=64 << 20)
    sent: list[str] = []
    told: list[bool] = []

    def send(size: int) -> None:
        sent.append(f"{len(sent)}:".ljust(size, "x"))
        one.conn.outgoing.on_next(sent[-1])

    def on_writable(writable: bool) -> None:
        told.append(writable)
        for size in (10, 70_000) if writable else (20, 20_000):
            if len(sent) < 400:
                send(size)

    await one.peer.stop_reading()
    one.conn.flow.writable.subscribe(on_writable)
    while len(sent) < 100:
        send(50_000)
    await loop_turns()
    one.peer.start_reading()
    await one.peer.messages(len(sent))
    await one.peer.until(lambda: len(one.peer.data) == len(sent))
    one.conn.outgoing.on_completed()
    await one.peer.answer_close()
    await one.ended(1000, by="local", error=None)
    assert read(one)[:-1] == sent
    assert told[:3] == [True, False, True]


@pytest.mark.parametrize("leaves", ["fault", "complete", "close"])
async def test_who_ends_from_within_writable(link: Links, leaves: str) -> None:
    """To end when told that the wire is free again ends as it does anywhere else."""
    one = await link(receive_buffer=4096, max_buffer=64 << 20, compress=False)
    await one.peer.stop_reading()
    full = False

    def on_writable(writable: bool) -> None:
        nonlocal full
        if full and writable:
            if leaves == "fault":
                raise ValueError("nobody observes errors")
            if leaves == "complete":
                one.conn.outgoing.on_completed()
            else:
                one.conn.outgoing.on_next(rxws.Close(4001))
        full = not writable

    one.conn.flow.writable.subscribe(on_writable)
    sent = 0
    while not full:
        one.conn.outgoing.on_next(bytes(100_000))
        sent += 1
    one.peer.start_reading()
    code = {"fault": 1011, "complete": 1000, "close": 4001}[leaves]
    assert (await one.peer.answer_close()).code == code
    error = rxws.ConnectionClosed if leaves == "fault" else None
    await one.ended(code, by="local", error=error)
    assert await one.peer.until_ended() == "eof"
    assert len(one.peer.data) == sent


async def test_a_wake_from_within_a_take() -> None:
    """A session that wakes the wire while it is asked for frames is not asked within that."""
    one = PushConnection()

    class Waking(RecordingReceiver):
        def __init__(self) -> None:
            super().__init__()
            self.asking = False

        def take(self) -> Outgoing | None:
            assert not self.asking
            self.asking = True
            one.adapter.wake()
            self.asking = False
            return super().take()

    receiver = Waking()
    receiver.frames.extend(Outgoing(Opcode.TEXT, message) for message in (b"a", b"b"))
    running = one.start(receiver)
    await loop_turns()
    assert one.line.texts == ["a", "b"]
    one.line.abort()
    await running


async def test_many_frames_that_waited_are_written_as_they_are_taken() -> None:
    """What is collected outside of a chunk is bounded, too, and a wire that fills stops it."""
    async with push_connection() as one:
        one.line.takes = False
        one.receiver.frames.extend(Outgoing(Opcode.BINARY, bytes(30_000)) for _ in range(10))
        one.adapter.wake()
        assert len(one.line.writes) == 1
        assert len(one.receiver.frames) == 7
        one.line.take()
        assert not one.receiver.frames
        assert all(len(written) < 100_000 for written in one.line.writes)


# --- what is lost -------------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
async def test_a_write_on_a_wire_that_is_closing(compress: bool) -> None:
    """It is not taken, and nothing is written."""
    async with push_connection(compress=compress) as one:
        one.line.reset()
        assert not one.adapter.write(Opcode.TEXT, b"late")
        one.receiver.frames.append(Outgoing(Opcode.TEXT, b"late, too"))
        one.adapter.wake()
        assert one.line.writes == []


async def test_a_write_before_it_runs() -> None:
    """It is not taken: the session keeps it until it is asked."""
    async with push_connection(start=False) as one:
        assert not one.adapter.write(Opcode.TEXT, b"early")
        one.adapter.wake()
        one.receiver.frames.append(Outgoing(Opcode.TEXT, b"early"))
        one.start()
        await loop_turns()
        assert one.line.texts == ["early"]


async def test_a_wire_that_closes_between_the_question_and_the_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A frame that aiohttp refuses then is as lost as one that is on its way."""
    async with push_connection() as one:

        async def refuse(*_: object) -> None:
            raise ClientConnectionResetError("Cannot write to closing transport")

        monkeypatch.setattr(one.socket, "send_frame", refuse)
        one.receiver.frames.extend([Outgoing(Opcode.TEXT, b"a"), Outgoing(Opcode.TEXT, b"b")])
        one.adapter.wake()
        assert not one.receiver.frames
        assert one.line.writes == []


# --- a coroutine that was begun by hand ---------------------------------------------------------


async def begin(what: Any) -> Awaitable[None]:
    coroutine = what()
    return finish_coroutine(coroutine, coroutine.send(None))


async def test_a_coroutine_that_was_begun_goes_on() -> None:
    """Through all that it waits for, with the values that it waits for."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    got: list[object] = []

    async def work() -> None:
        got.append(await first)
        got.append(await second)

    begun = await begin(work)
    loop.call_soon(first.set_result, 1)
    loop.call_soon(second.set_result, 2)
    async with asyncio.timeout(PATIENCE):
        await begun
    assert got == [1, 2]


async def test_a_coroutine_that_was_begun_is_told_of_failures() -> None:
    """And may handle them, or let them through."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    got: list[str] = []

    async def work() -> None:
        try:
            await first
        except KeyError:
            got.append("handled")
        await second

    begun = await begin(work)
    loop.call_soon(first.set_exception, KeyError("a"))
    loop.call_soon(second.set_exception, ValueError("b"))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="b"):
            await begun
    assert got == ["handled"]


async def test_a_coroutine_that_was_begun_is_cancelled() -> None:
    """As if it had been the task's from the start."""
    got: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            got.append("cleaned up")

    begun = await begin(work)

    async def wait() -> None:
        await begun

    task = asyncio.create_task(wait())
    await loop_turns(1)
    task.cancel()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert got == ["cleaned up"]
