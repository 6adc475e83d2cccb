"""`iterate`: the bridge to `async for`."""

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

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


def iterate(observable: rx.Observable[Any]) -> Any:
    """`rxws.iterate`, whose asynchronous iterator is a generator, too."""
    return rxws.iterate(observable)


async def following(values: Any) -> Any:
    return await asyncio.wait_for(anext(values), PATIENCE)


async def begun(values: Any) -> asyncio.Task[Any]:
    """Ask for the next value, and have that waited for."""
    task = asyncio.ensure_future(following(values))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_it_goes_through_the_values_and_ends_with_the_observable() -> None:
    """In order."""
    assert [value async for value in iterate(rx.of(1, 2, 3))] == [1, 2, 3]
    assert [value async for value in iterate(rx.empty())] == []


async def test_it_raises_what_on_error_brings_after_the_values_before_it() -> None:
    """The very exception."""
    error = ValueError("x")
    values = iterate(rx.concat(rx.of(1, 2), rx.throw(error)))
    assert [await following(values), await following(values)] == [1, 2]
    with pytest.raises(ValueError, match="x") as caught:
        await following(values)
    assert caught.value is error


async def test_the_end_of_a_connection_ends_it() -> None:
    """Well, or by ConnectionClosed."""
    for code, error in ((1000, StopAsyncIteration), (4001, ConnectionClosed)):
        virtual = VirtualSession()
        values = iterate(virtual.conn.incoming)
        waiting = await begun(values)
        virtual.peer.message("a")
        virtual.peer.close(code)
        assert await waiting == "a"
        waiting = await begun(values)
        virtual.settle()
        with pytest.raises(error):
            await waiting
        assert virtual.watch(virtual.conn.closed).values == [Close(code)]


async def test_nothing_is_subscribed_before_the_first_value_is_asked_for() -> None:
    """Until then messages are held back, as for anybody."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    virtual.peer.message("a")
    waiting = await begun(values)
    virtual.settle()
    assert await waiting == "a"
    await values.aclose()


async def test_while_the_body_is_busy_the_flow_is_held() -> None:
    """And goes on when the next value is asked for."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await begun(values)
    virtual.peer.message("a", "b", "c")
    got = [await waiting]
    assert not virtual.transport.reading
    for _ in range(2):
        virtual.run(10)
        assert not virtual.transport.reading
        waiting = await begun(values)
        virtual.settle()
        got.append(await waiting)
    assert got == ["a", "b", "c"]
    await values.aclose()


async def test_while_the_body_is_busy_with_what_was_on_its_way_the_flow_is_held() -> None:
    """A message that came after the hold was taken is one more that the body is busy with."""
    virtual = VirtualSession(overrun=1)
    values = iterate(virtual.conn.incoming)
    waiting = await begun(values)
    virtual.peer.message("a", "b")
    for expected in "ab":
        virtual.settle()
        assert await waiting == expected
        virtual.settle()
        assert not virtual.transport.reading, f"busy with {expected}"
        waiting = await begun(values)
    waiting.cancel()


async def test_what_was_on_its_way_comes_in_order_and_does_not_pile_up() -> None:
    """However many frames the wire delivers after a hold."""
    virtual = VirtualSession(overrun=2)
    values = iterate(virtual.conn.incoming)
    waiting = await begun(values)
    virtual.peer.message(*"abcdefgh")
    got: list[str] = []
    while len(got) < 8:
        virtual.settle()
        got.append(await waiting)
        assert virtual.stats.received_messages <= len(got) + 4
        waiting = await begun(values)
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
async def test_the_flow_is_found_through_whatever_operators(chain: Any) -> None:
    """Also through those that subscribe by way of the scheduler."""
    virtual = VirtualSession()
    values = iterate(chain(virtual.conn.incoming))
    waiting = await begun(values)
    for _ in range(5):
        await asyncio.sleep(0)  # the chain is subscribed to in these turns of the loop
    virtual.peer.message("a", "b", "c")
    await waiting
    assert not virtual.transport.reading
    await values.aclose()


async def test_two_connections_are_held_both() -> None:
    """A body that is busy with one's message reads of neither."""
    sessions = VirtualSession(), VirtualSession()
    values = iterate(rx.merge(*[virtual.conn.incoming for virtual in sessions]))
    waiting = await begun(values)
    for _ in range(3):
        await asyncio.sleep(0)  # as above
    sessions[0].peer.message("a")
    assert await waiting == "a"
    assert [virtual.transport.reading for virtual in sessions] == [False, False]
    await values.aclose()
    assert [virtual.transport.reading for virtual in sessions] == [True, True]


async def test_leaving_unsubscribes_and_lets_go() -> None:
    """By `break` or by an exception in the body; the next subscriber goes on from there."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await begun(values)
    virtual.peer.message("a", "b")
    assert await waiting == "a"
    await values.aclose()
    assert virtual.session.incoming.observed is False
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["b"]


async def test_cancelling_who_waits_unsubscribes() -> None:
    """And raises CancelledError, as any await."""
    virtual = VirtualSession()
    waiting = await begun(iterate(virtual.conn.incoming))
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert virtual.session.incoming.observed is False


async def test_values_of_other_threads_wake_the_loop() -> None:
    """They wait in memory: what is no connection cannot be held."""
    source: Subject[int] = Subject()

    def emit() -> None:
        for number in range(100):
            source.on_next(number)
        source.on_completed()

    values = iterate(source)
    waiting = await begun(values)
    thread = threading.Thread(target=emit)
    thread.start()
    got = [await waiting, *[value async for value in values]]
    thread.join()
    assert got == list(range(100))


async def test_what_no_hold_stops_waits_its_turn() -> None:
    """A source beside the connection goes on emitting while the body is busy."""
    virtual = VirtualSession()
    source: Subject[str] = Subject()
    values = iterate(virtual.conn.incoming.pipe(ops.merge(source)))
    waiting = await begun(values)
    for _ in range(3):
        await asyncio.sleep(0)  # the chain is subscribed to in these turns of the loop
    virtual.peer.message("a")
    source.on_next("1")
    source.on_next("2")
    assert [await waiting, await following(values), await following(values)] == ["a", "1", "2"]
    assert not virtual.transport.reading
    await values.aclose()
    assert virtual.transport.reading
