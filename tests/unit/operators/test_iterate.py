"""`iterate`: an Observable in `async for`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject

import rxws
from rxws import Close, ConnectionClosed
from support.loops import running_in_thread
from support.virtual.session import VirtualSession

PATIENCE = 30.0  # seconds to wait before the test fails


def iterate(observable: rx.Observable[Any]) -> Any:
    """Return `rxws.iterate`'s iterator, untyped."""
    return rxws.iterate(observable)


async def next_value(values: Any) -> Any:
    return await asyncio.wait_for(anext(values), PATIENCE)


async def request_next(values: Any) -> asyncio.Task[Any]:
    """Ask for the next value in a task, and let it start waiting."""
    task = asyncio.ensure_future(next_value(values))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return task


async def test_iterate_yields_all_values_and_ends() -> None:
    """`iterate` yields all values in order and ends with the completion."""
    assert [value async for value in iterate(rx.of(1, 2, 3))] == [1, 2, 3]
    assert [value async for value in iterate(rx.empty())] == []


async def test_iterate_raises_the_error_after_the_values_before_it() -> None:
    """`iterate` raises the Observable's error itself, after the values before it."""
    error = ValueError("x")
    values = iterate(rx.concat(rx.of(1, 2), rx.throw(error)))
    assert [await next_value(values), await next_value(values)] == [1, 2]
    with pytest.raises(ValueError, match="x") as caught:
        await next_value(values)
    assert caught.value is error


async def test_iterate_ends_with_the_connection() -> None:
    """A clean close ends the iteration; another one raises ConnectionClosed."""
    for code, error in ((1000, StopAsyncIteration), (4001, ConnectionClosed)):
        virtual = VirtualSession()
        values = iterate(virtual.conn.incoming)
        waiting = await request_next(values)
        virtual.peer.message("a")
        virtual.peer.close(code)
        assert await waiting == "a"
        waiting = await request_next(values)
        virtual.settle()
        with pytest.raises(error):
            await waiting
        assert virtual.watch(virtual.conn.closed).values == [Close(code)]


async def test_iterate_subscribes_when_the_first_value_is_requested() -> None:
    """`iterate` subscribes when the first value is requested; messages are held until then."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    virtual.peer.message("a")
    waiting = await request_next(values)
    virtual.settle()
    assert await waiting == "a"
    await values.aclose()


async def test_delivery_is_held_while_the_body_runs() -> None:
    """Delivery is held while the loop's body runs, and resumes with the next request."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b", "c")
    got = [await waiting]
    assert virtual.session.gate.held
    for _ in range(2):
        virtual.run(10)
        assert virtual.session.gate.held
        waiting = await request_next(values)
        virtual.settle()
        got.append(await waiting)
    assert got == ["a", "b", "c"]
    await values.aclose()


async def test_delivery_stays_held_for_messages_that_arrived_late() -> None:
    """Delivery stays held for each message that arrived after the pause."""
    virtual = VirtualSession(overrun=1)
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b")
    for expected in "ab":
        virtual.settle()
        assert await waiting == expected
        virtual.settle()
        assert virtual.session.gate.held, f"busy with {expected}"
        waiting = await request_next(values)
    waiting.cancel()


async def test_messages_that_arrive_during_a_pause_do_not_pile_up() -> None:
    """Messages that arrive during a pause are yielded in order, and delivered one by one."""
    virtual = VirtualSession(watch=True, overrun=2)
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message(*"abcdefgh")
    got: list[str] = []
    while len(got) < 8:
        virtual.settle()
        got.append(await waiting)
        assert len(virtual.incoming.values) <= len(got) + 1
        waiting = await request_next(values)
    assert got == list("abcdefgh")
    waiting.cancel()


@pytest.mark.parametrize(
    "chain",
    [
        lambda incoming: incoming.pipe(ops.map(str), ops.filter(bool)),
        lambda incoming: incoming.pipe(ops.share()),
        lambda incoming: incoming.pipe(ops.start_with("a")),
        lambda incoming: rx.merge(incoming, rx.never()),
    ],
    ids=["map", "share", "start_with", "merge"],
)
async def test_the_connection_is_found_behind_operators(chain: Any) -> None:
    """The connection is found behind operators, also those that subscribe by the scheduler."""
    virtual = VirtualSession()
    values = iterate(chain(virtual.conn.incoming))
    waiting = await request_next(values)
    for _ in range(5):
        await asyncio.sleep(0)  # the chain is subscribed in these turns of the loop
    virtual.peer.message("a", "b", "c")
    await waiting
    assert virtual.session.gate.held
    await values.aclose()


