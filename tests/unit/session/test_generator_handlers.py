"""Async generators as handlers: what they may yield, and how they end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws import Close, Connection, ConnectionClosed
from rxws.testing import NeedsEventLoop, marbles, pair, simulate
from support.peers.raw import PATIENCE
from support.virtual.generator import Generator
from support.virtual.session import VirtualSession

AnyConnection = Connection[Any, Any]


# --- in virtual time --------------------------------------------------------------------------


async def three(_: AnyConnection) -> AsyncIterator[str]:
    for word in ("a", "b", "c"):
        yield word


class Words:
    """An async iterator that is no generator."""

    def __init__(self, _: AnyConnection) -> None:
        self._left = ["a", "b", "c"]

    def __aiter__(self) -> Words:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


async def coroutine_of_a_generator(conn: AnyConnection) -> AsyncIterator[str]:
    return three(conn)


HANDLERS: dict[str, Any] = {
    "async generator function": three,
    "function": lambda conn: three(conn),
    "async iterator": Words,
    "coroutine of a generator": coroutine_of_a_generator,
}


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_what_a_generator_yields_is_sent_and_its_end_closes(handler: Any) -> None:
    """The items of a generator are sent in order; its end closes with 1000."""
    virtual = VirtualSession(handler, watch=True)
    assert virtual.messages == []
    virtual.settle()
    assert virtual.messages == ["a", "b", "c"]
    assert virtual.close_frame.code == 1000
    virtual.peer.close(1000)
    virtual.settle()
    virtual.check_over(Close(1000))


def test_simulate_runs_a_generator_that_does_not_wait() -> None:
    """`simulate` runs a generator, as long as that awaits nothing."""
    sim = simulate(three)
    assert sim.outgoing == marbles("(a,b,c,|)")
    assert sim.closed == Close(1000)


def test_simulate_refuses_a_generator_that_waits() -> None:
    """`simulate` raises `NeedsEventLoop` for a generator that awaits asyncio."""

    async def slow(_: AnyConnection) -> AsyncIterator[str]:
        await asyncio.sleep(1)
        yield "a"

    with pytest.raises(NeedsEventLoop, match="slow"):
        simulate(slow)


def test_a_yielded_close_closes_and_ends_the_generator() -> None:
    """A yielded `Close` closes with its code; the generator is closed and not resumed."""
    log: list[str] = []

    async def handler(_: AnyConnection) -> AsyncIterator[str | Close]:
        try:
            yield "a"
            yield Close(4003, "no")
            log.append("resumed")
        finally:
            log.append("closed")

    virtual = VirtualSession(handler)
    virtual.settle()
    assert virtual.messages == ["a"]
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4003, "no")
    assert log == ["closed"]


def test_a_close_that_must_not_be_sent_is_a_fault(caplog: pytest.LogCaptureFixture) -> None:
    """A yielded `Close` with a code that must not be sent is a fault, as in a pipeline."""

    async def handler(_: AnyConnection) -> AsyncIterator[Close]:
        yield Close(1006)

    virtual = VirtualSession(handler)
    virtual.settle()
    assert virtual.close_frame.code == 1011
    assert len(caplog.records) == 1


def test_a_value_that_cannot_be_encoded_is_a_fault() -> None:
    """A yielded value that cannot be encoded goes to `conn.errors`; the next ones are sent."""

    async def handler(_: AnyConnection) -> AsyncIterator[Any]:
        yield object()
        yield "b"

    virtual = VirtualSession(handler, codec=rxws.codecs.text)
    errors = virtual.watch(virtual.conn.errors)
    virtual.settle()
    assert [type(error) for error in errors.values] == [rxws.EncodeError]
    assert virtual.messages == ["b"]


@pytest.mark.parametrize(
    ("error", "code"), [(ValueError("secret"), 1011), (ConnectionClosed(Close(4003)), 4003)]
)
def test_an_exception_closes_as_in_a_coroutine(
    error: Exception, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception half-way closes with 1011 and is logged; a `ConnectionClosed` with its code."""

    async def handler(_: AnyConnection) -> AsyncIterator[str]:
        yield "a"
        raise error

    virtual = VirtualSession(handler)
    virtual.settle()
    assert virtual.messages == ["a"]
    assert virtual.close_frame.code == code
    assert len(caplog.records) == (code == 1011)


# --- on an event loop -------------------------------------------------------------------------


