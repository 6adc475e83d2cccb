"""`from_async_iterable`: an Observable of an async generator, pulled as its items are taken."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.abc import DisposableBase

import rxws
from rxws import Close, ConnectionClosed, RxwsError, from_async_iterable
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.upstream import Upstreams, collect_upstreams
from rxws.operators import map_async, rate_limit
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.peers.raw import PATIENCE
from support.subscriber import Subscriber
from support.virtual.generator import Generator
from support.virtual.manual_calls import ManualCalls, settle
from support.virtual.session import VirtualSession


async def count_to(end: int) -> AsyncIterator[int]:
    for number in range(end):
        yield number


async def test_each_item_is_emitted_and_the_end_completes() -> None:
    """Every item is emitted, in order, and the end of the generator completes the Observable."""
    out = Subscriber(from_async_iterable(lambda: count_to(3)))
    assert await out.end() is None
    assert out.values == [0, 1, 2]


async def test_each_subscription_iterates_for_itself() -> None:
    """The Observable is cold: each subscription calls the factory, and none does before."""
    generator = Generator(2)
    source = from_async_iterable(generator)
    assert generator.log == []
    for _ in range(2):
        out = Subscriber(source)
        assert await out.end() is None
        assert out.values == [0, 1]
    assert generator.started == generator.closed == 2


async def test_an_exception_of_the_generator_fails_the_observable() -> None:
    """An exception that the generator raises half-way fails the Observable after its items."""
    error = ValueError("mine")

    async def fail() -> AsyncIterator[int]:
        yield 1
        raise error

    out = Subscriber(from_async_iterable(fail))
    assert await out.end() is error
    assert out.values == [1]


async def test_an_exception_that_is_no_exception_becomes_an_rxws_error() -> None:
    """A BaseException of the generator becomes an RxwsError that names it."""

    class CustomBaseException(BaseException):
        """Not treated specially by asyncio."""

    async def fail() -> AsyncIterator[int]:
        raise CustomBaseException
        yield 1

    out = Subscriber(from_async_iterable(fail))
    assert isinstance(error := await out.end(), RxwsError)
    assert "CustomBaseException" in str(error)


class Lines:
    """An async iterable that is no generator, and an iterator without `aclose`."""

    def __init__(self) -> None:
        self.left = ["a", "b"]

    def __aiter__(self) -> Lines:
        return self

    async def __anext__(self) -> str:
        if not self.left:
            raise StopAsyncIteration
        return self.left.pop(0)


async def test_any_async_iterable_will_do() -> None:
    """The factory may be a class or return any async iterable, also one without `aclose`."""
    out = Subscriber(from_async_iterable(Lines))
    assert await out.end() is None
    assert out.values == ["a", "b"]


async def number() -> int:
    return 7


@pytest.mark.parametrize(
    ("factory", "named"),
    [
        (lambda: 7, "int 7"),
        (lambda: None, "NoneType None"),
        (number, "coroutine <coroutine"),
        (lambda: iter("ab"), "str_ascii_iterator"),
    ],
    ids=["int", "None", "coroutine", "iterator"],
)
async def test_a_factory_that_returns_something_else_is_a_type_error(
    factory: Any, named: str
) -> None:
    """A factory that returns no async iterable fails with a TypeError that names the result."""
    out: Subscriber[Any] = Subscriber(from_async_iterable(factory))
    error = await out.end()
    assert isinstance(error, TypeError)
    assert "such as an async generator function" in str(error)
    assert named in str(error)


@pytest.mark.parametrize("factory", [None, 7, [1, 2]])
def test_a_factory_that_is_not_callable_is_a_type_error(factory: Any) -> None:
    """What cannot be called raises a TypeError at once."""
    with pytest.raises(TypeError, match="takes a function that returns an async iterable"):
        from_async_iterable(factory)


async def test_a_generator_instead_of_its_function_is_a_type_error() -> None:
    """A generator object raises a TypeError that says to pass the function."""
    generator: Any = count_to(3)
    with pytest.raises(TypeError, match="pass the function, not its result"):
        from_async_iterable(generator)


def test_subscribing_without_an_event_loop_fails() -> None:
    """Without a running event loop the subscription fails with a RuntimeError."""
    errors: list[type[Exception]] = []

    def run() -> None:
        source = from_async_iterable(Generator(1))
        source.subscribe(on_error=lambda error: errors.append(type(error)))
        source.subscribe(on_error=lambda error: errors.append(type(error)), scheduler=Clock())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(PATIENCE)
    assert errors == [RuntimeError, RuntimeError]


# --- disposing --------------------------------------------------------------------------------


async def test_disposing_closes_the_generator_where_it_waits() -> None:
    """Disposing cancels the generator where it waits; its `finally` block runs once, to the end."""
    generator = Generator(waits_at=1, cleanup_turns=3)
    out = Subscriber(from_async_iterable(generator))
    await settle()
    assert out.values == [0]
    out.subscription.dispose()
    out.subscription.dispose()
    await settle()
    assert generator.log == ["start", "cancelled", "cleanup", "closed"]
    assert out.ends == []


async def test_disposing_closes_a_generator_that_is_held() -> None:
    """Disposing closes a generator that waits at a `yield`; its `finally` block runs once."""
    generator = Generator(cleanup_turns=3)
    virtual = VirtualSession()
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    out = Subscriber(from_async_iterable(generator), scheduler=virtual.conn.scheduler)
    await settle(virtual)
    assert out.values == []
    out.subscription.dispose()
    await settle(virtual)
    assert generator.log == ["start", "cleanup", "closed"]


async def test_disposing_within_on_next_closes_the_generator() -> None:
    """A subscriber that disposes within `on_next` gets no more items; the cleanup may wait."""
    generator = Generator(cleanup_turns=3)
    values: list[int] = []

    def take_one(value: int) -> None:
        values.append(value)
        subscription.dispose()

    subscription = from_async_iterable(generator).subscribe(take_one)
    await settle()
    assert values == [0]
    assert generator.log == ["start", "cleanup", "closed"]


async def test_take_closes_the_generator() -> None:
    """`take` closes an endless generator."""
    generator = Generator(cleanup_turns=3)
    out = Subscriber(from_async_iterable(generator).pipe(ops.take(3)))
    assert await out.end() is None
    assert out.values == [0, 1, 2]
    await settle()
    assert generator.log == ["start", "cleanup", "closed"]


async def test_disposing_before_the_task_starts_runs_nothing() -> None:
    """Disposing right after subscribing does not even call the factory."""
    generator = Generator()
    from_async_iterable(generator).subscribe().dispose()
    await settle()
    assert generator.log == []


async def test_disposing_within_the_generator_cancels_it() -> None:
    """A generator whose own code disposes the subscription is cancelled at its next `await`."""
    log: list[str] = []

    async def leave() -> AsyncIterator[int]:
        subscription.dispose()
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")
        yield 1

    subscription = from_async_iterable(leave).subscribe()
    await settle()
    assert log == ["cancelled"]


async def test_disposing_on_another_thread_cancels_on_the_loop() -> None:
    """A subscription may be disposed on any thread."""
    generator = Generator(waits_at=0)
    out = Subscriber(from_async_iterable(generator))
    await settle()
    await asyncio.to_thread(out.subscription.dispose)
    await settle()
    assert generator.closed == 1


@contextmanager
def task_of_closed_loop(subscribe: Callable[[], Any]) -> Iterator[None]:
    """Subscribe on an event loop, and close it while the task is waiting."""

    async def run() -> None:
        subscribe()
        await settle()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(run())
    [task] = asyncio.all_tasks(loop)
    loop.close()
    yield
    coroutine: Any = task.get_coro()
    coroutine.close()
    vars_of_task: Any = task
    vars_of_task._log_destroy_pending = False


def test_disposing_after_the_loop_is_closed_does_nothing() -> None:
    """A subscription whose event loop is closed may be disposed."""
    generator, upstreams = Generator(), Upstreams()
    subscriptions: list[DisposableBase] = []

    def subscribe() -> None:
        with collect_upstreams(upstreams):
            subscriptions.append(from_async_iterable(generator).subscribe())
        upstreams.pause()

    with task_of_closed_loop(subscribe):
        subscriptions[0].dispose()
        assert generator.log == ["start"]


async def test_disposing_does_not_interrupt_aclose() -> None:
    """Disposing while an iterator that has ended is closed does not interrupt that."""
    closing, closed = asyncio.Event(), asyncio.Event()

    class Slow(Lines):
        async def aclose(self) -> None:
            closing.set()
            await settle()
            closed.set()

    out = Subscriber(from_async_iterable(Slow))
    async with asyncio.timeout(PATIENCE):
        await closing.wait()
        out.subscription.dispose()
        await closed.wait()
    await settle()
    assert out.notifications == ["a", "b"]


async def test_a_generator_that_swallows_its_cancellation_is_closed() -> None:
    """A generator that goes on after its cancellation is closed at its next `yield`."""
    log: list[str] = []

    async def stubborn() -> AsyncIterator[int]:
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    log.append("swallowed")
                yield 1
        finally:
            log.append("closed")

    out = Subscriber(from_async_iterable(stubborn))
    await settle()
    out.subscription.dispose()
    await settle()
    assert log == ["swallowed", "closed"]
    assert out.values == []


async def test_a_cancellation_from_elsewhere_fails_the_observable() -> None:
    """If somebody else cancels the task, the Observable fails with an RxwsError."""
    before = asyncio.all_tasks()
    out = Subscriber(from_async_iterable(Generator(waits_at=0)))
    [task] = asyncio.all_tasks() - before
    await settle()
    task.cancel()
    error = await out.end()
    assert isinstance(error, RxwsError)
    assert "was cancelled" in str(error)


async def test_what_the_cleanup_raises_is_a_fault_of_the_connection() -> None:
    """An exception in a `finally` block after disposal goes to `conn.errors`."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    error = ValueError("mine")
    source = from_async_iterable(Generator(waits_at=0, fails_with=error))
    out = Subscriber(source, scheduler=virtual.conn.scheduler)
    await settle(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert errors.values == [error]


async def test_a_subscriber_that_raises_is_a_fault_of_the_connection() -> None:
    """An exception of a subscriber goes to `conn.errors`, and the next items follow."""
    virtual = VirtualSession()
    errors = virtual.watch(virtual.conn.errors)
    done: list[str] = []
    from_async_iterable(Generator(2)).subscribe(
        raising(KeyError, "mine"),
        on_completed=lambda: done.append("completed"),
        scheduler=virtual.conn.scheduler,
    )
    await settle(virtual)
    assert [type(error) for error in errors.values] == [KeyError, KeyError]
    assert done == ["completed"]


@pytest.mark.parametrize("scheduler", [None, "of a chain"])
async def test_without_a_connection_the_loop_reports_a_subscribers_exception(
    scheduler: Any,
) -> None:
    """Without a connection, what a subscriber raises goes to the loop's exception handler."""
    loop = asyncio.get_running_loop()
    before, reported = loop.get_exception_handler(), list[Any]()
    loop.set_exception_handler(lambda _, context: reported.append(context["exception"]))
    source = from_async_iterable(Generator(2))
    chain = source if scheduler is None else source.pipe(ops.map(str))
    chain.subscribe(raising(KeyError, "mine"))
    await settle()
    loop.set_exception_handler(before)
    assert [type(error) for error in reported] == [KeyError, KeyError]


async def test_with_eager_tasks_disposing_within_the_subscription_works() -> None:
    """With eager tasks the first items are emitted within `subscribe`; `take` ends it there."""
    loop = asyncio.get_running_loop()
    factory: Any = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("Python 3.11 has no eager tasks")
    loop.set_task_factory(factory)
    generator = Generator(cleanup_turns=3)
    out = Subscriber(from_async_iterable(generator).pipe(ops.take(1)))
    loop.set_task_factory(None)
    await settle()
    assert out.values == [0]
    assert generator.log == ["start", "cleanup", "closed"]


# --- as fast as the items are taken -----------------------------------------------------------


async def test_it_is_not_pulled_while_the_peer_is_behind() -> None:
    """With the scheduler of a connection it is not resumed while the peer is behind."""
    generator = Generator(4)
    virtual = VirtualSession(lambda _: from_async_iterable(generator).pipe(ops.map(str)))
    virtual.peer.stop()
    await settle(virtual)
    assert (virtual.messages, generator.requested) == (["0"], 1)
    virtual.peer.go(1)
    await settle(virtual)
    assert (virtual.messages, generator.requested) == (["0", "1", "2"], 3)
    virtual.peer.go()
    await settle(virtual)
    assert virtual.messages == ["0", "1", "2", "3"]
    assert virtual.close_frame.code == 1000


async def test_an_inner_observable_is_held_too() -> None:
    """Inside `flat_map` it finds the connection, too, as `flat_map` passes the scheduler on."""
    generator = Generator(3)
    inner = ops.flat_map(lambda _: from_async_iterable(generator).pipe(ops.map(str)))
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(inner))
    virtual.peer.message("go")
    virtual.peer.stop()
    await settle(virtual)
    assert generator.requested == 1
    virtual.peer.go()
    await settle(virtual)
    assert virtual.messages == ["0", "1", "2"]


