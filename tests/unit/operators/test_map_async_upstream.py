"""`map_async`: which connections it pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
import reactivex as rx
from aiohttp import web
from reactivex import operators as ops
from reactivex.scheduler import ImmediateScheduler
from reactivex.subject import Subject

import rxws
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.upstream import Upstreams, collect_upstreams
from rxws.operators import map_async, rate_limit
from rxws.testing.clock import Clock
from support.fixtures import Serve
from support.processes.examples import receive_text
from support.subscriber import Subscriber
from support.virtual.manual_calls import ManualCalls, settle
from support.virtual.session import VirtualSession


async def upper(text: str) -> str:
    return text.upper()


def is_paused(virtual: VirtualSession) -> bool:
    return virtual.session.gate.held


def subscribed(observable: rx.Observable[Any]) -> Subscriber[Any]:
    """Subscribe with the running loop's scheduler, as rxws does for a handler."""
    return Subscriber(observable, Clock(), scheduler=LoopScheduler.running())


@pytest.mark.parametrize("how", ["merge", "start_with"])
async def test_the_connection_is_found_without_a_scheduler(how: str) -> None:
    """The connection is found in a subscription without a scheduler, a turn later too."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    if how == "merge":
        source = rx.merge(virtual.conn.incoming, rx.never())
    else:
        source = virtual.conn.incoming.pipe(ops.start_with("hello"))
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls, max_concurrent=2)), Clock())
    await settle(virtual)
    virtual.peer.message("a", "b")
    await settle(virtual)
    paused = is_paused(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert paused


@pytest.mark.parametrize("operator", [map_async(upper), rate_limit(1, per=1e-6)])
async def test_a_message_may_become_many_values(operator: Any) -> None:
    """A message that becomes more than 1024 values is no Backlog: the connection is paused."""
    virtual = VirtualSession()

    def repeat(text: str) -> rx.Observable[str]:
        return rx.from_iterable(text * 3000, ImmediateScheduler())

    out = virtual.watch(virtual.conn.incoming.pipe(ops.map(repeat), ops.merge_all(), operator))
    virtual.peer.message("a")
    assert is_paused(virtual)
    while len(out.values) < 3000 and not out.ends:
        await asyncio.sleep(0)
        virtual.run(1e-3)
    assert out.ends == []
    assert not is_paused(virtual)


async def test_the_connection_is_found_behind_other_operators() -> None:
    """The connection is found behind any number of operators."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    inner: rx.Observable[Any] = virtual.conn.incoming.pipe(ops.map(str.upper), ops.filter(bool))
    deep: rx.Observable[Any] = inner.pipe(ops.flat_map(rx.just), ops.distinct_until_changed())
    out: Subscriber[Any] = Subscriber(deep.pipe(map_async(calls)), Clock())
    virtual.peer.message("a")
    await settle(virtual)
    assert is_paused(virtual)
    out.subscription.dispose()
    await settle(virtual)


async def test_the_connection_is_found_behind_start_with() -> None:
    """The connection is found behind `start_with`, which subscribes it in a later turn."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(calls))
    out = subscribed(source)
    await settle(virtual)
    calls.finish("hello")
    await settle(virtual)
    virtual.peer.message("a", "b")
    await settle(virtual)
    assert is_paused(virtual)
    calls.finish("a")
    await settle(virtual)
    calls.finish("b")
    await settle(virtual)
    assert not is_paused(virtual)
    assert out.values == ["hello!", "a!", "b!"]


async def test_a_connection_that_is_found_late_is_paused() -> None:
    """A connection that is found while `map_async` is full is paused at once."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(calls))
    out = subscribed(source)
    await settle(virtual)
    assert calls.started == ["hello"]
    virtual.peer.message(*map(str, range(2000)))
    await settle(virtual)
    ends = list(out.ends)
    out.subscription.dispose()
    await settle(virtual)
    assert ends == []


