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
from support.processes.examples import text
from support.virtual.manual_calls import Desk, settle
from support.virtual.session import Notes, Rig


def held(rig: Rig) -> bool:
    return rig.session.flow.gate.held


def noted(observable: rx.Observable[Any]) -> Notes[Any]:
    """Subscribe on the running loop, as rxws does it for a handler."""
    return Notes(observable, Clock(), scheduler=LoopScheduler.running())


@pytest.mark.parametrize("how", ["merge", "start_with"])
async def test_it_finds_its_connection_where_it_is_subscribed_by_hand(how: str) -> None:
    """Without a scheduler; inner sources are subscribed a turn later, and found all the same."""
    rig, desk = Rig(watch=True), Desk()
    if how == "merge":
        source = rx.merge(rig.conn.incoming, rx.never())
    else:
        source = rig.conn.incoming.pipe(ops.start_with("hello"))
    out: Notes[Any] = Notes(source.pipe(map_async(desk, max_concurrent=2)), Clock())
    await settle(rig)
    rig.peer.message("a", "b")
    await settle(rig)
    holding = held(rig)
    out.subscription.dispose()
    await settle(rig)
    assert holding


async def test_it_finds_its_connection_behind_other_operators() -> None:
    """However deep `incoming` stands in the chain."""
    rig, desk = Rig(watch=True), Desk()
    inner: rx.Observable[Any] = rig.conn.incoming.pipe(ops.map(str.upper), ops.filter(bool))
    deep: rx.Observable[Any] = inner.pipe(ops.flat_map(rx.just), ops.distinct_until_changed())
    out: Notes[Any] = Notes(deep.pipe(map_async(desk)), Clock())
    rig.peer.message("a")
    await settle(rig)
    assert held(rig)
    out.subscription.dispose()
    await settle(rig)


async def test_it_finds_its_connection_where_something_comes_first() -> None:
    """`start_with` subscribes `incoming` in a later turn."""
    rig, desk = Rig(watch=True), Desk()
    source = rig.conn.incoming.pipe(ops.start_with("hello"), map_async(desk))
    out = noted(source)
    await settle(rig)
    desk.finish("hello")
    await settle(rig)
    rig.peer.message("a", "b")
    await settle(rig)
    assert held(rig)
    desk.finish("a")
    await settle(rig)
    desk.finish("b")
    await settle(rig)
    assert not held(rig)
    assert out.values == ["hello!", "a!", "b!"]


async def test_a_connection_that_is_found_while_it_is_full_is_held() -> None:
    """Else all that comes while the first call is under way waits in memory, or is a Backlog."""
    rig, desk = Rig(watch=True), Desk()
    source = rig.conn.incoming.pipe(ops.start_with("hello"), map_async(desk))
    out = noted(source)
    await settle(rig)
    assert desk.begun == ["hello"]
    rig.peer.message(*map(str, range(2000)))
    await settle(rig)
    ends = list(out.ends)
    out.subscription.dispose()
    await settle(rig)
    assert ends == []


async def test_two_in_one_chain_both_hold_the_connection() -> None:
    """The second, if it is the slower one."""
    rig, slow = Rig(watch=True), Desk()

    async def fast(value: str) -> str:
        return value

    out: Notes[Any] = Notes(rig.conn.incoming.pipe(map_async(fast), map_async(slow)), Clock())
    rig.peer.message("a")
    await settle(rig)
    assert slow.begun == ["a"]
    holding = held(rig)
    out.subscription.dispose()
    await settle(rig)
    assert holding


async def test_iterate_behind_it_holds_the_connection() -> None:
    """While the body is busy."""
    rig = Rig(watch=True)
    busy: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def same(value: str) -> str:
        return value

    async def body() -> None:
        async for _ in rxws.iterate(rig.conn.incoming.pipe(map_async(same))):
            await settle(rig)
            busy.set_result(held(rig))
            await done

    task = asyncio.ensure_future(body())
    await settle(rig)
    rig.peer.message("a")
    holding = await asyncio.wait_for(busy, 10)
    task.cancel()
    await asyncio.wait([task])
    assert holding


async def test_a_connection_that_fn_asks_is_not_held() -> None:
    """The second call would wait for ever for an answer that it holds back itself."""
    rig, upstream = Rig(watch=True), Rig()

    async def ask(_: str) -> Any:
        return await upstream.conn.incoming.pipe(ops.first())

    source = rig.conn.incoming.pipe(ops.start_with("hello"), map_async(ask))
    out = noted(source)
    await settle(rig, upstream)
    upstream.peer.message("first")
    await settle(rig, upstream)
    assert out.values == ["first"]
    rig.peer.message("a")
    await settle(rig, upstream)
    upstream.peer.message("second")
    await settle(rig, upstream)
    values = list(out.values)
    out.subscription.dispose()
    await settle(rig, upstream)
    assert values == ["first", "second"]


async def test_a_connection_that_is_subscribed_below_is_not_held() -> None:
    """What follows on a result is no source, though the first value came within `subscribe`."""
    rig, desk = Rig(watch=True), Desk()
    below = ops.flat_map(lambda _: rig.conn.incoming)
    source: rx.Observable[str] = rx.from_list(list("abc"), scheduler=ImmediateScheduler())
    out: Notes[Any] = Notes(source.pipe(map_async(desk), below), Clock())
    await settle(rig)
    desk.finish("a")
    await settle(rig)
    desk.finish("b")
    await settle(rig)
    assert desk.begun == ["a", "b", "c"]
    holding = held(rig)
    out.subscription.dispose()
    await settle(rig)
    assert not holding


# --- coroutines in a pipeline: `map_async` holds the connection that its values come from ------


