"""Tasks below and around a connection are cancelled: it ends, is told so, and leaves nothing."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web
from reactivex import operators as ops
from reactivex.abc import DisposableBase

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import EXTENSION, AnyConnection, Links, Seen
from support.peers.raw import PATIENCE, RawServer


class Bare:
    """A route without `rxws.setup` in an application that a test ends by itself."""

    def __init__(self, **runner: Any) -> None:
        app = web.Application()
        app.router.add_get("/", rxws.websocket(self._handler))
        self._seen: asyncio.Queue[Seen] = asyncio.Queue()
        self.runner = web.AppRunner(app, access_log=None, **runner)
        self.port = 0

    def _handler(self, conn: AnyConnection) -> None:
        self._seen.put_nowait(Seen(conn))

    async def start(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]

    async def seen(self) -> Seen:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._seen.get()


@asynccontextmanager
async def bare(**runner: Any) -> AsyncIterator[Bare]:
    site = Bare(**runner)
    await site.start()
    try:
        yield site
    finally:
        await site.runner.cleanup()


def pausing(conn: AnyConnection) -> list[DisposableBase]:
    """Hold the connection from its first message on, when its reading has come to a stop."""
    holds: list[DisposableBase] = []
    conn.incoming.pipe(ops.take(1)).subscribe(lambda _: holds.append(conn.flow.pause()))
    return holds


async def until_written(conn: AnyConnection) -> None:
    """Wait until nothing waits outside the kernel, be it because TCP is lost during a hold."""
    async with asyncio.timeout(PATIENCE):
        while conn.flow.buffered:  # noqa: ASYNC110  # a hold keeps the loss from being told
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("held", [False, True], ids=["reading", "held"])
async def test_a_route_that_aiohttp_cancels(raw_client: Dial, held: bool) -> None:
    """Without `setup` the application's end is told as 1001, though aiohttp cuts the peer off."""
    async with bare(shutdown_timeout=0.1) as site:
        client = await raw_client(site.port)
        seen = await site.seen()
        holds: list[DisposableBase] = []
        if held:
            holds = pausing(seen.conn)
            await client.text("one that is let in, after which reading stops")
            await seen.until(lambda: seen.values)
        await site.runner.cleanup()
        close = await seen.end()
        assert (close.code, close.by) == (1001, "local")
        assert seen.error is None
        for hold in holds:
            hold.dispose()  # nothing is left to resume
        await client.until_ended()
        assert not client.closes


async def test_a_route_that_the_user_cancels(serve: Serve, raw_client: Dial) -> None:
    """A route of the user's that gives up `upgrade` closes with 1001, and the peer gets that."""
    seen: asyncio.Future[Seen] = asyncio.get_running_loop().create_future()

    async def brief(request: web.Request) -> web.StreamResponse:
        running = asyncio.create_task(
            rxws.upgrade(request, lambda conn: seen.set_result(Seen(conn)))
        )
        await seen
        running.cancel()
        await asyncio.wait([running])
        assert running.cancelled()
        raise asyncio.CancelledError

    client = await raw_client(await serve(brief))
    assert (await client.closing()).code == 1001
    close = await (await seen).end()
    assert (close.code, close.by) == (1001, "local")
    client.fin()
    await client.until_ended()
    assert [one.code for one in client.closes] == [1001]


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_route_that_aiohttp_cancels_because_the_peer_is_gone(
    raw_client: Dial, how: str
) -> None:
    """With `handler_cancellation` a peer that vanishes is a 1006 by the network all the same."""
    async with bare(handler_cancellation=True) as site:
        client = await raw_client(site.port)
        seen = await site.seen()
        if how == "fin":
            client.fin()
        else:
            await client.rst()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        assert isinstance(seen.error, rxws.ConnectionClosed)


async def test_a_body_that_is_cancelled_while_the_peer_does_not_answer() -> None:
    """Who waits for an `async with` to end and is cancelled meanwhile waits no longer."""
    async with RawServer() as server:
        seen: list[Seen] = []

        async def visit() -> None:
            async with rxws.connect(server.url, close_timeout=600.0) as conn:
                seen.append(Seen(conn))

        visiting = asyncio.create_task(visit())
        peer = await server.accept()
        assert (await peer.closing()).code == 1000
        visiting.cancel()
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(asyncio.CancelledError):
                await visiting
        close = await seen[0].end()
        assert (close.code, close.by) == (1000, "local")
        await peer.until_ended()