async def test_each_map_async_of_a_chain_pauses_the_connection() -> None:
    """The second `map_async` of a chain pauses the connection, too."""
    virtual, slow = VirtualSession(watch=True), ManualCalls()

    async def fast(value: str) -> str:
        return value

    out: Subscriber[Any] = Subscriber(
        virtual.conn.incoming.pipe(map_async(fast), map_async(slow)), Clock()
    )
    virtual.peer.message("a")
    await settle(virtual)
    assert slow.started == ["a"]
    paused = is_paused(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert paused


async def test_iterate_behind_map_async_pauses_the_connection() -> None:
    """`iterate` behind `map_async` pauses the connection while its body runs."""
    virtual = VirtualSession(watch=True)
    busy: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def identity(value: str) -> str:
        return value

    async def body() -> None:
        async for _ in rxws.iterate(virtual.conn.incoming.pipe(map_async(identity))):
            await settle(virtual)
            busy.set_result(is_paused(virtual))
            await done

    task = asyncio.ensure_future(body())
    await settle(virtual)
    virtual.peer.message("a")
    paused = await asyncio.wait_for(busy, 10)
    task.cancel()
    await asyncio.wait([task])
    assert paused


async def test_a_connection_that_fn_subscribes_is_not_paused() -> None:
    """A connection that `fn` itself subscribes is not paused, as the call would hang."""
    virtual, upstream = VirtualSession(watch=True), VirtualSession()

    async def ask(_: str) -> Any:
        return await upstream.conn.incoming.pipe(ops.first())

    source = virtual.conn.incoming.pipe(ops.start_with("hello"), map_async(ask))
    out = subscribed(source)
    await settle(virtual, upstream)
    upstream.peer.message("first")
    await settle(virtual, upstream)
    assert out.values == ["first"]
    virtual.peer.message("a")
    await settle(virtual, upstream)
    upstream.peer.message("second")
    await settle(virtual, upstream)
    values = list(out.values)
    out.subscription.dispose()
    await settle(virtual, upstream)
    assert values == ["first", "second"]


async def test_a_connection_subscribed_downstream_is_not_paused() -> None:
    """A connection that is subscribed downstream, as by `flat_map`, is not paused."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    below = ops.flat_map(lambda _: virtual.conn.incoming)
    source: rx.Observable[str] = rx.from_list(list("abc"), scheduler=ImmediateScheduler())
    out: Subscriber[Any] = Subscriber(source.pipe(map_async(calls), below), Clock())
    await settle(virtual)
    calls.finish("a")
    await settle(virtual)
    calls.finish("b")
    await settle(virtual)
    assert calls.started == ["a", "b", "c"]
    paused = is_paused(virtual)
    out.subscription.dispose()
    await settle(virtual)
    assert not paused


# --- back-pressure -----------------------------------------------------------------------------


async def test_delivery_is_held_while_map_async_is_full() -> None:
    """Delivery is held while `max_concurrent` calls run, and resumes when one ends."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls, max_concurrent=2)))
    virtual.peer.message("a")
    assert not is_paused(virtual)
    virtual.peer.message("b")
    assert is_paused(virtual)
    virtual.peer.message("c", "d")
    await settle(virtual)
    assert calls.started == ["a", "b"]
    assert virtual.session.incoming.waiting == 2, "the other messages stay in the read-ahead"
    calls.finish("a")
    await settle(virtual)
    assert calls.started == ["a", "b", "c"]
    calls.finish("b", "c")
    await settle(virtual)
    calls.finish("d")
    await settle(virtual)
    assert not is_paused(virtual)
    assert virtual.messages == ["a!", "b!", "c!", "d!"]
    assert calls.max_running == 2


@pytest.mark.parametrize("overrun", [0, 1, 3])
async def test_any_number_of_messages_is_answered_in_order(overrun: int) -> None:
    """Thousands of messages are answered in order, without a Backlog."""
    count = 2000

    async def upper(message: str) -> str:
        await asyncio.sleep(0)
        return message.upper()

    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(upper)), overrun=overrun)
    virtual.peer.message(*(f"n{number}" for number in range(count)))
    async with asyncio.timeout(30):
        while virtual.stats.sent_messages < count:
            await settle(virtual)
    assert virtual.messages == [f"N{number}" for number in range(count)]


async def test_our_close_drops_and_counts_what_cannot_wait() -> None:
    """A connection that we close ignores pauses: of what it kept, 1024 wait, the rest counts."""
    virtual, calls = VirtualSession(high_water=1 << 20), ManualCalls()
    out = subscribed(virtual.conn.incoming.pipe(map_async(calls)))
    virtual.peer.message(*map(str, range(3000)))
    virtual.conn.outgoing.on_completed()
    await settle(virtual)
    assert out.ends == []
    assert virtual.dropped == {"closed": 3000 - 1 - 1024}
    out.subscription.dispose()
    await settle(virtual)
    assert virtual.dropped == {"closed": 3000 - 1 - 1024, "unobserved": 1024}


async def test_the_messages_before_a_close_are_answered_first() -> None:
    """A close is not read before the messages before it are answered."""
    calls = ManualCalls()
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(map_async(calls)))
    closed = virtual.watch(virtual.conn.closed)
    virtual.peer.message("a", "b")
    virtual.peer.close(1000)
    for value in "ab":
        await settle(virtual)
        assert closed.values == []
        calls.finish(value)
    await settle(virtual)
    assert virtual.messages == ["a!", "b!"]
    assert virtual.close_frame.code == 1000
    assert closed.values == [rxws.Close(1000)]
    assert calls.cancelled == []


@pytest.mark.parametrize("end", ["dispose", "fail", "error", "complete"])
async def test_reading_resumes_however_map_async_ends(end: str) -> None:
    """Reading resumes when the stream is disposed, fails or completes."""
    virtual, calls, stop = VirtualSession(watch=True), ManualCalls(), Subject[int]()
    source = rx.merge(virtual.conn.incoming, stop.pipe(ops.ignore_elements()))
    if end == "complete":
        source = virtual.conn.incoming.pipe(ops.take(1))
    out: Subscriber[Any] = subscribed(source.pipe(map_async(calls)))
    await settle(virtual)
    virtual.peer.message("a")
    await settle(virtual)
    assert is_paused(virtual)
    if end == "dispose":
        out.subscription.dispose()
    elif end == "fail":
        calls.fail("a", ValueError("mine"))
    elif end == "error":
        stop.on_error(ValueError("mine"))
    else:
        calls.finish("a")
    await settle(virtual)
    assert not is_paused(virtual)


