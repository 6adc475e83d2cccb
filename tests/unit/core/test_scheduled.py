"""Chains that begin with a stream carry its scheduler."""

from __future__ import annotations

import asyncio
import copy
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import ConnectableObservable, GroupedObservable, Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.subject import Subject

import rxws
from rxws._core.streams.stream import Dispatcher, Stream
from rxws.testing import Clock, pair, simulate
from rxws.testing.real_time import refuse_real_time
from support.subscriber import Subscriber
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject


def values_of(chain: Observable[Any]) -> list[Any]:
    """Subscribe without a scheduler; return the values and ends so far and to come."""
    seen: list[Any] = []
    chain.subscribe(seen.append, seen.append, lambda: seen.append("|"))
    return seen


def debounced(virtual: VirtualSession, chain: Observable[Any]) -> list[Any]:
    """Return what a chain and `debounce` emit of two messages, in virtual time."""
    with refuse_real_time() as uses:
        seen = values_of(chain.pipe(ops.debounce(0.5)))
        virtual.peer.message("a", "b")
        assert seen == []
        virtual.run(0.5)
    assert uses.first is None
    return seen


CHAINS: dict[str, Callable[[Any], Any]] = {
    "no operator": lambda source: source,
    "pipe of pipe": lambda source: source.pipe(ops.map(str)).pipe(ops.filter(bool)),
    "compose": lambda source: source.pipe(rx.compose(ops.map(str), ops.filter(bool))),
    "a slice": lambda source: source[0:],
    "+": lambda source: source + rx.never(),
    "as_observable": lambda source: source.pipe(ops.as_observable()),
    "share": lambda source: source.pipe(ops.share()),
    "publish, ref_count": lambda source: source.pipe(ops.publish(), ops.ref_count()),
    "publish, ref_count, in two pipes": lambda source: source.pipe(ops.publish()).pipe(
        ops.ref_count()
    ),
    "publish, auto_connect": lambda source: source.pipe(ops.publish()).auto_connect(),
    "publish, auto_connect(0)": lambda source: source.pipe(ops.publish()).auto_connect(0),
    "publish_value": lambda source: source.pipe(
        ops.publish_value("first"), ops.ref_count(), ops.skip(1)
    ),
    "publish with a mapper": lambda source: source.pipe(ops.publish(lambda shared: shared)),
    "replay": lambda source: source.pipe(ops.replay(1), ops.ref_count()),
    "multicast": lambda source: source.pipe(ops.multicast(Subject()), ops.ref_count()),
    "partition": lambda source: source.pipe(ops.partition(bool))[0],
    "partition_indexed": lambda source: source.pipe(
        ops.partition_indexed(lambda _, index: index >= 0)
    )[0],
    "group_by, merge_all": lambda source: source.pipe(ops.group_by(len), ops.merge_all()),
}
if hasattr(Observable, "map"):  # reactivex 4 has no methods for operators
    CHAINS["map"] = lambda source: source.map(str)
    CHAINS["map, switch_latest"] = lambda source: source.map(rx.of).switch_latest()


@pytest.mark.promise("scheduler")
@pytest.mark.parametrize("name", CHAINS)
def test_a_chain_carries_the_scheduler_of_its_stream(name: str) -> None:
    """Whatever a chain consists of, a time operator at its end uses the connection's scheduler."""
    virtual = VirtualSession()
    chain = CHAINS[name](virtual.conn.incoming)
    assert debounced(virtual, chain) == ["b"]


