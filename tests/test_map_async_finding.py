"""Coroutines in a pipeline: which connections `map_async` finds, and which it does not take."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
import reactivex as rx
from desk import Desk, settle
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler
from rig import Notes, Rig

import rxws
from rxws._core.loop_scheduler import LoopScheduler
from rxws.operators import map_async
from rxws.testing.clock import Clock


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