@pytest.mark.promise("leaving")
async def test_a_body_that_is_cancelled() -> None:
    """A cancelled body is left by an exception: the peer gets 1011, and the task is cancelled."""
    async with RawServer() as server:
        inside = asyncio.Event()

        async def visit() -> None:
            async with rxws.connect(server.url) as conn:
                inside.set()
                await conn.closed

        visiting = asyncio.create_task(visit())
        peer = await server.accept()
        async with asyncio.timeout(PATIENCE):
            await inside.wait()
        visiting.cancel()
        assert (await peer.answer_close()).code == 1011
        with pytest.raises(asyncio.CancelledError):
            await visiting


async def leave_open(server: RawServer) -> Seen:
    """Open a connection, and leave it to whoever ends the loop."""
    accepting = asyncio.create_task(server.accept(reads=False))
    conn = await rxws.connect(server.url)
    await accepting
    return Seen(conn)


async def closes_of(server: RawServer) -> list[int | None]:
    """The codes of the close frames that a server's first peer got; the server is gone then."""
    async with server:
        peer = server.peers[0]
        peer.start_reading()
        await peer.until_ended()
        return [one.code for one in peer.closes]


def test_a_loop_that_ends_around_an_open_client() -> None:
    """When `asyncio.run` ends around an open connection, it closes with 1001 and is told so."""
    server = RawServer()
    seen = asyncio.run(leave_open(server))
    seen.check()
    assert (seen.closes[0].code, seen.closes[0].by) == (1001, "local")
    assert seen.error is None
    assert asyncio.run(closes_of(server))[0] == 1001


def test_a_loop_that_ends_around_an_open_client_closes_once() -> None:
    """The peer of a connection that its loop has left gets one close frame (RFC 6455, 5.5.1)."""
    server = RawServer()
    asyncio.run(leave_open(server))
    assert asyncio.run(closes_of(server)) == [1001]


def test_a_thread_that_outlives_the_loop() -> None:
    """What another thread sends after the loop was closed is dropped, and never raises."""
    server = RawServer()
    seen = asyncio.run(leave_open(server))
    failures: list[BaseException] = []

    def send() -> None:
        try:
            seen.conn.outgoing.on_next("late")
            seen.conn.outgoing.on_completed()
            seen.conn.flow.pause().dispose()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert not failures
    asyncio.run(closes_of(server))


class BusyExecutor:
    """A loop's default executor, in which nothing gets its turn until it is let."""

    def __init__(self) -> None:
        self._release = threading.Event()
        self._executor = ThreadPoolExecutor(1)
        self._executor.submit(self._release.wait)
        asyncio.get_running_loop().set_default_executor(self._executor)

    async def go_on(self) -> None:
        """Do what waits, and let the loop take the outcome."""
        self._release.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        for _ in range(10):
            await asyncio.sleep(0)

    async def give_up(self) -> None:
        """Never do what waits."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._release.set()
        for _ in range(10):
            await asyncio.sleep(0)


LARGE = "what is compressed in another thread " * 2048


async def test_a_loss_while_a_message_is_compressed(link: Links) -> None:
    """A loss is told at once, whatever is being compressed, and nothing waits any more."""
    busy = BusyExecutor()
    one = await link(deflate=True)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("behind it")
    await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    assert one.conn.flow.buffered == 0
    await busy.go_on()


async def test_a_loss_during_a_hold_while_a_message_is_compressed(link: Links) -> None:
    """A message whose compression outlives TCP is dropped; the loss is told after the hold."""
    busy = BusyExecutor()
    one = await link(deflate=True)
    holds = pausing(one.conn)
    await one.peer.text("one that is let in, after which reading stops")
    await one.seen.until(lambda: one.seen.values)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("behind it")
    await one.peer.rst()
    await until_written(one.conn)
    await busy.go_on()
    assert not one.seen.ends
    holds[0].dispose()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)


async def test_a_route_cancelled_while_a_message_is_compressed(raw_client: Dial) -> None:
    """A shutdown without `setup` does not wait for what is being compressed; the end is told."""
    async with bare(shutdown_timeout=0.1) as site:
        busy = BusyExecutor()
        client = await raw_client(site.port, headers={EXTENSION: "permessage-deflate"})
        seen = await site.seen()
        seen.conn.outgoing.on_next(LARGE)
        async with asyncio.timeout(PATIENCE):
            await site.runner.cleanup()
        assert (await seen.end()).code == 1001
        await client.until_ended()
        assert not client.data
        await busy.give_up()
