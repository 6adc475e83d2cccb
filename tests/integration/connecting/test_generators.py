"""Async generators over sockets: back-pressure, and what happens at the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops

import rxws
from rxws.operators import map_async
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, Links
from support.peers.fake_tcp import loop_turns
from support.peers.raw import PATIENCE

PART = bytes(64 << 10)


class Download:
    """A generator of `count` parts that notes whether it was resumed too early."""

    def __init__(self, count: int | None = None) -> None:
        self._count = count
        self.conn: AnyConnection | None = None
        self.made = 0
        self.too_early = 0
        self.behind = asyncio.Event()  # set once the peer was behind
        self.closed = asyncio.Event()

    def watch(self, conn: AnyConnection) -> None:
        self.conn = conn
        conn.flow.writable.subscribe(self._on_writable)
        conn.incoming.subscribe(on_error=lambda _: None)

    def _on_writable(self, writable: bool) -> None:
        self._writable = writable
        if not writable:
            self.behind.set()

    async def parts(self, _: object = None) -> AsyncGenerator[bytes]:
        try:
            while self._count is None or self.made < self._count:
                self.made += 1
                yield PART
                self.too_early += not self._writable
        finally:
            await loop_turns(50)
            self.closed.set()

    async def handle(self, conn: AnyConnection) -> AsyncGenerator[bytes]:
        self.watch(conn)
        async with aclosing(self.parts()) as parts:
            async for part in parts:
                yield part


KINDS = ["generator", "from_async_iterable", "map_async"]


def handler_of(download: Download, kind: str) -> Any:
    """Return a handler that sends a download."""

    def handler(conn: AnyConnection) -> Any:
        download.watch(conn)
        if kind == "from_async_iterable":
            return rxws.from_async_iterable(download.parts)
        return conn.incoming.pipe(map_async(download.parts))

    return download.handle if kind == "generator" else handler


@pytest.mark.promise("generator")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_does_not_resume_it_while_the_peer_is_behind(
    serve: Serve, raw_client: Dial, kind: str
) -> None:
    """A server does not resume the generator while the peer is behind, and loses nothing."""
    download = Download(count=256)
    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler_of(download, kind), codec=rxws.codecs.binary))
    rxws.setup(app)
    peer = await raw_client(await serve(app), receive_buffer=4096, reads=False)
    if kind == "map_async":
        await peer.frame(2, b"go")
    async with asyncio.timeout(PATIENCE):
        await download.behind.wait()
    await loop_turns(100)
    assert download.conn is not None
    assert download.made < 256
    assert download.conn.flow.buffered <= 2 * len(PART)
    peer.start_reading()
    assert [one.payload for one in await peer.messages(256)] == [PART] * 256
    assert download.too_early == 0
    if kind == "map_async":
        await peer.close(1000)
        peer.fin()
    else:
        assert (await peer.answer_close()).code == 1000
    await peer.until_ended()


@pytest.mark.promise("generator")
@pytest.mark.usefixtures("read_path")
async def test_at_both_ends_an_observable_is_not_pulled_while_the_peer_is_behind(
    link: Links,
) -> None:
    """`from_async_iterable` is not pulled while the peer is behind, on the client as well."""
    download = Download(count=256)

    def compose(conn: AnyConnection) -> Any:
        download.watch(conn)
        return rxws.from_async_iterable(download.parts)

    one = await link(compose, receive_buffer=4096, codec=rxws.codecs.binary)
    async with asyncio.timeout(PATIENCE):
        await download.behind.wait()
    assert [frame.payload for frame in await one.peer.messages(256)] == [PART] * 256
    assert download.too_early == 0
    assert (await one.peer.answer_close()).code == 1000
    await one.ended(1000, by="local", error=None)
    async with asyncio.timeout(PATIENCE):
        await download.closed.wait()


@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("how", ["close", "fin", "rst"])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_end_of_the_connection_closes_the_generator(
    serve: Serve, raw_client: Dial, how: str, kind: str
) -> None:
    """However the peer leaves, the generator is closed before the route handler returns."""
    download = Download()
    returned: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    handler = handler_of(download, kind)
    if kind == "map_async":  # "hold" would pause reading, so that the end is not seen

        def handler(conn: AnyConnection) -> Any:
            download.watch(conn)
            return conn.incoming.pipe(map_async(download.parts, when_busy="drop"))

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            return await rxws.upgrade(request, handler, codec=rxws.codecs.binary)
        finally:
            returned.set_result(download.closed.is_set())

    peer = await raw_client(await serve(route))
    if kind == "map_async":
        await peer.frame(2, b"go")
    await peer.messages(3)
    if how == "close":
        await peer.close(4001)
    elif how == "fin":
        peer.fin()
    else:
        await peer.rst()
    async with asyncio.timeout(PATIENCE):
        assert await returned
    assert download.too_early == 0


class Stuck:
    """A generator whose cleanup waits for `may_end`."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()
        self.cleaning = asyncio.Event()
        self.ended = asyncio.Event()

    async def handle(self, conn: AnyConnection) -> AsyncGenerator[str]:
        conn.incoming.subscribe(on_error=lambda _: None)
        try:
            yield "started"
            await asyncio.Event().wait()
        finally:
            self.cleaning.set()
            await self.may_end.wait()
            self.ended.set()


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "rxws"]


