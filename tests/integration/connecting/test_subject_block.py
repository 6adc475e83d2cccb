"""`async with WebSocketSubject(...)`, against `websockets` and raw sockets."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from reactivex import operators as ops
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed as PeerClosed

import rxws
from rxws import backoff
from rxws.status import Closed, Open, Waiting
from support import ROOT
from support.peers.raw import RawServer

PATIENCE = 30.0  # seconds; the limit of every wait in a test
SOON = backoff.constant(0.01)


class EchoServer:
    """A server of `websockets` that echoes messages.

    Attributes:
        received: The messages that clients sent.
        codes: The codes of the close frames that clients sent.
    """

    def __init__(self) -> None:
        self.received: list[str | bytes] = []
        self.codes: list[int | None] = []

    async def handle(self, ws: ServerConnection) -> None:
        try:
            while True:
                self.received.append(await ws.recv())
                with suppress(PeerClosed):
                    await ws.send(self.received[-1])
        except PeerClosed as closed:
            self.codes.append(None if closed.rcvd is None else closed.rcvd.code)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        """Run the server, and yield its URL; at the end, the handlers have returned."""
        options: Any = {"max_queue": None}
        async with websockets_serve(self.handle, "127.0.0.1", 0, **options) as server:
            yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


async def test_blocks_may_be_nested() -> None:
    """The inner `async with` closes, and the outer one leaves nothing subscribed either."""
    server = EchoServer()
    async with server.running() as url:
        feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(url)
        async with feed:
            async with feed:
                feed.on_next("a")
                assert await feed.pipe(ops.first()) == "a"
            assert feed.connection is None
        assert "subscribers=0" in repr(feed.status)
    assert server.codes == [1000]


async def until_open(feed: rxws.WebSocketSubject[Any, Any]) -> rxws.Connection[Any, Any]:
    """Wait until a subject has a connection, and return it."""
    await feed.status.pipe(ops.first(lambda status: isinstance(status, Open)))
    assert feed.connection is not None
    return feed.connection


@pytest.mark.promise("leaving")
async def test_a_block_closes_with_1000_and_waits() -> None:
    """`async with` a subject closes its connection with 1000 at the end; subscribers complete."""
    echo = EchoServer()
    seen: list[Any] = []
    async with asyncio.timeout(PATIENCE), echo.running() as url:
        async with rxws.WebSocketSubject(url) as feed:
            feed.subscribe(seen.append, on_completed=lambda: seen.append("completed"))
            conn = await until_open(feed)
            conn.closed.subscribe(seen.append)
        assert seen == ["completed", rxws.Close(1000)]
        assert feed.connection is None
    assert echo.codes == [1000]


@pytest.mark.promise("leaving")
async def test_a_loop_that_was_left_before_the_end_of_the_block() -> None:
    """Leaving `async with` waits for a connection that closes as its last subscriber left."""
    echo = EchoServer()
    closes: list[rxws.Close] = []
    async with asyncio.timeout(PATIENCE), echo.running() as url:
        async with rxws.WebSocketSubject(url) as feed:
            feed.on_next("a")
            async for message in feed:
                assert message == "a"
                (await until_open(feed)).closed.subscribe(closes.append)
                break
            await asyncio.sleep(0)
            assert feed.connection is None, "the loop was the only subscriber"
            assert closes == []
        assert closes == [rxws.Close(1000)]
    assert echo.codes == [1000]


@pytest.mark.promise("leaving")
async def test_an_exception_closes_with_1011() -> None:
    """If the body of `async with` a subject raises, its connection closes with 1011."""
    echo = EchoServer()

    async def use(url: str) -> None:
        async with rxws.WebSocketSubject(url) as feed:
            feed.subscribe()
            await until_open(feed)
            raise ValueError("body")

    async with asyncio.timeout(PATIENCE), echo.running() as url:
        with pytest.raises(ValueError, match="body"):
            await use(url)
    assert echo.codes == [1011]


@pytest.mark.parametrize("subscribed", [True, False])
async def test_queued_messages_are_sent_first(subscribed: bool) -> None:
    """Pushed messages are sent before the close, also if nobody has subscribed."""
    echo = EchoServer()
    numbers = [f"{number}" for number in range(100)]
    async with asyncio.timeout(PATIENCE), echo.running() as url:  # noqa: SIM117 # one ends first
        async with rxws.WebSocketSubject(url) as feed:
            if subscribed:
                feed.subscribe()
            for number in numbers:
                feed.on_next(number)
    assert echo.received == numbers
    assert echo.codes == [1000]
    assert feed.stats.dropped == {}


async def test_a_block_without_use_opens_nothing() -> None:
    """A block that sends nothing and subscribes to nothing does not connect."""
    async with rxws.WebSocketSubject("ws://127.0.0.1:1/") as feed:
        statuses: list[rxws.Status] = []
        feed.status.subscribe(statuses.append)
    assert statuses == [Closed(None)]


async def test_an_unreachable_server_delays_the_end_by_close_timeout(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a server, the block ends after `close_timeout`; queued messages are reported."""
    drops: list[rxws.Dropped[Any]] = []
    for observed in (True, False):
        async with (
            asyncio.timeout(PATIENCE),
            rxws.WebSocketSubject("ws://127.0.0.1:1/", backoff=SOON, close_timeout=0.1) as feed,
        ):
            if observed:
                feed.drops.subscribe(drops.append)
            feed.on_next("lost")
        assert feed.stats.dropped == {"closed": 1}
        assert isinstance(await feed.status.pipe(ops.first()), Closed)
    assert drops == [rxws.Dropped("lost", "closed")]
    [record] = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert "1 closed" in record.getMessage()