async def test_the_flow_is_held_while_it_is_full() -> None:
    """And let go when a place is free."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(map_async(desk, max_concurrent=2)))
    rig.peer.message("a")
    assert not held(rig)
    rig.peer.message("b")
    assert held(rig)
    rig.peer.message("c", "d")
    await settle(rig)
    assert desk.begun == ["a", "b"]
    assert rig.stats.received_messages == 2, "what the peer sends is its own to keep"
    desk.finish("a")
    await settle(rig)
    assert desk.begun == ["a", "b", "c"]
    desk.finish("b", "c")
    await settle(rig)
    desk.finish("d")
    await settle(rig)
    assert not held(rig)
    assert rig.messages == ["a!", "b!", "c!", "d!"]
    assert desk.most == 2


@pytest.mark.parametrize("overrun", [0, 1, 3])
async def test_any_number_of_messages_is_answered_in_order(overrun: int) -> None:
    """None waits in `map_async` but what was on its way."""
    count = 2000

    async def shout(message: str) -> str:
        await asyncio.sleep(0)
        return message.upper()

    rig = Rig(lambda conn: conn.incoming.pipe(map_async(shout)), overrun=overrun)
    rig.peer.message(*(f"n{number}" for number in range(count)))
    async with asyncio.timeout(30):
        while rig.stats.sent_messages < count:
            await settle(rig)
    assert rig.messages == [f"N{number}" for number in range(count)]


async def test_a_message_and_the_close_behind_it_are_both_answered() -> None:
    """One at a time: the close is not read before the answer has left."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(map_async(desk)))
    closed = rig.watch(rig.conn.closed)
    rig.peer.message("a", "b")
    rig.peer.close(1000)
    for value in "ab":
        await settle(rig)
        assert closed.values == []
        desk.finish(value)
    await settle(rig)
    assert rig.messages == ["a!", "b!"]
    assert rig.close_frame.code == 1000
    assert closed.values == [rxws.Close(1000)]
    assert desk.cancelled == []


@pytest.mark.parametrize("end", ["dispose", "fail", "error", "complete"])
async def test_however_it_ends_the_flow_is_let_go(end: str) -> None:
    """A hold that nobody can dispose would be for ever."""
    rig, desk, stop = Rig(watch=True), Desk(), Subject[int]()
    source = rx.merge(rig.conn.incoming, stop.pipe(ops.ignore_elements()))
    if end == "complete":
        source = rig.conn.incoming.pipe(ops.take(1))
    out: Notes[Any] = noted(source.pipe(map_async(desk)))
    await settle(rig)
    rig.peer.message("a")
    await settle(rig)
    assert held(rig)
    if end == "dispose":
        out.subscription.dispose()
    elif end == "fail":
        desk.fail("a", ValueError("mine"))
    elif end == "error":
        stop.on_error(ValueError("mine"))
    else:
        desk.finish("a")
    await settle(rig)
    assert not held(rig)


async def test_values_from_elsewhere_wait_though_the_flow_is_held() -> None:
    """The flow holds what it can hold."""
    rig, desk, topic = Rig(watch=True), Desk(), Subject[str]()
    out = noted(rx.merge(rig.conn.incoming, topic).pipe(map_async(desk)))
    await settle(rig)
    rig.peer.message("a")
    topic.on_next("t")
    rig.peer.message("b")
    await settle(rig)
    assert desk.begun == ["a"]
    for value in "atb":
        desk.finish(value)
        await settle(rig)
    assert out.values == ["a!", "t!", "b!"]


async def test_a_merge_holds_all_connections() -> None:
    """Whichever of them fills it."""
    one, other, desk = Rig(watch=True), Rig(watch=True), Desk()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = noted(source.pipe(map_async(desk)))
    await settle(one, other)
    one.peer.message("a")
    assert held(one)
    assert held(other)
    other.peer.message("b")
    await settle(one, other)
    assert desk.begun == ["a"]
    desk.finish("a")
    await settle(one, other)
    desk.finish("b")
    await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not held(one)
    assert not held(other)


async def test_a_connection_in_the_merge_that_has_ended_does_no_harm() -> None:
    """The other is held and let go as before."""
    one, other, desk = Rig(watch=True), Rig(watch=True), Desk()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = noted(source.pipe(map_async(desk)))
    await settle(one, other)
    one.peer.close(1000)
    other.peer.message("a", "b")
    await settle(one, other)
    assert held(other)
    for value in "ab":
        desk.finish(value)
        await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not held(other)


async def test_a_flow_that_is_given_is_held() -> None:
    """Where the values come from elsewhere."""
    rig, desk, topic = Rig(watch=True), Desk(), Subject[str]()
    out: Notes[Any] = Notes(topic.pipe(map_async(desk, flow=rig.conn.flow)), Clock())
    assert not held(rig)
    topic.on_next("a")
    assert held(rig)
    await settle()
    desk.finish("a")
    await settle()
    assert not held(rig)
    assert out.values == ["a!"]


async def test_a_flow_that_is_given_is_held_besides_the_sources() -> None:
    """Its own is found all the same."""
    rig, other, desk = Rig(watch=True), Rig(watch=True), Desk()
    mapped = rig.conn.incoming.pipe(map_async(desk, flow=other.conn.flow))
    out: Notes[Any] = Notes(mapped, Clock())
    rig.peer.message("a")
    assert held(rig)
    assert held(other)
    out.subscription.dispose()
    assert not held(rig)
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
        assert [await text(peer) for _ in range(count)] == [f"N{n}" for n in range(count)]
        await peer.send_str("last")
        await text(peer)
        await peer.close(code=1000)