@pytest.mark.parametrize("make", [ops.publish(), ops.replay(), ops.multicast(Subject())])
def test_a_connectable_observable_connects_with_the_scheduler_of_its_stream(make: Any) -> None:
    """`connect` uses the connection's scheduler above, and is still what `publish` returns."""
    virtual = VirtualSession()
    connectable: Any = virtual.conn.incoming.pipe(ops.debounce(0.5), make)
    assert isinstance(connectable, ConnectableObservable)
    seen = values_of(connectable)
    with refuse_real_time() as uses:
        connection: Any = connectable.connect()
        assert connectable.has_subscription
        virtual.peer.message("a")
        virtual.run(0.5)
    assert seen == ["a"]
    connection.dispose()
    assert not virtual.conn.incoming.observed  # type: ignore[attr-defined]
    assert uses.first is None


def test_the_window_of_replay_is_measured_in_virtual_time() -> None:
    """`replay(window=...)` forgets values after that time of the connection."""
    virtual = VirtualSession()
    replayed: Any = virtual.conn.incoming.pipe(ops.replay(window=10.0))
    replayed.connect()
    virtual.peer.message("a")
    virtual.run(6)
    virtual.peer.message("b")
    assert values_of(replayed) == ["a", "b"]
    virtual.run(6)
    assert values_of(replayed) == ["b"]


@pytest.mark.promise("scheduler")
@pytest.mark.parametrize(
    "group",
    [
        ops.group_by(len),
        ops.group_by_until(len, None, lambda _: rx.timer(9.0)),
        ops.window_with_time(9.0),
        ops.window_with_time_or_count(9.0, 9),
        ops.window_with_count(9),
        ops.window(rx.never()),
        ops.window_when(rx.never),
        rx.compose(ops.map(str), ops.group_by(len)),
    ],
)
def test_groups_and_windows_carry_the_scheduler(group: Any) -> None:
    """A group or window that you subscribe yourself uses the connection's scheduler."""
    virtual = VirtualSession()
    seen: list[Any] = []
    grouped: Observable[Any] = virtual.conn.incoming.pipe(group)
    with refuse_real_time() as uses:
        grouped.subscribe(lambda each: each.pipe(ops.sample(0.5)).subscribe(seen.append))
        virtual.peer.message("a", "b")
        virtual.run(0.5)
    assert seen == ["b"]
    assert uses.first is None


def test_a_group_keeps_its_key() -> None:
    """A group is still a `GroupedObservable` with a key."""
    virtual = VirtualSession()
    groups: list[Any] = values_of(virtual.conn.incoming.pipe(ops.group_by(len)))
    virtual.peer.message("a", "bc", "d")
    assert [group.key for group in groups] == [1, 2]
    assert all(isinstance(group, GroupedObservable) for group in groups)


def test_the_values_of_group_join_carry_the_scheduler() -> None:
    """The Observable in each pair of `group_join` uses the connection's scheduler."""
    virtual = VirtualSession()
    seen: list[Any] = []
    pairs: Observable[Any] = virtual.conn.incoming.pipe(
        ops.group_join(virtual.conn.incoming, lambda _: rx.never(), lambda _: rx.never())
    )
    with refuse_real_time() as uses:
        pairs.subscribe(lambda each: each[1].pipe(ops.debounce(0.5)).subscribe(seen.append))
        virtual.peer.message("a")
        virtual.run(0.5)
    assert seen == ["a"]
    assert uses.first is None


