"""A subscriber that runs a nested event loop, as in a notebook with `nest_asyncio`.

aiohttp and asyncio do not support nested loops. rxws must not lose messages in one, nor report a
wrong end.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import operators as ops

from support.nested_loop import elapsed, run_nested
from support.peers.endpoints import Link, Links
from support.peers.frames import Op
from support.peers.raw import PATIENCE

pytestmark = pytest.mark.skipif(
    os.environ.get("RXWS_TEST_LOOP") == "uvloop"
    or sys.flags.dev_mode
    or bool(os.environ.get("PYTHONASYNCIODEBUG")),
    reason="only asyncio's own loop can run nested, and its debug mode reports slow callbacks",
)


@pytest.fixture(params=["read", "slow"])
def start(request: pytest.FixtureRequest) -> str:
    """How the first message is delivered: as it is read, or in a later turn after a slow one."""
    value: str = request.param
    return value


async def nest_at_first_message(one: Link, start: str, nested: Callable[[], None]) -> list[str]:
    """Let the peer send "a", and run a nested loop while it is delivered; return a log."""
    log: list[str] = []

    def on_next(value: str) -> None:
        if value == "slow":
            time.sleep(0.02)
            one.seen.values.clear()
            return
        log.append(f"{value} begins")
        if value == "a":
            nested()
        log.append(f"{value} ends")

    one.conn.incoming.subscribe(on_next)
    first = one.peer.build(Op.TEXT, b"a")
    await one.peer.send(first if start == "read" else one.peer.build(Op.TEXT, b"slow") + first)
    await one.seen.until(lambda: log)
    return log


async def text(one: Link, *messages: str) -> None:
    for message in messages:
        await one.peer.text(message)


@pytest.mark.promise("order")
async def test_messages_that_arrive_in_a_nested_loop_keep_their_order(
    read_path: str, link: Links, start: str
) -> None:
    """Messages that arrive while a subscriber runs a nested event loop follow in order."""
    one = await link()
    tasks: list[asyncio.Task[None]] = []

    def nested() -> None:
        tasks.append(asyncio.create_task(text(one, "b", "c", "d")))
        run_nested(tasks[0].done)
        run_nested(elapsed(0.1))
        assert one.seen.values == ["a"]

    log = await nest_at_first_message(one, start, nested)
    await one.seen.until(lambda: len(one.seen.values) == 4)
    assert log == [f"{name} {when}" for name in "abcd" for when in ("begins", "ends")]
    await one.peer.close(4001)
    close = await one.seen.end()
    assert (close.code, close.by) == (4001, "peer")


@pytest.mark.parametrize("how", ["close", "fin", "broken"])
async def test_an_end_that_arrives_in_a_nested_loop_is_reported_after_it(
    read_path: str, link: Links, start: str, how: str
) -> None:
    """An end that arrives in a nested event loop keeps its code, and follows the messages."""
    one = await link()
    tasks: list[asyncio.Task[Any]] = []

    async def end() -> None:
        await one.peer.text("b")
        if how == "close":
            await one.peer.close(4002)
        elif how == "broken":
            await one.peer.frame(3)  # a reserved opcode
        else:
            one.peer.fin()

    def nested() -> None:
        tasks.append(asyncio.create_task(end()))
        run_nested(tasks[0].done)
        run_nested(elapsed(0.1))
        assert not one.seen.closes

    log = await nest_at_first_message(one, start, nested)
    close = await one.seen.end()
    expected = {"close": (4002, "peer"), "fin": (1006, "network"), "broken": (1002, "local")}
    assert (close.code, close.by) == expected[how]
    assert log == [f"{name} {when}" for name in "ab" for when in ("begins", "ends")]


async def test_messages_sent_in_a_nested_loop_leave_at_once(read_path: str, link: Links) -> None:
    """Messages sent in a nested event loop reach the peer before the loop ends, in order."""
    one = await link()
    got: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def receive() -> None:
        await one.peer.text("wake")
        await one.peer.messages(3)

    async def push() -> None:
        one.conn.outgoing.on_next("2")
        await asyncio.to_thread(one.conn.outgoing.on_next, "3")

    def nested() -> None:
        one.conn.outgoing.on_next("1")
        tasks.extend([asyncio.create_task(push()), asyncio.create_task(receive())])
        run_nested(lambda: all(task.done() for task in tasks))
        got.extend(each.payload.decode() for each in one.peer.data)

    await nest_at_first_message(one, "slow", nested)
    await one.seen.until(lambda: len(one.seen.values) == 2)
    assert got == ["1", "2", "3"]


async def test_a_nested_loop_in_a_call_from_a_thread(read_path: str, link: Links) -> None:
    """A subscriber of `outgoing` may run a nested event loop while a thread's message is sent."""
    one = await link()
    tasks: list[asyncio.Task[None]] = []

    def nested(_: object) -> None:
        tasks.append(asyncio.create_task(text(one, "a", "b")))
        run_nested(tasks[0].done)
        run_nested(elapsed(0.1))

    one.conn.outgoing.pipe(ops.take(1)).subscribe(nested)
    thread = threading.Thread(target=one.conn.outgoing.on_next, args=["from a thread"])
    thread.start()
    await one.seen.until(lambda: len(one.seen.values) == 2)
    thread.join(PATIENCE)
    assert one.seen.values == ["a", "b"]


async def test_a_long_nested_loop_does_not_look_like_a_dead_peer(
    read_path: str, link: Links, start: str
) -> None:
    """A nested event loop that runs longer than the heartbeat does not end the connection."""
    one = await link(heartbeat=0.1)
    await nest_at_first_message(one, start, lambda: run_nested(elapsed(0.5)))
    await text(one, "b")
    await one.seen.until(lambda: len(one.seen.values) == 2)
    assert not one.seen.closes
