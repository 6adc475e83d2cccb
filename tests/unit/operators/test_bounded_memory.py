"""Which operators of RxPY keep messages without a bound, and how to write each with one.

The table in docs/concepts/operators.md lists them.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.abc import DisposableBase
from reactivex.scheduler import EventLoopScheduler

import rxws
from rxws.operators import map_async, on_loop, rate_limit
from support.virtual.session import VirtualSession

COUNT = 300  # messages that the peer sends

Chain = Callable[["Messages"], rx.Observable[Any]]


class Message(str):
    """A message that counts while it is referenced."""

    __slots__ = ("__weakref__",)


class Messages(VirtualSession):
    """A connection whose peer sends many messages, and how many of them are in memory."""

    def __init__(self, **options: Any) -> None:
        self.refs: list[weakref.ref[Message]] = []
        codec: rxws.Codec[Any, Any] = rxws.Codec(str, self._decode)
        super().__init__(codec=codec, **options)
        self.incoming_stream: rx.Observable[Any] = self.conn.incoming
        self.release = asyncio.Event()  # ends the work on the messages
        self.got = 0

    def _decode(self, frame: str | bytes) -> Message:
        message = Message(frame)
        self.refs.append(weakref.ref(message))
        return message

    @property
    def alive(self) -> int:
        return sum(ref() is not None for ref in self.refs)

    async def work(self, message: Message) -> Message:
        await self.release.wait()
        return message

    def observe(self, message: Message) -> rx.Observable[Message]:
        return rx.concat(rx.of(message), rx.from_future(asyncio.ensure_future(self.work(message))))

    def list_of(self, message: Message) -> rx.Observable[list[Message]]:
        return self.observe(message).pipe(ops.to_list())

    def count(self, _: object) -> None:
        self.got += 1

    async def settle_all(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)
            self.settle()

    async def until_got(self, count: int) -> None:
        """Wait until the chain has emitted so many values."""
        for _ in range(10_000):
            if self.got >= count:
                return
            await asyncio.sleep(0.001)
            self.settle()
        raise TimeoutError

    async def send(self, chain: rx.Observable[Any]) -> DisposableBase:
        """Send all messages into a chain, and return its subscription."""
        subscription = chain.subscribe(self.count, scheduler=self.conn.scheduler)
        await self.settle_all()
        for number in range(COUNT):
            self.peer.message(f"{number}")
        await self.settle_all()
        return subscription


async def held(chain: Chain) -> int:
    """Return how many messages are in memory when the peer has sent all."""
    messages = Messages()
    subscription = await messages.send(chain(messages))
    alive = messages.alive
    messages.release.set()
    subscription.dispose()
    await messages.settle_all()
    return alive


def connected(chain: rx.Observable[Any]) -> rx.Observable[Any]:
    """Subscribe to a connectable Observable and connect it."""

    def subscribe(observer: Any, scheduler: Any) -> Any:
        connectable: Any = chain
        connectable.subscribe(observer, scheduler=scheduler)
        return connectable.connect(scheduler)

    return rx.Observable(subscribe)


def listed(window: rx.Observable[Any]) -> rx.Observable[Any]:
    return window.pipe(ops.to_list())


UNBOUNDED: dict[str, Chain] = {
    "concat_map": lambda m: m.incoming_stream.pipe(ops.concat_map(m.observe)),
    "flat_map": lambda m: m.incoming_stream.pipe(ops.flat_map(m.observe)),
    "merge": lambda m: m.incoming_stream.pipe(ops.map(m.observe), ops.merge(max_concurrent=4)),
    "delay": lambda m: m.incoming_stream.pipe(ops.delay(1.0)),
    "buffer": lambda m: m.incoming_stream.pipe(ops.buffer(rx.timer(1.0))),
    "buffer_with_time": lambda m: m.incoming_stream.pipe(ops.buffer_with_time(1.0)),
    "to_list": lambda m: m.incoming_stream.pipe(ops.to_list()),
    "zip": lambda m: m.incoming_stream.pipe(ops.zip(rx.never())),
    "replay": lambda m: connected(m.incoming_stream.pipe(ops.replay())),
    "distinct": lambda m: m.incoming_stream.pipe(ops.distinct()),
    "group_by": lambda m: m.incoming_stream.pipe(ops.group_by(lambda message: message)),
    "concat_all": lambda m: m.incoming_stream.pipe(ops.map(m.observe), ops.merge(max_concurrent=1)),
    "window": lambda m: m.incoming_stream.pipe(ops.window_with_time(1.0), ops.flat_map(listed)),
    "take_last_with_time": lambda m: m.incoming_stream.pipe(ops.take_last_with_time(1.0)),
}

BOUNDED: dict[str, tuple[Chain, int]] = {
    "map_async": (lambda m: m.incoming_stream.pipe(map_async(m.work, max_concurrent=4)), 4),
    "map_async of Observables": (
        lambda m: m.incoming_stream.pipe(
            map_async(m.list_of, max_concurrent=4),
            ops.flat_map(rx.from_iterable),
        ),
        4,
    ),
    "rate_limit": (lambda m: m.incoming_stream.pipe(rate_limit(1, per=9.0)), 1),
    "rate_limit that drops": (
        lambda m: m.incoming_stream.pipe(rate_limit(1, per=9.0, excess="drop")),
        1,
    ),
    "take and to_list": (lambda m: m.incoming_stream.pipe(ops.take(10), ops.to_list()), 10),
    "throttle_first": (lambda m: m.incoming_stream.pipe(ops.throttle_first(1.0)), 1),
    "scan": (lambda m: m.incoming_stream.pipe(ops.scan(lambda _, message: message, "")), 1),
    "with_latest_from": (lambda m: m.incoming_stream.pipe(ops.with_latest_from(rx.never())), 1),
    "pairwise": (lambda m: m.incoming_stream.pipe(ops.pairwise()), 2),
    "switch_latest": (lambda m: m.incoming_stream.pipe(ops.map(rx.of), ops.switch_latest()), 1),
    "buffer_with_time_or_count": (
        lambda m: m.incoming_stream.pipe(ops.buffer_with_time_or_count(1.0, 50)),
        50,
    ),
    "buffer_with_count": (lambda m: m.incoming_stream.pipe(ops.buffer_with_count(50)), 50),
    "combine_latest": (lambda m: m.incoming_stream.pipe(ops.combine_latest(rx.never())), 1),
    "replay(buffer_size)": (
        lambda m: connected(m.incoming_stream.pipe(ops.replay(buffer_size=10))),
        10,
    ),
    "distinct_until_changed": (lambda m: m.incoming_stream.pipe(ops.distinct_until_changed()), 1),
    "debounce": (lambda m: m.incoming_stream.pipe(ops.debounce(1.0)), 1),
    "sample": (lambda m: m.incoming_stream.pipe(ops.sample(1.0)), 1),
    "take_last": (lambda m: m.incoming_stream.pipe(ops.take_last(10)), 10),
}


@pytest.mark.parametrize("name", UNBOUNDED)
async def test_these_operators_keep_all_messages(name: str) -> None:
    """RxPY's operators without back-pressure keep every message that a peer sends."""
    assert await held(UNBOUNDED[name]) >= COUNT - 1


