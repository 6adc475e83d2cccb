"""Cancelling tasks around a connection ends it, reports its close and leaves nothing open."""

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
from support.peers.endpoints import EXTENSION, AnyConnection, ConnectionSubscriber, Links
from support.peers.raw import PATIENCE, RawServer


class SiteWithoutSetup:
    """An application with one route and without `rxws.setup`, which the test shuts down."""

    def __init__(self, **runner: Any) -> None:
        app = web.Application()
        app.router.add_get("/", rxws.websocket(self._handler))
        self._seen: asyncio.Queue[ConnectionSubscriber] = asyncio.Queue()
        self.runner = web.AppRunner(app, access_log=None, **runner)
        self.port = 0

    def _handler(self, conn: AnyConnection) -> None:
        self._seen.put_nowait(ConnectionSubscriber(conn))

    async def start(self) -> None:
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        self.port = self.runner.addresses[0][1]

    async def next_connection(self) -> ConnectionSubscriber:
        """Wait for the next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._seen.get()


@asynccontextmanager
async def site_without_setup(**runner: Any) -> AsyncIterator[SiteWithoutSetup]:
    site = SiteWithoutSetup(**runner)
    await site.start()
    try:
        yield site
    finally:
        await site.runner.cleanup()


def pause_after_first_message(conn: AnyConnection) -> list[DisposableBase]:
    """Pause the flow at the first message; return the pauses."""
    pauses: list[DisposableBase] = []
    conn.incoming.pipe(ops.take(1)).subscribe(lambda _: pauses.append(conn.flow.pause()))
    return pauses


async def until_written(conn: AnyConnection) -> None:
    """Wait until the send buffer is empty, also if TCP was lost during a pause."""
    async with asyncio.timeout(PATIENCE):
        while conn.flow.buffered:  # noqa: ASYNC110  # a pause delays the report of a loss
            await asyncio.sleep(0.01)


class Interrupt(BaseException):
    """An exception that `except Exception` does not catch, such as pytest's `Failed`."""


