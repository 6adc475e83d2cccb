"""Coroutines in a pipeline: which connections `map_async` finds, and which it does not take."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject

import rxws
from rxws._core.loop_scheduler import LoopScheduler
from rxws.operators import map_async
from rxws.testing.clock import Clock
from support.fixtures import Serve
from support.processes.examples import receive_text
from support.subscriber import Subscriber
from support.virtual.manual_calls import ManualCalls, settle
from support.virtual.session import VirtualSession


def held(virtual: VirtualSession) -> bool:
    return virtual.session.flow.gate.held


def noted(observable: rx.Observable[Any]) -> Subscriber[Any]:
    """Subscribe on the running loop, as rxws does it for a handler."""
    return Subscriber(observable, Clock(), scheduler=LoopScheduler.running())


@pytest.mark.parametrize("how", ["merge", "start_with"])
async def test_it_finds_its_connection_where_it_is_subscribed_by_hand(how: str) -> None:
    """Without a scheduler; inner sources are subscribed a turn later, and found all the same."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    if how == "merge":
        source = rx.merge(virtual.conn.incoming, rx.never())
    else:
        source = virtual.conn.incoming.pipe(ops.start_with("hello"))
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls, max_concurrent=2)), Clock())
    await settle(virtual)
    virtual.peer.message("a", "b")
    await settle(virtual)
    holding = held(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert holding


async def test_it_finds_its_connection_behind_other_operators() -> None:
    """However deep `incoming` stands in the chain."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    inner: rx.Observable[Any] = virtual.conn.incoming.pipe(ops.map(str.upper), ops.filter(bool))
    deep: rx.Observable[Any] = inner.pipe(ops.flat_map(rx.just), ops.distinct_until_changed())
    out: Subscriber[Any] = Subscriber(deep.pipe(map_async(calls)), Clock())
    virtual.peer.message("a")
    await settle(virtual)
    assert held(virtual)
    out.subscription.dispose()
    await settle(virtual)


async def test_it_finds_its_connection_where_something_comes_first() -> None:
    """`start_with` subscribes `incoming` in a later turn."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(calls))
    out = noted(source)
    await settle(virtual)
    calls.finish("hello")
    await settle(virtual)
    virtual.peer.message("a", "b")
    await settle(virtual)
    assert held(virtual)
    calls.finish("a")
    await settle(virtual)
    calls.finish("b")
    await settle(virtual)
    assert not held(virtual)
    assert out.values == ["hello!", "a!", "b!"]


async def test_a_connection_that_is_found_while_it_is_full_is_held() -> None:
    """Else all that comes while the first call is under way waits in memory, or is a Backlog."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(calls))
    out = noted(source)
    await settle(virtual)
    assert calls.started == ["hello"]
    virtual.peer.message(*map(str, range(2000)))
    await settle(virtual)
    ends = list(out.ends)
    out.subscription.dispose()
    await settle(virtual)
    assert ends == []


async def test_two_in_one_chain_both_hold_the_connection() -> None:
    """The second, if it is the slower one."""
    virtual, slow = VirtualSession(watch=True), ManualCalls()

    async def fast(value: str) -> str:
        return value

    out: Subscriber[Any] = Subscriber(
        virtual.conn.incoming.pipe(map_async(fast), map_async(slow)), Clock()
    )
    virtual.peer.message("a")
    await settle(virtual)
    assert slow.started == ["a"]
    holding = held(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert holding


async def test_iterate_behind_it_holds_the_connection() -> None:
    """While the body is busy."""
    virtual = VirtualSession(watch=True)
    busy: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def same(value: str) -> str:
        return value

    async def body() -> None:
        async for _ in rxws.iterate(virtual.conn.incoming.pipe(map_async(same))):
            await settle(virtual)
            busy.set_result(held(virtual))
            await done

    task = asyncio.ensure_future(body())
    await settle(virtual)
    virtual.peer.message("a")
    holding = await asyncio.wait_for(busy, 10)
    task.cancel()
    await asyncio.wait([task])
    assert holding


async def test_a_connection_that_fn_asks_is_not_held() -> None:
    """The second call would wait for ever for an answer that it holds back itself."""
    virtual, upstream = VirtualSession(watch=True), VirtualSession()

    async def ask(_: str) -> Any:
        return await upstream.conn.incoming.pipe(ops.first())

    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(ask))
    out = noted(source)
    await settle(virtual, upstream)
    upstream.peer.message("first")
    await settle(virtual, upstream)
    assert out.values == ["first"]
    virtual.peer.message("a")
    await settle(virtual, upstream)
    upstream.peer.message("second")
    await settle(virtual, upstream)
    values = list(out.values)
    out.subscription.dispose()
    await settle(virtual, upstream)
    assert values == ["first", "second"]


async def test_a_connection_that_is_subscribed_below_is_not_held() -> None:
    """What follows on a result is no source, though the first value came within `subscribe`."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    below = ops.flat_map(lambda _: virtual.conn.incoming)
    source: rx.Observable[str] = rx.from_list(list("abc"), scheduler=ImmediateScheduler())
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls), below), Clock())
    await settle(virtual)
    calls.finish("a")
    await settle(virtual)
    calls.finish("b")
    await settle(virtual)
    assert calls.started == ["a", "b", "c"]
    holding = held(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert not holding


# --- coroutines in a pipeline: `map_async` holds the connection that its values come from ------


async def test_the_flow_is_held_while_it_is_full() -> None:
    """And let go when a place is free."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls, max_concurrent=2)))
    virtual.peer.message("a")
    assert not held(virtual)
    virtual.peer.message("b")
    assert held(virtual)
    virtual.peer.message("c", "d")
    await settle(virtual)
    assert calls.started == ["a", "b"]
    assert virtual.stats.received_messages == 2, "what the peer sends is its own to keep"
    calls.finish("a")
    await settle(virtual)
    assert calls.started == ["a", "b", "c"]
    calls.finish("b", "c")
    await settle(virtual)
    calls.finish("d")
    await settle(virtual)
    assert not held(virtual)
    assert virtual.messages == ["a!", "b!", "c!", "d!"]
    assert calls.max_running == 2


@pytest.mark.parametrize("overrun", [0, 1, 3])
async def test_any_number_of_messages_is_answered_in_order(overrun: int) -> None:
    """None waits in `map_async` but what was on its way."""
    count = 2000

    async def shout(message: str) -> str:
        await asyncio.sleep(0)
        return message.upper()

    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(shout)), overrun=overrun)
    virtual.peer.message(*(f"n{number}" for number in range(count)))
    async with asyncio.timeout(30):
        while virtual.stats.sent_messages < count:
            await settle(virtual)
    assert virtual.messages == [f"N{number}" for number in range(count)]


async def test_a_message_and_the_close_behind_it_are_both_answered() -> None:
    """One at a time: the close is not read before the answer has left."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls)))
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b")
    virtual.peer.close(1000)
    for value in "ab":
        await settle(virtual)
        assert closed.values == []
        calls.finish(value)
    await settle(virtual)
    assert virtual.messages == ["a!", "b!"]
    assert virtual.close_frame.code == 1000
    assert closed.values == [rxws.Close(1000)]
    assert calls.cancelled == []


@pytest.mark.parametrize("end", ["dispose", "fail", "error", "complete"])
async def test_however_it_ends_the_flow_is_let_go(end: str) -> None:
    """A hold that nobody can dispose would be for ever."""
    virtual, calls, stop = VirtualSession(watch=True), ManualCalls(), Subject[int]()
    source = rx.merge(virtual.conn.incoming, stop.pipe(ops.ignore_elements()))
    if end == "complete":
        source = virtual.conn.incoming.pipe(ops.take(1))
    out: Subscriber[Any] = noted(source.pipe(map_async(calls)))
    await settle(virtual)
    virtual.peer.message("a")
    await settle(virtual)
    assert held(virtual)
    if end == "dispose":
        out.subscription.dispose()
    elif end == "fail":
        calls.fail("a", ValueError("mine"))
    elif end == "error":
        stop.on_error(ValueError("mine"))
    else:
        calls.finish("a")
    await settle(virtual)
    assert not held(virtual)


async def test_values_from_elsewhere_wait_though_the_flow_is_held() -> None:
    """The flow holds what it can hold."""
    virtual, calls, topic = VirtualSession(watch=True), ManualCalls(), Subject[str]()
    out = noted(rx.merge(virtual.conn.incoming, topic).pipe(map_async(calls)))
    await settle(virtual)
    virtual.peer.message("a")
    topic.on_next("t")
    virtual.peer.message("b")
    await settle(virtual)
    assert calls.started == ["a"]
    for value in "atb":
        calls.finish(value)
        await settle(virtual)
    assert out.values == ["a!", "t!", "b!"]


async def test_a_merge_holds_all_connections() -> None:
    """Whichever of them fills it."""
    one, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = noted(source.pipe(map_async(calls)))
    await settle(one, other)
    one.peer.message("a")
    assert held(one)
    assert held(other)
    other.peer.message("b")
    await settle(one, other)
    assert calls.started == ["a"]
    calls.finish("a")
    await settle(one, other)
    calls.finish("b")
    await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not held(one)
    assert not held(other)


async def test_a_connection_in_the_merge_that_has_ended_does_no_harm() -> None:
    """The other is held and let go as before."""
    one, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = noted(source.pipe(map_async(calls)))
    await settle(one, other)
    one.peer.close(1000)
    other.peer.message("a", "b")
    await settle(one, other)
    assert held(other)
    for value in "ab":
        calls.finish(value)
        await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not held(other)


async def test_a_flow_that_is_given_is_held() -> None:
    """Where the values come from elsewhere."""
    virtual, calls, topic = VirtualSession(watch=True), ManualCalls(), Subject[str]()
    out: Subscriber[Any] = Subscriber(topic.pipe(map_async(calls, flow=virtual.conn.flow)), Clock())
    assert not held(virtual)
    topic.on_next("a")
    assert held(virtual)
    await settle()
    calls.finish("a")
    await settle()
    assert not held(virtual)
    assert out.values == ["a!"]


async def test_a_flow_that_is_given_is_held_besides_the_sources() -> None:
    """Its own is found all the same."""
    virtual, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    mapped = virtual.conn.incoming.pipe(map_async(calls, flow=other.conn.flow))
    out: Subscriber[Any] = Subscriber(mapped, Clock())
    virtual.peer.message("a")
    assert held(virtual)
    assert held(other)
    out.subscription.dispose()
    assert not held(virtual)
    assert not held(other)


async def test_on_a_server_a_burst_is_answered_in_order(serve: Serve) -> None:
    """Each message by a coroutine that takes its time; then the close is answered."""
    count = 300

    async def shout(message: str) -> str:
        await asyncio.sleep(0.001)
        return message.upper()

    handler = rxws.pipeline(map_async(shout, max_concurrent=4))
    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler, codec=rxws.codecs.text))
    rxws.setup(app)
    port = await serve(app)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/", autoclose=False) as peer,
    ):
        for number in range(count):
            await peer.send_str(f"n{number}")
        assert [await receive_text(peer) for _ in range(count)] == [f"N{n}" for n in range(count)]
        await peer.send_str("last")
        await receive_text(peer)
        await peer.close(code=1000)