async def test_values_of_other_sources_are_queued() -> None:
    """Values of a merged Subject are queued while the connection is paused."""
    virtual, calls, topic = VirtualSession(watch=True), ManualCalls(), Subject[str]()
    out = subscribed(rx.merge(virtual.conn.incoming, topic).pipe(map_async(calls)))
    await settle(virtual)
    virtual.peer.message("a")
    topic.on_next("t")
    virtual.peer.message("b")
    await settle(virtual)
    assert calls.started == ["a"]
    for value in "atb":
        calls.finish(value)
        await settle(virtual)
    assert out.values == ["a!", "t!", "b!"]


async def test_all_merged_connections_are_paused() -> None:
    """All merged connections are paused, whichever of them filled it."""
    one, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = subscribed(source.pipe(map_async(calls)))
    await settle(one, other)
    one.peer.message("a")
    assert is_paused(one)
    assert is_paused(other)
    other.peer.message("b")
    await settle(one, other)
    assert calls.started == ["a"]
    calls.finish("a")
    await settle(one, other)
    calls.finish("b")
    await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not is_paused(one)
    assert not is_paused(other)


async def test_a_merged_connection_that_has_ended_is_ignored() -> None:
    """A merged connection that has ended does not affect the others."""
    one, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    source = rx.merge(one.conn.incoming, other.conn.incoming)
    out = subscribed(source.pipe(map_async(calls)))
    await settle(one, other)
    one.peer.close(1000)
    other.peer.message("a", "b")
    await settle(one, other)
    assert is_paused(other)
    for value in "ab":
        calls.finish(value)
        await settle(one, other)
    assert out.values == ["a!", "b!"]
    assert not is_paused(other)


async def test_a_given_flow_is_paused() -> None:
    """`flow=` pauses a connection that is not upstream."""
    virtual, calls, topic = VirtualSession(watch=True), ManualCalls(), Subject[str]()
    out: Subscriber[Any] = Subscriber(topic.pipe(map_async(calls, flow=virtual.conn.flow)), Clock())
    assert not is_paused(virtual)
    topic.on_next("a")
    assert is_paused(virtual)
    await settle()
    calls.finish("a")
    await settle()
    assert not is_paused(virtual)
    assert out.values == ["a!"]


async def test_a_given_flow_is_paused_in_addition_to_upstream_connections() -> None:
    """`flow=` pauses its connection in addition to those upstream."""
    virtual, other, calls = VirtualSession(watch=True), VirtualSession(watch=True), ManualCalls()
    mapped = virtual.conn.incoming.pipe(map_async(calls, flow=other.conn.flow))
    out: Subscriber[Any] = Subscriber(mapped, Clock())
    virtual.peer.message("a")
    assert is_paused(virtual)
    assert is_paused(other)
    out.subscription.dispose()
    assert not is_paused(virtual)
    assert not is_paused(other)


async def test_on_a_server_a_burst_is_answered_in_order(serve: Serve) -> None:
    """A server answers a burst in order by coroutines, and then the close."""
    count = 300

    async def upper(message: str) -> str:
        await asyncio.sleep(0.001)
        return message.upper()

    handler = rxws.pipeline(map_async(upper, max_concurrent=4))
    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler, codec=rxws.codecs.text))
    rxws.setup(app)
    port = await serve(app)
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{port}/", autoclose=False) as peer,
    ):
        for number in range(count):
            await peer.send_str(f"n{number}")
        assert [await receive_text(peer) for _ in range(count)] == [f"N{n}" for n in range(count)]
        await peer.send_str("last")
        await receive_text(peer)
        await peer.close(code=1000)


async def test_a_connection_that_has_left_is_no_longer_upstream() -> None:
    """A connection that a chain subscribes to again and again is listed once, and then removed."""
    virtual, calls = VirtualSession(watch=True), ManualCalls()
    chain = rx.interval(0.0005).pipe(
        ops.take(200),
        ops.flat_map(lambda _: virtual.conn.incoming.pipe(ops.first())),
        map_async(calls, max_concurrent=1000),
    )
    upstreams = Upstreams()
    with collect_upstreams(upstreams):  # as `map_async` does
        out = subscribed(chain)
    listed: set[int] = set()
    while not virtual.stats.received_messages >= 200:
        virtual.peer.message("a")
        await settle(virtual)
        await asyncio.sleep(0.0005)
        listed.add(len(upstreams))
    out.subscription.dispose()
    assert listed <= {0, 1}
    assert len(upstreams) == 0
    await settle(virtual)
    assert not is_paused(virtual)
