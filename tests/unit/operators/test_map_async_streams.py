"""`map_async` with functions that return streams, and what happens to values while it is busy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import cycle
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws import RxwsError
from rxws.operators import Backlog, map_async, rate_limit
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.subscriber import Subscriber
from support.virtual.generator import Generator
from support.virtual.manual_calls import ManualCalls, ManualMapping, settle
from support.virtual.session import VirtualSession


class ManualStreams:
    """An async generator function whose items the test releases one by one.

    Attributes:
        started: The values of the streams, in order.
        closed: The values of the streams whose `finally` block has run to its end.
        requested: How many items each stream was asked for, by its value.
    """

    def __init__(self, slow_cleanup: bool = False) -> None:
        self.started: list[str] = []
        self.closed: list[str] = []
        self.requested: dict[str, int] = {}
        self._slow_cleanup = slow_cleanup
        self._queues: dict[str, asyncio.Queue[str | Exception | None]] = {}
        self.may_close = asyncio.Event()

    async def __call__(self, value: str) -> AsyncIterator[str]:
        self.started.append(value)
        queue = self.queue(value)
        self.requested[value] = 0
        try:
            while True:
                self.requested[value] += 1
                item = await queue.get()
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield f"{value}{item}"
        finally:
            if self._slow_cleanup:
                await self.may_close.wait()
            self.closed.append(value)

    def queue(self, value: str) -> asyncio.Queue[str | Exception | None]:
        return self._queues.setdefault(value, asyncio.Queue())

    async def release(self, value: str, *items: str | Exception | None) -> None:
        """Let a stream emit items; None ends it, and an exception is raised by it."""
        for item in items:
            self.queue(value).put_nowait(item)
        await settle()


class StreamMapping:
    """A source, `map_async` of `ManualStreams`, and a subscriber of the result."""

    def __init__(
        self, *more: Callable[[Any], Any], slow_cleanup: bool = False, **options: Any
    ) -> None:
        self.streams = ManualStreams(slow_cleanup)
        self.source: Subject[str] = Subject()
        mapped = self.source.pipe(map_async(self.streams, **options), *more)
        self.out: Subscriber[Any] = Subscriber(mapped, Clock())

    async def push(self, *values: str) -> None:
        for value in values:
            self.source.on_next(value)
        await settle()


# --- what a function may return ---------------------------------------------------------------


async def letters(value: str) -> AsyncIterator[str]:
    for letter in "abc":
        yield value + letter


class Iterator:
    """An async iterator that is no generator and has no `aclose`."""

    def __init__(self, value: str) -> None:
        self._left = [value + letter for letter in "abc"]

    def __aiter__(self) -> Iterator:
        return self

    async def __anext__(self) -> str:
        if not self._left:
            raise StopAsyncIteration
        return self._left.pop(0)


STREAMS: dict[str, Callable[[str], Any]] = {
    "async generator function": letters,
    "function that returns a generator": lambda value: letters(value),
    "async iterator": Iterator,
    "Observable": lambda value: rx.of(*(value + letter for letter in "abc")),
    "from_async_iterable": lambda value: rxws.from_async_iterable(lambda: letters(value)),
}


@pytest.mark.parametrize("fn", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("max_concurrent", [1, 3])
async def test_every_item_of_a_stream_is_emitted(
    fn: Any, ordered: bool, max_concurrent: int
) -> None:
    """Every item of each stream is emitted; the completion waits for the last one."""
    mapped = rx.of("1", "2", "3").pipe(map_async(fn, max_concurrent, ordered))
    out = Subscriber(mapped)
    assert await out.end() is None
    every = [value + letter for value in "123" for letter in "abc"]
    if ordered or max_concurrent == 1:
        assert out.values == every
    else:
        assert sorted(out.values) == every
        assert [item for item in out.values if item[0] == "2"] == ["2a", "2b", "2c"]


async def test_an_awaitable_comes_before_a_stream() -> None:
    """The result of a coroutine is emitted as it is, even if it is an Observable."""
    inner = rx.of(1)

    async def find(_: str) -> rx.Observable[int]:
        return inner

    out: Subscriber[Any] = Subscriber(rx.of("a").pipe(map_async(find)))
    assert await out.end() is None
    assert out.values == [inner]


@pytest.mark.parametrize("ordered", [True, False])
async def test_an_empty_stream_emits_nothing(ordered: bool) -> None:
    """A stream that ends without items emits none, and the next call starts."""
    mapping = StreamMapping(ordered=ordered)
    await mapping.push("1", "2")
    await mapping.streams.release("1", None)
    await mapping.streams.release("2", "a", None)
    assert mapping.out.values == ["2a"]


async def test_an_exception_of_a_stream_fails_at_once() -> None:
    """An exception half-way in a stream fails the result and cancels the others."""
    mapping = StreamMapping(max_concurrent=2, ordered=False)
    await mapping.push("1", "2")
    await mapping.streams.release("1", "a")
    await mapping.streams.release("2", error := ValueError("mine"))
    assert mapping.out.notifications == ["1a", error]
    assert sorted(mapping.streams.closed) == ["1", "2"]


async def test_an_error_of_an_inner_observable_fails_at_once() -> None:
    """An inner Observable that fails fails the result."""
    error = ValueError("mine")
    inner = rx.of(1).pipe(ops.concat(rx.throw(error)))
    out: Subscriber[Any] = Subscriber(rx.of("a").pipe(map_async(lambda _: inner)))
    assert await out.end() is error
    assert out.values == [1]


@pytest.mark.parametrize("result", [7, None, "text", [1]])
async def test_any_other_result_is_a_type_error(result: Any) -> None:
    """Another result fails with a TypeError that names the kinds and points to `ops.map`."""
    fn: Any = lambda _: result  # noqa: E731 # a plain function
    out: Subscriber[Any] = Subscriber(rx.of("a").pipe(map_async(fn)))
    error = await out.end()
    assert isinstance(error, TypeError)
    for word in ("awaitable", "async iterator", "Observable", "ops.map", type(result).__name__):
        assert word in str(error)


async def test_inner_observables_use_the_time_of_the_connection() -> None:
    """An inner Observable is subscribed with the connection's scheduler."""
    virtual = VirtualSession(
        lambda conn: conn.incoming.pipe(
            map_async(lambda word: rx.timer(5).pipe(ops.map(lambda _: f"{word}!")))
        )
    )
    virtual.peer.message("a")
    await settle(virtual)
    virtual.run(4.9)
    await settle(virtual)
    assert virtual.messages == []
    virtual.run(0.2)
    await settle(virtual)
    assert virtual.messages == ["a!"]