@pytest.mark.promise("faults")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("kind", [Interrupt, asyncio.CancelledError])
async def test_a_handler_that_raises_a_base_exception(
    raw_client: Dial, kind: type[BaseException]
) -> None:
    """If a handler raises a `BaseException`, the peer gets 1011, and the exception propagates."""
    seen: asyncio.Queue[ConnectionSubscriber] = asyncio.Queue()
    raised: asyncio.Queue[BaseException] = asyncio.Queue()

    def handler(conn: AnyConnection) -> None:
        seen.put_nowait(ConnectionSubscriber(conn))
        raise kind

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            return await rxws.upgrade(request, handler)
        except BaseException as exc:
            raised.put_nowait(exc)
            raise asyncio.CancelledError from exc  # aiohttp logs nothing

    app = web.Application()
    app.router.add_get("/", route)
    runner = web.AppRunner(app, access_log=None)
    rxws.setup(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        client = await raw_client(runner.addresses[0][1])
        assert (await client.closing()).code == 1011
        close = await (await seen.get()).end()
        assert (close.code, close.by) == (1011, "local")
        await client.close(1011)
        client.fin()
        await client.until_ended()
        async with asyncio.timeout(PATIENCE):
            assert type(await raised.get()) is kind
        assert [one.code for one in client.closes] == [1011]
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("paused", [False, True], ids=["reading", "paused"])
async def test_a_route_that_aiohttp_cancels_reports_1001(raw_client: Dial, paused: bool) -> None:
    """Without `setup`, a route that aiohttp cancels at shutdown reports 1001."""
    async with site_without_setup(shutdown_timeout=0.1) as site:
        client = await raw_client(site.port)
        seen = await site.next_connection()
        pauses: list[DisposableBase] = []
        if paused:
            pauses = pause_after_first_message(seen.conn)
            await client.text("the last message before the pause")
            await seen.until(lambda: seen.values)
        await site.runner.cleanup()
        close = await seen.end()
        assert (close.code, close.by) == (1001, "local")
        assert seen.error is None
        for pause in pauses:
            pause.dispose()  # nothing is left to resume
        await client.until_ended()
        assert not client.closes


async def test_cancelling_upgrade_closes_with_1001(serve: Serve, raw_client: Dial) -> None:
    """A route that cancels `upgrade` closes the connection with 1001."""
    seen: asyncio.Future[ConnectionSubscriber] = asyncio.get_running_loop().create_future()

    async def brief(request: web.Request) -> web.StreamResponse:
        running = asyncio.create_task(
            rxws.upgrade(request, lambda conn: seen.set_result(ConnectionSubscriber(conn)))
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
async def test_handler_cancellation_reports_1006(raw_client: Dial, how: str) -> None:
    """With `handler_cancellation`, a peer that disconnects is still a 1006 by the network."""
    async with site_without_setup(handler_cancellation=True) as site:
        client = await raw_client(site.port)
        seen = await site.next_connection()
        if how == "fin":
            client.fin()
        else:
            await client.rst()
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        assert isinstance(seen.error, rxws.ConnectionClosed)


async def test_leaving_connect_can_be_cancelled() -> None:
    """Leaving `async with connect(...)` can be cancelled while the peer does not answer."""
    async with RawServer() as server:
        seen: list[ConnectionSubscriber] = []

        async def visit() -> None:
            async with rxws.connect(server.url, close_timeout=600.0) as conn:
                seen.append(ConnectionSubscriber(conn))

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
async def test_a_cancelled_connect_body_closes_with_1011() -> None:
    """Cancelling a task inside `async with connect(...)` closes with 1011 and cancels the task."""
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


async def leave_open(server: RawServer) -> ConnectionSubscriber:
    """Open a connection and leave it open when the loop ends."""
    accepting = asyncio.create_task(server.accept(reads=False))
    conn = await rxws.connect(server.url)
    await accepting
    return ConnectionSubscriber(conn)


async def close_codes_received(server: RawServer) -> list[int | None]:
    """Return the close codes that the server's first peer received, and stop the server."""
    async with server:
        peer = server.peers[0]
        peer.start_reading()
        await peer.until_ended()
        return [one.code for one in peer.closes]


def test_the_end_of_the_loop_closes_with_1001() -> None:
    """When `asyncio.run` ends with an open connection, the connection closes with 1001."""
    server = RawServer()
    seen = asyncio.run(leave_open(server))
    seen.check()
    assert (seen.closes[0].code, seen.closes[0].by) == (1001, "local")
    assert seen.error is None
    assert asyncio.run(close_codes_received(server))[0] == 1001


def test_the_end_of_the_loop_sends_one_close() -> None:
    """The end of the loop sends one close frame (RFC 6455, section 5.5.1)."""
    server = RawServer()
    asyncio.run(leave_open(server))
    assert asyncio.run(close_codes_received(server)) == [1001]


def test_messages_from_a_thread_after_the_loop_closed_are_dropped() -> None:
    """Messages sent from another thread after the loop closed are dropped without an exception."""
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
    asyncio.run(close_codes_received(server))


class BusyExecutor:
    """A default executor of the loop that is blocked until it is released."""

    def __init__(self) -> None:
        self._release = threading.Event()
        self._executor = ThreadPoolExecutor(1)
        self._executor.submit(self._release.wait)
        asyncio.get_running_loop().set_default_executor(self._executor)

    async def release(self) -> None:
        """Run the waiting jobs, and let the loop process their results."""
        self._release.set()
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().run_in_executor(None, lambda: None)
        for _ in range(10):
            await asyncio.sleep(0)

    async def cancel(self) -> None:
        """Cancel the waiting jobs."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._release.set()
        for _ in range(10):
            await asyncio.sleep(0)


LARGE = "what is compressed in another thread " * 2048


async def test_a_loss_while_a_message_is_compressed(link: Links) -> None:
    """TCP that ends while a message is compressed is reported at once; nothing stays buffered."""
    busy = BusyExecutor()
    one = await link(deflate=True)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("behind it")
    await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    assert one.conn.flow.buffered == 0
    await busy.release()


async def test_a_loss_during_a_pause_while_a_message_is_compressed(link: Links) -> None:
    """A loss during a pause is reported after it, and the message being compressed is dropped."""
    busy = BusyExecutor()
    one = await link(deflate=True)
    pauses = pause_after_first_message(one.conn)
    await one.peer.text("the last message before the pause")
    await one.seen.until(lambda: one.seen.values)
    one.conn.outgoing.on_next(LARGE)
    one.conn.outgoing.on_next("behind it")
    await one.peer.rst()
    await until_written(one.conn)
    await busy.release()
    assert not one.seen.ends
    pauses[0].dispose()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)


async def test_a_route_cancelled_while_a_message_is_compressed(raw_client: Dial) -> None:
    """A shutdown without `setup` does not wait for compression, and reports 1001."""
    async with site_without_setup(shutdown_timeout=0.1) as site:
        busy = BusyExecutor()
        client = await raw_client(site.port, headers={EXTENSION: "permessage-deflate"})
        seen = await site.next_connection()
        seen.conn.outgoing.on_next(LARGE)
        async with asyncio.timeout(PATIENCE):
            await site.runner.cleanup()
        assert (await seen.end()).code == 1001
        await client.until_ended()
        assert not client.data
        await busy.cancel()
