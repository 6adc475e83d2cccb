"""Chains that begin with a stream carry its scheduler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import ConnectableObservable, GroupedObservable, Observable
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws.testing.real_time import refuse_real_time
from support.virtual.session import VirtualSession


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
    "a method": lambda source: source.map(str),
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
    "map, switch_latest": lambda source: source.pipe(ops.map(rx.of)).switch_latest(),
}


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
