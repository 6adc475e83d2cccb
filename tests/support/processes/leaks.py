"""A program that opens and ends connections in every way, and prints what they leave as JSON.

It needs its own process, because it counts all objects and turns the garbage collector off.
`RXWS_TRANSPORT` chooses the read path. Arguments: the number of runs of each way, and the ways
(default: all).
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import repeat
from types import FunctionType
from typing import Any

import aiohttp
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from support.peers.frames import Op
from support.peers.raw import Peer, RawClient, RawServer

Way = Callable[[], Awaitable[None]]

WATCHED = ("rxws", "reactivex", "aiohttp")


# --- what is counted ----------------------------------------------------------------------------


def kinds() -> Counter[str]:
    """Count the objects of rxws, reactivex and aiohttp by type, closures included."""
    found: Counter[str] = Counter()
    for one in gc.get_objects():
        of = one if isinstance(one, FunctionType) else type(one)
        module: Any = of.__module__
        if isinstance(module, str) and module.partition(".")[0] in WATCHED:
            found[f"{module}.{of.__qualname__}"] += 1
    return found


def held(loop: Any) -> Counter[str]:
    """Count tasks, timers and descriptors of the process."""
    timers = [handle for handle in loop._scheduled if not handle.cancelled()]
    return Counter(
        tasks=len(asyncio.all_tasks(loop)), timers=len(timers), fds=len(os.listdir("/proc/self/fd"))
    )


patience = 5.0  # seconds that what is over may take to be gone


async def settled(quiet: Counter[str]) -> Counter[str]:
    """Wait until nothing more is held than without connections; return the excess."""
    global patience
    loop = asyncio.get_running_loop()
    deadline = time.monotonic() + patience
    # Nothing tells when the kernel has dropped a socket, so there is no event to wait for.
    while (more := held(loop) - quiet) and time.monotonic() < deadline:  # noqa: ASYNC110  # see above
        await asyncio.sleep(0.001)
    if more:
        patience = 0.05  # a second check would find the same objects
    for _ in range(5):  # the last callbacks release their objects
        await asyncio.sleep(0)
    return more


async def many_times(way: Way, count: int) -> None:
    """Run a way `count` times, up to ten at once."""
    for begin in range(0, count, 10):
        await asyncio.gather(*(way() for _ in range(begin, min(begin + 10, count))))


async def examined(way: Way, cycles: int, quiet: Counter[str]) -> dict[str, Any]:
    """Return what one run leaves to the collector, what it leaks, and what many runs leak."""
    await many_times(way, 10)  # what is made once, and kept, is made now
    await settled(quiet)
    gc.collect()
    before = kinds()
    gc.disable()
    try:
        await way()
        left = await settled(quiet)
        to_collect = kinds() - before
    finally:
        gc.enable()
    gc.collect()
    leaked = kinds() - before
    objects = len(gc.get_objects())
    await many_times(way, cycles)
    await settled(quiet)
    gc.collect()
    return {
        "held": left,
        "to collect": to_collect,
        "leaked": leaked,
        "grown": len(gc.get_objects()) - objects,
    }


# --- connections at the server ------------------------------------------------------------------


class Refusal(Exception):
    """Raised by handlers and pipelines."""


def boom(_: object) -> Any:
    raise Refusal


async def wait_for_ever(*_: object) -> None:
    await asyncio.Event().wait()


async def async_boom(_: object) -> None:
    await asyncio.sleep(0)
    raise Refusal


def discarding(conn: rxws.Connection[Any, Any]) -> None:
    conn.incoming.subscribe(on_error=lambda _: None)


async def count_down(conn: rxws.Connection[Any, Any]) -> AsyncIterator[str]:
    discarding(conn)
    for number in range(3):
        await asyncio.sleep(0)
        yield str(number)


async def generate_boom(argument: Any) -> AsyncIterator[str]:
    yield "word"
    await async_boom(argument)


async def generate_for_ever(argument: Any) -> AsyncIterator[str]:
    if isinstance(argument, rxws.Connection):
        discarding(argument)
    yield "word"
    await wait_for_ever()


async def generate_close(_: object) -> AsyncIterator[rxws.Close]:
    yield rxws.Close(4001)
    await wait_for_ever()


async def first_only(conn: rxws.Connection[Any, Any]) -> None:
    async for message in rxws.iterate(conn.incoming):
        conn.outgoing.on_next(message)
        break


def by_subjects(conn: rxws.Connection[Any, Any]) -> Any:
    """Subjects, closures and a timer of the handler, in a reference cycle."""
    subject: Subject[Any] = Subject()
    subject.subscribe(conn.outgoing)
    conn.incoming.pipe(ops.share(), ops.debounce(60.0)).subscribe(
        lambda value: subject.on_next((conn, value)), scheduler=conn.scheduler
    )
    conn.closed.subscribe(lambda close: subject.on_next((conn, close)))
    return conn.incoming.pipe(ops.map(lambda value: (conn, value)[1]))


def observed(conn: rxws.Connection[Any, Any]) -> None:
    conn.errors.subscribe(lambda error: conn.outgoing.on_next(type(error).__name__))
    conn.incoming.subscribe(boom)


def too_much(conn: rxws.Connection[Any, Any]) -> Any:
    return rx.from_iterable(["x" * 1000] * 10_000)


echo = rxws.pipeline()


async def says(peer: Peer) -> None:
    await peer.text("word")


async def closes(peer: Peer) -> None:
    await peer.text("word")
    await peer.messages(1)
    await peer.close(1000)
    await peer.closing()
    peer.fin()
    await peer.until_ended()


async def is_closed(peer: Peer) -> None:
    await peer.text("word")
    await peer.answer_close()
    await peer.until_ended()


async def says_and_goes(peer: Peer) -> None:
    await peer.text("word")
    await peer.frame(Op.PING, b"heard")
    await peer.until(lambda: any(one.opcode == Op.PONG for one in peer.frames))


async def half_closes(peer: Peer) -> None:
    await says_and_goes(peer)
    peer.fin()
    await peer.until_ended()


async def violates(peer: Peer) -> None:
    await peer.text("word")
    await peer.frame(0x3)
    await peer.answer_close()


async def does_not_read(peer: Peer) -> None:
    await peer.stop_reading()  # the handler needs no word
    await asyncio.sleep(0)
    peer.start_reading()
    await peer.until_ended()


def at_server(
    handler: Any, play: Callable[[Peer], Awaitable[None]], **options: Any
) -> tuple[Any, Callable[[Peer], Awaitable[None]]]:
    return rxws.websocket(handler, **options), play


SERVER: dict[str, tuple[Any, Callable[[Peer], Awaitable[None]]]] = {
    "the peer closes": at_server(echo, closes),
    "the peer is cut off": at_server(echo, says_and_goes),
    "the peer half-closes": at_server(echo, half_closes),
    "the peer breaks the protocol": at_server(echo, violates),
    "the handler closes": at_server(lambda conn: rx.of("a", rxws.Close(4001)), is_closed),
    "the handler raises": at_server(boom, is_closed),
    "the handler raises in a coroutine": at_server(async_boom, is_closed),
    "a mapper raises": at_server(rxws.pipeline(ops.map(boom)), is_closed),
    "a subscriber raises": at_server(lambda conn: conn.incoming.subscribe(boom), is_closed),
    "a subscriber raises, observed": at_server(observed, closes),
    "a frame is not decoded": at_server(echo, is_closed, codec=rxws.codecs.json),
    "a coroutine is cancelled": at_server(wait_for_ever, says_and_goes, hold_timeout=0.05),
    "spawned coroutines are cancelled": at_server(
        rxws.pipeline(rxws.operators.map_async(wait_for_ever, max_concurrent=2)), half_closes
    ),
    "a spawned coroutine raises": at_server(
        rxws.pipeline(rxws.operators.map_async(async_boom)), is_closed
    ),
    "a generator ends": at_server(count_down, is_closed),
    "a generator raises": at_server(generate_boom, is_closed),
    "a generator is cancelled": at_server(generate_for_ever, closes),
    "a generator closes with a code": at_server(generate_close, is_closed),
    "an async iterable ends": at_server(
        lambda conn: rxws.from_async_iterable(lambda: count_down(conn)), is_closed
    ),
    "an async iterable raises": at_server(
        lambda conn: rxws.from_async_iterable(lambda: generate_boom(conn)), is_closed
    ),
    "an async iterable is cancelled": at_server(
        lambda conn: rxws.from_async_iterable(lambda: generate_for_ever(conn)), closes
    ),
    "a stream of map_async raises": at_server(
        rxws.pipeline(rxws.operators.map_async(generate_boom)), is_closed
    ),
    "streams of map_async are cancelled": at_server(
        rxws.pipeline(rxws.operators.map_async(generate_for_ever, when_busy="switch")), half_closes
    ),
    "an Observable of map_async is disposed": at_server(
        rxws.pipeline(rxws.operators.map_async(lambda _: rx.never(), when_busy="switch")),
        half_closes,
    ),
    "a stream of map_async is limited": at_server(
        rxws.pipeline(rxws.operators.map_async(generate_boom), rxws.operators.rate_limit(1, per=1)),
        is_closed,
    ),
    "an async iterable is limited": at_server(
        lambda conn: rxws.from_async_iterable(lambda: count_down(conn)).pipe(
            rxws.operators.rate_limit(9, per=1)
        ),
        is_closed,
    ),
    "iterate is left early": at_server(first_only, closes),
    "subjects and closures in a ring": at_server(by_subjects, closes),
    "subjects and closures in a ring, cut off": at_server(by_subjects, says_and_goes),
    "the bound is hit": at_server(too_much, does_not_read, max_buffer=1 << 14, close_timeout=0.1),
}

REFUSED: dict[str, dict[str, str | None]] = {
    "no version": {"Sec-WebSocket-Version": None},
    "another origin": {"Origin": "https://evil.example"},
    "a bad key": {"Sec-WebSocket-Key": "short"},
}


async def server_ways() -> tuple[dict[str, Way], web.AppRunner]:
    """Return the ways in which a server's connections end."""
    app = web.Application()
    for number, (handler, _) in enumerate(SERVER.values()):
        app.router.add_get(f"/{number}", handler)
    rxws.setup(app)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port: int = runner.addresses[0][1]

    def way(number: int, play: Callable[[Peer], Awaitable[None]]) -> Way:
        async def once() -> None:
            extension = {"Sec-WebSocket-Extensions": "permessage-deflate" if number == 0 else None}
            peer = await RawClient.connect(port, f"/{number}", headers=extension)
            try:
                await play(peer)
            finally:
                await peer.rst()

        return once

    def refused(headers: dict[str, str | None]) -> Way:
        async def once() -> None:
            peer = await RawClient.connect(port, "/0", headers=headers, reads=False)
            assert peer.head.status >= 400
            await peer.rst()

        return once

    ways = {name: way(number, play) for number, (name, (_, play)) in enumerate(SERVER.items())}
    return ways | {
        f"refused: {name}": refused(headers) for name, headers in REFUSED.items()
    }, runner