async def test_an_inner_observable_may_emit_on_another_thread() -> None:
    """What an inner Observable emits on another thread is emitted on the event loop."""
    inner: Subject[str] = Subject()
    source: Subject[str] = Subject()
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(lambda _: inner)))
    source.on_next("a")
    source.on_completed()
    await settle()

    def emit() -> None:
        inner.on_next("x")
        inner.on_completed()

    await asyncio.to_thread(emit)
    assert await out.end() is None
    assert out.values == ["x"]
    assert len(out.threads) == 1


# --- order ------------------------------------------------------------------------------------


async def test_ordered_streams_wait_for_those_before() -> None:
    """If ordered, one item of a later stream waits, and the stream is not resumed."""
    mapping = StreamMapping(max_concurrent=3)
    await mapping.push("1", "2", "3")
    await mapping.streams.release("2", "a", "b")
    await mapping.streams.release("3", None)
    assert mapping.out.values == []
    assert mapping.streams.requested == {"1": 1, "2": 1, "3": 1}
    await mapping.streams.release("1", "a", None)
    assert mapping.out.values == ["1a", "2a", "2b"]
    await mapping.streams.release("2", None)
    assert mapping.streams.closed == ["3", "1", "2"]
    mapping.source.on_completed()
    assert mapping.out.ends == [None]


async def test_unordered_streams_are_emitted_as_they_come() -> None:
    """If not ordered, each item is emitted at once."""
    mapping = StreamMapping(max_concurrent=2, ordered=False)
    await mapping.push("1", "2")
    await mapping.streams.release("2", "a")
    await mapping.streams.release("1", "a")
    await mapping.streams.release("2", "b", None)
    assert mapping.out.values == ["2a", "1a", "2b"]
    mapping.out.subscription.dispose()
    await settle()


