"""Coroutines in a pipeline: order, bounds and ends of `map_async`, on a loop without a network."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import Close, codecs
from rxws.operators import map_async
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.subscriber import Subscriber
from support.virtual.manual_calls import ManualCalls, ManualMapping, settle
from support.virtual.session import VirtualSession

fail = raising(ValueError, "mine")


async def test_each_value_is_mapped_by_what_is_awaited() -> None:
    """In order, and the completion comes last."""

    async def shout(value: str) -> str:
        await asyncio.sleep(0)
        return value.upper()

    out = Subscriber(rx.of("a", "b", "c").pipe(map_async(shout)), Clock())
    await settle()
    assert out.values == ["A", "B", "C"]
    assert out.ends == [None]


async def test_one_call_at_a_time_by_default() -> None:
    """The others wait for their turn."""
    mapping = ManualMapping()
    mapping.push("a", "b", "c")
    await settle()
    assert mapping.calls.started == ["a"]
    await mapping.finish("a", "b", "c")
    assert mapping.calls.started == ["a", "b", "c"]
    assert mapping.out.values == ["a!", "b!", "c!"]
    assert mapping.calls.max_running == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_at_most_max_concurrent_calls_are_under_way(ordered: bool) -> None:
    """And as many, where there are values."""
    mapping = ManualMapping(max_concurrent=3, ordered=ordered)
    mapping.push(*"abcdefgh")
    await settle()
    assert mapping.calls.started == list("abc")
    for value in "abcdefgh":
        await mapping.finish(value)
    assert mapping.calls.max_running == 3
    assert mapping.out.values == [f"{value}!" for value in "abcdefgh"]


async def test_results_come_in_the_order_of_the_values() -> None:
    """Though later ones are ready before."""
    mapping = ManualMapping(max_concurrent=3)
    mapping.push(*"abc")
    await settle()
    await mapping.finish("c", "b")
    assert mapping.out.values == []
    await mapping.finish("a")
    assert mapping.out.values == ["a!", "b!", "c!"]


async def test_unordered_results_come_as_they_are_ready() -> None:
    """That is what it is for."""
    mapping = ManualMapping(max_concurrent=3, ordered=False)
    mapping.push(*"abc")
    await settle()
    await mapping.finish("c")
    assert mapping.out.values == ["c!"]
    await mapping.finish("a", "b")
    assert mapping.out.values == ["c!", "a!", "b!"]


async def test_what_waits_for_its_turn_is_inside_too() -> None:
    """Else one slow call lets any number of results gather behind it."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push(*"abcdef")
    await settle()
    await mapping.finish("b")
    begun = list(mapping.calls.started)
    mapping.out.subscription.dispose()
    await settle()
    assert begun == ["a", "b"], "a has its place, and b's result the other"


async def test_none_is_a_result() -> None:
    """As good as any other."""

    async def nothing(_: str) -> None:
        pass

    for ordered in (True, False):
        out = Subscriber(rx.of("a", "b").pipe(map_async(nothing, ordered=ordered)), Clock())
        await settle()
        assert out.values == [None, None]


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_completion_waits_for_what_is_under_way(ordered: bool) -> None:
    """And for what waits behind it."""
    mapping = ManualMapping(ordered=ordered)
    mapping.push("a", "b")
    mapping.source.on_completed()
    await settle()
    assert mapping.out.ends == []
    await mapping.finish("a")
    assert mapping.out.ends == []
    await mapping.finish("b")
    assert mapping.out.values == ["a!", "b!"]
    assert mapping.out.ends == [None]


async def test_the_completion_of_an_empty_source_waits_for_nothing() -> None:
    """It is passed on at once."""
    mapping = ManualMapping()
    mapping.source.on_completed()
    assert mapping.out.ends == [None]


async def raises(_: object) -> NoReturn:
    await asyncio.sleep(0)
    raise ValueError("mine")


@pytest.mark.parametrize("fn", [raises, fail], ids=["awaited", "called"])
async def test_an_exception_of_fn_ends_the_stream_with_it(fn: Any) -> None:
    """Be it raised where it is awaited or where it is called; the rest is not called any more."""
    source: Subject[str] = Subject()
    out = Subscriber(source.pipe(map_async(fn)), Clock())
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
    mapping = ManualMapping(max_concurrent=3)
    mapping.push(*"abcd")
    await settle()
    mapping.calls.fail("b", error := ValueError("mine"))
    await settle()
    assert sorted(mapping.calls.cancelled) == ["a", "c"]
    assert mapping.calls.started == ["a", "b", "c"]
    assert mapping.out.values == []
    assert mapping.out.error is error


async def test_two_exceptions_at_once_end_it_once() -> None:
    """The first counts; the second is not left unheard either."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push("a", "b")
    await settle()
    mapping.calls.fail("a", first := ValueError("first"))
    mapping.calls.fail("b", ValueError("second"))
    await settle()
    assert mapping.out.error is first


async def test_an_error_of_the_source_ends_it_at_once() -> None:
    """As with every operator; what is under way is cancelled."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push(*"abc")
    await settle()
    mapping.source.on_error(error := ValueError("mine"))
    assert mapping.out.error is error
    await settle()
    assert sorted(mapping.calls.cancelled) == ["a", "b"]
    assert mapping.calls.started == ["a", "b"]


