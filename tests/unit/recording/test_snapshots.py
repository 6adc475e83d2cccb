"""Snapshots: records of values that are changed afterwards."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws import Recording, codecs
from rxws._core.frames import Opcode
from rxws._recording.snapshot import Snapshots
from rxws.testing import simulate
from support.virtual.session import VirtualSession


@dataclass
class Book:
    """Data that is compared by value."""

    bids: list[int] = field(default_factory=list)
    other: Any = None


class Order(msgspec.Struct):
    """A msgspec Struct."""

    items: list[int]


class Entity:
    """An object that is compared by identity."""

    def __init__(self) -> None:
        self.items: list[int] = []


def values_of(recording: Recording, lane: str) -> list[Any]:
    return [event.data for event in recording.lanes[lane].events if event.type == "next"]


@pytest.mark.promise("snapshots")
@pytest.mark.parametrize("codec", [codecs.json, codecs.typed(Any)], ids=["json", "typed"])
def test_a_value_that_is_changed_after_it_was_sent(codec: Any) -> None:
    """If a list grows after each send, every recording shows it as it was when sent."""
    recording = Recording()
    of_conn: list[Recording] = []

    def handler(conn: rxws.Connection[Any, Any]) -> Any:
        of_conn.append(Recording.of(conn))
        sent: list[Any] = []

        def grow(value: Any) -> list[Any]:
            sent.append(value)
            return sent

        return conn.incoming.pipe(ops.map(grow), recording.tap("grown"))

    values = {"a": 1, "b": 2, "c": 3}
    sim = simulate(handler, "a-b-c|", codec=codec, values=values)
    expected = [[1], [1, 2], [1, 2, 3]]
    assert sim.outgoing.values == expected
    assert [codec.decode(sent.message) for sent in sim.wire[:3]] == expected
    assert values_of(recording, "grown") == expected
    assert values_of(of_conn[0], "outgoing") == expected


def test_a_value_that_is_changed_while_a_message_is_delivered() -> None:
    """A sent value that the sender changes at once is recorded as it was sent."""
    of_conn: list[Recording] = []

    def handler(conn: rxws.Connection[Any, Any]) -> None:
        of_conn.append(Recording.of(conn))
        reply: dict[str, Any] = {"n": [0]}

        def answer(value: Any) -> None:
            reply["n"][0] += value
            conn.outgoing.on_next(reply)
            reply["n"][0] += 100

        conn.incoming.subscribe(answer)

    sim = simulate(handler, "(a,a)", codec=codecs.json, values={"a": 1})
    assert sim.outgoing.values == [{"n": [1]}, {"n": [102]}]
    assert values_of(of_conn[0], "outgoing") == [{"n": [1]}, {"n": [102]}]


def test_a_value_that_another_thread_changes_after_a_push() -> None:
    """A value that another thread pushes, and changes at once, is recorded as it was pushed."""
    virtual = VirtualSession(codec=codecs.json)
    recordings = [Recording.of(virtual.conn) for _ in range(2)]

    def push() -> None:
        value = [1]
        virtual.conn.outgoing.on_next(value)
        value.append(2)
        virtual.conn.outgoing.on_next(value)
        value.append(3)
        virtual.conn.outgoing.on_next({1: object()})  # cannot be encoded

    virtual.conn.errors.subscribe()
    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    virtual.run(1)
    virtual.conn.outgoing.on_next(rxws.Close(4000))
    virtual.run(1)
    assert [sent.message for sent in virtual.transport.sent if sent.kind is Opcode.TEXT] == [
        "[1]",
        "[1,2]",
    ]
    for recording in recordings:
        assert values_of(recording, "outgoing") == [[1], [1, 2]]
        frames = [event.frame for event in recording.lanes["outgoing"].events]
        assert frames[:3] == ["[1]", "[1,2]", None]


def test_a_value_pushed_before_the_recording_began() -> None:
    """A message that was pushed from a thread before the recording began is recorded."""
    virtual = VirtualSession(codec=codecs.json)
    thread = threading.Thread(target=lambda: virtual.conn.outgoing.on_next([1]))
    thread.start()
    thread.join()
    recording = Recording.of(virtual.conn)
    virtual.run(1)
    assert values_of(recording, "outgoing") == [[1]]


def test_a_recorded_connection_reports_what_it_cannot_encode() -> None:
    """A message that cannot be encoded is reported once, and not recorded."""
    virtual = VirtualSession(codec=codecs.json)
    recording = Recording.of(virtual.conn)
    errors = virtual.watch(virtual.conn.errors)
    outgoing: Any = virtual.conn.outgoing
    outgoing.on_next(object())
    assert outgoing.try_send(object()) is None
    assert outgoing.try_send([1]) is True
    assert outgoing.try_send([2], outgoing.encode([2])) is True
    assert outgoing.encode(object()) is None
    virtual.run(1)
    assert [type(error) for error in errors.values] == [rxws.EncodeError] * 2
    assert values_of(recording, "outgoing") == [[1], [2]]


def test_a_received_value_that_a_subscriber_changes() -> None:
    """A received value that a subscriber changes is recorded as it was received."""
    of_conn: list[Recording] = []

    def handler(conn: rxws.Connection[Any, Any]) -> None:
        of_conn.append(Recording.of(conn))
        conn.incoming.subscribe(lambda value: value.clear())

    sim = simulate(handler, "a-b", codec=codecs.json, values={"a": {"n": 1}, "b": [{"n": 2}]})
    assert sim.incoming.values == [{"n": 1}, [{"n": 2}]]
    assert values_of(of_conn[0], "incoming") == [{"n": 1}, [{"n": 2}]]


def test_a_recording_that_has_stopped_records_no_sent_message() -> None:
    """After `stop`, sent messages are recorded only by the recordings that still run."""
    virtual = VirtualSession(codec=codecs.json)
    stopped, running = Recording.of(virtual.conn), Recording.of(virtual.conn)
    virtual.conn.outgoing.on_next([1])
    stopped.stop()
    virtual.conn.outgoing.on_next([2])
    virtual.run(1)
    assert values_of(stopped, "outgoing") == [[1]]
    assert values_of(running, "outgoing") == [[1], [2]]
    assert [event.frame for event in running.lanes["outgoing"].events] == ["[1]", "[2]"]


def change(value: Any) -> None:
    """Change a value deep inside."""
    match value:
        case dict():
            change(value["a"])
        case list() | deque():
            value.append(1)
        case tuple():
            change(value[0])
        case set() | bytearray():
            value.clear()
        case Book() | Order() | SimpleNamespace():
            change(vars(value)["bids"] if not isinstance(value, Order) else value.items)
        case _:
            raise AssertionError(value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"a": [[]]},
        lambda: ([],),
        lambda: {1, 2},
        lambda: bytearray(b"ab"),
        lambda: deque([1]),
        lambda: Book([1]),
        lambda: {"a": Book([1])},
        lambda: Order([1]),
        lambda: SimpleNamespace(bids=[1]),
        lambda: [[x] for x in range(900)],
    ],
)
def test_data_is_copied(make: Any) -> None:
    """Containers and data objects are copied, with everything inside."""
    value = make()
    copied = Snapshots().of(value)
    assert copied == make()
    assert type(copied) is type(value)
    change(value)
    assert value != make()
    assert copied == make()


class Owner:
    """It owns something: a copy must not free it."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Owner)

    __hash__ = None  # type: ignore[assignment]

    def __del__(self) -> None: ...


