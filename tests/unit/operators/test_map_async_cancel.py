"""`map_async`: disposal, cancellation and overflow."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from rxws import RxwsError
from rxws.operators import Backlog, map_async
from rxws.testing.clock import Clock
from support.subscriber import Subscriber
from support.virtual.manual_calls import ManualCalls, ManualMapping, settle
from support.virtual.session import VirtualSession


@pytest.mark.parametrize("ordered", [True, False])
async def test_disposing_cancels_running_calls(ordered: bool) -> None:
    """Disposing cancels the running calls and starts no others."""
    mapping = ManualMapping(max_concurrent=2, ordered=ordered)
    mapping.push(*"abc")
    await settle()
    mapping.out.subscription.dispose()
    mapping.out.subscription.dispose()
    mapping.push("d")
    await settle()
    assert sorted(mapping.calls.cancelled) == ["a", "b"]
    assert mapping.calls.started == ["a", "b"]
    assert (mapping.out.values, mapping.out.ends) == ([], [])
    assert mapping.source.observers == []


async def test_disposing_before_a_call_starts_runs_nothing() -> None:
    """Disposing before a call has started runs nothing and warns of nothing."""
    mapping = ManualMapping()
    mapping.push("a")
    mapping.out.subscription.dispose()
    await settle()
    assert mapping.calls.started == []


async def test_what_a_cancelled_call_raises_is_reported() -> None:
    """If a cancelled call raises another exception, asyncio reports it."""

    async def fail_to_clean_up(_: object) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError("mine")

    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    try:
        subscription = rx.of("a").pipe(map_async(fail_to_clean_up)).subscribe()
        await settle()
        subscription.dispose()
        await settle()
        gc.collect()
    finally:
        loop.set_exception_handler(before)
    assert [type(error) for error in reported] == [KeyError]


async def test_a_result_that_is_ready_at_disposal_is_not_emitted() -> None:
    """A result or failure that is ready at disposal is dropped silently."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push("a", "b")
    await settle()
    mapping.calls.finish("a")
    mapping.calls.fail("b", ValueError("mine"))
    mapping.out.subscription.dispose()
    await settle()
    assert (mapping.out.values, mapping.out.ends) == ([], [])


async def test_a_call_cancelled_from_outside_fails_the_stream() -> None:
    """If somebody else cancels a call, the stream fails with RxwsError."""
    mapping = ManualMapping(max_concurrent=2)
    before = asyncio.all_tasks()
    mapping.push("a", "b")
    first = next(task for task in asyncio.all_tasks() - before)
    await settle()
    first.cancel()
    await settle()
    assert isinstance(mapping.out.error, RxwsError)
    assert "was cancelled" in str(mapping.out.error)
    assert sorted(mapping.calls.cancelled) == ["a", "b"]


async def test_a_call_that_raises_cancelled_error_fails_the_stream() -> None:
    """A call that raises CancelledError fails the stream with RxwsError."""
    mapping = ManualMapping()
    mapping.push("a")
    await settle()
    mapping.calls.fail("a", asyncio.CancelledError())
    await settle()
    assert isinstance(mapping.out.error, RxwsError)


async def test_a_base_exception_becomes_an_rxws_error() -> None:
    """A BaseException of a call becomes an RxwsError that names it."""

    class CustomBaseException(BaseException):
        """Neither an Exception nor one that asyncio treats specially."""

    mapping = ManualMapping()
    mapping.push("a")
    await settle()
    mapping.calls.fail("a", CustomBaseException("mine"))
    await settle()
    assert isinstance(mapping.out.error, RxwsError)
    assert "CustomBaseException" in str(mapping.out.error)


async def test_a_source_without_back_pressure_ends_with_backlog() -> None:
    """Above 1024 buffered values the stream fails with a Backlog that says what to do."""
    mapping = ManualMapping()
    mapping.push(*map(str, range(1025)))
    await settle()
    assert mapping.out.ends == []
    mapping.push("1025")
    error = mapping.out.error
    assert isinstance(error, Backlog)
    assert isinstance(error, RxwsError)
    assert error.waiting == 1024
    assert "pass flow=conn.flow, raise max_concurrent, or reduce them first" in str(error)
    await settle()
    assert mapping.calls.cancelled == ["0"]
    assert mapping.source.observers == []


@pytest.mark.parametrize("end", [lambda _: None, lambda observer: observer.on_completed()])
async def test_a_source_that_floods_within_subscribe_ends_with_backlog(end: Any) -> None:
    """A source that floods within `subscribe` is disposed as soon as that returns."""
    disposed: list[str] = []

    def flood(observer: Any, _: Any = None) -> Disposable:
        for number in range(2000):
            observer.on_next(str(number))
        end(observer)
        return Disposable(lambda: disposed.append("source"))

    calls = ManualCalls()
    out: Subscriber[Any] = Subscriber(rx.create(flood).pipe(map_async(calls)), Clock())
    assert isinstance(out.error, Backlog)
    assert disposed == ["source"]
    await settle()
    assert calls.started == []


async def test_take_cancels_the_other_calls() -> None:
    """`take` below cancels the other calls."""
    mapping = ManualMapping(ops.take(1), max_concurrent=3)
    mapping.push(*"abcd")
    await settle()
    mapping.calls.finish("b", "a")
    await settle()
    assert mapping.out.values == ["a!"]
    assert mapping.out.ends == [None]
    assert mapping.calls.cancelled == ["c"]
    assert mapping.calls.started == ["a", "b", "c"]


async def test_take_drops_other_results_that_are_ready() -> None:
    """`take` below drops other results that are ready in the same turn."""
    mapping = ManualMapping(ops.take(1), max_concurrent=2, ordered=False)
    mapping.push(*"abc")
    await settle()
    mapping.calls.finish("a", "b")
    await settle()
    assert mapping.out.values == ["a!"]
    assert mapping.out.ends == [None]
    assert mapping.calls.started == ["a", "b"]


async def test_subscriptions_are_independent() -> None:
    """Each subscription makes its own calls."""
    calls = ManualCalls()
    source: Subject[str] = Subject()
    mapped = source.pipe(map_async(calls))
    first: Subscriber[Any] = Subscriber(mapped, Clock())
    second: Subscriber[Any] = Subscriber(mapped, Clock())
    source.on_next("a")
    await settle()
    assert calls.started == ["a", "a"]
    first.subscription.dispose()
    await settle()
    assert calls.cancelled == ["a"]
    calls.finish("a")
    await settle()
    assert (first.values, second.values) == ([], ["a!"])


async def test_disposing_ends_the_wait_for_the_peer() -> None:
    """Results that wait while the peer is behind are dropped if the subscription is disposed."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")

    async def double(value: int) -> int:
        return value * 2

    for turns in (3, 9):  # before and after the wait has begun
        results = rx.of(1, 2).pipe(map_async(double, max_concurrent=2))
        out = Subscriber(results, scheduler=virtual.conn.scheduler)
        for _ in range(turns):
            virtual.settle()
            await asyncio.sleep(0)
        out.subscription.dispose()
        assert (out.values, out.ends) == ([], [])
    virtual.peer.go()
    await asyncio.sleep(0)
    assert (out.values, out.ends) == ([], [])
