"""Recordings of connections and taps."""

from __future__ import annotations

from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

import rxws
from rxws import Close, ConnectionClosed, Recording
from rxws._core.frames import Opcode
from rxws.testing import Clock, Timeline, marbles, pair
from support.callbacks import raising
from support.virtual.session import VirtualSession

on_next: Any = ReactiveTest.on_next
on_completed: Any = ReactiveTest.on_completed
on_error: Any = ReactiveTest.on_error


def events_of(recording: Recording, lane: str) -> list[tuple[float, str, Any]]:
    return [(event.t, event.type, event.data) for event in recording.lanes[lane].events]


fail = raising(KeyError, "mine")


# --- a connection ---------------------------------------------------------------------------------


def test_a_connection_is_recorded_with_times() -> None:
    """All lanes of a connection are recorded with their times, in one order."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.map(str.upper)))
    recording = Recording.of(virtual.conn)
    virtual.run(1)
    virtual.peer.message("a")
    virtual.run(0.5)
    virtual.peer.close(4001, "why")
    virtual.run(1)
    close = Close(4001, "why")
    assert events_of(recording, "incoming")[0] == (1, "next", "a")
    assert [event[:2] for event in events_of(recording, "outgoing")] == [
        (1, "next"),
        (1.5, "error"),
    ]
    assert events_of(recording, "closed") == [(1.5, "close", close), (1.5, "completed", None)]
    assert events_of(recording, "errors") == [(1.5, "completed", None)]
    [*_, (_, kind, error)] = events_of(recording, "incoming")
    assert kind == "error"
    assert isinstance(error, ConnectionClosed)
    assert [(event.lane, event.type) for event in recording.events][:2] == [
        ("incoming", "next"),
        ("outgoing", "next"),
    ]
    assert [recording.lanes[name].dir for name in recording.lanes] == ["in", "out", None, None]
    assert repr(recording) == "<Recording incoming 2, outgoing 2, errors 1, closed 2>"
    assert len(recording) == 7


def test_a_recording_is_not_a_subscriber() -> None:
    """Messages wait for a subscriber, and are recorded when they are delivered."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    virtual.peer.message("a")
    virtual.run(5)
    assert events_of(recording, "incoming") == []
    assert virtual.session.incoming.waiting == 1
    subscriber = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert subscriber.values == ["a"]
    assert events_of(recording, "incoming") == [(5, "next", "a")]


def test_unobserved_messages_are_dropped_as_without_a_recording() -> None:
    """A recording does not change that unobserved messages are dropped and counted."""
    virtual = VirtualSession(lambda conn: rx.never(), incoming="discard")
    recording = Recording.of(virtual.conn)
    virtual.settle()
    virtual.peer.message("a", "b")
    virtual.run(1)
    assert virtual.dropped == {"unobserved": 2}
    assert virtual.transport.reading
    assert events_of(recording, "incoming") == []


def test_recording_errors_is_not_a_subscription() -> None:
    """An unobserved error still closes the connection with 1011, and is recorded."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    virtual.conn.incoming.subscribe(fail)
    virtual.peer.message("a")
    virtual.run(1)
    assert [type(event.data) for event in recording.lanes["errors"].events[:1]] == [KeyError]
    assert virtual.close_frame.code == 1011


def test_an_observed_error_is_recorded_once() -> None:
    """An observed error is recorded once, and the connection stays open."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    faults = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(fail)
    virtual.peer.message("a")
    virtual.run(1)
    assert len(faults.values) == 1
    assert [event.data for event in recording.lanes["errors"].events] == faults.values
    assert virtual.frames(Opcode.CLOSE) == []


def test_a_late_recording_has_the_end() -> None:
    """A recording that starts after the end has the end, like a late subscriber."""
    virtual = VirtualSession(lambda conn: rx.empty())
    virtual.peer.close(1000)
    virtual.run(1)
    recording = Recording.of(virtual.conn)
    assert [kind for _, kind, _ in events_of(recording, "closed")] == ["close", "completed"]
    assert events_of(recording, "incoming") == [(0, "completed", None)]


def test_stop_ends_the_recording_only() -> None:
    """After `stop` nothing is recorded, and subscribers still receive messages."""
    virtual = VirtualSession(watch=True)
    recording = Recording.of(virtual.conn)
    virtual.peer.message("a")
    recording.stop()
    recording.stop()
    virtual.peer.message("b")
    virtual.run(1)
    assert virtual.incoming.values == ["a", "b"]
    assert [event.data for event in recording.events] == ["a"]


def test_another_connection_is_refused() -> None:
    """A connection that rxws did not open raises `TypeError` and points to `tap`."""
    unused: list[Any] = [None] * 4
    conn: Any = rxws.Connection(unused[0], Subject(), rx.never(), rx.never(), *unused[1:])
    with pytest.raises(TypeError, match=r"record it with tap\(\)"):
        Recording.of(conn)


async def test_a_recording_uses_the_time_of_the_event_loop() -> None:
    """On an event loop, times are those of the loop."""
    async with pair(lambda conn: conn.incoming) as (server, client):
        recording = Recording.of(server)
        client.outgoing.on_next("a")
        assert await client.incoming.pipe(ops.first()) == "a"
    assert [event.data for event in recording.lanes["outgoing"].events] == ["a", None]
    times = [event.t for event in recording.events]
    assert times == sorted(times)
    assert 0 <= times[0] <= times[-1] < 60


