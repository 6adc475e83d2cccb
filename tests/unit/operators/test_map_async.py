"""`map_async`: order, concurrency, ends and exceptions, without a network."""

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
from rxws.testing import pair
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.subscriber import Subscriber
from support.virtual.manual_calls import ManualCalls, ManualMapping, settle
from support.virtual.session import VirtualSession

fail_at_call = raising(ValueError, "mine")


async def test_each_value_is_mapped_to_the_awaited_result() -> None:
    """Each value is mapped to the result of its coroutine, in order."""

    async def upper(value: str) -> str:
        await asyncio.sleep(0)
        return value.upper()

    out = Subscriber(rx.of("a", "b", "c").pipe(map_async(upper)), Clock())
    await settle()
    assert out.values == ["A", "B", "C"]
    assert out.ends == [None]


async def test_one_call_at_a_time_by_default() -> None:
    """By default one call runs at a time."""
    mapping = ManualMapping()
    mapping.push("a", "b", "c")
    await settle()
    assert mapping.calls.started == ["a"]
    await mapping.finish("a", "b", "c")
    assert mapping.calls.started == ["a", "b", "c"]
    assert mapping.out.values == ["a!", "b!", "c!"]
    assert mapping.calls.max_running == 1


@pytest.mark.parametrize("ordered", [True, False])
async def test_at_most_max_concurrent_calls_run(ordered: bool) -> None:
    """`max_concurrent` calls run at a time, if there are as many values."""
    mapping = ManualMapping(max_concurrent=3, ordered=ordered)
    mapping.push(*"abcdefgh")
    await settle()
    assert mapping.calls.started == list("abc")
    for value in "abcdefgh":
        await mapping.finish(value)
    assert mapping.calls.max_running == 3
    assert mapping.out.values == [f"{value}!" for value in "abcdefgh"]


async def test_results_are_emitted_in_the_order_of_the_values() -> None:
    """Results are emitted in the order of the values, even if later ones are ready first."""
    mapping = ManualMapping(max_concurrent=3)
    mapping.push(*"abc")
    await settle()
    await mapping.finish("c", "b")
    assert mapping.out.values == []
    await mapping.finish("a")
    assert mapping.out.values == ["a!", "b!", "c!"]


async def test_unordered_results_are_emitted_when_ready() -> None:
    """With `ordered=False` results are emitted when they are ready."""
    mapping = ManualMapping(max_concurrent=3, ordered=False)
    mapping.push(*"abc")
    await settle()
    await mapping.finish("c")
    assert mapping.out.values == ["c!"]
    await mapping.finish("a", "b")
    assert mapping.out.values == ["c!", "a!", "b!"]


