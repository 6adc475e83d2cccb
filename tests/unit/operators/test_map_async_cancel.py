"""Coroutines in a pipeline: how `map_async` is cut short, from below, from above, from outside."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
from support.virtual.manual_calls import ManualCalls, settle


class Bench:
    """A subject, a calls behind it, and what came out."""

    def __init__(self, *more: Callable[[Any], Any], **options: Any) -> None:
        self.calls = ManualCalls()
        self.source: Subject[str] = Subject()
        mapped = self.source.pipe(map_async(self.calls, **options), *more)
        self.out: Subscriber[Any] = Subscriber(mapped, Clock())

    def push(self, *values: str) -> None:
        for value in values:
            self.source.on_next(value)

    async def finish(self, *values: str) -> None:
        for value in values:
            self.calls.finish(value)
            await settle()


@pytest.mark.parametrize("ordered", [True, False])
async def test_disposing_cancels_what_is_under_way(ordered: bool) -> None:
    """Nothing more is called or told; twice is once."""
    bench = Bench(max_concurrent=2, ordered=ordered)
    bench.push(*"abc")
    await settle()
    bench.out.subscription.dispose()
    bench.out.subscription.dispose()
    bench.push("d")
    await settle()
    assert sorted(bench.calls.cancelled) == ["a", "b"]
    assert bench.calls.started == ["a", "b"]
    assert (bench.out.values, bench.out.ends) == ([], [])
    assert bench.source.observers == []


async def test_disposing_before_a_call_has_begun_leaves_nothing() -> None:
    """Its coroutine was never run, and nobody complains of that."""
    bench = Bench()
    bench.push("a")
    bench.out.subscription.dispose()
    await settle()
    assert bench.calls.started == []


async def test_a_result_that_is_ready_when_it_is_disposed_is_not_told() -> None:
    """Nor does a failure that comes too late make a noise."""
    bench = Bench(max_concurrent=2)
    bench.push("a", "b")
    await settle()
    bench.calls.finish("a")
    bench.calls.fail("b", ValueError("mine"))
    bench.out.subscription.dispose()
    await settle()
    assert (bench.out.values, bench.out.ends) == ([], [])


async def test_a_call_that_is_cancelled_from_outside_ends_the_stream() -> None:
    """Its result would be missing for ever."""
    bench = Bench(max_concurrent=2)
    before = asyncio.all_tasks()
    bench.push("a", "b")
    first = next(task for task in asyncio.all_tasks() - before)
    await settle()
    first.cancel()
    await settle()
    assert isinstance(bench.out.error, RxwsError)
    assert "was cancelled" in str(bench.out.error)
    assert sorted(bench.calls.cancelled) == ["a", "b"]


async def test_a_call_that_cancels_itself_ends_the_stream() -> None:
    """As one that is cancelled by another does."""
    bench = Bench()
    bench.push("a")
    await settle()
    bench.calls.fail("a", asyncio.CancelledError())
    await settle()
    assert isinstance(bench.out.error, RxwsError)


async def test_what_is_no_exception_is_one_downstream() -> None:
    """`on_error` takes an Exception; the original is named."""

    class Odd(BaseException):
        """Neither an Exception nor one that asyncio treats apart."""

    bench = Bench()
    bench.push("a")
    await settle()
    bench.calls.fail("a", Odd("mine"))
    await settle()
    assert isinstance(bench.out.error, RxwsError)
    assert "Odd" in str(bench.out.error)


async def test_a_source_that_cannot_be_held_meets_a_bound() -> None:
    """1024 values wait; one more, and it ends with a Backlog that says what to do."""
    bench = Bench()
    bench.push(*map(str, range(1025)))
    await settle()
    assert bench.out.ends == []
    bench.push("1025")
    error = bench.out.error
    assert isinstance(error, Backlog)
    assert isinstance(error, RxwsError)
    assert error.waiting == 1024
    assert "pass flow=conn.flow, raise max_concurrent, or reduce them first" in str(error)
    await settle()
    assert bench.calls.cancelled == ["0"]
    assert bench.source.observers == []


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
    bench = Bench(ops.take(1), max_concurrent=3)
    bench.push(*"abcd")
    await settle()
    bench.calls.finish("b", "a")
    await settle()
    assert bench.out.values == ["a!"]
    assert bench.out.ends == [None]
    assert bench.calls.cancelled == ["c"]
    assert bench.calls.started == ["a", "b", "c"]


async def test_taking_enough_leaves_what_is_ready_untold() -> None:
    """Unordered, and ready in the same turn of the loop."""
    bench = Bench(ops.take(1), max_concurrent=2, ordered=False)
    bench.push(*"abc")
    await settle()
    bench.calls.finish("a", "b")
    await settle()
    assert bench.out.values == ["a!"]
    assert bench.out.ends == [None]
    assert bench.calls.started == ["a", "b"]


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