async def test_the_end_of_the_connection_ends_the_wait_for_the_peer() -> None:
    """A subscription that outlives the connection is no longer held by it."""
    generator = Generator(2)
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("fills the wire")
    out = Subscriber(from_async_iterable(generator), scheduler=virtual.conn.scheduler)
    await settle(virtual)
    assert out.values == []
    virtual.peer.lost()
    await settle(virtual)
    assert out.notifications == [0, 1, "|"]


async def test_it_is_not_pulled_while_map_async_is_full() -> None:
    """`map_async` behind it pauses it while its calls run: nothing piles up."""
    generator, calls = Generator(4), ManualCalls()
    out = Subscriber(from_async_iterable(generator).pipe(map_async(calls, max_concurrent=2)))
    await settle()
    assert (calls.started, generator.requested) == ([0, 1], 2)
    calls.finish(0)
    await settle()
    assert (calls.started, generator.requested) == ([0, 1, 2], 3)
    calls.finish(1, 2)
    await settle()
    calls.finish(3)
    assert await out.end() is None
    assert out.values == ["0!", "1!", "2!", "3!"]


async def test_an_item_may_become_any_number_of_values() -> None:
    """One item that becomes many values is no Backlog of `map_async`: they all wait."""

    async def pages() -> AsyncIterator[range]:
        yield range(2000)

    calls = ManualCalls()
    values = from_async_iterable(pages).pipe(ops.flat_map(rx.from_iterable))
    out: Subscriber[Any] = Subscriber(values.pipe(map_async(calls)))
    await settle()
    assert out.ends == []
    out.subscription.dispose()
    await settle()


