"""Callers and peers that are used outside the event loop of their connection."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from reactivex import operators as ops
from reactivex.scheduler import NewThreadScheduler

import rxws
from rxws.rpc import Caller, Methods, Peer
from support.peers.raw import PATIENCE
from support.subscriber import Subscriber

ELSEWHERE = (
    r"^this (caller|connection|subject) belongs to the event loop .*: use it in its own event loop "
    r"only; from another thread, call asyncio\.run_coroutine_threadsafe\(caller\.call\(\.\.\.\), "
    r"loop\) or loop\.call_soon_threadsafe\(caller\.notify, \.\.\.\)$"
)


def methods(ended: asyncio.Event | None = None) -> Methods:
    made = Methods()

    @made.add
    def add(a: int, b: int) -> int:
        return a + b

    @made.add
    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1_000_000):
                yield number
                await asyncio.sleep(0.001)
        finally:
            if ended is not None:
                ended.set()

    return made


async def elsewhere(use: Callable[[], Awaitable[Any]]) -> Any:
    """Await in another event loop, in another thread, and return the result."""
    async with asyncio.timeout(PATIENCE):
        return await asyncio.to_thread(lambda: asyncio.run(_awaited(use)))


async def _awaited(use: Callable[[], Awaitable[Any]]) -> Any:
    return await use()


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with rxws.serve(rxws.rpc.serve(methods())) as server:
        yield server.url


async def test_a_caller_in_another_loop(url: str) -> None:
    """Calls, streams and notifications raise a RuntimeError with the remedy, also in debug mode."""
    async with rxws.connect(url) as conn:
        caller = Caller(conn)

        async def notify() -> None:
            caller.notify("add", 1, 2)

        async def iterate() -> None:
            async for _ in caller.stream("count"):
                pass

        async def observe() -> None:
            await caller.notifications("x")

        for use in (lambda: caller.call("add", 1, 2), notify, iterate, observe):
            with pytest.raises(RuntimeError, match=ELSEWHERE):
                await elsewhere(use)
        with pytest.raises(RuntimeError, match="but this thread runs no event loop: use it"):
            await asyncio.to_thread(caller.notify, "add", 1, 2)
        async with asyncio.timeout(PATIENCE):
            assert await caller.call("add", 1, 2) == 3
        assert not conn.flow.stats.dropped


async def test_the_remedies() -> None:
    """Another thread can make a call, and notify, with the functions that the error names."""
    made = Methods()
    notified: asyncio.Queue[str] = asyncio.Queue()
    made.add(notified.put_nowait, name="notified")
    async with rxws.serve(rxws.rpc.serve(made)) as server, rxws.connect(server.url) as conn:
        caller, loop = Caller(conn), asyncio.get_running_loop()

        def use() -> Any:
            loop.call_soon_threadsafe(caller.notify, "notified", "first")
            call = caller.call("notified", "second")
            return asyncio.run_coroutine_threadsafe(call, loop).result(PATIENCE)

        assert await asyncio.to_thread(use) is None
        assert [notified.get_nowait(), notified.get_nowait()] == ["first", "second"]


@pytest.mark.parametrize("kind", [Caller, Peer])
async def test_made_in_another_loop(url: str, kind: Any) -> None:
    """A caller or a peer cannot be made elsewhere; one can be made in the right loop then."""
    async with rxws.connect(url) as conn, rxws.WebSocketSubject[Any, Any](url) as feed:
        feed.subscribe()
        for source in (conn, feed):

            async def make(source: Any = source) -> None:
                kind(source)

            with pytest.raises(RuntimeError, match=ELSEWHERE):
                await elsewhere(make)
            made = kind(source)
            caller = getattr(made, "caller", made)
            async with asyncio.timeout(PATIENCE):
                assert await caller.call("add", 1, 2) == 3


async def test_streams_and_peers_disposed_on_another_thread() -> None:
    """Operators may dispose a stream on another thread, and any thread may dispose a peer."""
    ended = asyncio.Event()
    async with (
        rxws.serve(rxws.rpc.serve(methods(ended))) as server,
        rxws.connect(server.url) as conn,
        asyncio.timeout(PATIENCE),
    ):
        peer = Peer(conn)
        first = peer.caller.stream("count").pipe(ops.observe_on(NewThreadScheduler()), ops.take(1))
        items = Subscriber(first)
        await ended.wait()
        assert (items.values, items.ends) == ([0], [None])
        assert threading.get_ident() not in items.threads
        call = asyncio.create_task(peer.caller.call("count"))
        await peer.caller.call("add", 1, 2)
        await asyncio.to_thread(peer.dispose)
        with pytest.raises(rxws.rpc.CallLost):
            await call
