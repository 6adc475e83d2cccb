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
from support.virtual.session import Rig

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
        rig = Rig()
        values = iterate(rig.conn.incoming)
        waiting = await begun(values)
        rig.peer.message("a")
        rig.peer.close(code)
        assert await waiting == "a"
        waiting = await begun(values)
        rig.settle()
        with pytest.raises(error):
            await waiting
        assert rig.watch(rig.conn.closed).values == [Close(code)]


async def test_nothing_is_subscribed_before_the_first_value_is_asked_for() -> None:
    """Until then messages are held back, as for anybody."""
    rig = Rig()
    values = iterate(rig.conn.incoming)
    rig.peer.message("a")
    waiting = await begun(values)
    rig.settle()
    assert await waiting == "a"
    await values.aclose()


async def test_while_the_body_is_busy_the_flow_is_held() -> None:
    """And goes on when the next value is asked for."""
    rig = Rig()
    values = iterate(rig.conn.incoming)
    waiting = await begun(values)
    rig.peer.message("a", "b", "c")
    got = [await waiting]
    assert not rig.transport.reading
    for _ in range(2):
        rig.run(10)
        assert not rig.transport.reading
        waiting = await begun(values)
        rig.settle()
        got.append(await waiting)
    assert got == ["a", "b", "c"]
    await values.aclose()


async def test_while_the_body_is_busy_with_what_was_on_its_way_the_flow_is_held() -> None:
    """A message that came after the hold was taken is one more that the body is busy with."""
    rig = Rig(overrun=1)
    values = iterate(rig.conn.incoming)
    waiting = await begun(values)
    rig.peer.message("a", "b")
    for expected in "ab":
        rig.settle()
        assert await waiting == expected
        rig.settle()
        assert not rig.transport.reading, f"busy with {expected}"
        waiting = await begun(values)
    waiting.cancel()


async def test_what_was_on_its_way_comes_in_order_and_does_not_pile_up() -> None:
    """However many frames the wire delivers after a hold."""
    rig = Rig(overrun=2)
    values = iterate(rig.conn.incoming)
    waiting = await begun(values)
    rig.peer.message(*"abcdefgh")
    got: list[str] = []
    while len(got) < 8:
        rig.settle()
        got.append(await waiting)
        assert rig.stats.received_messages <= len(got) + 4
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
    rig = Rig()
    values = iterate(chain(rig.conn.incoming))
    waiting = await begun(values)
    for _ in range(5):
        await asyncio.sleep(0)  # the chain is subscribed to in these turns of the loop
    rig.peer.message("a", "b", "c")
    await waiting
    assert not rig.transport.reading
    await values.aclose()


async def test_two_connections_are_held_both() -> None:
    """A body that is busy with one's message reads of neither."""
    rigs = Rig(), Rig()
    values = iterate(rx.merge(*[rig.conn.incoming for rig in rigs]))
    waiting = await begun(values)
    for _ in range(3):
        await asyncio.sleep(0)  # as above
    rigs[0].peer.message("a")
    assert await waiting == "a"
    assert [rig.transport.reading for rig in rigs] == [False, False]
    await values.aclose()
    assert [rig.transport.reading for rig in rigs] == [True, True]


async def test_leaving_unsubscribes_and_lets_go() -> None:
    """By `break` or by an exception in the body; the next subscriber goes on from there."""
    rig = Rig()
    values = iterate(rig.conn.incoming)
    waiting = await begun(values)
    rig.peer.message("a", "b")
    assert await waiting == "a"
    await values.aclose()
    assert rig.session.incoming.observed is False
    seen = rig.watch(rig.conn.incoming)
    rig.run(1)
    assert seen.values == ["b"]


async def test_cancelling_who_waits_unsubscribes() -> None:
    """And raises CancelledError, as any await."""
    rig = Rig()
    waiting = await begun(iterate(rig.conn.incoming))
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert rig.session.incoming.observed is False


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
    rig = Rig()
    source: Subject[str] = Subject()
    values = iterate(rig.conn.incoming.pipe(ops.merge(source)))
    waiting = await begun(values)
    for _ in range(3):
        await asyncio.sleep(0)  # the chain is subscribed to in these turns of the loop
    rig.peer.message("a")
    source.on_next("1")
    source.on_next("2")
    assert [await waiting, await following(values), await following(values)] == ["a", "1", "2"]
    assert not rig.transport.reading
    await values.aclose()
    assert rig.transport.reading