async def test_results_that_wait_for_their_turn_count_as_concurrent() -> None:
    """A result that waits behind a slow call counts towards `max_concurrent`."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push(*"abcdef")
    await settle()
    await mapping.finish("b")
    started = list(mapping.calls.started)
    mapping.out.subscription.dispose()
    await settle()
    assert started == ["a", "b"], "a's call and b's result count towards the two"


async def test_values_of_another_thread_are_mapped_on_the_loop() -> None:
    """The calls for values of another thread run on the event loop, in order."""
    source: Subject[str] = Subject()
    calls: list[tuple[str, int]] = []

    async def note(value: str) -> str:
        calls.append((value, threading.get_ident()))
        return value

    def emit() -> None:
        for value in "abc":
            source.on_next(value)
        source.on_completed()

    seen = Subscriber(source.pipe(map_async(note)))
    thread = threading.Thread(target=emit)
    thread.start()
    thread.join()
    await seen.end()
    assert seen.notifications == ["a", "b", "c", "|"]
    assert calls == [(value, threading.get_ident()) for value in "abc"]


async def test_none_is_a_result() -> None:
    """None is a valid result."""

    async def return_none(_: str) -> None:
        pass

    for ordered in (True, False):
        out = Subscriber(rx.of("a", "b").pipe(map_async(return_none, ordered=ordered)), Clock())
        await settle()
        assert out.values == [None, None]


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_completion_waits_for_all_calls(ordered: bool) -> None:
    """The completion waits for running calls and for queued values."""
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


async def test_an_empty_source_completes_at_once() -> None:
    """An empty source completes at once."""
    mapping = ManualMapping()
    mapping.source.on_completed()
    assert mapping.out.ends == [None]


async def fail_awaited(_: object) -> NoReturn:
    await asyncio.sleep(0)
    raise ValueError("mine")


@pytest.mark.parametrize("fn", [fail_awaited, fail_at_call], ids=["awaited", "called"])
async def test_an_exception_of_fn_fails_the_stream(fn: Any) -> None:
    """An exception of `fn`, raised at the call or when awaited, fails the stream."""
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
    """An exception of one call cancels the others."""
    mapping = ManualMapping(max_concurrent=3)
    mapping.push(*"abcd")
    await settle()
    mapping.calls.fail("b", error := ValueError("mine"))
    await settle()
    assert sorted(mapping.calls.cancelled) == ["a", "c"]
    assert mapping.calls.started == ["a", "b", "c"]
    assert mapping.out.values == []
    assert mapping.out.error is error


async def test_the_first_of_two_exceptions_fails_the_stream() -> None:
    """Of two exceptions in one turn the first fails the stream; asyncio reports none."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push("a", "b")
    await settle()
    mapping.calls.fail("a", first := ValueError("first"))
    mapping.calls.fail("b", ValueError("second"))
    await settle()
    assert mapping.out.error is first


async def test_an_error_of_the_source_fails_at_once() -> None:
    """An error of the source fails the stream at once and cancels running calls."""
    mapping = ManualMapping(max_concurrent=2)
    mapping.push(*"abc")
    await settle()
    mapping.source.on_error(error := ValueError("mine"))
    assert mapping.out.error is error
    await settle()
    assert sorted(mapping.calls.cancelled) == ["a", "b"]
    assert mapping.calls.started == ["a", "b"]


@pytest.mark.parametrize("plain", [str.upper, lambda _: None, lambda _: [1]])
async def test_a_plain_function_is_a_type_error(plain: Any) -> None:
    """A plain function fails with a TypeError that points to `ops.map`."""
    out: Subscriber[Any] = Subscriber(rx.of("a").pipe(map_async(plain)), Clock())
    await settle()
    assert isinstance(out.error, TypeError)
    assert "use ops.map for a plain function" in str(out.error)


async def test_fn_may_return_any_awaitable() -> None:
    """`fn` may return any awaitable, such as a future."""
    loop = asyncio.get_running_loop()

    def future_of(value: str) -> asyncio.Future[str]:
        future = loop.create_future()
        loop.call_soon(future.set_result, value + "!")
        return future

    out = Subscriber(rx.of("a", "b").pipe(map_async(future_of)), Clock())
    await settle()
    assert out.values == ["a!", "b!"]


@pytest.mark.parametrize("fn", [None, 7, "look_up"])
def test_an_fn_that_is_not_callable_is_refused(fn: Any) -> None:
    """An `fn` that is not callable raises a TypeError when the pipeline is composed."""
    with pytest.raises(TypeError, match="takes a coroutine function"):
        map_async(fn)


@pytest.mark.parametrize("number", [0, -1])
def test_max_concurrent_below_one_is_refused(number: int) -> None:
    """`max_concurrent` below 1 raises a ValueError."""
    with pytest.raises(ValueError, match=f"max_concurrent={number}: use 1 or more"):
        map_async(fail_awaited, max_concurrent=number)