async def test_both_merged_connections_are_paused() -> None:
    """While the body runs, all merged connections are held."""
    sessions = VirtualSession(), VirtualSession()
    values = iterate(rx.merge(*[virtual.conn.incoming for virtual in sessions]))
    waiting = await request_next(values)
    for _ in range(3):
        await asyncio.sleep(0)  # as above
    sessions[0].peer.message("a")
    assert await waiting == "a"
    assert [virtual.session.gate.held for virtual in sessions] == [True, True]
    await values.aclose()
    assert [virtual.session.gate.held for virtual in sessions] == [False, False]


async def test_leaving_the_loop_unsubscribes_and_resumes() -> None:
    """Leaving the loop unsubscribes and resumes; the next subscriber gets the rest."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a", "b")
    assert await waiting == "a"
    await values.aclose()
    assert virtual.session.incoming.observed is False
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    assert seen.values == ["b"]


async def test_a_cancelled_request_can_be_repeated() -> None:
    """After a cancelled request, the iterator is still subscribed, and yields the next message."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    for expected in "ab":
        waiting = await request_next(values)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert virtual.transport.reading
        virtual.peer.message(expected)
        assert await next_value(values) == expected
    await values.aclose()
    assert virtual.session.incoming.observed is False


@pytest.mark.promise("timeout")
async def test_timed_out_requests_lose_nothing() -> None:
    """However often a request for the next message times out, no message is lost."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    got: list[str] = []
    for number in range(100):
        virtual.peer.message(str(number))
        try:
            # The message and the time-out come in the same turn of the loop.
            waiting = asyncio.ensure_future(anext(values))
            await asyncio.sleep(0)
            virtual.settle()
            if number % 3:
                waiting.cancel()
            got.append(await waiting)
        except asyncio.CancelledError:
            pass
    while len(got) < 100:
        waiting = await request_next(values)
        virtual.settle()
        got.append(await waiting)
    assert got == [str(number) for number in range(100)]
    assert virtual.dropped == {}
    await values.aclose()


async def leave_after_one(virtual: VirtualSession, values: Any) -> list[str]:
    """Leave a loop over an iterator after its first message."""
    got: list[str] = []

    async def loop() -> None:
        async for value in values:
            got.append(value)
            break

    task = asyncio.ensure_future(loop())
    await asyncio.sleep(0)
    virtual.settle()
    await task
    return got


@pytest.mark.promise("timeout")
async def test_leaving_a_loop_ends_the_pause_although_the_iterator_is_kept() -> None:
    """After `break`, the next subscriber gets the messages, even if the iterator is kept."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    virtual.peer.message("a", "b")
    assert await leave_after_one(virtual, values) == ["a"]
    await asyncio.sleep(0)
    assert virtual.session.incoming.observed is False
    seen = virtual.watch(virtual.conn.incoming)
    virtual.run(1)
    virtual.peer.message("c")
    assert seen.values == ["b", "c"]
    seen.subscription.dispose()
    virtual.peer.message("d")
    assert await leave_after_one(virtual, values) == ["d"], "the iterator subscribes again"


async def test_a_second_loop_continues() -> None:
    """A second loop over the same iterator continues after the value where the first was left."""
    source: Subject[int] = Subject()
    for observable in (rx.of(1, 2, 3, 4), source.pipe(ops.take(4))):
        values = iterate(observable)
        waiting = await request_next(values)
        for number in (1, 2, 3, 4):
            source.on_next(number)
        got = [await waiting]
        async for value in values:
            got.append(value)
            break
        await asyncio.sleep(0)
        got += [value async for value in values]
        assert got == [1, 2, 3, 4]
        assert [value async for value in values] == []


