"""A connection or a subject that is used in another event loop than the one it was made in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

import pytest
from reactivex import operators as ops

import rxws
from rxws.testing import pair
from support.loops import running_in_thread
from support.peers.raw import PATIENCE

T = TypeVar("T")


def in_loop(loop: asyncio.AbstractEventLoop, call: Callable[[], T]) -> T:
    """Call a function in a loop that runs in another thread."""
    done: Future[T] = Future()
    loop.call_soon_threadsafe(lambda: done.set_result(call()))
    return done.result(PATIENCE)


class EchoServer:
    """An echo server in its own loop and thread.

    Attributes:
        url: Its address.
    """

    def __init__(self) -> None:
        self.url = ""
        self._loop = asyncio.new_event_loop()
        self._server = rxws.serve(lambda conn: conn.incoming, drain=0.1)

    async def _start(self) -> None:
        self.url = (await self._server).url

    def __enter__(self) -> EchoServer:
        self._context = running_in_thread(self._loop)
        self._context.__enter__()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        stopping = self._server.aclose()
        asyncio.run_coroutine_threadsafe(stopping, self._loop).result(PATIENCE)
        self._context.__exit__(None, None, None)
        self._loop.close()


@pytest.fixture
def echo_url() -> Iterator[str]:
    with EchoServer() as server:
        yield server.url


@pytest.fixture
def loops() -> Iterator[tuple[asyncio.AbstractEventLoop, asyncio.AbstractEventLoop]]:
    """Two loops, which end with the test."""
    both = asyncio.new_event_loop(), asyncio.new_event_loop()
    yield both
    for loop in both:
        loop.run_until_complete(all_tasks_done())
        loop.close()


async def all_tasks_done() -> None:
    if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks, timeout=PATIENCE)
    await asyncio.sleep(0.05)  # until the sockets are closed


async def opened(url: str) -> rxws.Connection[Any, Any]:
    return await rxws.connect(url)


async def closed(conn: rxws.Connection[Any, Any]) -> None:
    conn.incoming.subscribe()
    conn.outgoing.on_completed()
    async with asyncio.timeout(PATIENCE):
        await conn.closed
    await asyncio.sleep(0.05)  # until TCP and the tasks have ended


async def calling(function: Callable[[], object]) -> object:
    return function()


USES: dict[str, Callable[[rxws.Connection[Any, Any]], object]] = {
    "push": lambda conn: conn.outgoing.on_next("a"),
    "close": lambda conn: conn.outgoing.on_next(rxws.Close(4000)),
    "complete": lambda conn: conn.outgoing.on_completed(),
    "fail": lambda conn: conn.outgoing.on_error(ValueError()),
    "incoming": lambda conn: conn.incoming.subscribe(),
    "chain": lambda conn: conn.incoming.pipe(ops.first()).subscribe(),
    "closed": lambda conn: conn.closed.subscribe(),
    "schedule": lambda conn: conn.scheduler.schedule(lambda *_: None),
    "timer": lambda conn: conn.scheduler.schedule_relative(1, lambda *_: None),
}


@pytest.mark.parametrize("use", USES)
def test_a_connection_in_another_loop_of_its_thread(echo_url: str, loops: Any, use: str) -> None:
    """A connection that is used in another loop of its thread raises, and names both loops."""
    own, other = loops
    conn = own.run_until_complete(opened(echo_url))
    with pytest.raises(RuntimeError, match="belongs to the event loop") as raised:
        other.run_until_complete(calling(lambda: USES[use](conn)))
    assert repr(own)[:60] in str(raised.value)
    assert "is running" in str(raised.value)
    own.run_until_complete(closed(conn))
    other.run_until_complete(calling(conn.outgoing.on_completed))  # after the end, no error


def test_a_pause_that_is_disposed_in_another_loop(echo_url: str, loops: Any) -> None:
    """Disposing a pause in another loop of its thread raises."""
    own, other = loops
    conn = own.run_until_complete(opened(echo_url))
    pause = own.run_until_complete(calling(conn.flow.pause))
    with pytest.raises(RuntimeError, match="this connection belongs"):
        other.run_until_complete(calling(pause.dispose))
    pause.dispose()  # no loop runs
    own.run_until_complete(closed(conn))


async def echo_of(conn: rxws.Connection[Any, Any], message: str) -> Any:
    async with asyncio.timeout(PATIENCE):
        received = conn.incoming.pipe(ops.first())
        asyncio.get_running_loop().call_soon(conn.outgoing.on_next, message)
        return await received


def test_a_connection_whose_loop_moves_to_a_thread(echo_url: str, loops: Any) -> None:
    """A loop may run in another thread later: pushes of any thread run in that one."""
    own, _ = loops
    conn = own.run_until_complete(opened(echo_url))
    threads: list[int] = []
    conn.outgoing.subscribe(lambda _: threads.append(threading.get_ident()))
    with running_in_thread(own) as thread:
        conn.outgoing.on_next("from the first thread")
        in_loop(own, lambda: conn.outgoing.on_next("from the loop"))
        echo = asyncio.run_coroutine_threadsafe(echo_of(conn, "last"), own)
        assert echo.result(PATIENCE)
    assert threads == [thread.ident] * 3
    own.run_until_complete(closed(conn))


def test_a_connection_between_two_runs_of_its_loop(echo_url: str, loops: Any) -> None:
    """While its loop is stopped, a connection may be used in the loop's thread."""
    own, _ = loops
    conn = own.run_until_complete(opened(echo_url))
    conn.outgoing.on_next("a")
    assert conn.flow.stats.sent_messages == 1
    conn.outgoing.on_next(rxws.Close(4000))
    conn.incoming.subscribe(on_error=lambda _: None)
    assert own.run_until_complete(awaited(conn.closed)).code == 4000
    own.run_until_complete(asyncio.sleep(0.05))