@pytest.mark.promise("scheduler")
@pytest.mark.parametrize(
    "operator",
    [
        ops.with_latest_from(rx.of(9)),
        ops.start_with("first", "second"),
        ops.merge(rx.of(1, 2), rx.return_value(3)),
        ops.combine_latest(rx.of(1, 2)),
        ops.zip(rx.from_iterable("xyz")),
        ops.flat_map(lambda value: rx.of(value, value).pipe(ops.repeat(2))),
        ops.flat_map(lambda value: rx.of(value, 1).pipe(ops.concat(rx.of(2)))),
        ops.take_until(rx.empty()),
        ops.skip_until(rx.of(1)),
        ops.amb(rx.of("other")),
        ops.concat(rx.of("after")),
        ops.on_error_resume_next(rx.of("after")),
        ops.default_if_empty("nothing"),
        ops.flat_map(lambda _: rx.throw(ValueError("no"))),
        rx.compose(ops.flat_map(lambda _: rx.throw(KeyError())), ops.catch(rx.of("caught"))),
        rx.compose(ops.take(1), ops.expand(lambda text: rx.of(f"{text}'")), ops.take(5)),
        rx.compose(ops.take(1), ops.repeat(2)),
        rx.compose(ops.take(1), ops.do_while(lambda _: False)),
        rx.compose(ops.merge_all(), ops.start_with(1)),
    ],
)
def test_operators_without_time_emit_what_they_emit_without_a_scheduler(operator: Any) -> None:
    """`rx.of`, `start_with`, `concat` and so on emit when they do without a scheduler in RxPY."""

    def notifications(source: Callable[[VirtualSession], Observable[Any]]) -> list[Any]:
        virtual = VirtualSession()
        seen = values_of(source(virtual).pipe(operator))
        virtual.conn.errors.subscribe()
        steps = [list(map(str, seen))]
        for message in "abc":
            virtual.peer.message(message)
            steps.append(list(map(str, seen)))
        virtual.peer.close()
        virtual.run(0)
        return [*steps, list(map(str, seen))]

    def plain(virtual: VirtualSession) -> Observable[Any]:
        return rx.create(lambda observer, _: virtual.conn.incoming.subscribe(observer))

    assert notifications(lambda virtual: virtual.conn.incoming) == notifications(plain)


@pytest.mark.promise("scheduler")
def test_an_explicit_scheduler_wins() -> None:
    """`subscribe(scheduler=...)` and an operator's own scheduler come before the default."""
    virtual, own = VirtualSession(), Clock()
    incoming = virtual.conn.incoming
    by_subscribe = Subscriber(incoming.pipe(ops.debounce(0.5)), scheduler=own)
    by_operator = values_of(incoming.pipe(ops.debounce(0.5, own)))
    by_connect: Any = incoming.pipe(ops.debounce(0.5), ops.publish())
    connected = values_of(by_connect)
    by_connect.connect(own)
    virtual.peer.message("a")
    virtual.run(1)
    assert by_subscribe.values == by_operator == connected == []
    own.run(1)
    assert by_subscribe.values == by_operator == connected == ["a"]


def test_what_is_no_new_observable_is_returned_as_it_is() -> None:
    """`pipe` returns a Subject, another stream, or a value that is no Observable as it is."""
    virtual = VirtualSession()
    incoming: Any = virtual.conn.incoming

    class Own(Observable[Any]):
        def subscribe(self, *_: Any, **__: Any) -> Any:
            raise AssertionError

    subject: Subject[Any] = Subject()
    for value in (subject, virtual.conn.errors, Own(), 1, None):
        assert incoming.pipe(ops.map(str), lambda _, value=value: value) is value
    assert incoming.pipe() is incoming


def test_a_chain_has_the_attributes_of_its_operator() -> None:
    """A chain has the attributes of the Observable that the last operator returned; a copy, too."""

    class Named(Observable[Any]):
        name = "mine"

    virtual = VirtualSession()
    chain: Any = virtual.conn.incoming.pipe(
        lambda source: Named(lambda observer, _: source.subscribe(observer))
    )
    assert chain.name == "mine"
    assert chain.lock is not None
    with pytest.raises(AttributeError, match="nothing"):
        chain.nothing  # noqa: B018 # reading it raises
    with pytest.raises(AttributeError, match="_nothing"):
        chain._nothing  # noqa: B018 # reading it raises
    assert copy.copy(chain).name == "mine"