async def test_a_refusal_drops_what_is_queued(caplog: pytest.LogCaptureFixture) -> None:
    """If the server refuses the connection for good, the log counts the queued messages."""
    async with asyncio.timeout(PATIENCE), RawServer() as server:
        refused = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"
        refusing = asyncio.ensure_future(server.accept(reply=refused))
        async with rxws.WebSocketSubject(server.url) as feed:
            feed.on_next("lost")
        await refusing
    assert feed.stats.dropped == {"closed": 1}
    assert ["1 closed" in each.getMessage() for each in caplog.records].count(True) == 1


async def test_a_server_that_does_not_answer_the_close() -> None:
    """If the server does not answer the close frame, the block ends after `close_timeout`."""
    async with asyncio.timeout(PATIENCE), RawServer() as server:
        block = rxws.WebSocketSubject(server.url, close_timeout=0.1, retryable=lambda _: False)
        async with block as feed:
            feed.subscribe()
            peer = await server.accept()
            await until_open(feed)
        assert (await peer.closing()).code == 1000
        assert feed.connection is None
        assert await peer.until_ended()


async def test_cancelling_the_end_of_a_block_does_not_wait() -> None:
    """If the task is cancelled while the block ends, the subject stops at once."""
    feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(
        "ws://127.0.0.1:1/", backoff=SOON, close_timeout=PATIENCE * 2
    )

    async def use() -> None:
        async with feed:
            feed.on_next("lost")

    feed.drops.subscribe()
    async with asyncio.timeout(PATIENCE):
        task = asyncio.ensure_future(use())
        # The end of the block connects, to send what is queued.
        await feed.status.pipe(ops.first(lambda status: isinstance(status, Waiting)))
        task.cancel()
        await asyncio.wait([task])
    assert task.cancelled()
    assert feed.stats.dropped == {"closed": 1}
    assert feed.connection is None


async def test_a_subject_may_be_used_after_the_block() -> None:
    """After the block, a subject connects again if somebody subscribes, or in another block."""
    echo = EchoServer()
    async with asyncio.timeout(PATIENCE), echo.running() as url:
        feed = rxws.WebSocketSubject(url)
        for expected in "ab":
            async with feed:
                feed.on_next(expected)
                assert await anext(aiter(feed)) == expected
    assert echo.codes == [1000, 1000]


PROGRAM = """
import asyncio, sys
import rxws

async def main():
    async with rxws.WebSocketSubject(sys.argv[1]) as feed:
        feed.on_next("hello")
        async for message in feed:
            print(message)
            break

asyncio.run(main(), debug=True)
"""


async def test_a_program_that_ends_after_the_block_leaves_nothing_open() -> None:
    """A program may end right after the block: no warning about something unclosed appears."""
    echo = EchoServer()
    async with asyncio.timeout(PATIENCE), echo.running() as url:
        arguments = ("-X", "dev", "-W", "error", "-c", PROGRAM, url)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *arguments,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, err = await process.communicate()
    assert (out.decode().split(), err.decode()) == (["hello"], "")
    assert echo.codes == [1000]
