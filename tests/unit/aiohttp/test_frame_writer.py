"""The frame writer: compression in a thread, full buffers, the last write, and losses."""

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
from aiohttp.http import WebSocketWriter
from reactivex import operators as ops

import rxws
from rxws._aiohttp.transport.frame_writer import finish_coroutine
from rxws._core.frames import Frame as Outgoing
from rxws._core.frames import Opcode
from support.callbacks import raising
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, Link, Links, open_links
from support.peers.fake_tcp import (
    PushConnection,
    loop_turns,
    push_connection,
)
from support.peers.frames import Frame, Op
from support.peers.raw import PATIENCE
from support.receiver import RecordingReceiver

# aiohttp compresses what is larger than 16 KiB in the loop's default executor.
LARGE = "compressed in another thread " * 4096


@pytest.fixture(params=["server", "client"])
async def link(
    request: pytest.FixtureRequest, serve: Serve, read_path: str
) -> AsyncIterator[Links]:
    """Open a connection with a raw peer: at each end, on each read path."""
    del read_path
    async with open_links(request.param, serve) as links:
        yield links


class BlockedExecutor:
    """A default executor of the loop that runs nothing before `go`."""

    def __init__(self) -> None:
        self._may_go = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._pool.submit(self._may_go.wait)
        asyncio.get_running_loop().set_default_executor(self._pool)

    def go(self) -> None:
        """Run all jobs from now on."""
        self._may_go.set()


@contextlib.contextmanager
def blocked_executor() -> Iterator[BlockedExecutor]:
    executor = BlockedExecutor()
    try:
        yield executor
    finally:
        executor.go()


class Inflater:
    """Inflates a peer's messages with context takeover, the default of permessage-deflate."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)

    def inflate(self, one: Frame) -> str:
        if not one.rsv:
            return one.payload.decode()
        assert one.rsv == 4
        return self._inflate.decompress(one.payload + b"\x00\x00\xff\xff").decode()


def received(link: Link) -> list[str | tuple[str, bytes]]:
    """The messages and control frames that the peer received, without keep-alive pongs."""
    inflater = Inflater()
    return [
        inflater.inflate(one) if one.opcode < Op.CLOSE else (Op(one.opcode).name, one.payload)
        for one in link.peer.frames
        if one.opcode != Op.PONG or one.payload
    ]


# --- messages that are compressed in a thread ---------------------------------------------------


@pytest.mark.promise("order")
async def test_order_around_a_message_that_is_compressed_in_another_thread(link: Links) -> None:
    """While a thread compresses a message, later messages and pongs wait for it."""
    with blocked_executor() as executor:
        one = await link(deflate=True, heartbeat=None)
        one.conn.outgoing.on_next("before")
        one.conn.outgoing.on_next(LARGE)
        one.conn.outgoing.on_next("after")
        await one.peer.messages(1)
        await one.peer.frame(Op.PING, b"while it is being compressed")
        await one.peer.text("arrived")
        await one.seen.until(lambda: one.seen.values)
        assert received(one) == ["before"]
        assert not is_writable(one.conn)
        executor.go()
        await one.peer.messages(3)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("last")
    await one.peer.messages(5)
    pong = ("PONG", b"while it is being compressed")
    # A pong overtakes queued messages, but is never sent within one.
    assert received(one) == ["before", LARGE, pong, "after", LARGE, "last"]
    assert is_writable(one.conn)


def is_writable(conn: AnyConnection) -> bool:
    latest: list[bool] = []
    conn.flow.writable.subscribe(latest.append).dispose()
    return latest[-1]


async def test_replies_to_one_chunk_keep_order_around_compressed_ones(
    link: Links,
) -> None:
    """Small and large replies to one chunk arrive in order."""
    replies = {"a": "A", "b": LARGE, "c": "C", "d": LARGE[::-1], "e": "E"}
    one = await link(deflate=True)
    one.conn.incoming.subscribe(lambda key: one.conn.outgoing.on_next(replies[key]))
    await one.peer.send(b"".join(one.peer.build(Op.TEXT, key.encode()) for key in replies))
    await one.peer.messages(len(replies))
    assert received(one) == list(replies.values())


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_loss_during_compression_is_reported_at_once(link: Links, how: str) -> None:
    """A loss during compression is reported at once, and the message is dropped."""
    with blocked_executor() as executor:
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


async def test_a_close_waits_for_the_message_in_compression(link: Links) -> None:
    """The close frame waits for the message in compression, and FIN for the close frame."""
    with blocked_executor() as executor:
        one = await link(deflate=True)
        one.conn.outgoing.on_next(LARGE)
        one.conn.outgoing.on_completed()
        await loop_turns()
        assert one.peer.frames == []
        executor.go()
        await one.peer.answer_close()
    await one.ended(1000, by="local", error=None)
    assert received(one) == [LARGE, ("CLOSE", b"\x03\xe8")]
    assert await one.peer.until_ended() == "eof"


@pytest.mark.parametrize("turns", [0, 1])
async def test_a_subscriber_of_writable_that_is_interrupted_closes(link: Links, turns: int) -> None:
    """If one raises a CancelledError at a compression, the message and a 1011 are sent.

    A client's first messages are sent in the next turn of the loop.
    """
    one = await link(deflate=True)
    await loop_turns(turns)
    one.conn.flow.writable.pipe(ops.skip(1)).subscribe(raising(asyncio.CancelledError))
    with reported_errors() as errors:
        try:
            one.conn.outgoing.on_next(LARGE)
        except asyncio.CancelledError as exc:
            errors.append(exc)
        await one.peer.answer_close()
    await one.ended(1011, by="local", error=rxws.ConnectionClosed)
    assert [type(error) for error in errors] == [asyncio.CancelledError]
    assert received(one) == [LARGE, ("CLOSE", b"\x03\xf3Unexpected Error")]


@pytest.mark.parametrize("how", ["shut down", "cancelled"])
async def test_a_message_that_no_thread_compresses_closes(link: Links, how: str) -> None:
    """If the executor is shut down, the message is lost, and the connection closes with 1001."""
    one = await link(deflate=True)
    busy = threading.Event()
    pool = ThreadPoolExecutor(1)
    pool.submit(busy.wait)
    asyncio.get_running_loop().set_default_executor(pool)
    with reported_errors() as errors:
        if how == "cancelled":
            one.conn.outgoing.on_next(LARGE)
            await loop_turns()
        pool.shutdown(wait=False, cancel_futures=True)
        busy.set()
        if how == "shut down":
            one.conn.outgoing.on_next(LARGE)
        await one.peer.answer_close()
        await one.ended(1001, by="local", error=None)
    assert [type(error) for error in errors] == ([RuntimeError] if how == "shut down" else [])
    assert received(one) == [("CLOSE", b"\x03\xe9Going Away")]


@contextlib.contextmanager
def reported_errors() -> Iterator[list[Any]]:
    """Collect what is reported to the loop's exception handler."""
    errors: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: errors.append(context.get("exception")))
    try:
        yield errors
    finally:
        loop.set_exception_handler(before)


