"""Coroutines in a pipeline: order, bounds and ends of `map_async`, on a loop without a network."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import Close, codecs
from rxws.operators import map_async
from rxws.testing.clock import Clock
from support.virtual.manual_calls import Desk, settle
from support.virtual.session import Notes, Rig


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


# --- coroutines in a pipeline: what a subscriber of `map_async` does while it is told ----------


def raise_key_error(_: object) -> NoReturn:
    raise KeyError("mine")


async def test_who_disposes_while_told_is_told_no_more() -> None:
    """Though more is ready."""
    desk, source, told = Desk(), Subject[str](), list[str]()

    def take_one(value: str) -> None:
        told.append(value)
        subscription.dispose()

    subscription = source.pipe(map_async(desk, max_concurrent=3)).subscribe(take_one)
    for value in "abcd":
        source.on_next(value)
    await settle()
    desk.finish("b", "c", "a")
    await settle()
    assert told == ["a!"]
    assert desk.begun == ["a", "b", "c"]
    assert source.observers == []


async def test_who_subscribes_while_told_gets_what_follows() -> None:
    """And disturbs nobody."""
    desk, source = Desk(), Subject[str]()
    mapped = source.pipe(map_async(desk))
    late: list[Notes[Any]] = []
    first: Notes[Any] = Notes(
        mapped.pipe(ops.do_action(lambda _: late.append(Notes(mapped, Clock())))), Clock()
    )
    source.on_next("a")
    await settle()
    desk.finish("a")
    await settle()
    assert first.values == ["a!"]
    assert [notes.values for notes in late] == [[]]
    source.on_next("b")
    await settle()
    assert desk.begun == ["a", "b", "b"]
    for notes in (first, *late):
        notes.subscription.dispose()
    await settle()


async def test_a_value_that_is_pushed_while_one_is_told_overtakes_none() -> None:
    """It comes behind those that wait already."""
    desk, source, told = Desk(), Subject[str](), list[str]()

    def answer(value: str) -> None:
        told.append(value)
        if value == "a!":
            source.on_next("c")

    subscription = source.pipe(map_async(desk)).subscribe(answer)
    source.on_next("a")
    source.on_next("b")
    await settle()
    desk.finish("a")
    await settle()
    begun = list(desk.begun)
    subscription.dispose()
    await settle()
    assert begun == ["a", "b"]


async def test_a_completion_while_one_is_told_waits_for_those_that_are_ready() -> None:
    """Nothing is lost unseen."""
    desk, source = Desk(), Subject[str]()
    end = ops.do_action(lambda value: source.on_completed() if value == "a!" else None)
    out: Notes[Any] = Notes(source.pipe(map_async(desk, max_concurrent=2), end), Clock())
    source.on_next("a")
    source.on_next("b")
    await settle()
    desk.finish("b")
    await settle()
    desk.finish("a")
    await settle()
    assert out.values == ["a!", "b!"]
    assert out.ends == [None]


async def test_an_error_of_the_source_while_one_is_told_ends_it() -> None:
    """At once, also for what is ready."""
    desk, source = Desk(), Subject[str]()
    end = ops.do_action(lambda value: source.on_error(KeyError()))
    out: Notes[Any] = Notes(source.pipe(map_async(desk, max_concurrent=2), end), Clock())
    source.on_next("a")
    source.on_next("b")
    await settle()
    desk.finish("b", "a")
    await settle()
    assert out.values == []
    assert isinstance(out.error, KeyError)
    assert desk.inside == 0


class Raising:
    """A connection whose peer has sent "a" and "b", and a subscriber that raises at the first."""

    def __init__(self, **options: Any) -> None:
        self.rig, self.desk, self.told = Rig(watch=True), Desk(), list[str]()
        self.errors = self.rig.watch(self.rig.conn.errors)
        mapped = self.rig.conn.incoming.pipe(map_async(self.desk, **options))
        self.subscription = mapped.subscribe(self._tell, scheduler=self.rig.conn.scheduler)
        self.rig.peer.message("a", "b")

    def _tell(self, value: str) -> None:
        self.told.append(value)
        if value == "a!":
            raise KeyError("mine")

    async def finish(self) -> None:
        """End what is under way, as long as there is anything."""
        for value in "ab":
            await settle(self.rig)
            if value in self.desk.begun:
                self.desk.finish(value)
        await settle(self.rig)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_subscriber_that_raises_is_a_fault_of_the_connection(ordered: bool) -> None:
    """Though it is called by a task; no task is left."""
    raising = Raising(ordered=ordered)
    await raising.finish()
    assert [type(error) for error in raising.errors.values] == [KeyError]
    assert raising.rig.closed.values == []
    assert raising.desk.inside == 0


@pytest.mark.parametrize("ordered", [True, False])
async def test_after_a_subscriber_that_raises_the_stream_goes_on(ordered: bool) -> None:
    """The flow is let go, and what waits is called."""
    raising = Raising(ordered=ordered)
    await raising.finish()
    assert raising.told == ["a!", "b!"]
    assert raising.rig.incoming.values == ["a", "b"]
    assert not raising.rig.session.flow.gate.held


async def test_after_a_subscriber_that_raises_the_completion_comes() -> None:
    """It is not lost either."""
    desk, source, ends = Desk(), Subject[str](), list[str]()
    rig = Rig(watch=True)
    rig.watch(rig.conn.errors)
    source.pipe(map_async(desk)).subscribe(
        raise_key_error,
        on_completed=lambda: ends.append("completed"),
        scheduler=rig.conn.scheduler,
    )
    source.on_next("a")
    source.on_completed()
    await settle()
    desk.finish("a")
    await settle()
    assert ends == ["completed"]


async def test_unobserved_it_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As every fault."""
    rig = Rig(watch=True)
    desk = Desk()
    mapped = rig.conn.incoming.pipe(map_async(desk))
    mapped.subscribe(raise_key_error, scheduler=rig.conn.scheduler)
    rig.peer.message("a")
    await settle(rig)
    desk.finish("a")
    await settle(rig)
    assert rig.close_frame.code == 1011
    assert len(caplog.records) == 1