def test_a_chain_without_a_known_scheduler_uses_that_of_rxpy() -> None:
    """A stream that has no scheduler leaves the choice to RxPY."""
    stream: Stream[int] = Stream(Dispatcher(), lambda _: None)
    schedulers: list[Any] = []

    def subscribe(_: ObserverBase[int], scheduler: SchedulerBase | None) -> DisposableBase:
        schedulers.append(scheduler)
        return Disposable()

    stream.pipe(lambda _: rx.create(subscribe)).subscribe()
    assert schedulers == [None]
    replayed: Any = stream.pipe(ops.replay(window=1.0))
    assert values_of(replayed) == []


def test_what_a_subscriber_raises_in_a_timer_is_a_fault_of_the_connection() -> None:
    """What the subscriber of `debounce` raises goes to `conn.errors`."""
    virtual = VirtualSession()
    errors = values_of(virtual.conn.errors)

    def fail(_: Any) -> None:
        raise ValueError("mine")

    virtual.conn.incoming.pipe(ops.debounce(0.5)).subscribe(fail)
    virtual.peer.message("a")
    virtual.run(1)
    assert list(map(str, errors)) == ["mine"]


STREAMS: dict[str, Callable[[VirtualSession], Observable[Any]]] = {
    "incoming": lambda virtual: virtual.conn.incoming,
    "errors": lambda virtual: virtual.conn.errors,
    "closed": lambda virtual: virtual.conn.closed,
    "flow.writable": lambda virtual: virtual.conn.flow.writable,
    "flow.latency": lambda virtual: virtual.conn.flow.latency,
    "outgoing": lambda virtual: virtual.conn.outgoing,
}


@pytest.mark.parametrize("name", STREAMS)
def test_every_stream_of_a_connection_has_its_scheduler(name: str) -> None:
    """A timeout of each stream of a connection is measured in the connection's time."""
    virtual = VirtualSession()
    quiet = STREAMS[name](virtual).pipe(ops.ignore_elements(), ops.timeout(0.5, rx.of("quiet")))
    with refuse_real_time() as uses:
        seen = values_of(quiet)
        virtual.run(0.4)
        assert seen == []
        virtual.run(0.2)
    assert seen == ["quiet", "|"]
    assert uses.first is None


FEEDS: dict[str, Callable[[rxws.WebSocketSubject[Any, Any]], Observable[Any]]] = {
    "the subject": lambda feed: feed,
    "a channel": lambda feed: feed.channel(None, None, lambda _: True),
    "status": lambda feed: feed.status,
    "errors": lambda feed: feed.errors,
    "drops": lambda feed: feed.drops,
}


@pytest.mark.parametrize("name", FEEDS)
def test_every_stream_of_a_subject_has_its_scheduler(name: str) -> None:
    """A timeout of each stream of a subject is measured in the subject's time."""
    virtual = VirtualSubject()
    quiet = FEEDS[name](virtual.feed).pipe(ops.ignore_elements(), ops.timeout(0.5, rx.of("quiet")))
    with refuse_real_time() as uses:
        seen = values_of(quiet)
        virtual.run(0.4)
        assert seen == []
        virtual.run(0.2)
    assert seen == ["quiet", "|"]
    assert uses.first is None


def test_a_simulated_handler_needs_no_scheduler() -> None:
    """In `simulate`, a handler may subscribe time operators without a scheduler."""

    def handler(conn: rxws.Connection[Any, Any]) -> None:
        conn.incoming.pipe(ops.debounce(0.3), ops.start_with("hello")).subscribe(conn.outgoing)

    sim = simulate(handler, "a-b-c-----", step=0.1)
    assert sim.outgoing.values == ["hello", "c"]
    assert sim.outgoing.times == [0, 0.7]


def test_a_handler_may_return_operators_without_time() -> None:
    """In a chain that a handler returns, `rx.of` emits before the first message."""
    sim = simulate(
        lambda conn: conn.incoming.pipe(ops.with_latest_from(rx.of(9)), ops.map(repr)), "a"
    )
    assert sim.outgoing.values == ["('a', 9)"]