# --- connections at the client ------------------------------------------------------------------


async def talks(conn: rxws.Connection[Any, Any]) -> None:
    """Send and receive a message, with closures and a timer."""
    heard: asyncio.Future[object] = asyncio.Future()
    conn.incoming.pipe(ops.map(lambda value: (conn, value)), ops.debounce(60.0)).subscribe(
        on_error=lambda _: None, scheduler=conn.scheduler
    )

    def hear(value: object) -> None:
        if not heard.done():
            heard.set_result((conn, value))

    conn.incoming.subscribe(hear)
    conn.outgoing.on_next("word")
    await heard


async def takes_one(conn: rxws.Connection[Any, Any]) -> None:
    conn.outgoing.on_next("word")
    async for _ in rxws.iterate(conn.incoming):
        break


async def raises(conn: rxws.Connection[Any, Any]) -> None:
    await talks(conn)
    raise Refusal


async def is_cancelled(conn: rxws.Connection[Any, Any]) -> None:
    await talks(conn)
    asyncio.current_task().cancel()  # type: ignore[union-attr] # there is one
    await asyncio.sleep(0)


async def subscriber_raises(conn: rxws.Connection[Any, Any]) -> None:
    conn.incoming.subscribe(boom)
    conn.outgoing.on_next("word")
    await conn.closed