@pytest.mark.parametrize("number", [1.5, "2", None, True])
def test_max_concurrent_of_another_type_is_refused(number: Any) -> None:
    """`max_concurrent` that is not an int raises a TypeError."""
    with pytest.raises(TypeError, match=r"max_concurrent=.* is not a number of calls: use an int"):
        map_async(fail_awaited, max_concurrent=number)


# --- subscribers that act within a notification ------------------------------------------------


raise_key_error = raising(KeyError, "mine")


async def test_disposing_within_on_next_drops_results_that_are_ready() -> None:
    """A subscriber that disposes within `on_next` gets no further results."""
    calls, source, results = ManualCalls(), Subject[str](), list[str]()

    def take_one(value: str) -> None:
        results.append(value)
        subscription.dispose()

    subscription = source.pipe(map_async(calls, max_concurrent=3)).subscribe(take_one)
    for value in "abcd":
        source.on_next(value)
    await settle()
    calls.finish("b", "c", "a")
    await settle()
    assert results == ["a!"]
    assert calls.started == ["a", "b", "c"]
    assert source.observers == []


async def test_subscribing_within_on_next_gets_later_values() -> None:
    """A subscription within `on_next` gets the values from then on."""
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
    assert [subscriber.values for subscriber in late] == [[]]
    source.on_next("b")
    await settle()
    assert calls.started == ["a", "b", "b"]
    for subscriber in (first, *late):
        subscriber.subscription.dispose()
    await settle()


async def test_a_value_pushed_within_on_next_is_queued_last() -> None:
    """A value pushed within `on_next` is queued behind the others."""
    calls, source, results = ManualCalls(), Subject[str](), list[str]()

    def answer(value: str) -> None:
        results.append(value)
        if value == "a!":
            source.on_next("c")

    subscription = source.pipe(map_async(calls)).subscribe(answer)
    source.on_next("a")
    source.on_next("b")
    await settle()
    calls.finish("a")
    await settle()
    started = list(calls.started)
    subscription.dispose()
    await settle()
    assert started == ["a", "b"]


async def test_a_completion_within_on_next_waits_for_ready_results() -> None:
    """A completion within `on_next` waits for the results that are ready."""
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


async def test_an_error_of_the_source_within_on_next_drops_ready_results() -> None:
    """An error of the source within `on_next` fails at once and drops results."""
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


class RaisingSubscriber:
    """A peer that has sent "a" and "b", and a subscriber that raises on the first result."""

    def __init__(self, **options: Any) -> None:
        self.virtual, self.calls, self.results = (
            VirtualSession(watch=True),
            ManualCalls(),
            list[str](),
        )
        self.errors = self.virtual.watch(self.virtual.conn.errors)
        mapped = self.virtual.conn.incoming.pipe(map_async(self.calls, **options))
        self.subscription = mapped.subscribe(self._on_next, scheduler=self.virtual.conn.scheduler)
        self.virtual.peer.message("a", "b")

    def _on_next(self, value: str) -> None:
        self.results.append(value)
        if value == "a!":
            raise KeyError("mine")

    async def finish(self) -> None:
        """Finish all calls that are running."""
        for value in "ab":
            await settle(self.virtual)
            if value in self.calls.started:
                self.calls.finish(value)
        await settle(self.virtual)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_subscriber_that_raises_is_a_fault_of_the_connection(ordered: bool) -> None:
    """An exception of a subscriber is a fault of the connection, and no call is left running."""
    setup = RaisingSubscriber(ordered=ordered)
    await setup.finish()
    assert [type(error) for error in setup.errors.values] == [KeyError]
    assert setup.virtual.closed.values == []
    assert setup.calls.running == 0


@pytest.mark.parametrize("ordered", [True, False])
async def test_the_stream_continues_after_a_subscriber_raised(ordered: bool) -> None:
    """After a subscriber raised, reading resumes and later values are mapped."""
    setup = RaisingSubscriber(ordered=ordered)
    await setup.finish()
    assert setup.results == ["a!", "b!"]
    assert setup.virtual.incoming.values == ["a", "b"]
    assert not setup.virtual.session.gate.held


