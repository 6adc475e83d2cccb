"""A program that keeps a closed connection can still use it, and keeps little memory."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable

import pytest
from aiohttp.compression_utils import ZLibCompressor
from reactivex import operators as ops

import rxws
from support.peers.endpoints import Link, Links
from support.peers.raw import PATIENCE
from support.subscriber import Subscriber


def compressors() -> int:
    """Return the number of aiohttp's compressors."""
    return sum(isinstance(each, ZLibCompressor) for each in gc.get_objects())


def divide_by_zero(_: object) -> None:
    raise ZeroDivisionError("division by zero")


async def end_tcp(link: Link) -> None:
    link.peer.fin()
    await link.peer.until_ended()


async def peer_closes(link: Link) -> None:
    await link.peer.close(4001)
    await link.peer.closing()
    await end_tcp(link)


async def peer_resets(link: Link) -> None:
    await link.peer.rst()


async def we_close(link: Link) -> None:
    link.conn.outgoing.on_completed()
    await link.peer.answer_close()
    await end_tcp(link)


async def subscriber_raises(link: Link) -> None:
    def fail(_: object) -> None:
        raise ValueError("word")

    link.conn.incoming.pipe(ops.map(fail)).subscribe(link.conn.outgoing)
    await link.peer.text("word")
    await link.peer.answer_close()
    await end_tcp(link)


WAYS = [peer_closes, peer_resets, we_close, subscriber_raises]


@pytest.mark.promise("freed")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("end", WAYS)
async def test_a_kept_connection_keeps_no_compressor(
    link: Links, end: Callable[[Link], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """An ended connection that a program still refers to holds no compressor of aiohttp."""
    # pytest keeps log records, and with a traceback the frames that were running.
    caplog.set_level(logging.CRITICAL + 1, "rxws")
    gc.collect()
    before = compressors()
    one = await link(deflate=True)
    one.conn.outgoing.on_next("x" * 10)
    await one.peer.messages(1)
    assert compressors() > before
    gc.disable()
    try:
        await end(one)
        await one.conn.closed
        async with asyncio.timeout(PATIENCE):
            while compressors() > before:  # noqa: ASYNC110 # nothing reports the end of the task
                await asyncio.sleep(0.005)
    finally:
        gc.enable()


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("end", WAYS)
async def test_a_kept_connection_can_be_used(
    link: Links, end: Callable[[Link], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """After the socket is gone, streams replay the end, and late messages and faults count."""
    one = await link()
    conn = one.conn
    await end(one)
    close = await conn.closed
    for _ in range(20):  # until the task that ran the connection is over
        await asyncio.sleep(0.005)
    assert await conn.closed == close
    late = Subscriber[object](conn.incoming)
    assert (late.values, type(late.ends[0])) == ([], type(one.seen.error))
    for stream in (conn.errors, conn.flow.writable, conn.flow.latency, conn.outgoing):
        assert Subscriber[object](stream).ends
    conn.outgoing.on_next("late")
    conn.outgoing.on_next(rxws.Close(1000))
    conn.outgoing.on_completed()
    await asyncio.to_thread(conn.outgoing.on_next, "later")
    await asyncio.sleep(0.01)
    assert conn.flow.stats.dropped["closed"] == 2
    assert conn.flow.buffered == 0
    with conn.flow.pause():
        pass
    with pytest.raises(rxws.ConnectionClosed):
        await conn.flow.drained()
    assert f"closed {close.code}" in repr(conn)
    caplog.clear()
    conn.closed.subscribe(divide_by_zero)
    conn.outgoing.on_error(OSError("late error"))
    conn.outgoing.on_error(rxws.ConnectionClosed(close))
    assert [record.getMessage().rpartition(": ")[2] for record in caplog.records] == [
        "division by zero",
        "late error",
    ]