async def waits(conn: rxws.Connection[Any, Any]) -> None:
    conn.incoming.pipe(
        rxws.operators.map_async(wait_for_ever, max_concurrent=2, flow=conn.flow)
    ).subscribe(on_error=lambda _: conn.outgoing.on_completed())
    conn.outgoing.on_next("word")
    await conn.closed


def at_once() -> Iterator[float]:
    """Reconnect without a wait."""
    return repeat(0.0)


async def answers(peer: Peer) -> None:
    """Answer a message and the close."""
    await peer.messages(1)
    await peer.text("answer")
    await peer.answer_close()
    await peer.until_ended()


async def then_closes(peer: Peer) -> None:
    await peer.messages(1)
    await peer.text("answer")
    await peer.close(4001)
    await peer.closing()


async def then_resets(peer: Peer) -> None:
    await peer.messages(1)
    await peer.text("answer")
    await peer.rst()


async def then_half_closes(peer: Peer) -> None:
    await peer.messages(1)
    await peer.text("answer")
    peer.fin()
    await peer.until_ended()


async def then_violates(peer: Peer) -> None:
    await peer.messages(1)
    await peer.text("answer")
    await peer.frame(0x3)
    await peer.answer_close()


CLIENT: dict[str, tuple[Any, Callable[[Peer], Awaitable[None]]]] = {
    "the body ends": (talks, answers),
    "the body raises": (raises, answers),
    "the body is cancelled": (is_cancelled, answers),
    "the server closes": (waits, then_closes),
    "the server resets": (waits, then_resets),
    "the server half-closes": (waits, then_half_closes),
    "the server breaks the protocol": (waits, then_violates),
    "a subscriber raises at the client": (subscriber_raises, answers),
    "iterate is left early at the client": (takes_one, answers),
}