async def test_the_next_loop_keeps_the_subscription() -> None:
    """If a loop follows at once, the operators keep their state."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming.pipe(ops.take(2)))
    got: list[str] = []

    async def loops() -> None:
        async for value in values:
            got.append(value)
            break
        got.extend([value async for value in values])

    task = asyncio.ensure_future(loops())
    virtual.peer.message("a", "b", "c")
    for _ in range(5):
        await asyncio.sleep(0)
        virtual.settle()
    await task
    assert got == ["a", "b"]


async def test_leaving_an_inner_loop_keeps_the_pause_of_the_outer() -> None:
    """While the body of an outer loop runs, leaving an inner one does not end the pause."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    got: list[Any] = []

    async def loops() -> None:
        async for outer in values:
            async for inner in values:
                got.append((outer, inner))
                break
            await asyncio.sleep(0)
            got.append(virtual.session.gate.held)
            break

    task = asyncio.ensure_future(loops())
    virtual.peer.message("a", "b", "c")
    for _ in range(5):
        await asyncio.sleep(0)
        virtual.settle()
    await task
    assert got == [("a", "b"), True]
    assert not virtual.session.incoming.observed


async def test_a_message_that_a_cancelled_loop_did_not_get_is_kept() -> None:
    """A message that arrives while a loop is being cancelled is kept for the next subscriber."""
    virtual = VirtualSession()
    for chain in (virtual.conn.incoming, virtual.conn.incoming.pipe(ops.map(str.upper))):

        async def loop(values: rx.Observable[Any] = chain) -> None:
            async for _ in rxws.iterate(values):
                raise AssertionError

        task = asyncio.ensure_future(loop())
        await asyncio.sleep(0)
        virtual.peer.message("a")  # the task has not resumed yet
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        seen = virtual.watch(virtual.conn.incoming)
        virtual.peer.message("b")
        virtual.settle()
        assert seen.values == ["a", "b"]
        seen.subscription.dispose()
        assert virtual.dropped == {}


@pytest.mark.parametrize("taken", [0, 1])
async def test_a_message_of_several_values_is_kept_whole(taken: int) -> None:
    """A message is kept only if none of its values was taken; then none of them comes twice."""
    virtual = VirtualSession()
    now = ImmediateScheduler()

    def split(text: str) -> rx.Observable[str]:
        return rx.from_iterable(text.split(), now)

    values = iterate(virtual.conn.incoming.pipe(ops.map(split), ops.merge_all()))
    got: list[str] = []

    async def loop() -> None:
        async for value in values:
            got.append(value)
            return

    task = asyncio.ensure_future(loop())
    await asyncio.sleep(0)
    virtual.peer.message("a1 a2")
    if not taken:
        task.cancel()
    await asyncio.wait([task])
    await asyncio.sleep(0)
    virtual.peer.message("b1")
    while len(got) < 3:
        waiting = await request_next(values)
        virtual.settle()
        got.append(await waiting)
    assert got == ["a1", "a2", "b1"]
    await values.aclose()


async def test_a_kept_message_waits_for_a_subscriber_when_the_connection_has_ended() -> None:
    """If the connection ends meanwhile, a later subscriber gets the message, then the end."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0)
    virtual.peer.message("a")
    waiting.cancel()
    await asyncio.wait([waiting])
    virtual.session.on_lost()
    virtual.settle()
    await values.aclose()
    virtual.settle()
    assert virtual.watch(virtual.conn.closed).values == [Close(1006)]
    seen = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert seen.values == ["a"]
    assert isinstance(seen.error, ConnectionClosed)
    assert virtual.dropped == {}


async def test_a_message_that_another_subscriber_got_is_not_kept() -> None:
    """A message that another subscriber got, too, is not delivered again."""
    virtual = VirtualSession(watch=True)
    values = iterate(virtual.conn.incoming)
    waiting = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0)
    virtual.peer.message("a")
    waiting.cancel()
    await asyncio.wait([waiting])
    await values.aclose()
    virtual.settle()
    assert virtual.incoming.values == ["a"]


@pytest.mark.parametrize("how", ["aclose", "break"])
async def test_values_that_cannot_be_put_back_are_counted(how: str) -> None:
    """The values behind a delay, which cannot be put back, are counted as dropped."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming.pipe(ops.delay(1.0, scheduler=virtual.clock)))
    waiting = await request_next(values)
    virtual.peer.message("a", "b", "c")
    virtual.run(1.0)
    assert await waiting == "a"
    if how == "aclose":
        await values.aclose()
    else:
        async for value in values:
            assert value == "b"
            break
        del values
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert virtual.dropped == {"unobserved": 2 if how == "aclose" else 1}