async def test_items_of_a_later_observable_wait_within_bounds() -> None:
    """A later Observable that cannot be paused may keep 1024 items; then it is a Backlog."""
    first, second = Subject[int](), Subject[int]()
    source: Subject[Subject[int]] = Subject()
    out: Subscriber[int] = Subscriber(source.pipe(map_async(lambda inner: inner, 2)))
    source.on_next(first)
    source.on_next(second)
    await settle()
    for number in range(1024):
        second.on_next(number)
    assert out.notifications == []
    second.on_next(1024)
    assert isinstance(out.error, Backlog)
    assert "waiting for map_async(ordered=True)" in str(out.error)
    assert "pass ordered=False" in str(out.error)
    await settle()
    assert first.observers == second.observers == []


async def test_a_later_connection_is_paused_until_its_turn() -> None:
    """A later inner Observable of another connection is paused while an item waits."""
    other, first = VirtualSession(), Subject[str]()
    inner: dict[str, rx.Observable[str]] = {"1": first, "2": other.conn.incoming}
    source: Subject[str] = Subject()
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(inner.__getitem__, 2)))
    source.on_next("1")
    source.on_next("2")
    await settle(other)
    other.peer.message("a", "b")
    await settle(other)
    assert other.session.gate.held
    first.on_completed()
    await settle(other)
    assert out.values == ["a", "b"]
    assert not other.session.gate.held
    out.subscription.dispose()
    await settle(other)


@given(
    st.lists(st.lists(st.integers(0, 9), max_size=4), max_size=5),
    st.integers(1, 4),
    st.lists(st.integers(0, 7), min_size=1, max_size=9),
)
def test_ordered_streams_are_emitted_as_if_one_after_the_other(
    streams: list[list[int]], max_concurrent: int, turns: list[int]
) -> None:
    """However the streams interleave, ordered items arrive as with one call at a time."""

    delays = cycle(turns)

    async def stream(items: list[int]) -> AsyncIterator[int]:
        for item in items:
            for _ in range(next(delays)):
                await asyncio.sleep(0)
            yield item

    async def run() -> None:
        mapped = rx.from_iterable(streams).pipe(map_async(stream, max_concurrent))
        out = Subscriber(mapped)
        assert await out.end() is None
        assert out.values == [item for items in streams for item in items]

    asyncio.run(run())


@given(
    st.lists(st.integers(0, 3), max_size=6),
    st.sampled_from(["hold", "switch", "drop"]),
    st.lists(st.integers(0, 7), min_size=1, max_size=9),
)
def test_every_value_is_mapped_cancelled_or_dropped(
    lengths: list[int], when_busy: Any, turns: list[int]
) -> None:
    """Each value is mapped to its end or counted, and one call runs at a time."""
    finished: list[int] = []
    running = 0
    delays = cycle(turns)

    async def stream(number: int) -> AsyncIterator[int]:
        nonlocal running
        running += 1
        assert running == 1
        try:
            for _ in range(lengths[number]):
                await asyncio.sleep(0)
                yield number
        finally:
            try:
                await asyncio.sleep(0)
            finally:
                running -= 1
        finished.append(number)

    async def run() -> None:
        virtual = VirtualSession(
            lambda conn: conn.incoming.pipe(
                ops.map(int), map_async(stream, when_busy=when_busy), ops.map(str)
            )
        )
        for number in range(len(lengths)):
            virtual.peer.message(str(number))
            for _ in range(next(delays)):
                await asyncio.sleep(0)
                virtual.clock.turn()
        for _ in range(4 * len(lengths)):
            await settle(virtual)
        counted = virtual.dropped.get("map_async", 0)
        assert len(finished) + counted == len(lengths)
        assert counted == 0 or when_busy != "hold"
        assert running == 0
        assert not virtual.session.gate.held
        if when_busy == "switch" and lengths:
            assert finished[-1] == len(lengths) - 1

    asyncio.run(run())


# --- when_busy --------------------------------------------------------------------------------


def test_an_unknown_when_busy_is_a_value_error() -> None:
    """An unknown `when_busy` raises a ValueError that lists the three."""
    unknown: Any = "queue"
    with pytest.raises(ValueError, match=r"when_busy='queue' is unknown: .*hold.*switch.*drop"):
        map_async(letters, when_busy=unknown)


