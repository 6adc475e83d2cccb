"""`iterate`: an Observable in `async for`."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws import Close, ConnectionClosed
from support.virtual.session import VirtualSession

PATIENCE = 30.0  # seconds to wait before the test fails


def iterate(observable: rx.Observable[Any]) -> Any:
    """Return `rxws.iterate`'s iterator, typed as the generator that it is."""
    return rxws.iterate(observable)


async def next_value(values: Any) -> Any:
    return await asyncio.wait_for(anext(values), PATIENCE)


async def request_next(values: Any) -> asyncio.Task[Any]:
    """Ask for the next value in a task, and let it start waiting."""
    task = asyncio.ensure_future(next_value(values))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_iterate_yields_all_values_and_ends() -> None:
    """`iterate` yields all values in order and ends with the completion."""
    assert [value async for value in iterate(rx.of(1, 2, 3))] == [1, 2, 3]
    assert [value async for value in iterate(rx.empty())] == []


async def test_iterate_raises_the_error_after_the_values_before_it() -> None:
    """`iterate` raises the Observable's error itself, after the values before it."""
    error = ValueError("x")
    values = iterate(rx.concat(rx.of(1, 2), rx.throw(error)))
    assert [await next_value(values), await next_value(values)] == [1, 2]
    with pytest.raises(ValueError, match="x") as caught:
        await next_value(values)
    assert caught.value is error


async def test_iterate_ends_with_the_connection() -> None:
    """A clean close ends the iteration; another one raises ConnectionClosed."""
    for code, error in ((1000, StopAsyncIteration), (4001, ConnectionClosed)):
        virtual = VirtualSession()
        values = iterate(virtual.conn.incoming)
        waiting = await request_next(values)
        virtual.peer.message("a")
        virtual.peer.close(code)
        assert await waiting == "a"
        waiting = await request_next(values)
        virtual.settle()
        with pytest.raises(error):
            await waiting
        assert virtual.watch(virtual.conn.closed).values == [Close(code)]


async def test_iterate_subscribes_when_the_first_value_is_requested() -> None:
    """`iterate` subscribes when the first value is requested; messages are held until then."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    virtual.peer.message("a")
    waiting = await request_next(values)
    virtual.settle()
    assert await waiting == "a"
    await values.aclose()


async def test_reading_is_paused_while_the_body_runs() -> None:
    """Reading is paused while the loop's body runs, and resumes with the next request."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b", "c")
    got = [await waiting]
    assert not virtual.transport.reading
    for _ in range(2):
        virtual.run(10)
        assert not virtual.transport.reading
        waiting = await request_next(values)
        virtual.settle()
        got.append(await waiting)
    assert got == ["a", "b", "c"]
    await values.aclose()


async def test_reading_stays_paused_for_messages_that_arrived_late() -> None:
    """Reading stays paused for each message that arrived after the pause."""
    virtual = VirtualSession(overrun=1)
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b")
    for expected in "ab":
        virtual.settle()
        assert await waiting == expected
        virtual.settle()
        assert not virtual.transport.reading, f"busy with {expected}"
        waiting = await request_next(values)
    waiting.cancel()


async def test_messages_that_arrive_during_a_pause_do_not_pile_up() -> None:
    """Messages that arrive during a pause are yielded in order, and few are buffered."""
    virtual = VirtualSession(overrun=2)
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message(*"abcdefgh")
    got: list[str] = []
    while len(got) < 8:
        virtual.settle()
        got.append(await waiting)
        assert virtual.stats.received_messages <= len(got) + 4
        waiting = await request_next(values)
    assert got == list("abcdefgh")
    waiting.cancel()


@pytest.mark.parametrize(
    "chain",
    [
        lambda incoming: incoming.pipe(ops.map(str), ops.filter(bool)),
        lambda incoming: incoming.pipe(ops.share()),
        lambda incoming: incoming.pipe(ops.start_with("a")),
        lambda incoming: rx.merge(incoming, rx.never()),
    ],
    ids=["map", "share", "start_with", "merge"],
)
async def test_the_connection_is_found_behind_operators(chain: Any) -> None:
    """The connection is found behind operators, also those that subscribe by the scheduler."""
    virtual = VirtualSession()
    values = iterate(chain(virtual.conn.incoming))
    waiting = await request_next(values)
    for _ in range(5):
        await asyncio.sleep(0)  # the chain is subscribed in these turns of the loop
    virtual.peer.message("a", "b", "c")
    await waiting
    assert not virtual.transport.reading
    await values.aclose()


async def test_both_merged_connections_are_paused() -> None:
    """While the body runs, reading is paused on all merged connections."""
    sessions = VirtualSession(), VirtualSession()
    values = iterate(rx.merge(*[virtual.conn.incoming for virtual in sessions]))
    waiting = await request_next(values)
    for _ in range(3):
        await asyncio.sleep(0)  # as above
    sessions[0].peer.message("a")
    assert await waiting == "a"
    assert [virtual.transport.reading for virtual in sessions] == [False, False]
    await values.aclose()
    assert [virtual.transport.reading for virtual in sessions] == [True, True]


async def test_leaving_the_loop_unsubscribes_and_resumes() -> None:
    """Leaving the loop unsubscribes and resumes; the next subscriber gets the rest."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b")
    assert await waiting == "a"
    await values.aclose()
    assert virtual.session.incoming.observed is False
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["b"]


async def test_cancelling_a_request_unsubscribes() -> None:
    """Cancelling a waiting request raises CancelledError and unsubscribes."""
    virtual = VirtualSession()
    waiting = await request_next(iterate(virtual.conn.incoming))
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert virtual.session.incoming.observed is False


async def test_values_of_other_threads_wake_the_loop() -> None:
    """Values of other threads wake the loop, and are buffered."""
    source: Subject[int] = Subject()

    def emit() -> None:
        for number in range(100):
            source.on_next(number)
        source.on_completed()

    values = iterate(source)
    waiting = await request_next(values)
    thread = threading.Thread(target=emit)
    thread.start()
    got = [await waiting, *[value async for value in values]]
    thread.join()
    assert got == list(range(100))


async def test_values_of_other_sources_are_buffered_while_the_body_runs() -> None:
    """Values of a merged source that is no connection are buffered while the body runs."""
    virtual = VirtualSession()
    source: Subject[str] = Subject()
    values = iterate(virtual.conn.incoming.pipe(ops.merge(source)))
    waiting = await request_next(values)
    for _ in range(3):
        await asyncio.sleep(0)  # the chain is subscribed in these turns of the loop
    virtual.peer.message("a")
    source.on_next("1")
    source.on_next("2")
    assert [await waiting, await next_value(values), await next_value(values)] == ["a", "1", "2"]
    assert not virtual.transport.reading
    await values.aclose()
    assert virtual.transport.reading