async def test_the_completion_arrives_after_a_subscriber_raised() -> None:
    """After a subscriber raised, the completion is delivered."""
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


async def test_an_unobserved_exception_of_a_subscriber_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Without a subscriber of `errors`, an exception of a subscriber closes with 1011."""
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


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_cancelled_error_of_a_subscriber_closes_with_1011(ordered: bool) -> None:
    """A subscriber that raises a CancelledError ends the connection; the loop reports it."""
    reported: list[Any] = []
    loop = asyncio.get_running_loop()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    try:
        calls = ManualCalls()

        def handler(conn: Any) -> None:
            mapped = conn.incoming.pipe(map_async(calls, ordered=ordered))
            mapped.subscribe(raising(asyncio.CancelledError))

        async with pair(handler) as (_, conn):
            conn.outgoing.on_next("a")
            conn.outgoing.on_next("b")
            await settle()
            calls.finish("a")
            assert (await conn.closed).code == 1011
            await settle()
        assert calls.running == 0
        assert [type(error) for error in reported] == [asyncio.CancelledError]
    finally:
        loop.set_exception_handler(before)


async def test_an_exception_of_fn_that_nobody_handles_closes_with_1011(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An exception of `fn` is a fault of the connection if the subscriber has no `on_error`."""
    virtual = VirtualSession()
    virtual.conn.incoming.pipe(map_async(fail_awaited)).subscribe()
    virtual.peer.message("a")
    await settle(virtual)
    assert virtual.close_frame.code == 1011
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["mine"]


async def test_without_a_connection_the_loop_reports_a_subscribers_exception() -> None:
    """Without a connection, a subscriber's exception goes to the loop's exception handler."""
    loop = asyncio.get_running_loop()
    reported: list[Any] = []
    calls, source = ManualCalls(), Subject[str]()
    source.pipe(map_async(calls)).subscribe(raise_key_error)
    source.on_next("a")
    await settle()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    calls.finish("a")
    await settle()
    loop.set_exception_handler(before)
    assert [type(error) for error in reported] == [KeyError]


async def test_a_handler_answers_in_order_and_closes_after_the_last_answer() -> None:
    """A handler's answers are sent in order, and the close after the last one."""
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
async def test_the_end_of_the_connection_cancels_calls(how: str) -> None:
    """The end of the connection cancels a handler's running calls."""
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
    """An exception of `fn` in a handler closes with 1011, logged and hidden from the peer."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls)), codec=codecs.text)
    virtual.peer.message("a")
    await settle(virtual)
    calls.fail("a", ValueError("secret"))
    await settle(virtual)
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (1011, "Unexpected Error")
    assert len(caplog.records) == 1


async def test_a_cancelled_call_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A call of a handler that somebody else cancels closes with 1011."""
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


def test_without_a_loop_mapping_fails_and_leaves_no_coroutine() -> None:
    """Without an event loop the stream fails with RuntimeError and leaves no coroutine."""
    # Only the types: an exception's frames would keep the coroutine alive.
    faults, errors_seen = list[type[Exception]](), list[type[Exception]]()

    def run() -> None:
        virtual = VirtualSession(watch=True)
        errors = virtual.watch(virtual.conn.errors)
        mapped = virtual.conn.incoming.pipe(map_async(ManualCalls()))
        mapped.subscribe(scheduler=virtual.conn.scheduler)
        mapped.subscribe(
            on_error=lambda error: errors_seen.append(type(error)), scheduler=virtual.conn.scheduler
        )
        virtual.peer.message("a")
        faults.extend(type(error) for error in errors.values)

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        thread = threading.Thread(target=run)  # a thread without an event loop
        thread.start()
        thread.join()
        gc.collect()
    assert faults == errors_seen == [RuntimeError]
    assert [str(warning.message) for warning in warned] == []