ANSWERED: dict[str, dict[str, Any]] = {
    "with 403": {"reply": b"HTTP/1.1 403 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno"},
    "with garbage": {"reply": b"SSH-2.0\r\n\r\n"},
    "with a subprotocol": {"headers": {"Sec-WebSocket-Protocol": "soap"}},
    "with a wrong accept key": {"headers": {"Sec-WebSocket-Accept": "no"}},
}


def client_ways(server: RawServer, session: aiohttp.ClientSession) -> dict[str, Way]:
    """Return the ways in which a client's connections end or fail to open."""

    def way(
        body: Any, play: Callable[[Peer], Awaitable[None]], given: aiohttp.ClientSession | None
    ) -> Way:
        async def served() -> None:
            async with accepted(server) as peer:
                await play(peer)

        async def dialled() -> None:
            async with rxws.connect(server.url, session=given) as conn:
                await body(conn)

        async def once() -> None:
            serving, dialling = asyncio.create_task(served()), asyncio.create_task(dialled())
            await asyncio.wait([serving, dialling])
            serving.result()
            try:
                dialling.result()
            except (Refusal, rxws.RxwsError, asyncio.CancelledError):
                pass
            finally:
                del serving, dialling  # the traceback refers to this frame: a reference cycle

        return once

    def unopened(answer: dict[str, Any] | None) -> Way:
        async def served() -> None:
            if answer is None:
                peer = await server.accept_tcp()
                peer.start_reading()
            else:
                peer = await server.accept(**answer)
                peer.fin()
            await peer.until_ended()
            await peer.rst()
            server.peers.remove(peer)

        async def once() -> None:
            serving = asyncio.create_task(served())
            with suppress(rxws.ConnectError):
                await rxws.connect(server.url, open_timeout=0.05 if answer is None else 10.0)
            await serving

        return once

    async def nobody() -> None:
        with suppress(rxws.ConnectError):
            await rxws.connect("ws://127.0.0.1:1/")

    def reconnecting(open_feed: Callable[[str, Callable[[object], None]], Any]) -> Way:
        """Lose a connection, open another one, and close that by disposing."""

        async def served() -> None:
            async with accepted(server) as peer:
                await then_half_closes(peer)
            async with accepted(server) as peer:
                await answers(peer)

        async def once() -> None:
            serving = asyncio.create_task(served())
            answered = 0
            done = asyncio.Event()

            def hear(_: object) -> None:
                nonlocal answered
                answered += 1
                if answered == 2:
                    done.set()

            subscription = open_feed(server.url, hear)
            async with asyncio.timeout(patience):
                await done.wait()
            subscription.dispose()
            await serving

        return once

    def by_connections(url: str, hear: Callable[[object], None]) -> Any:
        def asks(conn: rxws.Connection[Any, Any]) -> None:
            conn.outgoing.on_next("word")
            conn.incoming.subscribe(hear)

        return rxws.connections(url, backoff=at_once).subscribe(asks)

    def by_subject(url: str, hear: Callable[[object], None]) -> Any:
        subject: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(
            url, opening=lambda _: ["word"], backoff=at_once
        )
        return subject.subscribe(hear)

    ways = {name: way(body, play, None) for name, (body, play) in CLIENT.items()}
    ways["connections() reconnects"] = reconnecting(by_connections)
    ways["a WebSocketSubject reconnects"] = reconnecting(by_subject)
    ways["with a session of the user's"] = way(talks, answers, session)
    ways["no answer"] = unopened(None)
    ways["nobody listens"] = nobody
    return ways | {f"answered {name}": unopened(answer) for name, answer in ANSWERED.items()}


class accepted:  # noqa: N801 # a context manager
    """Accept a peer, and forget it at the end."""

    def __init__(self, server: RawServer) -> None:
        self.server = server

    async def __aenter__(self) -> Peer:
        self.peer = await self.server.accept()
        return self.peer

    async def __aexit__(self, *_: object) -> None:
        await self.peer.rst()
        self.server.peers.remove(self.peer)


# --- the program --------------------------------------------------------------------------------


async def main(cycles: int, names: list[str]) -> None:
    logging.getLogger("rxws").setLevel(logging.CRITICAL)  # what is raised here is meant to be
    gc.collect()
    gc.freeze()  # modules are not looked at
    found: dict[str, Any] = {}
    ways, runner = await server_ways()
    async with RawServer() as server, aiohttp.ClientSession() as session:
        ways |= client_ways(server, session)
        quiet = held(asyncio.get_running_loop())
        for name, way in ways.items():
            if not names or name in names:
                try:
                    found[name] = await examined(way, cycles, quiet)
                except BaseException as exc:
                    exc.add_note(f"in the way {name!r}")
                    raise
    await runner.cleanup()
    print(json.dumps({"path": rxws.transport_info().path, "ways": found}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2:]))