class Locked:
    """It cannot be copied."""

    tries = 0

    def __init__(self) -> None:
        self.lock = threading.Lock()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Locked)

    __hash__ = None  # type: ignore[assignment]

    def __reduce_ex__(self, _: Any) -> Any:
        Locked.tries += 1
        raise TypeError("cannot pickle it")


class Table:
    """Like a table of pandas."""

    shape = (1000, 1000)
    size = 1_000_000

    def __eq__(self, other: object) -> Any:
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __deepcopy__(self, _: Any) -> Any:
        raise AssertionError("too large to copy")


deep: list[Any] = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    "value",
    [
        Entity(),
        Locked(),
        Owner(),
        Table(),
        ValueError([1]),
        Subject[int](),
        rx.of(1),
        Book(other=Entity()),
        list(range(3000)),
        [[x] for x in range(2000)],
        Book(bids=[[x] for x in range(2000)]),  # type: ignore[misc]
        deep,
        Book,
        change,
        (x for x in "abc"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_other_values_are_kept_as_they_are(value: Any) -> None:
    """What cannot be copied without an effect or at a low price stays the same object."""
    assert Snapshots().of(value) is value


def test_a_type_that_cannot_be_copied_is_tried_once() -> None:
    """After a type has failed to be copied, its values are kept without another try."""
    Locked.tries = 0
    snapshots = Snapshots()
    values = [Locked(), Locked()]
    assert [snapshots.of([value])[0] is value for value in values] == [True, True]
    assert Locked.tries == 1


def test_a_value_may_contain_itself() -> None:
    """A value that contains itself, or another value twice, keeps its shape."""
    value: list[Any] = [[]]
    value += [value[0], value]
    copied = Snapshots().of(value)
    assert copied is not value
    assert copied[0] is copied[1]
    assert copied[2] is copied


def test_a_simulation_copies_values_of_any_size() -> None:
    """`simulate` copies large values, too."""
    sent: list[list[int]] = []

    def handler(conn: rxws.Connection[Any, Any]) -> Any:
        def grow(_: Any) -> Any:
            sent.append(list(range(1000)))
            return sent

        return conn.incoming.pipe(ops.map(grow))

    sim = simulate(handler, "a-b-c-d", codec=codecs.json, values=dict.fromkeys("abcd", 1))
    assert [len(value) for value in sim.outgoing.values] == [1, 2, 3, 4]