async def test_a_generator_may_loop_over_incoming() -> None:
    """A generator may answer messages in a loop, and ends with the connection."""

    async def shout(conn: AnyConnection) -> AsyncIterator[str]:
        async for word in conn.incoming:
            yield word.upper()

    async with pair(shout) as (server, client):
        answers = asyncio.ensure_future(client.incoming.pipe(ops.take(2), ops.to_list()))
        client.outgoing.on_next("a")
        client.outgoing.on_next("b")
        assert await answers == ["A", "B"]
    assert await server.closed == Close(1000)


async def test_the_end_of_the_connection_runs_the_cleanup_to_its_end() -> None:
    """The end cancels the generator once; its `finally` block may await, and is waited for."""
    generator = Generator(waits_at=1, cleanup_turns=100)
    async with pair(lambda _: generator(), codec=rxws.codecs.json) as (_, client):
        assert await client.incoming.pipe(ops.first()) == 0
    assert generator.log == ["start", "cancelled", "cleanup", "closed"]


async def test_a_generator_whose_own_message_ends_the_connection_cleans_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """If a yielded message ends the connection, the `finally` block is not interrupted."""
    generator = Generator(cleanup_turns=100)
    async with pair(lambda _: generator(), codec=rxws.codecs.text) as (server, _):
        assert (await server.closed).code == 1011
    assert generator.log == ["start", "cleanup", "closed"]
    assert len(caplog.records) == 1, "an int is no text message"


async def test_a_generator_that_swallows_its_cancellation_is_closed() -> None:
    """A generator that goes on after its cancellation is closed at its next `yield`."""
    log: list[str] = []

    async def stubborn(_: AnyConnection) -> AsyncIterator[str]:
        yield "started"
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    log.append("swallowed")
                yield "late"
        finally:
            log.append("closed")

    async with pair(stubborn) as (server, client):
        assert await client.incoming.pipe(ops.first()) == "started"
    assert log == ["swallowed", "closed"]
    assert server.flow.stats.dropped == {"closed": 1}


async def test_what_the_cleanup_raises_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a `finally` block at the end of the connection is logged."""
    generator = Generator(waits_at=1, fails_with=ValueError("mine"))
    async with pair(lambda _: generator(), codec=rxws.codecs.json) as (_, client):
        assert await client.incoming.pipe(ops.first()) == 0
    [record] = caplog.records
    assert "mine" in record.getMessage()


class Stuck:
    """A generator, or a coroutine, whose cleanup takes until the test releases it."""

    def __init__(self) -> None:
        self.release = asyncio.Event()
        self.done = asyncio.Event()

    async def generate(self, _: AnyConnection) -> AsyncIterator[str]:
        try:
            yield "started"
            await asyncio.Event().wait()
        finally:
            await self.release.wait()
            self.done.set()

    async def wait(self, conn: AnyConnection) -> None:
        conn.outgoing.on_next("started")
        try:
            await asyncio.Event().wait()
        finally:
            await self.release.wait()
            self.done.set()


@pytest.mark.parametrize("kind", ["generate", "wait"])
async def test_the_cleanup_is_bounded_by_close_timeout(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A cleanup that takes longer than `close_timeout` is logged once, and no longer waited for."""
    stuck = Stuck()
    async with pair(getattr(stuck, kind), close_timeout=0.02) as (_, client):
        assert await client.incoming.pipe(ops.first()) == "started"
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "has not ended within 0.02 s of its cancellation" in record.getMessage()
    assert f"Stuck.{kind}" in record.getMessage()
    stuck.release.set()
    async with asyncio.timeout(PATIENCE):
        await stuck.done.wait()
    assert len(caplog.records) == 1


async def test_the_end_waits_for_streams_of_map_async() -> None:
    """The end of the connection waits for the `finally` blocks of the streams in a pipeline."""
    generator = Generator(waits_at=1, cleanup_turns=100)
    stream = rxws.pipeline(rxws.operators.map_async(generator, when_busy="drop"))
    async with pair(stream, codec=rxws.codecs.json) as (_, client):
        client.outgoing.on_next("go")
        assert await client.incoming.pipe(ops.first()) == 0
    assert generator.log == ["start", "cancelled", "cleanup", "closed"]


async def test_the_end_waits_for_from_async_iterable() -> None:
    """The end of the connection waits for the `finally` blocks of its async iterables."""
    generator = Generator(waits_at=1, cleanup_turns=100)
    source = rxws.from_async_iterable(generator)
    async with pair(lambda _: source, codec=rxws.codecs.json) as (_, client):
        assert await client.incoming.pipe(ops.first()) == 0
    assert generator.log == ["start", "cancelled", "cleanup", "closed"]
