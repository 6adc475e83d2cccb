"""Operators of rxws: `on_loop`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws.operators._on_loop import on_loop
from support.subscriber import PATIENCE, Subscriber
from support.virtual.session import VirtualSession


def in_thread(function: Callable[[], object]) -> None:
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


async def test_what_another_thread_emits_comes_on_the_loop_in_order() -> None:
    """Values, and the completion after them."""
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


async def test_an_error_of_another_thread_comes_on_the_loop() -> None:
    """After the values before it."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    error = ValueError("x")

    def emit() -> None:
        source.on_next("a")
        source.on_error(error)

    in_thread(emit)
    await seen.end()
    assert seen.notifications == ["a", error]


async def test_what_the_loop_emits_passes_at_once() -> None:
    """No turn is lost."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    source.on_next("a")
    source.on_completed()
    assert seen.notifications == ["a", "|"]


async def test_time_operators_above_it_start_no_threads() -> None:
    """They use the loop's timers."""
    before = set(threading.enumerate())
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(ops.debounce(0.01), ops.delay(0.01), ops.take(1), on_loop()))
    source.on_next("a")
    assert set(threading.enumerate()) == before
    await seen.end()
    assert seen.notifications == ["a", "|"]
    assert seen.threads == {threading.get_ident()}
    assert set(threading.enumerate()) == before


async def test_who_has_left_is_told_nothing_that_was_on_its_way() -> None:
    """Also of what a thread emitted before."""
    source: Subject[str] = Subject()
    seen = Subscriber(source.pipe(on_loop()))
    in_thread(lambda: source.on_next("a"))
    seen.subscription.dispose()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert seen.notifications == []
    assert source.observers == []


async def test_it_can_be_awaited() -> None:
    """RxPY's `await` on what a timer thread ends can hang, as the loop is not woken."""
    assert await asyncio.wait_for(rx.timer(0.01).pipe(ops.map(str), on_loop()), PATIENCE) == "0"


def test_a_scheduler_that_is_passed_is_used() -> None:
    """The connection's, say."""
    virtual = VirtualSession()
    seen: list[float] = []
    virtual.conn.incoming.pipe(ops.delay(2.0), on_loop()).subscribe(
        lambda _: seen.append(virtual.clock.time), scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("a")
    virtual.run(3)
    assert seen == [2]


def test_without_a_loop_there_is_an_error() -> None:
    """From subscribing, where no event loop runs and no scheduler is passed."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        rx.never().pipe(on_loop()).subscribe()