def test_switch_with_several_calls_is_a_value_error() -> None:
    """`when_busy="switch"` with another `max_concurrent` than 1 raises, and says what to do."""
    with pytest.raises(ValueError, match=r"max_concurrent=4 .*leave max_concurrent out, or use"):
        map_async(letters, max_concurrent=4, when_busy="switch")


class BusyServer:
    """A connection whose messages are mapped by `ManualStreams`."""

    def __init__(self, **options: Any) -> None:
        self.streams = ManualStreams(options.pop("slow_cleanup", False))
        self.virtual = VirtualSession(
            lambda conn: conn.incoming.pipe(map_async(self.streams, **options))
        )

    async def receive(self, *messages: str) -> None:
        for message in messages:
            self.virtual.peer.message(message)
            await settle(self.virtual)

    async def release(self, value: str, *items: str | Exception | None) -> None:
        await self.streams.release(value, *items)
        await settle(self.virtual)


async def test_hold_pauses_the_connection_while_a_stream_runs() -> None:
    """With "hold" the connection is paused while a stream runs, and nothing is dropped."""
    server = BusyServer()
    await server.receive("1", "2")
    assert server.virtual.session.gate.held
    await server.release("1", "a", None)
    await server.release("2", "a", None)
    assert server.virtual.messages == ["1a", "2a"]
    assert server.virtual.dropped == {}


async def test_switch_cancels_the_running_stream() -> None:
    """With "switch" a new value cancels the running stream; the connection is not paused."""
    server = BusyServer(when_busy="switch")
    await server.receive("1")
    await server.release("1", "a")
    assert not server.virtual.session.gate.held
    await server.receive("2")
    assert (server.streams.started, server.streams.closed) == (["1", "2"], ["1"])
    await server.release("1", "late")
    await server.release("2", "a", None)
    assert server.virtual.messages == ["1a", "2a"]
    assert server.virtual.dropped == {"map_async": 1}
    server.virtual.peer.close(1000)
    await settle(server.virtual)


async def test_switch_waits_for_the_cleanup_and_takes_the_newest_value() -> None:
    """With "switch" the next call starts after the `finally` blocks, with the newest value."""
    server = BusyServer(when_busy="switch", slow_cleanup=True)
    await server.receive("1", "2", "3", "4")
    assert server.streams.started == ["1"]
    server.streams.may_close.set()
    await settle(server.virtual)
    assert server.streams.started == ["1", "4"]
    assert server.virtual.dropped == {"map_async": 3}
    await server.release("4", "a", None)
    assert server.virtual.messages == ["4a"]


async def test_the_completion_waits_for_the_value_to_switch_to() -> None:
    """With "switch" the completion waits for the cleanup and for the newest value."""
    mapping = StreamMapping(when_busy="switch", slow_cleanup=True)
    await mapping.push("1", "2")
    mapping.source.on_completed()
    mapping.streams.may_close.set()
    await settle()
    assert mapping.out.ends == []
    await mapping.streams.release("2", "a", None)
    assert mapping.out.notifications == ["2a", "|"]


async def test_switch_cancels_a_coroutine() -> None:
    """With "switch" a running coroutine is cancelled, too."""
    mapping = ManualMapping(when_busy="switch")
    mapping.push("a")
    await settle()
    mapping.push("b")
    await settle()
    assert mapping.calls.cancelled == ["a"]
    await mapping.finish("b")
    assert mapping.out.values == ["b!"]


async def test_switch_disposes_an_inner_observable() -> None:
    """With "switch" the subscription to a running Observable is disposed, also if it is done."""
    inner = {"1": Subject[str](), "2": Subject[str]()}
    source: Subject[str] = Subject()
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(inner.__getitem__, when_busy="switch")))
    source.on_next("1")
    await settle()
    source.on_next("2")
    await settle()
    assert inner["1"].observers == []
    inner["2"].on_next("x")
    assert out.values == ["x"]
    out.subscription.dispose()
    await settle()
    assert inner["2"].observers == []


