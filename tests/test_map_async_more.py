"""Coroutines in a pipeline: what a subscriber of `map_async` does while it is told."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from typing import Any, NoReturn

import pytest
from desk import Desk, settle
from reactivex import operators as ops
from reactivex.subject import Subject
from rig import Notes, Rig

from rxws import Close, codecs
from rxws.operators import map_async
from rxws.testing.clock import Clock


def fail(_: object) -> NoReturn:
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
        fail,
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
    mapped.subscribe(fail, scheduler=rig.conn.scheduler)
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
    source.pipe(map_async(desk)).subscribe(fail)
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
