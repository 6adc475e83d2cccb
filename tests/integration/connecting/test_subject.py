"""`WebSocketSubject` with servers on 127.0.0.1 that are killed, restarted, refuse or hang."""

from __future__ import annotations

import asyncio
import contextlib
import operator
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from reactivex import operators as ops

import rxws
from rxws import backoff
from rxws._core.errors import HandshakeError
from rxws.operators import map_async
from rxws.status import Closed, Open, Waiting
from support.fixtures import Serve

PATIENCE = 30.0  # seconds; the limit of every wait in a test
SOON = backoff.constant(0.01)

# Echoes each message and appends it to a log file, one line each.
SERVER = """
import sys
from aiohttp import web

async def handle(request):
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        with open(sys.argv[2], "a") as log:
            print(message.data, file=log, flush=True)
        await ws.send_str(message.data)
    return ws

app = web.Application()
app.router.add_get("/", handle)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=lambda *_: print("up", flush=True))
"""


@contextlib.asynccontextmanager
async def server(port: int, log: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the server as a process, and kill it at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVER, f"{port}", f"{log}", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            await process.stdout.readline()
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def until(stream: Any, condition: Callable[[Any], bool]) -> Any:
    """Wait for the first value for which the condition holds."""
    async with asyncio.timeout(PATIENCE):
        return await stream.pipe(ops.first(condition))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.promise("at-most-once")
async def test_no_message_is_sent_twice_across_restarts(tmp_path: Path) -> None:
    """Across restarts no message is sent twice, order is kept, and queued messages are sent."""
    port, log = free_port(), tmp_path / "log"
    feed = rxws.WebSocketSubject(
        f"ws://127.0.0.1:{port}/", codec=rxws.codecs.text, backoff=SOON, stable_after=0.0
    )
    number = 0

    def push(count: int) -> None:
        nonlocal number
        for _ in range(count):
            feed.on_next(f"{number}")
            number += 1

    echoes: list[int] = []
    push(10)
    subscription = feed.subscribe(lambda value: echoes.append(int(value)))
    for _ in range(3):
        async with server(port, log) as process:
            await until(feed.status, lambda status: isinstance(status, Open))
            push(10)
            last = f"{number - 1}"
            await until(feed, partial(operator.eq, last))
            push(200)
            process.kill()
            await until(feed.status, lambda status: isinstance(status, Waiting))
        push(10)
    async with server(port, log):
        await until(feed, lambda value: value == f"{number - 1}")
        feed.on_completed()
        await until(feed.status, lambda status: status == Closed(rxws.Close()))
    got = [int(line) for line in log.read_text().split()]
    assert got == sorted(set(got)), "sent twice, or out of order"
    assert feed.stats.sent == number
    assert feed.stats.queued == 0
    # Only messages that were sent shortly before a kill may be lost.
    assert set(range(number)) - set(got) <= {
        each for first in (20, 240, 460) for each in range(first, first + 200)
    }
    assert echoes == sorted(set(echoes))
    subscription.dispose()


@pytest.mark.promise("final")
async def test_a_401_is_final(serve: Serve) -> None:
    """After a 401 the subscriber gets a `HandshakeError` with a note, and nothing is retried."""
    asked = 0

    async def refuse(_: web.Request) -> web.StreamResponse:
        nonlocal asked
        asked += 1
        raise web.HTTPUnauthorized

    port = await serve(refuse)
    feed = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/", backoff=SOON)
    with pytest.raises(HandshakeError) as caught:
        await until(feed, bool)
    assert caught.value.status == 401
    assert any("Not retried" in note for note in caught.value.__notes__)
    assert asked == 1


async def test_a_redirect_to_a_websocket_address_is_final(serve: Serve) -> None:
    """A redirect to `ws://` is final, and the error names its target."""

    async def redirect(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("ws://elsewhere.invalid/")

    port = await serve(redirect)
    feed = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/", backoff=SOON)
    with pytest.raises(HandshakeError, match=r"redirected to 'ws://elsewhere\.invalid/'") as caught:
        await until(feed, bool)
    assert (caught.value.status, caught.value.headers["Location"]) == (
        302,
        "ws://elsewhere.invalid/",
    )
    assert any("Not retried" in note for note in caught.value.__notes__)


@pytest.mark.promise("channel")
async def test_channels_and_threads(serve: Serve) -> None:
    """Channels are subscribed again after a reconnect; another thread may push and unsubscribe."""
    asked: list[list[str]] = []
    left = asyncio.Event()

    def handler(conn: rxws.Connection[str, str]) -> None:
        mine: list[str] = []
        asked.append(mine)

        def on_next(value: str) -> None:
            mine.append(value)
            if value == "die":
                conn.outgoing.on_next(rxws.Close(1012))
            else:
                conn.outgoing.on_next(f"a:{value}")
            if value == "-a":
                left.set()

        conn.incoming.subscribe(on_next, lambda _: None)

    port = await serve(rxws.websocket(handler, codec=rxws.codecs.text))
    feed = rxws.WebSocketSubject(
        f"ws://127.0.0.1:{port}/", codec=rxws.codecs.text, backoff=SOON, opening=lambda _: ["hi"]
    )
    channel = feed.channel("+a", "-a", lambda value: value.split(":")[0], key="a")
    values: list[str] = []
    subscription = channel.subscribe(values.append)

    def push_and_leave() -> None:
        feed.on_next("x")
        subscription.dispose()

    await until(feed, lambda value: value == "a:+a")
    feed.on_next("die")
    await until(feed.status, lambda status: isinstance(status, Waiting))
    await until(feed, lambda value: value == "a:+a")
    thread = threading.Thread(target=push_and_leave)
    thread.start()
    await until(feed.status, lambda status: isinstance(status, Closed) and bool(status.close))
    thread.join()
    assert asked[0] == ["hi", "+a", "die"]
    async with asyncio.timeout(PATIENCE):
        await left.wait()
    assert asked[1] == ["hi", "+a", "x", "-a"]
    assert values == ["a:hi", "a:+a", "a:hi", "a:+a"] or values[2:] == ["a:hi", "a:+a", "a:x"]


async def test_map_async_pauses_the_current_connection(serve: Serve) -> None:
    """`map_async` over a subject pauses its current connection."""

    def handler(conn: rxws.Connection[str, str]) -> None:
        conn.incoming.subscribe()
        for number in range(50):
            conn.outgoing.on_next(f"{number}")

    port = await serve(rxws.websocket(handler, codec=rxws.codecs.text))
    feed = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/", codec=rxws.codecs.text, backoff=SOON)
    paused: list[bool] = []

    async def look(value: str) -> str:
        await asyncio.sleep(0)
        paused.append("paused" in repr(feed.connection))
        return value

    async with asyncio.timeout(PATIENCE):
        got = await feed.pipe(map_async(look), ops.take(50), ops.to_list())
    assert got == [f"{number}" for number in range(50)]
    assert all(paused)


@pytest.mark.promise("left")
async def test_dispose_at_any_turn_leaves_nothing_open(serve: Serve) -> None:
    """Unsubscribing while a subject connects leaves no connection open; it stays usable."""

    def handler(conn: rxws.Connection) -> None:
        conn.incoming.subscribe(conn.outgoing)

    port = await serve(rxws.websocket(handler))
    feed = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/", backoff=SOON)
    for turns in range(40):
        subscription = feed.subscribe()
        for _ in range(turns):
            await asyncio.sleep(0)
        subscription.dispose()
        assert feed.connection is None
    feed.on_next("again")
    assert await until(feed, bool) == "again"


def test_a_subject_outlives_its_loop() -> None:
    """A subject whose loop was closed opens on the next loop."""
    statuses: list[object] = []
    feed = rxws.WebSocketSubject("ws://127.0.0.1:1/", backoff=backoff.constant(60.0))
    feed.status.subscribe(statuses.append)
    with pytest.raises(RuntimeError, match="no event loop is running"):
        feed.subscribe()
    assert feed.observers == []

    async def use() -> None:
        feed.subscribe()
        await until(feed.status, lambda status: isinstance(status, Waiting))

    asyncio.run(use())
    asyncio.run(use())
    feed.dispose()
    thread = threading.Thread(target=feed.on_next, args=("without a loop",))
    thread.start()
    thread.join()
    assert feed.stats.queued == 1
    names = [type(status).__name__ for status in statuses]
    assert names == ["Closed", "Connecting", "Waiting"] * 2 + ["Closed"]


def test_pushes_from_threads_between_two_loops() -> None:
    """A push from a thread while no loop runs does not block later pushes from threads."""
    port = free_port()
    feed = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/", backoff=SOON)
    got: list[str] = []
    left = asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            got.append(message.data)
            await ws.send_str(message.data)
        left.set()
        return ws

    async def refused() -> None:
        with feed.subscribe():
            await until(feed.status, lambda status: isinstance(status, Waiting))

    async def served() -> None:
        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        with feed.subscribe():
            await until(feed, "between".__eq__)
            echo = until(feed, "later".__eq__)  # subscribes before "later" is pushed
            await asyncio.gather(echo, asyncio.to_thread(feed.on_next, "later"))
        await left.wait()
        await runner.cleanup()

    asyncio.run(refused())
    thread = threading.Thread(target=feed.on_next, args=("between",))
    thread.start()
    thread.join()
    asyncio.run(served())
    assert got == ["between", "later"]


async def test_options_are_checked_by_the_constructor() -> None:
    """The constructor refuses invalid options."""
    url = "ws://127.0.0.1:1/"
    with pytest.raises(TypeError, match="autoclose"):
        rxws.WebSocketSubject(url, autoclose=True)  # type: ignore[call-overload] # on purpose
    with pytest.raises(TypeError, match="opening"):
        rxws.WebSocketSubject(url, opening=[])  # type: ignore[call-overload] # likewise
    with pytest.raises(TypeError, match="retryable"):
        rxws.WebSocketSubject(url, retryable=1)  # type: ignore[call-overload] # likewise
    with pytest.raises(ValueError, match="queue=0"):
        rxws.WebSocketSubject(url, queue=0)
    source = rxws.connections(url)
    with pytest.raises(TypeError, match="open_timeout: not with an Observable"):
        rxws.WebSocketSubject(source, open_timeout=1.0)
