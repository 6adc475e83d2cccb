"""`await conn.incoming.pipe(...)`: cancelling it loses no message."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable
from reactivex.internal import SequenceContainsNoElementsError
from reactivex.subject import Subject

import rxws
from rxws._core.streams.scheduled import LoopObservable
from rxws.operators import on_loop
from rxws.testing import serve
from support.loops import running_in_thread
from support.subscriber import PATIENCE
from support.virtual.session import VirtualSession


async def last_of(observable: rx.Observable[Any]) -> Any:
    return await observable


def awaitable(source: rx.Observable[Any]) -> LoopObservable[Any]:
    return LoopObservable(
        lambda observer, scheduler: source.subscribe(observer, scheduler=scheduler)
    )


async def awaiting(observable: rx.Observable[Any]) -> asyncio.Task[Any]:
    """Await an Observable in a task, and let it subscribe."""
    task = asyncio.ensure_future(last_of(observable))
    await asyncio.sleep(0)
    return task


async def test_the_last_value_is_the_result() -> None:
    """`await` returns the last value, raises the error, or SequenceContainsNoElementsError."""
    virtual = VirtualSession()
    incoming = virtual.conn.incoming
    two = await awaiting(incoming.pipe(ops.take(2)))
    virtual.peer.message("a", "b")
    assert await two == "b"
    error = ValueError("mine")
    failing = await awaiting(incoming.pipe(ops.flat_map(lambda _: rx.throw(error))))
    virtual.peer.message("c")
    with pytest.raises(ValueError, match="mine") as caught:
        await failing
    assert caught.value is error
    none = await awaiting(incoming.pipe(ops.filter(lambda _: False)))
    virtual.peer.close(1000)
    virtual.settle()
    with pytest.raises(SequenceContainsNoElementsError):
        await none


@pytest.mark.promise("timeout")
@pytest.mark.parametrize("when", ["before", "same turn", "after"])
async def test_a_message_that_a_cancelled_await_did_not_return_is_kept(when: str) -> None:
    """A message that arrives while an `await` is cancelled is kept for the next subscriber."""
    virtual = VirtualSession()
    chains: list[Any] = [ops.first(), ops.take(1), rx.compose(ops.map(str), ops.take(1))]
    for first in chains:
        if when == "before":
            virtual.peer.message("a")
        task = await awaiting(virtual.conn.incoming.pipe(first))
        if when == "same turn":
            virtual.peer.message("a")  # the task has not resumed yet
        task.cancel()
        if when == "after":
            virtual.peer.message("a")
        virtual.settle()
        await asyncio.wait([task])
        assert task.cancelled()
        assert virtual.session.incoming.observed is False
        seen = virtual.watch(virtual.conn.incoming)
        virtual.settle()
        virtual.peer.message("b")
        assert seen.values == ["a", "b"]
        seen.subscription.dispose()
    assert virtual.dropped == {}


COUNT = 25


async def send_slowly(conn: rxws.Connection[str, str]) -> None:
    for number in range(COUNT):
        await asyncio.sleep(0.002)
        conn.outgoing.on_next(str(number))


async def receive_impatiently(conn: rxws.Connection[str, str]) -> list[str]:
    """Receive all messages by awaits most of which time out."""
    got: list[str] = []
    turn = 0
    while len(got) < COUNT:
        turn += 1
        try:
            async with asyncio.timeout(0 if turn % 2 else 0.001):
                got.append(await conn.incoming.pipe(ops.first()))
        except TimeoutError:
            await asyncio.sleep(0.003)
    return got


async def receive_by_impatient_loops(conn: rxws.Connection[str, str]) -> list[str]:
    """Receive all messages by loops that time out, and that are left after each message."""
    got: list[str] = []
    kept: list[Any] = []
    while len(got) < COUNT:
        try:
            async with asyncio.timeout(0.001 + len(got) % 3 / 1000):
                kept.append(rxws.iterate(conn.incoming))
                async for message in kept[-1]:
                    got.append(message)
                    if len(got) % 2:
                        break
        except TimeoutError:
            await asyncio.sleep(0.001)
    return got


@pytest.mark.promise("timeout")
@pytest.mark.usefixtures("read_path")
@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.parametrize("receive", [receive_impatiently, receive_by_impatient_loops])
async def test_messages_survive_time_outs_in_a_loop(
    end: str, receive: Callable[[rxws.Connection[str, str]], Awaitable[list[str]]]
) -> None:
    """Even if most awaits or loops time out, each message is received once, in order."""
    result: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()

    async def receiver(conn: rxws.Connection[str, str]) -> None:
        got = await receive(conn)
        assert conn.flow.stats.dropped == {}
        result.set_result(got)

    async with (
        asyncio.timeout(PATIENCE),
        serve(receiver if end == "server" else send_slowly, codec=rxws.codecs.text) as server,
        rxws.connect(server.url, codec=rxws.codecs.text) as conn,
    ):
        await (send_slowly if end == "server" else receiver)(conn)
        assert await result == [str(number) for number in range(COUNT)]


async def test_the_end_from_a_thread_after_the_cancellation_is_ignored() -> None:
    """If a thread ends the Observable while the `await` is cancelled, nothing happens."""
    source: Subject[str] = Subject()
    task = await awaiting(awaitable(source))
    thread = threading.Thread(target=source.on_completed)
    thread.start()
    thread.join()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_a_message_that_another_subscriber_got_is_not_kept() -> None:
    """A message that another subscriber got, too, is not delivered again."""
    virtual = VirtualSession(watch=True)
    task = await awaiting(virtual.conn.incoming.pipe(ops.first()))
    virtual.peer.message("a")
    task.cancel()
    await asyncio.wait([task])
    virtual.settle()
    assert virtual.incoming.values == ["a"]


async def test_the_end_of_another_thread_wakes_the_loop() -> None:
    """A value that another thread pushes ends the `await` at once."""
    lasts: list[Any] = [ops.first(), ops.last()]
    for last in lasts:
        source: Subject[str] = Subject()
        task = await awaiting(source.pipe(ops.take(1), last, on_loop()))
        timer = threading.Timer(0.01, source.on_next, ["a"])
        timer.start()
        started = asyncio.get_running_loop().time()
        asyncio.get_running_loop().call_later(2.0, lambda: None)  # wakes the loop, but too late
        assert await task == "a"
        assert asyncio.get_running_loop().time() - started < 1.0
        timer.join()
    source = Subject()
    task = await awaiting(awaitable(source))
    timer = threading.Timer(0.01, source.on_completed)
    timer.start()
    with pytest.raises(SequenceContainsNoElementsError):
        await asyncio.wait_for(task, 1.0)
    timer.join()


async def test_time_operators_use_the_scheduler_of_the_connection() -> None:
    """Time operators behind `incoming` use the scheduler of the connection."""
    virtual = VirtualSession()
    before = set(threading.enumerate())
    task = await awaiting(virtual.conn.incoming.pipe(ops.debounce(60), ops.first()))
    virtual.peer.message("a")
    assert set(threading.enumerate()) == before
    virtual.run(60)
    assert await task == "a"


async def test_an_await_leaves_no_cycle() -> None:
    """What an `await` creates is freed by reference counting."""

    class Value:
        pass

    class Mine(Exception):
        pass

    def fail(observer: ObserverBase[Any], _: object) -> DisposableBase:
        observer.on_error(Mine())
        return Disposable()

    async def value() -> weakref.ref[Any]:
        result = await awaitable(rx.of(Value()))
        return weakref.ref(result)

    async def error() -> weakref.ref[Any]:
        try:
            await LoopObservable[Any](fail)
        except Mine as exc:
            return weakref.ref(exc)
        raise AssertionError

    gc.collect()
    gc.disable()
    try:
        assert (await value())() is None
        assert (await error())() is None
    finally:
        gc.enable()


async def test_on_loop_keeps_the_message_of_a_merged_connection() -> None:
    """`on_loop` at the end of a chain that begins with `merge` keeps the message, too."""
    virtual = VirtualSession()
    task = await awaiting(rx.merge(virtual.conn.incoming, rx.never()).pipe(ops.first(), on_loop()))
    for _ in range(3):
        await asyncio.sleep(0)  # `merge` subscribes in these turns of the loop
    virtual.peer.message("a")
    task.cancel()
    await asyncio.wait([task])
    seen = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert seen.values == ["a"]


def test_the_end_of_an_await_in_a_loop_that_moves_to_another_thread() -> None:
    """An `await` ends also if its loop runs in another thread than when it began."""
    source: Subject[str] = Subject()
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(awaiting(awaitable(source)))
    loop.set_debug(True)  # raises if another thread uses the loop as its own
    loop.slow_callback_duration = PATIENCE
    with running_in_thread(loop):
        source.on_next("a")
        source.on_completed()
        asyncio.run_coroutine_threadsafe(asyncio.wait([task]), loop).result(PATIENCE)
    assert task.result() == "a"
    loop.close()


def test_the_end_of_an_await_after_its_loop() -> None:
    """If the Observable ends after the loop of an `await` was closed, nothing happens."""
    source: Subject[str] = Subject()
    loop = asyncio.new_event_loop()
    task = loop.run_until_complete(awaiting(awaitable(source)))
    loop.close()
    source.on_completed()
    assert not task.done()
    task._log_destroy_pending = False  # type: ignore[attr-defined] # asyncio would log it
