"""`on_loop`: notifications of other threads on the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.internal import noop
from reactivex.scheduler.eventloop import (  # noqa: TID251 # the first is what `await` passes
    AsyncIOScheduler,
    AsyncIOThreadSafeScheduler,
)
from reactivex.subject import Subject

import rxws
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws.operators._on_loop import on_loop
from rxws.testing import marbles, simulate
from support.loops import running_in_thread
from support.subscriber import PATIENCE, Subscriber
from support.virtual.session import VirtualSession


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


async def test_notifications_of_another_thread_arrive_on_the_loop_in_order() -> None:
    """Values and the completion of another thread arrive on the loop, in order."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))

    def emit() -> None:
        for value in "abc":
            source.on_next(value)
        source.on_completed()

    in_thread(emit)
    assert seen.notifications == []
    await seen.end()
    assert seen.notifications == ["a", "b", "c", "|"]
    assert seen.threads == {threading.get_ident()}


async def test_an_error_of_another_thread_arrives_on_the_loop() -> None:
    """An error of another thread arrives on the loop, after the values before it."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    error = ValueError("x")

    def emit() -> None:
        source.on_next("a")
        source.on_error(error)

    in_thread(emit)
    await seen.end()
    assert seen.notifications == ["a", error]


async def test_notifications_on_the_loop_pass_at_once() -> None:
    """Notifications on the loop pass within the call."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    source.on_next("a")
    source.on_completed()
    assert seen.notifications == ["a", "|"]


async def test_a_value_of_another_thread_comes_before_what_the_loop_emits_later() -> None:
    """What the loop emits later, such as the end, does not overtake a value of another thread."""
    other: Subject[str] = Subject()
    here: Subject[str] = Subject()
    seen = Subscriber(rx.merge(other, here).pipe(on_loop()))

    def emit() -> None:
        other.on_next("a")
        other.on_completed()

    in_thread(emit)
    here.on_next("b")
    here.on_completed()
    await seen.end()
    assert seen.notifications == ["a", "b", "|"]


async def test_time_operators_above_on_loop_start_no_threads() -> None:
    """Time operators above `on_loop` use the loop's timers instead of threads."""
    before = set(threading.enumerate())
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(ops.debounce(0.01), ops.delay(0.01), ops.take(1), on_loop()))
    source.on_next("a")
    assert set(threading.enumerate()) == before
    await seen.end()
    assert seen.notifications == ["a", "|"]
    assert seen.threads == {threading.get_ident()}
    assert set(threading.enumerate()) == before


async def test_disposing_drops_values_that_a_thread_emitted_before() -> None:
    """After `dispose`, values that a thread emitted before are not delivered."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    in_thread(lambda: source.on_next("a"))
    seen.subscription.dispose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen.notifications == []
    assert source.observers == []


async def test_on_loop_can_be_awaited() -> None:
    """An Observable of a timer thread can be awaited; without `on_loop` that can hang."""
    assert await asyncio.wait_for(rx.timer(0.01).pipe(ops.map(str), on_loop()), PATIENCE) == "0"


def test_the_scheduler_of_the_subscription_is_used() -> None:
    """The scheduler of the subscription is used, such as the connection's."""
    virtual = VirtualSession()
    seen: list[float] = []
    virtual.conn.incoming.pipe(ops.delay(2.0), on_loop()).subscribe(
        lambda _: seen.append(virtual.clock.time), scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("a")
    virtual.run(3)
    assert seen == [2]


def test_a_chain_of_a_connection_keeps_the_time_of_the_connection() -> None:
    """Behind a stream of a connection `on_loop` changes no time: the chain runs in virtual time."""

    def handler(conn: rxws.Connection[str | bytes, str | bytes]) -> None:
        settled = conn.incoming.pipe(ops.debounce(0.2), on_loop())
        settled.subscribe(conn.outgoing.on_next)

    assert simulate(handler, "a-b-----", step=0.1).outgoing == marbles("----b---", step=0.1)


def test_subscribing_without_a_loop_and_a_scheduler_raises() -> None:
    """Subscribing without a running loop and a scheduler raises RuntimeError."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        rx.never().pipe(on_loop()).subscribe()


@pytest.mark.parametrize("given", ["await", "scheduler"])
async def test_a_value_of_another_thread_wakes_the_loop(given: str) -> None:
    """A value of another thread wakes the loop, also with a scheduler that would not do that."""
    loop = asyncio.get_running_loop()
    source: Subject[str] = Subject()
    chain = source.pipe(ops.first(), on_loop())
    arrived: asyncio.Future[str] = loop.create_future()
    if given == "await":
        # RxPY's `await`, as `on_loop` is not the last operator.
        task: Any = asyncio.ensure_future(last_of(rx.merge(chain)))
        await asyncio.sleep(0)
    else:
        task = arrived
        chain.subscribe(arrived.set_result, scheduler=AsyncIOScheduler(loop))
    loop.call_later(2.0, lambda: None)  # wakes the loop, but too late
    started = loop.time()
    timer = threading.Timer(0.01, source.on_next, ["a"])
    timer.start()
    assert await task == "a"
    assert loop.time() - started < 1.0
    timer.join()


async def last_of(observable: rx.Observable[Any]) -> Any:
    return await observable


@pytest.mark.parametrize("kind", ["running", "connection", "rxpy"])
def test_a_loop_that_moves_to_another_thread(kind: str) -> None:
    """Values arrive on the loop also if it runs in another thread than at the subscription."""
    loop = asyncio.new_event_loop()
    source: Subject[str] = Subject()
    seen: list[int] = []
    arrived = threading.Event()

    def notify(_: str) -> None:
        seen.append(threading.get_ident())
        arrived.set()

    async def subscribe() -> None:
        schedulers: dict[str, Any] = {
            "running": None,
            "connection": ConnectionScheduler(LoopScheduler(loop), noop),
            "rxpy": AsyncIOThreadSafeScheduler(loop),
        }
        source.pipe(on_loop()).subscribe(notify, scheduler=schedulers[kind])

    loop.run_until_complete(subscribe())
    with running_in_thread(loop) as thread:
        source.on_next("a")
        assert arrived.wait(PATIENCE)
        assert seen == [thread.ident]
    loop.close()


def test_a_value_in_another_loop_of_the_thread() -> None:
    """A value that is pushed in another loop of the thread raises, and names both loops."""
    own, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    source: Subject[str] = Subject()
    seen: list[str] = []

    async def subscribe() -> None:
        source.pipe(on_loop()).subscribe(seen.append)

    async def push() -> None:
        source.on_next("a")

    own.run_until_complete(subscribe())
    with pytest.raises(RuntimeError, match="belongs to the event loop"):
        other.run_until_complete(push())
    assert seen == []
    for loop in (own, other):
        loop.close()