async def test_it_is_not_pulled_while_rate_limit_holds() -> None:
    """`rate_limit` behind it pauses it until there is a token."""
    clock, generator = Clock(), Generator(3)
    source = from_async_iterable(generator).pipe(rate_limit(1, per=1))
    out = Subscriber(source, clock, scheduler=clock)
    await settle()
    assert (out.values, generator.requested) == ([0], 2)
    clock.run(1)
    await settle()
    assert (out.values, generator.requested) == ([0, 1], 3)
    clock.run(1)
    await settle()
    assert out.notifications == [0, 1, 2, "|"]


async def test_iterate_pulls_one_item_at_a_time() -> None:
    """`async for` requests an item when its body is done, and closes the generator at `break`."""
    generator = Generator()
    requested: list[int] = []
    async for value in rxws.iterate(from_async_iterable(generator)):
        await settle()
        requested.append(generator.requested)
        if value == 2:
            break
    await settle()
    assert requested == [1, 2, 3]
    assert generator.closed == 1


async def test_it_may_be_resumed_on_another_thread() -> None:
    """A pause may end on another thread."""
    generator = Generator(2)
    upstreams = Upstreams()
    with collect_upstreams(upstreams):
        out = Subscriber(from_async_iterable(generator))
    upstreams.pause()
    await settle()
    assert out.values == [0]
    await asyncio.to_thread(upstreams.resume)
    assert await out.end() is None
    assert out.values == [0, 1]