async def test_without_a_connection_it_is_the_loops_to_report() -> None:
    """What a subscriber raises is not swallowed."""
    loop = asyncio.get_running_loop()
    heard: list[Any] = []
    desk, source = Desk(), Subject[str]()
    source.pipe(map_async(desk)).subscribe(raise_key_error)
    source.on_next("a")
    await settle()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    desk.finish("a")
    await settle()
    loop.set_exception_handler(before)
    assert [type(error) for error in heard] == [KeyError]


async def test_a_handler_answers_in_order_and_ends_when_all_is_answered() -> None:
    """What `map_async` brings goes out as anything else does."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(ops.take(3), map_async(desk, max_concurrent=2)))
    closed = rig.watch(rig.conn.closed)
    for value in "abc":
        rig.peer.message(value)
    await settle(rig)
    for value in "bac":
        desk.finish(value)
        await settle(rig)
    assert rig.messages == ["a!", "b!", "c!"]
    assert rig.close_frame.code == 1000
    rig.peer.close(1000)
    rig.settle()
    assert closed.values == [Close(1000)]


@pytest.mark.parametrize("how", ["close", "lost"])
async def test_the_end_of_the_connection_cancels_what_a_handler_awaits(how: str) -> None:
    """Whoever ended it; no task outlives it."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(map_async(desk, max_concurrent=2)))
    closed = rig.watch(rig.conn.closed)
    rig.peer.message("a")
    await settle(rig)
    if how == "close":
        rig.peer.close(4001)
    else:
        rig.peer.lost()
    await settle(rig)
    assert desk.cancelled == ["a"]
    assert len(closed.values) == 1


async def test_an_exception_of_fn_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """It reaches `outgoing.on_error`; it is logged and not told to the peer."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(map_async(desk)), codec=codecs.text)
    rig.peer.message("a")
    await settle(rig)
    desk.fail("a", ValueError("secret"))
    await settle(rig)
    assert (rig.close_frame.code, rig.close_frame.reason) == (1011, "Unexpected Error")
    assert len(caplog.records) == 1


async def test_a_cancelled_call_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A pipeline that has lost an answer does not go on as if nothing were."""
    desk = Desk()
    rig = Rig(lambda conn: conn.incoming.pipe(map_async(desk)))
    before = asyncio.all_tasks()
    rig.peer.message("a")
    [task] = asyncio.all_tasks() - before
    await settle(rig)
    task.cancel()
    await settle(rig)
    assert rig.close_frame.code == 1011
    assert len(caplog.records) == 1


def test_without_a_loop_it_is_an_error_that_leaves_nothing_behind() -> None:
    """It reaches `on_error`, or is a fault; there is no coroutine that was never awaited."""
    # Not the exceptions: their frames hold what is looked for.
    faults, told = list[type[Exception]](), list[type[Exception]]()

    def run() -> None:
        rig = Rig(watch=True)
        errors = rig.watch(rig.conn.errors)
        mapped = rig.conn.incoming.pipe(map_async(Desk()))
        mapped.subscribe(scheduler=rig.conn.scheduler)
        mapped.subscribe(
            on_error=lambda error: told.append(type(error)), scheduler=rig.conn.scheduler
        )
        rig.peer.message("a")
        faults.extend(type(error) for error in errors.values)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        thread = threading.Thread(target=run)  # where no loop was ever set
        thread.start()
        thread.join()
        gc.collect()
    assert faults == told == [RuntimeError]
    assert [str(warning.message) for warning in warned] == []