async def test_small_messages_do_not_wait_for_a_large_one_behind_them(link: Links) -> None:
    """Queued messages are sent though a later one is still in compression."""
    with blocked_executor() as executor:
        one = await link(deflate=True, receive_buffer=4096, max_buffer=64 << 20)
        await one.peer.stop_reading()
        fillers = 0
        while is_writable(one.conn):
            one.conn.outgoing.on_next(os.urandom(16_000))  # random bytes do not compress
            fillers += 1
            await asyncio.sleep(0)
        one.conn.outgoing.on_next("small")
        one.conn.outgoing.on_next(LARGE[:40_000])  # below `high_water`, so reading is not paused
        one.peer.start_reading()
        await one.peer.messages(fillers)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await one.peer.messages(fillers + 1)
        got = len(one.peer.data)
        executor.go()
        await one.peer.messages(fillers + 2)
    assert got == fillers + 1


# --- everything is written before the end -------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_queued_messages_are_sent_before_the_close(link: Links, deflate: bool) -> None:
    """A slow peer reads all queued messages, then our close, then FIN."""
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
    assert received(one) == [*messages, ("CLOSE", b"\x03\xe8")]


async def test_queued_messages_are_sent_before_the_answer_to_a_close(link: Links) -> None:
    """A peer that closes reads all queued messages, then our answer, then FIN."""
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


async def test_tcp_is_closed_after_the_last_write() -> None:
    """TCP is closed after the last write, even if that fills the buffer."""
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


async def test_finishing_within_a_chunk_keeps_order() -> None:
    """A reply, the close frame and FIN from within one chunk are written in this order."""
    async with push_connection() as one:

        def reply_and_close(_: object) -> None:
            one.reply("bye")
            one.receiver.frames.append(Outgoing(Opcode.CLOSE, b""))
            one.adapter.finish(linger=True)

        one.receiver.react = reply_and_close
        one.line.arrive(b"\x81\x01x")
        assert [each.opcode for each in one.line.frames] == [Op.TEXT, Op.CLOSE]
        await loop_turns()
        assert one.line.calls[-1] == "write_eof"  # nothing is written after it
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["x"]


# --- sends within notifications -----------------------------------------------------------------


@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflated"])
async def test_sends_from_within_writable(link: Links, deflate: bool) -> None:
    """Messages sent from within `writable` are sent once, in order."""
    one = await link(deflate=deflate, receive_buffer=4096, max_buffer=64 << 20)
    sent: list[str] = []
    states: list[bool] = []

    def send(size: int) -> None:
        sent.append(f"{len(sent)}:".ljust(size, "x"))
        one.conn.outgoing.on_next(sent[-1])

    def on_writable(writable: bool) -> None:
        states.append(writable)
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
    assert received(one)[:-1] == sent
    assert states[:3] == [True, False, True]