@pytest.mark.promise("memory-in")
@pytest.mark.parametrize("name", BOUNDED)
async def test_these_ways_to_write_them_keep_few(name: str) -> None:
    """Bounded operators, such as `buffer_with_count`, keep at most a fixed number of messages."""
    chain, bound = BOUNDED[name]
    assert await held(chain) <= bound + 1


async def test_group_by_until_forgets_its_groups() -> None:
    """`group_by_until` forgets a group after a time, where `group_by` keeps it."""
    messages = Messages()
    chain: rx.Observable[Any] = messages.incoming_stream.pipe(
        ops.group_by_until(lambda message: message, None, lambda _: rx.timer(1.0))
    )
    subscription = await messages.send(chain)
    messages.run(2.0)
    assert messages.alive <= 1
    subscription.dispose()


async def test_a_delay_by_map_async_is_bounded() -> None:
    """`map_async` with a sleep delays each message, and keeps `max_concurrent` of them."""
    messages = Messages()

    async def later(message: Message) -> Message:
        await asyncio.sleep(0.01)
        return message

    chain = messages.incoming_stream.pipe(map_async(later, max_concurrent=100))
    subscription = await messages.send(chain)
    most = 0
    while messages.got < COUNT:
        most = max(most, messages.alive)
        await messages.settle_all()
    assert most <= 101
    subscription.dispose()


async def test_work_in_a_thread_by_map_async_is_bounded() -> None:
    """`map_async` with `asyncio.to_thread` keeps few messages, where `observe_on` keeps all."""
    scheduler = EventLoopScheduler(exit_if_empty=True)
    messages, release = Messages(), threading.Event()
    chain: rx.Observable[Any] = messages.incoming_stream.pipe(
        ops.observe_on(scheduler), ops.map(lambda _: release.wait())
    )
    subscription = await messages.send(chain)
    assert messages.alive >= COUNT - 1
    release.set()
    await messages.until_got(COUNT)
    subscription.dispose()
    messages, release = Messages(), threading.Event()
    chain = messages.incoming_stream.pipe(
        map_async(lambda _: asyncio.to_thread(release.wait), max_concurrent=2), on_loop()
    )
    subscription = await messages.send(chain)
    assert messages.alive <= 3
    release.set()
    await messages.until_got(4)
    subscription.dispose()
    await messages.settle_all()


async def test_two_loops_zip_two_connections() -> None:
    """Two iterators combine two connections in pairs, and pause the faster one."""
    one, other = Messages(), Messages()
    pairs: list[tuple[str, str]] = []

    async def zip_them() -> None:
        async with rxws.iterate(other.incoming_stream) as others:
            async for left in rxws.iterate(one.incoming_stream):
                right = await anext(others)
                pairs.append((left, right))

    task = asyncio.ensure_future(zip_them())
    await asyncio.sleep(0)
    for number in range(COUNT):
        one.peer.message(f"{number}")
    await one.settle_all()
    assert one.alive <= 2
    for number in range(10):
        other.peer.message(f"{number}")
    for _ in range(20):
        await one.settle_all()
        await other.settle_all()
    task.cancel()
    await asyncio.wait([task])
    assert pairs == [(f"{number}", f"{number}") for number in range(10)]
    await one.settle_all()