async def test_switch_emits_a_result_that_is_ready() -> None:
    """With "switch" a call that has ended in the same turn is not cancelled: its result counts."""
    ended = asyncio.get_running_loop().create_future()
    source: Subject[str] = Subject()

    async def answer(value: str) -> str:
        if value == "a":
            await ended
            asyncio.get_running_loop().call_soon(source.on_next, "b")
        return f"{value}!"

    out: Subscriber[str] = Subscriber(source.pipe(map_async(answer, when_busy="switch")))
    source.on_next("a")
    await settle()
    ended.set_result(None)
    await settle()
    assert out.values == ["a!", "b!"]


async def test_what_a_cancelled_call_raises_is_a_fault() -> None:
    """An exception in the cleanup of a cancelled call goes to `conn.errors`; the next call runs."""
    error = ValueError("mine")
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    generator = Generator(waits_at=0, fails_with=error)
    out = virtual.watch(virtual.conn.incoming.pipe(map_async(generator, when_busy="switch")))
    virtual.peer.message("1", "2")
    await settle(virtual)
    virtual.peer.message("3")
    await settle(virtual)
    assert errors.values == [error]
    assert generator.started == 2
    out.subscription.dispose()
    await settle(virtual)
    assert errors.values == [error, error]


async def test_switch_within_on_next_cancels_at_the_next_item() -> None:
    """A value that the subscriber pushes within `on_next` switches without breaking the cleanup."""
    streams, source, items = ManualStreams(slow_cleanup=True), Subject[str](), list[str]()

    def push_next(item: str) -> None:
        items.append(item)
        if item == "1a":
            source.on_next("2")

    subscription = source.pipe(map_async(streams, when_busy="switch")).subscribe(push_next)
    source.on_next("1")
    await settle()
    await streams.release("1", "a", "b")
    streams.may_close.set()
    await settle()
    await streams.release("2", "a")
    assert items == ["1a", "2a"]
    assert streams.closed == ["1"]
    subscription.dispose()
    await settle()


async def test_drop_ignores_values_while_calls_run() -> None:
    """With "drop" a value is dropped and counted while `max_concurrent` calls run."""
    server = BusyServer(when_busy="drop", max_concurrent=2)
    await server.receive("1", "2", "3", "4")
    assert server.streams.started == ["1", "2"]
    assert not server.virtual.session.gate.held
    assert server.virtual.dropped == {"map_async": 2}
    await server.release("1", "a", None)
    await server.receive("5")
    await server.release("5", "a", None)
    await server.release("2", "a", None)
    assert server.virtual.messages == ["1a", "2a", "5a"]
    assert server.virtual.dropped == {"map_async": 2}


# --- disposal ---------------------------------------------------------------------------------


@pytest.mark.parametrize("when_busy", ["hold", "switch", "drop"])
async def test_disposing_closes_the_streams(when_busy: Any) -> None:
    """Disposing cancels the running streams; their `finally` blocks run to the end."""
    mapping = StreamMapping(slow_cleanup=True, when_busy=when_busy)
    await mapping.push("1")
    await mapping.streams.release("1", "a")
    mapping.out.subscription.dispose()
    await settle()
    assert mapping.streams.closed == []
    mapping.streams.may_close.set()
    await settle()
    assert mapping.streams.closed == ["1"]
    assert mapping.out.notifications == ["1a"]


async def test_take_within_an_item_closes_the_streams() -> None:
    """`take` behind closes all streams; no `finally` block is interrupted."""
    mapping = StreamMapping(ops.take(1), slow_cleanup=True, max_concurrent=2)
    await mapping.push("1", "2")
    await mapping.streams.release("2", "a")
    await mapping.streams.release("1", "a")
    assert mapping.out.notifications == ["1a", "|"]
    mapping.streams.may_close.set()
    await settle()
    assert sorted(mapping.streams.closed) == ["1", "2"]


@pytest.mark.parametrize("how", ["now", "later"])
async def test_take_disposes_an_inner_observable(how: str) -> None:
    """`take` behind disposes an inner Observable, also one that emits within `subscribe`."""
    subject: Subject[int] = Subject()
    disposed: list[str] = []
    inner = rx.concat(rx.of(1, 2), rx.never()) if how == "now" else subject
    inner = inner.pipe(ops.finally_action(lambda: disposed.append("inner")))
    out: Subscriber[int] = Subscriber(rx.of("a").pipe(map_async(lambda _: inner), ops.take(1)))
    await settle()
    subject.on_next(1)
    await settle()
    assert out.notifications == [1, "|"]
    assert disposed == ["inner"]