@pytest.mark.parametrize("how", ["fault", "complete", "close"])
async def test_ending_from_within_writable_closes(link: Links, how: str) -> None:
    """A fault, a completion or a `Close` from within `writable` closes as anywhere else."""
    one = await link(receive_buffer=4096, max_buffer=64 << 20, compress=False)
    await one.peer.stop_reading()
    full = False

    def on_writable(writable: bool) -> None:
        nonlocal full
        if full and writable:
            if how == "fault":
                raise ValueError("nobody observes errors")
            if how == "complete":
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
    code = {"fault": 1011, "complete": 1000, "close": 4001}[how]
    assert (await one.peer.answer_close()).code == code
    error = rxws.ConnectionClosed if how == "fault" else None
    await one.ended(code, by="local", error=error)
    assert await one.peer.until_ended() == "eof"
    assert len(one.peer.data) == sent


async def test_a_wake_within_take_does_not_recurse() -> None:
    """`wake` within the session's `take` does not call `take` again within it."""
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


async def test_many_queued_frames_are_written_in_bounded_chunks() -> None:
    """Many queued frames are written in bounded chunks, until the buffer is full."""
    async with push_connection() as one:
        one.line.takes = False
        one.receiver.frames.extend(Outgoing(Opcode.BINARY, bytes(30_000)) for _ in range(10))
        one.adapter.wake()
        assert len(one.line.writes) == 1
        assert len(one.receiver.frames) == 7
        one.line.take()
        assert not one.receiver.frames
        assert all(len(written) < 100_000 for written in one.line.writes)


# --- lost connections ---------------------------------------------------------------------------


@pytest.mark.parametrize("compress", [False, True])
async def test_a_write_on_a_closing_transport_is_refused(compress: bool) -> None:
    """A write on a closing transport is refused, and nothing is written."""
    async with push_connection(compress=compress) as one:
        one.line.reset()
        assert not one.adapter.write(Opcode.TEXT, b"late")
        one.receiver.frames.append(Outgoing(Opcode.TEXT, b"late, too"))
        one.adapter.wake()
        assert one.line.writes == []


async def test_a_write_before_the_run_is_refused() -> None:
    """A write before the transport runs is refused; the session keeps the frame."""
    async with push_connection(start=False) as one:
        assert not one.adapter.write(Opcode.TEXT, b"early")
        one.adapter.wake()
        one.receiver.frames.append(Outgoing(Opcode.TEXT, b"early"))
        one.start()
        await loop_turns()
        assert one.line.texts == ["early"]


@pytest.mark.parametrize("compress", [False, True])
async def test_a_frame_that_aiohttp_refuses_is_dropped(
    monkeypatch: pytest.MonkeyPatch, compress: bool
) -> None:
    """A frame that aiohttp refuses to write is dropped, as one lost on its way."""

    def refuse(*_: object) -> None:
        raise ClientConnectionResetError("Cannot write to closing transport")

    monkeypatch.setattr(WebSocketWriter, "_write_websocket_frame", refuse)
    async with push_connection(compress=compress) as one:
        one.receiver.frames.extend([Outgoing(Opcode.TEXT, b"a"), Outgoing(Opcode.TEXT, b"b")])
        one.adapter.wake()
        assert not one.receiver.frames
        assert one.line.writes == []


# --- `finish_coroutine` -------------------------------------------------------------------------


async def start_by_hand(function: Any) -> Awaitable[None]:
    coroutine = function()
    return finish_coroutine(coroutine, coroutine.send(None))


async def test_a_started_coroutine_continues() -> None:
    """A started coroutine continues through all its awaits, with their results."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    got: list[object] = []

    async def work() -> None:
        got.append(await first)
        got.append(await second)

    started = await start_by_hand(work)
    loop.call_soon(first.set_result, 1)
    loop.call_soon(second.set_result, 2)
    async with asyncio.timeout(PATIENCE):
        await started
    assert got == [1, 2]


async def test_a_started_coroutine_gets_exceptions() -> None:
    """A started coroutine gets exceptions, and may handle or raise them."""
    loop = asyncio.get_running_loop()
    first, second = loop.create_future(), loop.create_future()
    got: list[str] = []

    async def work() -> None:
        try:
            await first
        except KeyError:
            got.append("handled")
        await second

    started = await start_by_hand(work)
    loop.call_soon(first.set_exception, KeyError("a"))
    loop.call_soon(second.set_exception, ValueError("b"))
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(ValueError, match="b"):
            await started
    assert got == ["handled"]


async def test_a_started_coroutine_is_cancelled_with_its_task() -> None:
    """Cancelling the task cancels the started coroutine."""
    got: list[str] = []

    async def work() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            got.append("cleaned up")

    started = await start_by_hand(work)

    async def wait() -> None:
        await started

    task = asyncio.create_task(wait())
    await loop_turns(1)
    task.cancel()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(asyncio.CancelledError):
            await task
    assert got == ["cleaned up"]