def test_messages_of_threads_keep_their_order_between_two_runs_of_the_loop(
    echo_url: str, loops: Any
) -> None:
    """While the loop is stopped, a message follows those that another thread has pushed before."""
    own, _ = loops
    conn = own.run_until_complete(opened(echo_url))
    thread = threading.Thread(target=conn.outgoing.on_next, args=("first",))
    thread.start()
    thread.join()
    conn.outgoing.on_next("second")
    assert conn.flow.stats.sent_messages == 0  # both wait for the loop
    echoes = conn.incoming.pipe(ops.take(2), ops.to_list())
    assert own.run_until_complete(awaited(echoes)) == ["first", "second"]
    own.run_until_complete(closed(conn))


async def awaited(source: Any) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await source


def test_both_ends_of_a_pair_in_another_loop(loops: Any) -> None:
    """The connections of `pair` behave alike."""
    own, other = loops
    server, client = own.run_until_complete(calling(lambda: pair(lambda conn: conn.incoming)))
    for conn in (server, client):
        with pytest.raises(RuntimeError, match="belongs to the event loop"):
            other.run_until_complete(calling(partial(conn.outgoing.on_next, "a")))
    own.run_until_complete(closed(client))


FEED_USES: dict[str, Callable[[rxws.WebSocketSubject[Any, Any]], object]] = {
    "push": lambda feed: feed.on_next("a"),
    "end": lambda feed: feed.on_completed(),
    "subscribe": lambda feed: feed.subscribe(),
}


@pytest.mark.parametrize("use", FEED_USES)
def test_an_open_subject_in_another_loop_of_its_thread(echo_url: str, loops: Any, use: str) -> None:
    """An open `WebSocketSubject` raises in another loop of its thread, and names both loops."""
    own, other = loops
    feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(echo_url)

    async def open_feed() -> Any:
        subscription = feed.subscribe()
        await feed.status.pipe(ops.first(lambda status: isinstance(status, rxws.status.Open)))
        return subscription

    subscription = own.run_until_complete(open_feed())
    with pytest.raises(RuntimeError, match="this subject belongs to the event loop"):
        other.run_until_complete(calling(lambda: FEED_USES[use](feed)))
    own.run_until_complete(calling(subscription.dispose))
    own.run_until_complete(asyncio.sleep(0.1))


def test_an_idle_subject_moves_to_the_running_loop(echo_url: str, loops: Any) -> None:
    """A subject that is idle works in any loop, with what was pushed before."""
    own, other = loops

    async def make() -> Any:
        return rxws.WebSocketSubject(echo_url)

    feed = own.run_until_complete(make())

    async def use() -> Any:
        feed.on_next("a")
        async with asyncio.timeout(PATIENCE):
            value = await feed.pipe(ops.first())
        await asyncio.sleep(0.1)
        return value

    assert other.run_until_complete(use()) == "a"


def test_connections_disposed_in_another_loop(echo_url: str, loops: Any) -> None:
    """A subscription that is disposed in another loop ends when its own loop runs again."""
    own, other = loops
    seen: list[Any] = []

    async def open_connections() -> Any:
        return rxws.connections(echo_url).subscribe(seen.append)

    subscription = own.run_until_complete(open_connections())
    other.run_until_complete(calling(subscription.dispose))
    own.run_until_complete(asyncio.sleep(0.1))
    assert not seen
