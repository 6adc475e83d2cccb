"""Coroutines in a pipeline: how `map_async` is cut short, from below, from above, from outside."""

from __future__ import annotations

import asyncio
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


@pytest.mark.parametrize("ordered", [True, False])
async def test_disposing_cancels_what_is_under_way(ordered: bool) -> None:
    """Nothing more is called or told; twice is once."""
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


async def test_disposing_before_a_call_has_begun_leaves_nothing() -> None:
    """Its coroutine was never run, and nobody complains of that."""
    mapping = ManualMapping()
    mapping.push("a")
    mapping.out.subscription.dispose()
    await settle()
    assert mapping.calls.started == []


async def test_a_result_that_is_ready_when_it_is_disposed_is_not_told() -> None:
    """Nor does a failure that comes too late make a noise."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push("a", "b")
    await settle()
    mapping.calls.finish("a")
    mapping.calls.fail("b", ValueError("mine"))
    mapping.out.subscription.dispose()
    await settle()
    assert (mapping.out.values, mapping.out.ends) == ([], [])


async def test_a_call_that_is_cancelled_from_outside_ends_the_stream() -> None:
    """Its result would be missing for ever."""
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


async def test_a_call_that_cancels_itself_ends_the_stream() -> None:
    """As one that is cancelled by another does."""
    mapping = ManualMapping()
    mapping.push("a")
    await settle()
    mapping.calls.fail("a", asyncio.CancelledError())
    await settle()
    assert isinstance(mapping.out.error, RxwsError)


async def test_what_is_no_exception_is_one_downstream() -> None:
    """`on_error` takes an Exception; the original is named."""

    class Odd(BaseException):
        """Neither an Exception nor one that asyncio treats apart."""

    mapping = ManualMapping()
    mapping.push("a")
    await settle()
    mapping.calls.fail("a", Odd("mine"))
    await settle()
    assert isinstance(mapping.out.error, RxwsError)
    assert "Odd" in str(mapping.out.error)


async def test_a_source_that_cannot_be_held_meets_a_bound() -> None:
    """1024 values wait; one more, and it ends with a Backlog that says what to do."""
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
async def test_a_source_that_floods_within_its_subscription_ends_as_well(end: Any) -> None:
    """Where there is nothing to dispose yet; it is disposed when there is."""
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


async def test_taking_enough_disposes_the_rest() -> None:
    """An end that comes from below, in the middle of a result."""
    mapping = ManualMapping(ops.take(1), max_concurrent=3)
    mapping.push(*"abcd")
    await settle()
    mapping.calls.finish("b", "a")
    await settle()
    assert mapping.out.values == ["a!"]
    assert mapping.out.ends == [None]
    assert mapping.calls.cancelled == ["c"]
    assert mapping.calls.started == ["a", "b", "c"]


async def test_taking_enough_leaves_what_is_ready_untold() -> None:
    """Unordered, and ready in the same turn of the loop."""
    mapping = ManualMapping(ops.take(1), max_concurrent=2, ordered=False)
    mapping.push(*"abc")
    await settle()
    mapping.calls.finish("a", "b")
    await settle()
    assert mapping.out.values == ["a!"]
    assert mapping.out.ends == [None]
    assert mapping.calls.started == ["a", "b"]


async def test_each_subscription_is_its_own() -> None:
    """Nothing is shared but the function."""
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