async def test_async_with_closes_the_iterator() -> None:
    """`async with` unsubscribes and ends the pause; the iterator has no more values."""
    virtual = VirtualSession()
    async with rxws.iterate(virtual.conn.incoming) as values:
        waiting = await request_next(values)
        virtual.peer.message("a", "b")
        assert await waiting == "a"
        assert virtual.session.gate.held
    assert virtual.session.incoming.observed is False
    assert [value async for value in values] == []
    assert virtual.watch(virtual.conn.incoming.pipe(ops.map(str))).values == []


async def test_an_iterator_may_be_used_for_one_message() -> None:
    """`await anext(iterate(...))` returns one message, and pauses nothing afterwards."""
    virtual = VirtualSession()
    for message in "abc":
        virtual.peer.message(message)
        waiting = asyncio.ensure_future(anext(iterate(virtual.conn.incoming)))
        await asyncio.sleep(0)
        virtual.settle()
        assert await waiting == message
        await asyncio.sleep(0)
        assert virtual.session.incoming.observed is False
        assert virtual.transport.reading
        expired = asyncio.ensure_future(anext(iterate(virtual.conn.incoming)))
        await asyncio.sleep(0)
        expired.cancel()
        await asyncio.wait([expired])
        await asyncio.sleep(0)
        assert virtual.session.incoming.observed is False