@pytest.mark.parametrize("plain", [str.upper, lambda _: None, lambda _: [1]])
async def test_a_plain_function_is_told_so(plain: Any) -> None:
    """A TypeError that names the remedy."""
    out: Subscriber[Any] = Subscriber(rx.of("a").pipe(map_async(plain)), Clock())
    await settle()
    assert isinstance(out.error, TypeError)
    assert "use ops.map for a plain function" in str(out.error)


async def test_whatever_can_be_awaited_will_do() -> None:
    """A future, say."""
    loop = asyncio.get_running_loop()

    def promise(value: str) -> asyncio.Future[str]:
        future = loop.create_future()
        loop.call_soon(future.set_result, value + "!")
        return future

    out = Subscriber(rx.of("a", "b").pipe(map_async(promise)), Clock())
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


raise_key_error = raising(KeyError, "mine")


async def test_who_disposes_while_told_is_told_no_more() -> None:
    """Though more is ready."""
    calls, source, told = ManualCalls(), Subject[str](), list[str]()

    def take_one(value: str) -> None:
        told.append(value)
        subscription.dispose()

    subscription = source.pipe(map_async(calls, max_concurrent=3)).subscribe(take_one)
    for value in "abcd":
        source.on_next(value)
    await settle()
    calls.finish("b", "c", "a")
    await settle()
    assert told == ["a!"]
    assert calls.started == ["a", "b", "c"]
    assert source.observers == []


async def test_who_subscribes_while_told_gets_what_follows() -> None:
    """And disturbs nobody."""
    calls, source = ManualCalls(), Subject[str]()
    mapped = source.pipe(map_async(calls))
    late: list[Subscriber[Any]] = []
    first: Subscriber[Any] = Subscriber(
        mapped.pipe(ops.do_action(lambda _: late.append(Subscriber(mapped, Clock())))), Clock()
    )
    source.on_next("a")
    await settle()
    calls.finish("a")
    await settle()
    assert first.values == ["a!"]
    assert [notes.values for notes in late] == [[]]
    source.on_next("b")
    await settle()
    assert calls.started == ["a", "b", "b"]
    for notes in (first, *late):
        notes.subscription.dispose()
    await settle()


async def test_a_value_that_is_pushed_while_one_is_told_overtakes_none() -> None:
    """It comes behind those that wait already."""
    calls, source, told = ManualCalls(), Subject[str](), list[str]()

    def answer(value: str) -> None:
        told.append(value)
        if value == "a!":
            source.on_next("c")

    subscription = source.pipe(map_async(calls)).subscribe(answer)
    source.on_next("a")
    source.on_next("b")
    await settle()
    calls.finish("a")
    await settle()
    begun = list(calls.started)
    subscription.dispose()
    await settle()
    assert begun == ["a", "b"]


async def test_a_completion_while_one_is_told_waits_for_those_that_are_ready() -> None:
    """Nothing is lost unseen."""
    calls, source = ManualCalls(), Subject[str]()
    end = ops.do_action(lambda value: source.on_completed() if value == "a!" else None)
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls, max_concurrent=2), end), Clock())
    source.on_next("a")
    source.on_next("b")
    await settle()
    calls.finish("b")
    await settle()
    calls.finish("a")
    await settle()
    assert out.values == ["a!", "b!"]
    assert out.ends == [None]


async def test_an_error_of_the_source_while_one_is_told_ends_it() -> None:
    """At once, also for what is ready."""
    calls, source = ManualCalls(), Subject[str]()
    end = ops.do_action(lambda value: source.on_error(KeyError()))
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls, max_concurrent=2), end), Clock())
    source.on_next("a")
    source.on_next("b")
    await settle()
    calls.finish("b", "a")
    await settle()
    assert out.values == []
    assert isinstance(out.error, KeyError)
    assert calls.running == 0


class Raising:
    """A connection whose peer has sent "a" and "b", and a subscriber that raises at the first."""

    def __init__(self, **options: Any) -> None:
        self.virtual, self.calls, self.told = VirtualSession(watch=True), ManualCalls(), list[str]()
        self.errors = self.virtual.watch(self.virtual.conn.errors)
        mapped = self.virtual.conn.incoming.pipe(map_async(self.calls, **options))
        self.subscription = mapped.subscribe(self._tell, scheduler=self.virtual.conn.scheduler)
        self.virtual.peer.message("a", "b")

    def _tell(self, value: str) -> None:
        self.told.append(value)
        if value == "a!":
            raise KeyError("mine")

    async def finish(self) -> None:
        """End what is under way, as long as there is anything."""
        for value in "ab":
            await settle(self.virtual)
            if value in self.calls.started:
                self.calls.finish(value)
        await settle(self.virtual)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_subscriber_that_raises_is_a_fault_of_the_connection(ordered: bool) -> None:
    """Though it is called by a task; no task is left."""
    raising = Raising(ordered=ordered)
    await raising.finish()
    assert [type(error) for error in raising.errors.values] == [KeyError]
    assert raising.virtual.closed.values == []
    assert raising.calls.running == 0


