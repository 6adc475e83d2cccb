"""A program that keeps a closed connection can still use it, and keeps little memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import reactivex as rx
from aiohttp.compression_utils import ZLibCompressor
from reactivex import operators as ops

import rxws
from rxws.testing import serve
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


# Operators of RxPY that form reference cycles; docs/concepts/flow.md lists them.
CYCLIC: dict[str, Callable[[], Any]] = {
    "catch": lambda: ops.catch(rx.empty()),
    "concat": lambda: ops.concat(rx.empty()),
    "concat_map": lambda: ops.concat_map(rx.of),
    "retry": lambda: ops.retry(2),
    "repeat": lambda: ops.repeat(2),
    "start_with": lambda: ops.start_with("word"),
    "while_do": lambda: ops.while_do(lambda _: False),
    "do_while": lambda: ops.do_while(lambda _: False),
    "delay": lambda: ops.delay(0.001),
    "buffer_with_time": lambda: ops.buffer_with_time(0.01),
    "window_with_time": lambda: ops.window_with_time(0.01),
    "skip_until": lambda: ops.skip_until(rx.empty()),
}
ACYCLIC: dict[str, Callable[[], Any]] = {
    "map": lambda: ops.map(str),
    "debounce": lambda: ops.debounce(0.001),
    "flat_map": lambda: ops.flat_map(rx.of),
    "switch_map": lambda: rx.compose(ops.map(rx.of), ops.switch_latest()),
    "group_by": lambda: rx.compose(ops.group_by(str), ops.merge_all()),
    "timeout": lambda: ops.timeout(10.0),
    "share": ops.share,
}


@pytest.mark.promise("freed")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("name", [*CYCLIC, *ACYCLIC])
@pytest.mark.parametrize("code", [1000, 4000])
async def test_operators_that_form_cycles_keep_only_the_stream(name: str, code: int) -> None:
    """Whatever operators you use, a closed connection is freed; some keep the ended stream."""
    kept: list[weakref.ref[Any]] = []
    streams: list[weakref.ref[Any]] = []

    def handler(conn: rxws.Connection[Any, Any]) -> None:
        kept.extend(weakref.ref(part) for part in (conn, conn.outgoing))
        streams.append(weakref.ref(conn.incoming))
        chain = conn.incoming.pipe((CYCLIC | ACYCLIC)[name]())
        chain.subscribe(on_error=lambda _: None, scheduler=conn.scheduler)

    gc.collect()
    before = compressors()
    gc.disable()
    try:
        async with serve(handler) as server, rxws.connect(server.url) as conn:
            conn.incoming.subscribe()
            conn.outgoing.on_next("word")
            conn.outgoing.on_next(rxws.Close(code))
            await conn.closed
        del conn
        async with asyncio.timeout(PATIENCE):
            while any(each() for each in kept):  # noqa: ASYNC110 # nothing reports the end
                await asyncio.sleep(0.005)
        assert compressors() == before
        if name in ACYCLIC:
            assert streams[0]() is None
    finally:
        gc.enable()
    async with asyncio.timeout(PATIENCE):
        while streams[0]() is not None:  # until a timer of the operator has run
            await asyncio.sleep(0.005)
            gc.collect()