async def test_a_stream_that_is_cancelled_from_elsewhere_fails() -> None:
    """If somebody else cancels the task of a stream, the result fails with an RxwsError."""
    mapping = StreamMapping()
    before = asyncio.all_tasks()
    await mapping.push("1")
    [task] = asyncio.all_tasks() - before
    task.cancel()
    await settle()
    assert isinstance(mapping.out.error, RxwsError)
    assert "was cancelled" in str(mapping.out.error)


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_subscriber_that_raises_does_not_end_the_stream(ordered: bool) -> None:
    """An exception of a subscriber goes to `conn.errors`, and the next items follow."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.pipe(map_async(letters, ordered=ordered)).subscribe(
        raising(KeyError, "mine"), scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("1")
    await settle(virtual)
    assert [type(error) for error in errors.values] == [KeyError] * 3


# --- back-pressure ----------------------------------------------------------------------------


@pytest.mark.promise("generator")
async def test_a_stream_is_not_resumed_while_the_peer_is_behind() -> None:
    """In a handler a stream is not resumed while the peer is behind."""
    generator = Generator(3)
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(generator), ops.map(str)))
    virtual.peer.stop()
    virtual.peer.message("go")
    await settle(virtual)
    assert generator.requested == 1
    virtual.peer.go()
    await settle(virtual)
    assert virtual.messages == ["0", "1", "2"]


async def test_a_stream_is_held_while_a_map_async_behind_is_full() -> None:
    """A second `map_async` pauses the streams of the first one."""
    calls = ManualCalls()
    generator = Generator(3)
    out: Subscriber[Any] = Subscriber(rx.of("x").pipe(map_async(generator), map_async(calls)))
    await settle()
    assert (calls.started, generator.requested) == ([0], 1)
    for number in range(3):
        calls.finish(number)
        await settle()
    assert await out.end() is None
    assert out.values == ["0!", "1!", "2!"]


async def test_a_stream_is_held_while_rate_limit_behind_holds() -> None:
    """`rate_limit` pauses the streams of a `map_async` before it; its `Close` fails them."""
    clock, generator = Clock(), Generator(3)
    source: Subject[str] = Subject()
    chain = source.pipe(map_async(generator), rate_limit(1, per=1))
    out = Subscriber(chain, clock, scheduler=clock)
    source.on_next("x")
    await settle()
    assert (out.values, generator.requested) == ([0], 2)
    clock.run(2)
    await settle()
    clock.run(2)
    await settle()
    assert out.values == [0, 1, 2]
    out.subscription.dispose()


async def test_a_close_as_excess_fails_the_streams() -> None:
    """`rate_limit` with a `Close` behind fails the stream, and closes the generator."""
    generator = Generator()
    limit = rate_limit(1, per=1, excess=rxws.Close(1008))
    out: Subscriber[Any] = Subscriber(rx.of("x").pipe(map_async(generator), limit))
    error = await out.end()
    assert isinstance(error, rxws.ConnectionClosed)
    await settle()
    assert generator.closed == 1


async def test_iterate_holds_the_streams_while_its_body_runs() -> None:
    """`async for` over a chain with streams requests one item at a time."""
    generator = Generator(3)
    source = rx.of("x").pipe(map_async(generator))
    requested = []
    async for _ in rxws.iterate(source):
        await settle()
        requested.append(generator.requested)
    assert requested == [1, 2, 3]


async def test_a_connection_that_a_stream_reads_is_not_paused() -> None:
    """A pause holds the generator, not a connection that its code reads."""
    other = VirtualSession()

    async def answers(_: str) -> AsyncIterator[str]:
        async for word in other.conn.incoming:
            yield str(word)

    calls = ManualCalls()
    out: Subscriber[Any] = Subscriber(rx.of("x").pipe(map_async(answers), map_async(calls)))
    await settle(other)
    other.peer.message("a")
    await settle(other)
    assert calls.started == ["a"]
    calls.finish("a")
    await settle(other)
    other.peer.message("b")
    await settle(other)
    assert calls.started == ["a", "b"]
    out.subscription.dispose()
    await settle(other)