async def test_close_timeout_bounds_the_cleanup(
    serve: Serve, raw_client: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    """A generator that does not end within `close_timeout` is logged once; the route returns."""
    stuck, returned = Stuck(), asyncio.Event()

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            return await rxws.upgrade(request, stuck.handle, close_timeout=0.05)
        finally:
            returned.set()

    app = web.Application()
    app.router.add_get("/", route)
    rxws.setup(app)
    peer = await raw_client(await serve(app))
    await peer.messages(1)
    await peer.close(1000)
    peer.fin()
    async with asyncio.timeout(PATIENCE):
        await stuck.cleaning.wait()
        await returned.wait()
        stuck.may_end.set()
        await stuck.ended.wait()
    [message] = warnings_of(caplog)
    assert "has not ended within 0.05 s of its cancellation" in message
    assert "Stuck.handle" in message


async def shut_down_while_cleaning(
    stuck: Stuck, raw_client: Dial, drain: float, close_timeout: float, *, before: bool
) -> None:
    """Shut down an application whose generator cleans up; `before` lets the peer leave first."""
    app = web.Application()
    app.router.add_get("/", rxws.websocket(stuck.handle, close_timeout=close_timeout))
    rxws.setup(app, drain=drain)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=600.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    peer = await raw_client(runner.addresses[0][1])
    await peer.messages(1)
    async with asyncio.timeout(PATIENCE):
        if before:
            await peer.close(1000)
            peer.fin()
            await stuck.cleaning.wait()
            await runner.cleanup()
        else:
            cleaning = asyncio.create_task(runner.cleanup())
            await peer.answer_close()
            await cleaning


@pytest.mark.promise("cleanup")
@pytest.mark.parametrize("before", [False, True], ids=["running", "cleaning up"])
async def test_drain_bounds_the_cleanup_at_shutdown(
    raw_client: Dial, caplog: pytest.LogCaptureFixture, before: bool
) -> None:
    """A shutdown waits `drain` seconds for a generator's cleanup, then logs it once."""
    stuck = Stuck()
    with caplog.at_level(logging.WARNING, "rxws"):
        await shut_down_while_cleaning(stuck, raw_client, 0.1, 600.0, before=before)
    [message] = warnings_of(caplog)
    assert "has not ended within 0.1 s of its cancellation" in message
    stuck.may_end.set()
    async with asyncio.timeout(PATIENCE):
        await stuck.ended.wait()


@pytest.mark.promise("cleanup")
async def test_a_cleanup_within_drain_is_waited_for_at_shutdown(
    raw_client: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    """At shutdown `drain` counts instead of `close_timeout`: the generator may take that long."""
    stuck = Stuck()
    asyncio.get_running_loop().call_later(0.1, stuck.may_end.set)
    await shut_down_while_cleaning(stuck, raw_client, PATIENCE, 0.001, before=False)
    assert stuck.ended.is_set()
    assert warnings_of(caplog) == []


@pytest.mark.promise("cleanup")
@pytest.mark.parametrize("kind", ["coroutine", "generator"])
async def test_the_cleanup_is_not_interrupted_by_a_second_cancellation(
    serve: Serve, raw_client: Dial, kind: str
) -> None:
    """A `finally` block that awaits runs to its end: the task is cancelled once."""
    log: list[str] = []

    async def clean_up() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            log.append("clean")

    async def coroutine(conn: AnyConnection) -> None:
        conn.incoming.subscribe(on_error=lambda _: None)
        await clean_up()

    async def generator(conn: AnyConnection) -> AsyncGenerator[str]:
        conn.incoming.subscribe(on_error=lambda _: None)
        yield "a"
        await clean_up()

    handler: Any = coroutine if kind == "coroutine" else generator
    returned = asyncio.Event()

    async def route(request: web.Request) -> web.StreamResponse:
        try:
            return await rxws.upgrade(request, handler)
        finally:
            log.append("returned")
            returned.set()

    peer = await raw_client(await serve(route))
    await peer.rst()
    async with asyncio.timeout(PATIENCE):
        await returned.wait()
    assert log == ["clean", "returned"]


async def test_an_endless_generator_serves_other_connections_meanwhile(
    serve: Serve, raw_client: Dial
) -> None:
    """A generator that never waits does not keep the server from other connections."""

    async def flood(conn: AnyConnection) -> AsyncGenerator[str]:
        conn.incoming.subscribe(on_error=lambda _: None)
        while True:
            yield "x"

    app = web.Application()
    app.router.add_get("/flood", rxws.websocket(flood))
    app.router.add_get("/echo", rxws.websocket(rxws.pipeline()))
    rxws.setup(app, drain=0.2)
    port = await serve(app)
    flooded = await raw_client(port, "/flood")
    await flooded.messages(1000)
    other = await raw_client(port, "/echo")
    await other.text("hello")
    [answer] = await other.messages(1)
    assert answer.payload == b"hello"
    await flooded.rst()


# --- many at once -----------------------------------------------------------------------------


class Burst:
    """Makes 100 large messages that are all ready at the same time."""

    COUNT = 100

    def __init__(self) -> None:
        self._begun = 0
        self._all_begun = asyncio.Event()

    async def _ready(self) -> None:
        self._begun += 1
        if self._begun == self.COUNT:
            self._all_begun.set()
        await self._all_begun.wait()

    async def result(self, _: object) -> bytes:
        await self._ready()
        return PART

    async def items(self, _: object = None) -> AsyncGenerator[bytes]:
        await self._ready()
        yield PART
        yield PART

    def merged(self, conn: AnyConnection) -> Any:
        return rx.merge(*[rxws.from_async_iterable(self.items) for _ in range(self.COUNT)])


BURSTS: dict[str, tuple[int, Callable[[Burst], Callable[[AnyConnection], Any]]]] = {
    "results": (1, lambda it: lambda conn: conn.incoming.pipe(map_async(it.result, 100, False))),
    "ordered results": (1, lambda it: lambda conn: conn.incoming.pipe(map_async(it.result, 100))),
    "streams": (2, lambda it: lambda conn: conn.incoming.pipe(map_async(it.items, 100, False))),
    "ordered streams": (2, lambda it: lambda conn: conn.incoming.pipe(map_async(it.items, 100))),
    "merged": (2, lambda it: it.merged),
}


@pytest.mark.promise("generator")
@pytest.mark.parametrize("kind", BURSTS)
async def test_items_that_are_ready_at_once_wait_for_the_peer(serve: Serve, kind: str) -> None:
    """Large items of many tasks that are ready at once are sent as fast as the peer reads them."""
    each, handler_of_burst = BURSTS[kind]
    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler_of_burst(Burst())))
    rxws.setup(app)
    async with rxws.connect(f"ws://127.0.0.1:{await serve(app)}/") as conn:
        for _ in range(Burst.COUNT):
            conn.outgoing.on_next(b"x")
        async with asyncio.timeout(PATIENCE):
            received = conn.incoming.pipe(ops.take(each * Burst.COUNT), ops.map(len), ops.to_list())
            assert await received == [len(PART)] * each * Burst.COUNT
