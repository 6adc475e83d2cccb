"""The types that type checkers infer for `rxws.testing` and recordings.

Nothing here runs: `make types` checks it with mypy and pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_type

from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Close, Codec, Connection, Recording, Stats, codecs, viz
from rxws.testing import (
    Clock,
    Pair,
    Sent,
    Simulation,
    TestServer,
    Timeline,
    difference,
    marbles,
    pair,
    serve,
    simulate,
)

NUMBERS: Codec[int, float] = Codec(encode=str, decode=int)


def plain(conn: Connection) -> Observable[str | bytes]:
    return conn.incoming


def text(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


def numbers(conn: Connection[int, float]) -> Observable[float]:
    return conn.incoming.pipe(ops.map(float))


@rxws.websocket(codec=codecs.text, heartbeat=None)
def decorated(conn: Connection[str, str]) -> Observable[str]:
    return conn.incoming


async def coroutine(conn: Connection[str, str]) -> None: ...


def gets_text(conn: Connection[str, str]) -> None: ...


def simulations() -> None:
    """A simulation has the types of its codec, or text and binary without one."""
    assert_type(simulate(plain, "a"), Simulation[str | bytes, str | bytes])
    assert_type(simulate(text, "a", codec=codecs.text), Simulation[str, str])
    assert_type(simulate(coroutine, "a", codec=codecs.text), Simulation[str, str])
    assert_type(simulate(numbers, "1", codec=NUMBERS), Simulation[int, float])
    assert_type(simulate(decorated, "a"), Simulation[str, str])
    assert_type(simulate(decorated, "a", max_buffer=10), Simulation[str, str])
    simulate(text, "a", codec=codecs.json, values={"a": [1], 2: 3})
    simulate(lambda conn: gets_text(conn), "a", codec=codecs.text, max_buffer=10, until=5, step=0.1)
    simulate(plain, Recording(), heartbeat=None)
    simulate(plain, max_bufer=1)  # type: ignore[call-overload] # misspelled
    simulate(numbers, "1")  # type: ignore[arg-type] # no codec


def results(sim: Simulation[str, str]) -> None:
    assert_type(sim.outgoing, Timeline)
    assert_type(sim.outgoing.values, list[Any])
    assert_type(sim.outgoing.times, list[float])
    assert_type(sim.closed, Close | None)
    assert_type(sim.failure, Exception | None)
    assert_type(sim.wire, list[Sent])
    assert_type(sim.stats, Stats)
    assert_type(sim.open_subscriptions, int)
    assert_type(marbles("a|", step=0.1, values={"a": 1}, error=KeyError()), Timeline)
    assert_type(sim.outgoing == marbles("a"), bool)
    assert_type(difference(sim.outgoing, marbles("a")), list[str])
    assert_type(Timeline.of(Recording().lane("x")), Timeline)


def labels(feed: rxws.WebSocketSubject[Any, Any], conn: Connection[str, str]) -> None:
    """A label is the name of a field, or a function of a value."""
    recording = Recording(label="price")
    recording.label = lambda value: value["price"]
    Recording.of(conn, label=len)
    assert_type(viz.watch(feed, ops.map(str), label=str.upper), viz.View)
    Recording(label=5)  # type: ignore[arg-type] # neither
    viz.watch(conn, label=["price"])  # type: ignore[arg-type] # two names


async def pairs() -> None:
    """Each end of a pair has the types of its codec."""
    async with pair(plain) as (server, client):
        assert_type(server, Connection[str | bytes, str | bytes])
        assert_type(client, Connection[str | bytes, str | bytes])
    async with pair(text, codec=codecs.text) as texts:
        assert_type(texts, Pair[str, str, str, str])
    async with pair(numbers, codec=NUMBERS, peer_codec=codecs.text) as (one, two):
        assert_type(one, Connection[int, float])
        assert_type(two, Connection[str, str])
    assert_type(pair(), Pair[str | bytes, str | bytes, str | bytes, str | bytes])
    await pair().aclose()


async def servers() -> None:
    async with serve(text, "/x", codec=codecs.text) as server:
        assert_type(server, TestServer)
        assert_type(server.url, str)


def recordings(conn: Connection[str, str], clock: Clock) -> Observable[str]:
    recording = Recording.of(conn)
    assert_type(recording, Recording)
    assert_type(recording.tap("x")(conn.incoming), Observable[str])
    tap: Callable[[Observable[str]], Observable[str]] = recording.tap("x")
    assert_type(recording.replay(2, scheduler=clock), Observable[Any])
    assert_type(rxws.Recording.load("x"), Recording)
    return conn.incoming.pipe(tap)