@pytest.mark.parametrize("ordered", [True, False])
async def test_after_a_subscriber_that_raises_the_stream_goes_on(ordered: bool) -> None:
    """The flow is let go, and what waits is called."""
    raising = Raising(ordered=ordered)
    await raising.finish()
    assert raising.told == ["a!", "b!"]
    assert raising.virtual.incoming.values == ["a", "b"]
    assert not raising.virtual.session.flow.gate.held


async def test_after_a_subscriber_that_raises_the_completion_comes() -> None:
    """It is not lost either."""
    calls, source, ends = ManualCalls(), Subject[str](), list[str]()
    virtual = VirtualSession(watch=True)
    virtual.watch(virtual.conn.errors)
    source.pipe(map_async(calls)).subscribe(
        raise_key_error,
        on_completed=lambda: ends.append("completed"),
        scheduler=virtual.conn.scheduler,
    )
    source.on_next("a")
    source.on_completed()
    await settle()
    calls.finish("a")
    await settle()
    assert ends == ["completed"]


async def test_unobserved_it_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As every fault."""
    virtual = VirtualSession(watch=True)
    calls = ManualCalls()
    mapped = virtual.conn.incoming.pipe(map_async(calls))
    mapped.subscribe(raise_key_error, scheduler=virtual.conn.scheduler)
    virtual.peer.message("a")
    await settle(virtual)
    calls.finish("a")
    await settle(virtual)
    assert virtual.close_frame.code == 1011
    assert len(caplog.records) == 1


async def test_without_a_connection_it_is_the_loops_to_report() -> None:
    """What a subscriber raises is not swallowed."""
    loop = asyncio.get_running_loop()
    heard: list[Any] = []
    calls, source = ManualCalls(), Subject[str]()
    source.pipe(map_async(calls)).subscribe(raise_key_error)
    source.on_next("a")
    await settle()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: heard.append(context["exception"]))
    calls.finish("a")
    await settle()
    loop.set_exception_handler(before)
    assert [type(error) for error in heard] == [KeyError]


async def test_a_handler_answers_in_order_and_ends_when_all_is_answered() -> None:
    """What `map_async` brings goes out as anything else does."""
    calls = ManualCalls()
    virtual = VirtualSession(
        lambda conn: conn.incoming.pipe(ops.take(3), map_async(calls, max_concurrent=2))
    )
    closed = virtual.watch(virtual.conn.closed)
    for value in "abc":
        virtual.peer.message(value)
    await settle(virtual)
    for value in "bac":
        calls.finish(value)
        await settle(virtual)
    assert virtual.messages == ["a!", "b!", "c!"]
    assert virtual.close_frame.code == 1000
    virtual.peer.close(1000)
    virtual.settle()
    assert closed.values == [Close(1000)]


@pytest.mark.parametrize("how", ["close", "lost"])
async def test_the_end_of_the_connection_cancels_what_a_handler_awaits(how: str) -> None:
    """Whoever ended it; no task outlives it."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls, max_concurrent=2)))
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a")
    await settle(virtual)
    if how == "close":
        virtual.peer.close(4001)
    else:
        virtual.peer.lost()
    await settle(virtual)
    assert calls.cancelled == ["a"]
    assert len(closed.values) == 1


async def test_an_exception_of_fn_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """It reaches `outgoing.on_error`; it is logged and not told to the peer."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls)), codec=codecs.text)
    virtual.peer.message("a")
    await settle(virtual)
    calls.fail("a", ValueError("secret"))
    await settle(virtual)
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    assert len(caplog.records) == 1


async def test_a_cancelled_call_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A pipeline that has lost an answer does not go on as if nothing were."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls)))
    before = asyncio.all_tasks()
    virtual.peer.message("a")
    [task] = asyncio.all_tasks() - before
    await settle(virtual)
    task.cancel()
    await settle(virtual)
    assert virtual.close_frame.code == 1011
    assert len(caplog.records) == 1


def test_without_a_loop_it_is_an_error_that_leaves_nothing_behind() -> None:
    """It reaches `on_error`, or is a fault; there is no coroutine that was never awaited."""
    # Not the exceptions: their frames hold what is looked for.
    faults, told = list[type[Exception]](), list[type[Exception]]()

    def run() -> None:
        virtual = VirtualSession(watch=True)
        errors = virtual.watch(virtual.conn.errors)
        mapped = virtual.conn.incoming.pipe(map_async(ManualCalls()))
        mapped.subscribe(scheduler=virtual.conn.scheduler)
        mapped.subscribe(
            on_error=lambda error: told.append(type(error)), scheduler=virtual.conn.scheduler
        )
        virtual.peer.message("a")
        faults.extend(type(error) for error in errors.values)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        thread = threading.Thread(target=run)  # where no loop was ever set
        thread.start()
        thread.join()
        gc.collect()
    assert faults == told == [RuntimeError]
    assert [str(warning.message) for warning in warned] == []
