"""Threads, the event loop and contexts, on a real server with a plain aiohttp client."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops

import rxws
from support.fixtures import Serve
from support.processes.examples import receive_close, receive_text

PATIENCE = 30.0  # seconds; the limit of every wait in a test
AnyConnection = rxws.Connection[Any, Any]
Compose = Callable[[AnyConnection], Any]
Socket = aiohttp.ClientWebSocketResponse
USER: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.fixture
def dial(serve: Serve) -> Callable[..., Any]:
    """Serve a handler and connect to it: `async with dial(handler) as (conn, peer)`."""

    @asynccontextmanager
    async def dial(
        compose: Compose | None = None,
        *,
        middlewares: Any = (),
        **options: Any,
    ) -> AsyncIterator[tuple[AnyConnection, Socket]]:
        opened: asyncio.Future[AnyConnection] = asyncio.get_running_loop().create_future()

        def handler(conn: AnyConnection) -> Any:
            opened.set_result(conn)
            return compose(conn) if compose else None

        app = web.Application(middlewares=middlewares)
        app.router.add_get("/", rxws.websocket(handler, **options))
        rxws.setup(app)
        port = await serve(app)
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"ws://127.0.0.1:{port}/") as peer,
        ):
            yield await asyncio.wait_for(opened, PATIENCE), peer

    return dial


def in_thread(function: Callable[[], object]) -> Awaitable[object]:
    """Run a function in another thread while the loop keeps running."""
    return asyncio.wait_for(asyncio.to_thread(function), PATIENCE)


def is_loop_idle(thread: int) -> bool:
    """Return whether the event loop of a thread is waiting for an event."""
    frame = sys._current_frames()[thread]
    return frame.f_code.co_name == "select" and frame.f_locals["timeout"] != 0


@pytest.mark.skipif(
    os.environ.get("RXWS_TEST_LOOP") == "uvloop",
    reason="`is_loop_idle` supports asyncio's loop only",
)
async def test_a_message_from_a_thread_wakes_an_idle_loop(dial: Any) -> None:
    """A message from another thread is sent even if nothing else wakes the loop."""
    async with dial(heartbeat=None) as (conn, peer):
        loop_thread = threading.get_ident()
        given_up = threading.Event()

        def push() -> None:
            while not (is_loop_idle(loop_thread) or given_up.wait(0.001)):
                pass  # a loop has no event for "idle", so that the test polls
            conn.outgoing.on_next("wake up")

        thread = threading.Thread(target=push)
        thread.start()
        try:
            assert await receive_text(peer) == "wake up"
        finally:
            given_up.set()
            thread.join()


@pytest.mark.promise("order")
async def test_each_threads_messages_keep_their_order(dial: Any) -> None:
    """The messages of each thread keep their order, and none is lost."""
    per_thread, names = 500, "abcd"
    async with dial(max_buffer=1 << 24) as (conn, peer):
        barrier = threading.Barrier(len(names))

        def push(name: str) -> None:
            barrier.wait(PATIENCE)
            for number in range(per_thread):
                conn.outgoing.on_next(f"{name}{number}")

        threads = [threading.Thread(target=push, args=[name]) for name in names]
        for thread in threads:
            thread.start()
        got = [await receive_text(peer) for _ in range(per_thread * len(names))]
        for thread in threads:
            await in_thread(thread.join)
    for name in names:
        own = [message for message in got if message.startswith(name)]
        assert own == [f"{name}{number}" for number in range(per_thread)]


async def test_a_close_from_a_thread_follows_its_messages(dial: Any) -> None:
    """A close from another thread is sent after the messages of that thread."""
    async with dial() as (conn, peer):

        def push() -> None:
            conn.outgoing.on_next("last")
            conn.outgoing.on_next(rxws.Close(4001, "why"))

        await in_thread(push)
        assert await receive_text(peer) == "last"
        assert await receive_close(peer) == (4001, "why")


async def test_an_error_from_a_thread_closes_with_1011(dial: Any) -> None:
    """`outgoing.on_error()` from another thread closes with 1011."""
    async with dial() as (conn, peer):
        await in_thread(lambda: conn.outgoing.on_error(ValueError("secret")))
        assert await receive_close(peer) == (1011, "Unexpected Error")


async def test_all_notifications_run_on_the_loops_thread(dial: Any) -> None:
    """Messages, errors, flow and closes notify on the loop's thread, wherever they come from."""
    here = threading.get_ident()
    seen: dict[str, set[int]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda *_: seen.setdefault(name, set()).add(threading.get_ident())

    def compose(conn: AnyConnection) -> rx.Observable[str]:
        for name in ("incoming", "outgoing", "errors", "closed"):
            getattr(conn, name).subscribe(note(name), note(name), note(name))
        conn.flow.writable.subscribe(note("writable"))
        conn.incoming.pipe(ops.delay(0.01)).subscribe(note("timer"), scheduler=conn.scheduler)
        return conn.incoming.pipe(ops.debounce(0.01))

    async with dial(compose, codec=rxws.codecs.text) as (conn, peer):
        await peer.send_bytes(b"a fault")
        await peer.send_str("hello")
        assert await receive_text(peer) == "hello"
        await in_thread(lambda: conn.outgoing.on_next("from a thread"))
        assert await receive_text(peer) == "from a thread"
        await in_thread(conn.outgoing.on_completed)
        assert await receive_close(peer) == (1000, "")
        await asyncio.wait_for(conn.closed, PATIENCE)
    names = {"incoming", "outgoing", "errors", "closed", "writable", "timer"}
    assert seen == {name: {here} for name in names}


async def test_time_operators_start_no_threads(dial: Any) -> None:
    """Time operators start no threads, unlike RxPY's default scheduler."""
    before = set(threading.enumerate())

    def compose(conn: AnyConnection) -> rx.Observable[str]:
        return conn.incoming.pipe(
            ops.debounce(0.02), ops.delay(0.02), ops.timeout(60.0), ops.throttle_first(0.001)
        )

    async with dial(compose) as (_, peer):
        await peer.send_str("x")
        assert set(threading.enumerate()) == before
        assert await receive_text(peer) == "x"
        assert set(threading.enumerate()) == before


async def test_a_pause_disposed_in_a_thread_resumes_reading(dial: Any) -> None:
    """Disposing a pause in another thread wakes the loop and resumes reading."""
    async with dial(lambda conn: conn.incoming, heartbeat=None) as (conn, peer):
        pause = conn.flow.pause()
        for number in range(3):
            await peer.send_str(str(number))
        await in_thread(pause.dispose)
        assert [await receive_text(peer) for _ in range(3)] == ["0", "1", "2"]


async def test_handler_and_pipeline_see_the_requests_context(dial: Any) -> None:
    """The handler, its pipeline and later notifications see the request's context variables."""
    seen: dict[str, str] = {}

    def note(name: str) -> Callable[[Any], Any]:
        def look(value: Any) -> Any:
            seen[name] = USER.get()
            return value

        return look

    @web.middleware
    async def log_in(request: web.Request, handler: Any) -> web.StreamResponse:
        USER.set("ada")
        response: web.StreamResponse = await handler(request)
        return response

    async def compose(conn: AnyConnection) -> rx.Observable[Any]:
        note("handler")(None)
        conn.outgoing.subscribe(note("outgoing"))
        conn.closed.subscribe(note("closed"))
        return conn.incoming.pipe(
            ops.do_action(note("pipeline")), ops.debounce(0.01), ops.do_action(note("timer"))
        )

    async with dial(compose, middlewares=[log_in]) as (conn, peer):
        await peer.send_str("x")
        assert await receive_text(peer) == "x"
        del seen["outgoing"]
        await in_thread(lambda: conn.outgoing.on_next("from a thread"))
        assert await receive_text(peer) == "from a thread"
        await peer.close()
        await asyncio.wait_for(conn.closed, PATIENCE)
    assert seen == dict.fromkeys(["handler", "outgoing", "closed", "pipeline", "timer"], "ada")
    assert USER.get() == "nobody"


async def test_messages_after_the_loop_closed_are_dropped() -> None:
    """Messages sent after the loop closed are dropped without an exception."""
    kept: list[AnyConnection] = []

    async def life() -> None:
        async with rxws.serve(kept.append) as server, rxws.connect(server.url) as conn:
            kept.append(conn)

    await in_thread(lambda: asyncio.run(life()))
    assert len(kept) == 2
    for conn in kept:
        for _ in range(3):
            conn.outgoing.on_next("late")
        conn.outgoing.on_completed()


async def test_drained_waits_for_compression_in_an_executor(
    serve: Serve,
) -> None:
    """`drained` waits for large messages, which aiohttp compresses in an executor."""
    count, message = 100, "0123456789abcdef" * 2048

    async def handler(conn: AnyConnection) -> None:
        for _ in range(count):
            conn.outgoing.on_next(message)
            await conn.flow.drained()
        conn.outgoing.on_completed()

    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler))
    rxws.setup(app)
    port = await serve(app)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/", compress=15, autoclose=False) as peer,
    ):
        got = 0
        while (received := await peer.receive(PATIENCE)).type is aiohttp.WSMsgType.TEXT:
            got += 1
        assert (got, received.data) == (count, 1000)