async def test_dropping_the_iterator_unsubscribes() -> None:
    """Without a loop, dropping the last reference to the iterator unsubscribes."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming)
    waiting = await request_next(values)
    virtual.peer.message("a")
    assert await waiting == "a"
    del values, waiting
    await asyncio.sleep(0)
    assert virtual.session.incoming.observed is False
    assert virtual.transport.reading


async def test_the_iterator_is_an_async_generator() -> None:
    """The iterator has the methods of an async generator."""
    values: AsyncGenerator[int, None] = rxws.iterate(rx.of(1, 2))
    assert await anext(values) == 1
    assert await values.asend(None) == 2
    with pytest.raises(ValueError, match="mine"):
        await values.athrow(ValueError("mine"))
    with pytest.raises(ValueError, match=r"^$"):
        await values.athrow(ValueError)
    with pytest.raises(StopAsyncIteration):
        await anext(values)
    aiter(rxws.iterate(rx.of(1)))  # a loop that never begins


async def test_values_within_subscribe_are_yielded() -> None:
    """Values that an Observable emits within `subscribe` are yielded."""
    observable = rx.from_list([1, 2, 3], scheduler=ImmediateScheduler())
    assert [value async for value in iterate(observable)] == [1, 2, 3]


async def test_a_message_that_an_operator_drops_is_not_put_back() -> None:
    """A message that an operator has dropped is not delivered to the next subscriber."""
    virtual = VirtualSession()
    values = iterate(virtual.conn.incoming.pipe(ops.filter(lambda message: message != "a")))
    waiting = asyncio.ensure_future(anext(values))
    await asyncio.sleep(0)
    virtual.peer.message("a", "b")
    waiting.cancel()
    await asyncio.wait([waiting])
    await values.aclose()
    seen = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert seen.values == ["b"]


async def test_two_tasks_cannot_wait_for_the_next_value() -> None:
    """A second request while one waits raises RuntimeError; closing ends the one that waits."""
    values = iterate(rx.never())
    waiting = await request_next(values)
    with pytest.raises(RuntimeError, match="another task is waiting"):
        await anext(values)
    await values.aclose()
    with pytest.raises(StopAsyncIteration):
        await waiting


def test_an_iterator_may_be_dropped_after_its_loop_is_closed() -> None:
    """Dropping an iterator after its event loop is closed raises nothing."""

    async def start() -> Any:
        values = iterate(rx.concat(rx.of(1), rx.never()))
        assert await anext(values) == 1
        return values

    with asyncio.Runner() as runner:
        values = runner.run(start())
    del values


async def test_an_iterator_may_be_dropped_on_another_thread() -> None:
    """An iterator that is dropped on another thread unsubscribes on the event loop."""
    virtual = VirtualSession()
    values = [iterate(virtual.conn.incoming)]
    waiting = await request_next(values[0])
    virtual.peer.message("a")
    assert await waiting == "a"
    del waiting
    await asyncio.to_thread(values.clear)
    await asyncio.sleep(0)
    assert virtual.session.incoming.observed is False


async def test_a_source_that_comes_after_the_loop_is_not_paused() -> None:
    """A connection that an operator subscribes to after the loop was left is not paused."""
    virtual = VirtualSession()
    later = rx.timer(0.02).pipe(ops.ignore_elements())
    values = iterate(rx.concat(rx.of("1"), later, virtual.conn.incoming))
    async for value in values:
        assert value == "1"
        break
    seen = virtual.watch(virtual.conn.incoming)
    await asyncio.sleep(0.05)
    virtual.peer.message("a", "b")
    assert seen.values == ["a", "b"]
    assert virtual.session.incoming.subscriptions == 1
    await values.aclose()


async def test_many_subscriptions_of_one_connection_are_one_upstream() -> None:
    """A connection that is subscribed again and again is one upstream, not one for each time."""
    virtual = VirtualSession()
    chain = rx.interval(0.0005).pipe(
        ops.flat_map(lambda _: virtual.conn.incoming.pipe(ops.first()))
    )
    values = iterate(chain)
    most = 0
    for number in range(600):
        waiting = await request_next(values)
        virtual.peer.message(str(number))
        while not waiting.done():
            virtual.settle()
            await asyncio.sleep(0)
            most = max(most, len(values._values))
        await waiting
    assert most == 1
    await values.aclose()
    assert len(values._values) == 0
    assert virtual.transport.reading


async def test_values_of_other_threads_wake_the_loop() -> None:
    """Values of other threads wake the loop, and are buffered."""
    source: Subject[int] = Subject()

    def emit() -> None:
        for number in range(100):
            source.on_next(number)
        source.on_completed()

    values = iterate(source)
    waiting = await request_next(values)
    thread = threading.Thread(target=emit)
    thread.start()
    got = [await waiting, *[value async for value in values]]
    thread.join()
    assert got == list(range(100))


async def test_values_of_other_sources_are_buffered_while_the_body_runs() -> None:
    """Values of a merged source that is no connection are buffered while the body runs."""
    virtual = VirtualSession()
    source: Subject[str] = Subject()
    values = iterate(virtual.conn.incoming.pipe(ops.merge(source)))
    waiting = await request_next(values)
    for _ in range(3):
        await asyncio.sleep(0)  # the chain is subscribed in these turns of the loop
    virtual.peer.message("a")
    source.on_next("1")
    source.on_next("2")
    assert [await waiting, await next_value(values), await next_value(values)] == ["a", "1", "2"]
    assert virtual.session.gate.held
    await values.aclose()
    assert not virtual.session.gate.held


def test_iterate_in_another_loop() -> None:
    """An iterator that goes on in another loop returns waiting values, then names both loops."""
    source: Subject[str] = Subject()
    values = iterate(source)
    loop = asyncio.new_event_loop()

    async def first() -> Any:
        waiting = await request_next(values)
        source.on_next("a")
        source.on_next("b")
        return await waiting

    assert loop.run_until_complete(first()) == "a"
    assert asyncio.run(next_value(values)) == "b"
    with pytest.raises(RuntimeError, match="this iterator belongs to the event loop") as raised:
        asyncio.run(next_value(values))
    assert repr(loop)[:60] in str(raised.value)
    loop.close()


def test_iterate_in_a_loop_that_moves_to_another_thread() -> None:
    """`iterate` gets a value that the loop's first thread pushes once the loop runs in another."""
    source: Subject[str] = Subject()
    values = iterate(source)
    loop = asyncio.new_event_loop()
    loop.set_debug(True)  # raises if another thread uses the loop as its own
    loop.slow_callback_duration = PATIENCE
    waiting = loop.run_until_complete(request_next(values))
    with running_in_thread(loop):
        source.on_next("a")
        asyncio.run_coroutine_threadsafe(asyncio.wait([waiting]), loop).result(PATIENCE)
    assert waiting.result() == "a"
    loop.close()