def test_resuming_after_the_loop_is_closed_does_nothing() -> None:
    """A pause may end after the event loop has been closed."""
    upstreams = Upstreams()
    generator = Generator()

    def subscribe() -> None:
        with collect_upstreams(upstreams):
            from_async_iterable(generator).subscribe()
        upstreams.pause()

    with task_of_closed_loop(subscribe):
        upstreams.resume()
        assert generator.requested == 1


async def test_values_that_rate_limit_drops_are_counted_by_the_connection() -> None:
    """What `rate_limit` drops of a generator's items is counted in the connection's stats."""
    drop = rate_limit(1, per=1, excess="drop")
    virtual = VirtualSession(
        lambda _: from_async_iterable(lambda: count_to(3)).pipe(drop, ops.map(str))
    )
    await settle(virtual)
    assert virtual.messages == ["0"]
    assert virtual.dropped == {"rate_limit": 2}


async def test_values_dropped_without_a_connection_are_not_counted() -> None:
    """Without a connection `rate_limit` drops the items of a generator silently."""
    drop = rate_limit(1, per=1, excess="drop")
    out = Subscriber(from_async_iterable(lambda: count_to(3)).pipe(drop))
    assert await out.end() is None
    assert out.values == [0]


async def test_a_close_as_excess_fails_the_stream() -> None:
    """`rate_limit` with a `Close` fails the stream of a generator, and closes the generator."""
    generator = Generator(3)
    limit = rate_limit(1, per=1, excess=Close(1008, "too fast"))
    out = Subscriber(from_async_iterable(generator).pipe(limit))
    error = await out.end()
    assert isinstance(error, ConnectionClosed)
    assert error.close == Close(1008, "too fast")
    await settle()
    assert generator.closed == 1


