"""Coroutines in a pipeline: order, bounds and ends of `map_async`, on a loop without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from desk import Desk, settle
from reactivex.subject import Subject
from rig import Notes

from rxws.operators import map_async
from rxws.testing.clock import Clock


class Bench:
    """A subject, a desk behind it, and what came out."""

    def __init__(self, *more: Callable[[Any], Any], **options: Any) -> None:
        self.desk = Desk()
        self.source: Subject[str] = Subject()
        mapped = self.source.pipe(map_async(self.desk, **options), *more)
        self.out: Notes[Any] = Notes(mapped, Clock())

    def push(self, *values: str) -> None:
        for value in values:
            self.source.on_next(value)

    async def finish(self, *values: str) -> None:
        for value in values:
            self.desk.finish(value)
            await settle()


def fail(*_: object) -> NoReturn:
    raise ValueError("mine")


async def test_each_value_is_mapped_by_what_is_awaited() -> None:
    """In order, and the completion comes last."""

    async def shout(value: str) -> str:
        await asyncio.sleep(0)
        return value.upper()

    out = Notes(rx.of("a", "b", "c").pipe(map_async(shout)), Clock())
    await settle()
    assert out.values == ["A", "B", "C"]
    assert out.ends == [None]


async def test_one_call_at_a_time_by_default() -> None:
    """The others wait for their turn."""
    bench = Bench()
    bench.push("a", "b", "c")
    await settle()
    assert bench.desk.begun == ["a"]
    await bench.finish("a", "b", "c")
    assert bench.desk.begun == ["a", "b", "c"]
    assert bench.out.values == ["a!", "b!", "c!"]
    assert bench.desk.most == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_at_most_max_concurrent_calls_are_under_way(ordered: bool) -> None:
    """And as many, where there are values."""
    bench = Bench(max_concurrent=3, ordered=ordered)
    bench.push(*"abcdefgh")
    await settle()
    assert bench.desk.begun == list("abc")
    for value in "abcdefgh":
        await bench.finish(value)
    assert bench.desk.most == 3
    assert bench.out.values == [f"{value}!" for value in "abcdefgh"]


async def test_results_come_in_the_order_of_the_values() -> None:
    """Though later ones are ready before."""
    bench = Bench(max_concurrent=3)
    bench.push(*"abc")
    await settle()
    await bench.finish("c", "b")
    assert bench.out.values == []
    await bench.finish("a")
    assert bench.out.values == ["a!", "b!", "c!"]


async def test_unordered_results_come_as_they_are_ready() -> None:
    """That is what it is for."""
    bench = Bench(max_concurrent=3, ordered=False)
    bench.push(*"abc")
    await settle()
    await bench.finish("c")
    assert bench.out.values == ["c!"]
    await bench.finish("a", "b")
    assert bench.out.values == ["c!", "a!", "b!"]


async def test_what_waits_for_its_turn_is_inside_too() -> None:
    """Else one slow call lets any number of results gather behind it."""
    bench = Bench(max_concurrent=2)
    bench.push(*"abcdef")
    await settle()
    await bench.finish("b")
    begun = list(bench.desk.begun)
    bench.out.subscription.dispose()
    await settle()
    assert begun == ["a", "b"], "a has its place, and b's result the other"


async def test_none_is_a_result() -> None:
    """As good as any other."""

    async def nothing(_: str) -> None:
        pass

    for ordered in (True, False):
        out = Notes(rx.of("a", "b").pipe(map_async(nothing, ordered=ordered)), Clock())
        await settle()
        assert out.values == [None, None]


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_completion_waits_for_what_is_under_way(ordered: bool) -> None:
    """And for what waits behind it."""
    bench = Bench(ordered=ordered)
    bench.push("a", "b")
    bench.source.on_completed()
    await settle()
    assert bench.out.ends == []
    await bench.finish("a")
    assert bench.out.ends == []
    await bench.finish("b")
    assert bench.out.values == ["a!", "b!"]
    assert bench.out.ends == [None]


async def test_the_completion_of_an_empty_source_waits_for_nothing() -> None:
    """It is passed on at once."""
    bench = Bench()
    bench.source.on_completed()
    assert bench.out.ends == [None]


async def raises(_: object) -> NoReturn:
    await asyncio.sleep(0)
    raise ValueError("mine")


@pytest.mark.parametrize("fn", [raises, fail], ids=["awaited", "called"])
async def test_an_exception_of_fn_ends_the_stream_with_it(fn: Any) -> None:
    """Be it raised where it is awaited or where it is called; the rest is not called any more."""
    source: Subject[str] = Subject()
    out = Notes(source.pipe(map_async(fn)), Clock())
    for value in "abc":
        source.on_next(value)
    await settle()
    assert out.values == []
    assert isinstance(out.error, ValueError)
    source.on_next("late")
    source.on_error(KeyError())
    await settle()
    assert len(out.ends) == 1


async def test_an_exception_cancels_the_other_calls() -> None:
    """They are gone, and what they would have brought."""
    bench = Bench(max_concurrent=3)
    bench.push(*"abcd")
    await settle()
    bench.desk.fail("b", error := ValueError("mine"))
    await settle()
    assert sorted(bench.desk.cancelled) == ["a", "c"]
    assert bench.desk.begun == ["a", "b", "c"]
    assert bench.out.values == []
    assert bench.out.error is error


async def test_two_exceptions_at_once_end_it_once() -> None:
    """The first counts; the second is not left unheard either."""
    bench = Bench(max_concurrent=2)
    bench.push("a", "b")
    await settle()
    bench.desk.fail("a", first := ValueError("first"))
    bench.desk.fail("b", ValueError("second"))
    await settle()
    assert bench.out.error is first


async def test_an_error_of_the_source_ends_it_at_once() -> None:
    """As with every operator; what is under way is cancelled."""
    bench = Bench(max_concurrent=2)
    bench.push(*"abc")
    await settle()
    bench.source.on_error(error := ValueError("mine"))
    assert bench.out.error is error
    await settle()
    assert sorted(bench.desk.cancelled) == ["a", "b"]
    assert bench.desk.begun == ["a", "b"]


@pytest.mark.parametrize("plain", [str.upper, lambda _: None, lambda _: [1]])
async def test_a_plain_function_is_told_so(plain: Any) -> None:
    """A TypeError that names the remedy."""
    out: Notes[Any] = Notes(rx.of("a").pipe(map_async(plain)), Clock())
    await settle()
    assert isinstance(out.error, TypeError)
    assert "use ops.map for a plain one" in str(out.error)


async def test_whatever_can_be_awaited_will_do() -> None:
    """A future, say."""
    loop = asyncio.get_running_loop()

    def promise(value: str) -> asyncio.Future[str]:
        future = loop.create_future()
        loop.call_soon(future.set_result, value + "!")
        return future

    out = Notes(rx.of("a", "b").pipe(map_async(promise)), Clock())
    await settle()
    assert out.values == ["a!", "b!"]


@pytest.mark.parametrize("fn", [None, 7, "look_up"])
def test_what_is_no_function_is_refused(fn: Any) -> None:
    """When the pipeline is composed."""
    with pytest.raises(TypeError, match="takes a coroutine function"):
        map_async(fn)


@pytest.mark.parametrize("number", [0, -1])
def test_none_at_once_is_refused(number: int) -> None:
    """Nothing would ever happen."""
    with pytest.raises(ValueError, match=f"max_concurrent={number}: use 1 or more"):
        map_async(raises, max_concurrent=number)