@pytest.mark.promise("scheduler")
async def test_callbacks_run_on_the_loop_that_is_subscribed_from() -> None:
    """On an event loop, time operators start no thread, and call back on the loop."""
    before = set(threading.enumerate())
    async with pair() as (server, client):
        seen: Subscriber[Any] = Subscriber(server.incoming.pipe(ops.debounce(0.01), ops.take(1)))
        client.outgoing.on_next("a")
        await seen.end()
    assert seen.values == ["a"]
    assert seen.threads == {threading.get_ident()}
    assert set(threading.enumerate()) == before


async def test_a_subject_that_was_made_without_a_loop_uses_the_later_one() -> None:
    """`status` may be subscribed before there is a loop; its timers wait for one."""

    def subject() -> rxws.WebSocketSubject[Any, Any]:
        return rxws.WebSocketSubject("ws://unused.invalid/")

    feed = await asyncio.to_thread(subject)
    status: Observable[Any] = feed.status
    seen: Subscriber[Any] = Subscriber(
        status.pipe(ops.ignore_elements(), ops.timeout(0.01, rx.of("quiet")))
    )
    await seen.end()
    assert seen.values == ["quiet"]
    assert seen.threads == {threading.get_ident()}


def test_a_timer_without_a_loop_is_an_error() -> None:
    """Without an event loop, a chain on a subject works until it needs a timer."""
    feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject("ws://unused.invalid/")
    status: Observable[Any] = feed.status
    assert len(values_of(status.pipe(ops.start_with("first"), ops.timestamp()))) == 2
    timers: list[Any] = [ops.timeout(1.0), ops.merge(rx.timer(0.0, 1.0))]
    for timed in timers:
        [*_, error] = values_of(status.pipe(timed))
        assert isinstance(error, RuntimeError)
        assert str(error).startswith("no event loop is running: create the subject")


async def test_connections_use_the_running_loop() -> None:
    """Time operators behind `connections` use the running event loop."""
    before = set(threading.enumerate())
    dials: Observable[rxws.Connection[Any, Any]] = rx.never()
    everything: list[Observable[Any]] = [
        dials.pipe(rxws.operators.reconnect()),
        rxws.connections(lambda: asyncio.sleep(60, "ws://unused.invalid/")),
    ]
    for connections in everything:
        seen: Subscriber[Any] = Subscriber(connections.pipe(ops.timeout(0.01, rx.of("quiet"))))
        assert set(threading.enumerate()) == before
        await seen.end()
        assert seen.values == ["quiet"]


def test_an_error_behind_connections_goes_to_the_loop() -> None:
    """What a subscriber of `connections` raises in a timer reaches the loop."""
    clock = Clock()
    dials: Observable[rxws.Connection[Any, Any]] = rx.never()
    chain = dials.pipe(rxws.operators.reconnect(scheduler=clock)).pipe(ops.merge(rx.timer(1.0)))

    def fail(_: object) -> None:
        raise ValueError("mine")

    chain.subscribe(fail)
    with pytest.raises(ValueError, match="mine"):
        clock.run(1)


@pytest.mark.promise("scheduler")
def test_a_message_costs_no_more_calls_than_in_rxpy() -> None:
    """Carrying the scheduler adds no call for a message to those that RxPY's operators make."""

    def calls(chain: Callable[[Observable[str]], Observable[Any]]) -> int:
        virtual = VirtualSession()
        chain(virtual.conn.incoming).subscribe([].append)
        virtual.peer.message("a")
        count = 0

        def trace(_: Any, event: str, __: Any) -> None:
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(trace)
        try:
            virtual.peer.message("b")
        finally:
            sys.setprofile(None)
        return count

    by_hand = calls(lambda source: ops.filter(bool)(ops.map(str)(source)))
    assert calls(lambda source: source.pipe(ops.map(str), ops.filter(bool))) == by_hand
    assert calls(lambda source: source.pipe(ops.map(str)).pipe(ops.filter(bool))) == by_hand