# --- bounds ---------------------------------------------------------------------------------------


@pytest.mark.promise("bounded")
def test_each_lane_is_bounded() -> None:
    """A recording keeps `keep` events per stream; it drops and counts older ones."""
    recording = Recording(keep=3, scheduler=Clock())
    for number in range(5):
        recording.lane("a").record("next", number)
    recording.lane("b").record("next", "b")
    assert [event.data for event in recording.lanes["a"].events] == [2, 3, 4]
    assert recording.lanes["a"].dropped == 2
    assert repr(recording) == "<Recording a 3, b 1, dropped 2>"
    assert repr(recording.lanes["a"]) == "<Lane 'a': 3 events>"
    assert repr(Recording()) == "<Recording empty>"


@pytest.mark.parametrize("keep", [0, -1, 1.5, None])
def test_keep_must_be_positive(keep: Any) -> None:
    """`keep` must be a whole number above 0."""
    with pytest.raises(ValueError, match="use 1 or more"):
        Recording(keep=keep)


# --- tap ------------------------------------------------------------------------------------------

SOURCES: dict[str, list[Any]] = {
    "goes on": [on_next(210, "a"), on_next(220, "b")],
    "completes": [on_next(210, "a"), on_completed(230)],
    "fails": [on_next(210, "a"), on_error(230, KeyError("k"))],
    "at once": [on_completed(201)],
}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.promise("watched")
def test_a_tap_changes_nothing(name: str, cold: bool) -> None:
    """A tap does not change the values, the times, the end or the subscription to the source."""

    def run(*taps: Any) -> tuple[Any, Any, TestScheduler]:
        scheduler = TestScheduler()
        make: Any = scheduler.create_cold_observable if cold else scheduler.create_hot_observable
        source = make(SOURCES[name])
        found = scheduler.start(lambda: source.pipe(*taps), disposed=700)
        return found.messages, source.subscriptions, scheduler

    recording = Recording()
    plain, tapped = run(), run(recording.tap("x"))
    assert plain[:2] == tapped[:2]
    line = Timeline.of(recording.lanes["x"])
    began = ReactiveTest.subscribed
    assert line.values == [event.value.value for event in plain[0] if event.value.kind == "N"]
    assert [at + began for at in line.times] == [float(event.time) for event in plain[0]]
    kinds = [kind for _, kind, _ in events_of(recording, "x")]
    assert ("disposed" in kinds) == (name == "goes on" or not plain[0])


def test_a_tap_passes_the_scheduler_on() -> None:
    """Operators above a tap use the subscriber's scheduler."""
    clock = Clock()
    recording = Recording()
    got: list[Any] = []
    rx.timer(2.0).pipe(recording.tap("x")).subscribe(got.append, scheduler=clock)
    clock.run(5)
    assert got == [0]
    assert Timeline.of(recording.lanes["x"]) == [on_next(2, 0), on_completed(2)]


def test_a_tap_passes_exceptions_of_subscribers_through() -> None:
    """A subscriber's exception reaches the caller; the value is recorded."""
    subject: Subject[str] = Subject()
    recording = Recording()
    subject.pipe(recording.tap("x")).subscribe(fail)
    with pytest.raises(KeyError):
        subject.on_next("a")
    assert [event.data for event in recording.events] == ["a"]


def test_a_tap_records_an_early_dispose() -> None:
    """A subscription that is disposed before its end records `disposed` once."""
    subject: Subject[str] = Subject()
    recording = Recording(scheduler=Clock())
    subscription = subject.pipe(recording.tap("x"), ops.take(1)).subscribe()
    subject.on_next("a")
    subscription.dispose()
    assert [kind for _, kind, _ in events_of(recording, "x")] == ["next", "disposed"]


def test_a_tap_may_be_subscribed_twice() -> None:
    """Both subscriptions of a tap share a lane, whose time starts with the first one."""
    clock = Clock()
    recording = Recording()
    tapped = rx.timer(1.0).pipe(recording.tap("x"), ops.ignore_elements())
    tapped.subscribe(scheduler=clock)
    clock.run(3)
    tapped.subscribe(scheduler=clock)
    clock.run(3)
    assert [(t, kind) for t, kind, _ in events_of(recording, "x")] == [
        (1, "next"),
        (1, "completed"),
        (4, "next"),
        (4, "completed"),
    ]


def test_without_a_scheduler_the_system_clock_is_used() -> None:
    """Without a scheduler, times are measured by the system's monotonic clock."""
    recording = Recording()
    subject: Subject[str] = Subject()
    subject.pipe(recording.tap("x")).subscribe()
    subject.on_next("a")
    subject.on_next("b")
    one, two = [event.t for event in recording.events]
    assert 0 <= one <= two < 60
    first = Recording()
    first.lane("y").record("next", 1)
    assert events_of(first, "y") == [(0, "next", 1)]


def test_taps_and_a_connection_share_one_time() -> None:
    """Taps in the handler of a recorded connection share its time."""
    virtual = VirtualSession(watch=True)
    recording = Recording.of(virtual.conn)
    virtual.conn.incoming.pipe(ops.delay(1.0), recording.tap("late")).subscribe(
        scheduler=virtual.conn.scheduler
    )
    virtual.run(2)
    virtual.peer.message("a")
    virtual.run(2)
    assert events_of(recording, "late") == [(3, "next", "a")]
    assert Timeline.of(recording.lanes["incoming"]) == marbles("--a")
