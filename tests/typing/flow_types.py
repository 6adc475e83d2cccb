"""The types that type checkers infer for `map_async`, `rate_limit` and the overflow policies.

Nothing here runs: `make types` checks it with mypy and pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, assert_type

from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Connection, Flow, overflow
from rxws.operators import Backlog, map_async, rate_limit
from rxws.overflow import Latest, Overflow


@dataclass
class Tick:
    symbol: str
    price: float


async def look_up(symbol: str) -> Tick:
    await asyncio.sleep(0)
    return Tick(symbol, 1.0)


async def store(tick: Tick) -> None:
    await asyncio.sleep(0)


def promise(symbol: str) -> asyncio.Future[Tick]:
    raise NotImplementedError


def price(tick: Tick) -> float:
    return tick.price


def plain(symbol: str) -> Tick:
    return Tick(symbol, 1.0)


# --- map_async -------------------------------------------------------------------------------


def operators(flow: Flow) -> None:
    """`map_async` is an operator from the argument of its function to the awaited result."""
    assert_type(map_async(look_up), Callable[[Observable[str]], Observable[Tick]])
    assert_type(map_async(promise), Callable[[Observable[str]], Observable[Tick]])
    assert_type(map_async(store, 8, False, flow), Callable[[Observable[Tick]], Observable[None]])
    map_async(look_up, max_concurrent=8, ordered=False, flow=flow)
    map_async(look_up, flow=None)


async def words(line: str) -> AsyncIterator[str]:
    for word in line.split():
        yield word


async def prices(symbol: str) -> AsyncGenerator[Tick]:
    yield Tick(symbol, 1.0)


def ticks_of(symbol: str) -> Observable[Tick]:
    return rxws.from_async_iterable(lambda: prices(symbol))


def streams(conn: Connection[str, str]) -> None:
    """A function may return a stream: its items are emitted."""
    assert_type(conn.incoming.pipe(map_async(words)), Observable[str])
    assert_type(conn.incoming.pipe(map_async(prices, when_busy="switch")), Observable[Tick])
    assert_type(conn.incoming.pipe(map_async(ticks_of, 2, when_busy="drop")), Observable[Tick])
    assert_type(
        conn.incoming.pipe(map_async(words, 8, False), map_async(ticks_of)), Observable[Tick]
    )
    assert_type(rxws.from_async_iterable(lambda: words("a b")), Observable[str])
    map_async(words, when_busy="queue")  # type: ignore[arg-type]
    rxws.from_async_iterable(words("a b"))  # type: ignore[arg-type]
    rxws.from_async_iterable(lambda: look_up("a"))  # type: ignore[arg-type, return-value]


def chains(conn: Connection[str, str]) -> None:
    """A chain keeps the types."""
    ticks = conn.incoming.pipe(map_async(look_up))
    assert_type(ticks, Observable[Tick])
    assert_type(ticks.pipe(ops.map(price)), Observable[float])
    assert_type(conn.incoming.pipe(map_async(look_up), map_async(store)), Observable[None])


class Service:
    async def answer(self, question: str) -> str:
        return question

    def as_handler(self, conn: Connection[str, str]) -> Observable[str]:
        """`map_async` accepts a method."""
        return conn.incoming.pipe(map_async(self.answer, max_concurrent=4))


def handlers(service: Service) -> None:
    rxws.websocket(service.as_handler, codec=rxws.codecs.text)
    rxws.pipeline(map_async(service.answer))


def backlog(error: Backlog) -> None:
    assert_type(error.waiting, int)
    caught: rxws.RxwsError = error
    raise caught


def mistakes(conn: Connection[str, str], other: Connection[bytes, bytes]) -> None:
    # A plain function, a coroutine or None.
    map_async(plain)  # type: ignore[arg-type]
    map_async(look_up("a"))  # type: ignore[arg-type]
    map_async(None)  # type: ignore[arg-type]

    # A function of another type than the source.
    other.incoming.pipe(map_async(look_up))  # type: ignore[arg-type]

    # Unknown options and options of the wrong type.
    map_async(look_up, max_concurrent="8")  # type: ignore[arg-type]
    map_async(look_up, flow=conn)  # type: ignore[arg-type]
    map_async(look_up, concurrency=8)  # type: ignore[call-arg]


# --- rate_limit ------------------------------------------------------------------------------


def rates(conn: Connection[str, str]) -> None:
    """`rate_limit` keeps the type of its source."""
    assert_type(conn.incoming.pipe(rate_limit(10, per=1)), Observable[str])
    ticks = conn.incoming.pipe(rate_limit(10, 0.5, 20, "drop"), map_async(look_up))
    assert_type(ticks, Observable[Tick])
    rxws.pipeline(rate_limit(10, per=1, excess=rxws.Close(1008), flow=conn.flow))

    rate_limit(1.5, per=1)  # type: ignore[arg-type]
    rate_limit(10, per="1s")  # type: ignore[arg-type]
    rate_limit(10, per=1, excess="close")  # type: ignore[arg-type]
    rate_limit(10)  # type: ignore[call-arg]


# --- overflow --------------------------------------------------------------------------------


def symbol(tick: Tick) -> str:
    return tick.symbol


def policies(conn: Connection[str, str], any_key: Callable[[Any], Hashable]) -> None:
    assert_type(overflow.latest(), Latest)
    assert_type(overflow.latest(symbol), Latest)
    assert_type(overflow.latest(key=any_key), Latest)
    overflow.latest(None)
    overflow.latest(len)
    overflow.latest(lambda tick: (tick["symbol"], tick["market"]))
    names: list[Overflow] = ["close", "drop_oldest", "drop_newest", overflow.latest()]
    assert_type(names[0], Overflow)


def echo(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


async def options() -> None:
    """`overflow=` has the same type at both ends."""
    rxws.websocket(echo, codec=rxws.codecs.text, overflow=overflow.latest(len))
    rxws.websocket(echo, codec=rxws.codecs.text, overflow="drop_oldest")
    async with rxws.connect("ws://peer.example/", overflow=overflow.latest()) as conn:
        assert_type(conn, Connection[str | bytes, str | bytes])


def policy_mistakes() -> None:
    overflow.latest("symbol")  # type: ignore[arg-type]
    overflow.latest(lambda tick: [tick])  # type: ignore[arg-type, return-value]
    rxws.websocket(echo, codec=rxws.codecs.text, overflow=overflow.latest)  # type: ignore[call-overload]
    rxws.websocket(echo, codec=rxws.codecs.text, overflow="latest")  # type: ignore[call-overload]


# --- flow ------------------------------------------------------------------------------------


async def flow(conn: Connection[str, str]) -> None:
    with conn.flow.pause():
        await conn.flow.drained()
    waiting: Awaitable[None] = conn.flow.drained()
    await waiting
    assert_type(conn.flow.writable, Observable[bool])
    assert_type(conn.flow.latency, Observable[float])
    assert_type(conn.flow.buffered, int)
    assert_type(conn.flow.stats.paused, float)
    assert_type(conn.flow.stats.dropped["overflow"], int)