async def test_a_generator_that_never_waits_lets_the_loop_run() -> None:
    """An endless generator without an `await` does not keep the event loop from other work."""
    generator = Generator()
    ran: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    subscription = from_async_iterable(generator).subscribe()
    asyncio.get_running_loop().call_later(0.001, ran.set_result, True)
    async with asyncio.timeout(PATIENCE):
        assert await ran
    subscription.dispose()
    await settle()
    assert generator.closed == 1


async def test_a_connection_that_the_generator_loops_over_is_not_paused_with_it() -> None:
    """A pause holds the generator, not the connection that its own code reads."""
    virtual = VirtualSession()

    async def shout() -> AsyncIterator[str]:
        async for word in virtual.conn.incoming:
            yield str(word).upper()

    calls = ManualCalls()
    out = Subscriber(from_async_iterable(shout).pipe(map_async(calls)))
    await settle(virtual)
    virtual.peer.message("a")
    await settle(virtual)
    assert calls.started == ["A"]
    calls.finish("A")
    virtual.peer.message("b")
    await settle(virtual)
    assert calls.started == ["A", "B"]
    out.subscription.dispose()
    await settle(virtual)


class Held:
    """A generator of `count` items behind two collections that tests pause and resume."""

    def __init__(self, count: int) -> None:
        self.generator = Generator(count)
        self.outer = Upstreams()
        self.inner = Upstreams()
        self.clock = Clock()
        with (
            collect_upstreams(self.outer),
            collect_upstreams(self.inner),
        ):
            self.out = Subscriber(from_async_iterable(self.generator))
        self.held: set[str] = set()

    def step(self, name: str) -> None:
        which, action = name.split()
        getattr(getattr(self, which), action)()
        (self.held.add if action == "pause" else self.held.discard)(which)


NAMES = [f"{which} {action}" for which in ("outer", "inner") for action in ("pause", "resume")]


@given(st.lists(st.sampled_from(NAMES), max_size=20), st.integers(0, 5))
def test_whatever_is_held_no_item_is_lost_or_requested_too_early(
    steps: list[str], count: int
) -> None:
    """While one of several holds is active nothing is requested, and in the end all arrives."""

    async def run() -> None:
        held = Held(count)
        for name in steps:
            held.step(name)
            was_held, before = bool(held.held), held.generator.requested
            await settle()
            if was_held and before:
                assert held.generator.requested == before
        held.outer.resume()
        held.inner.resume()
        assert await held.out.end() is None
        assert held.out.values == list(range(count))
        assert held.generator.log == ["start", "closed"]

    asyncio.run(run())


async def test_time_operators_behind_it_use_the_loop() -> None:
    """A chain that begins with it uses the event loop's timers."""
    seen: list[int] = []
    out: Subscriber[int] = Subscriber(
        from_async_iterable(lambda: count_to(2)).pipe(
            ops.delay(0.001), ops.do_action(lambda _: seen.append(threading.get_ident()))
        )
    )
    assert await out.end() is None
    assert seen == [threading.get_ident()] * 2


async def test_the_observable_composes_with_others() -> None:
    """It can be merged with other Observables."""
    both = rx.merge(from_async_iterable(lambda: count_to(2)), rx.of("x"))
    out: Subscriber[Any] = Subscriber(both, scheduler=LoopScheduler.running())
    assert await out.end() is None
    assert sorted(map(str, out.values)) == ["0", "1", "x"]