async def test_another_thread_may_subscribe_to_kept_messages(
    dial: Callable[..., Any], read_path: str
) -> None:
    """A subscription in another thread gets the kept messages on the loop, and may end there."""
    del read_path
    loop = asyncio.get_running_loop()
    loop.set_debug(True)  # asyncio then raises if another thread does not wake the loop
    got: asyncio.Future[tuple[str, int]] = loop.create_future()
    async with dial() as (conn, peer):
        await peer.send_str("a")
        while not conn.flow.stats.received_messages:  # noqa: ASYNC110 # nobody subscribes yet
            await asyncio.sleep(0)
        subscription: Any = await in_thread(
            lambda: conn.incoming.subscribe(
                lambda text: got.set_result((text, threading.get_ident()))
            )
        )
        assert await asyncio.wait_for(got, PATIENCE) == ("a", threading.get_ident())
        hold = conn.flow.pause()
        await peer.send_str("b")
        closing = asyncio.ensure_future(peer.close())  # which waits behind the message
        while not conn.incoming.end_deferred:  # noqa: ASYNC110 # nothing reports it
            await asyncio.sleep(0)
        await in_thread(subscription.dispose)
        hold.dispose()
        assert (await asyncio.wait_for(conn.closed, PATIENCE)).code == 1000
        await closing
