"""Recordings: what streams did and when, without changing any of it."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

import rxws
from rxws import Close, ConnectionClosed, Recording
from rxws._core.frames import Opcode
from rxws.testing import Clock, Timeline, marbles, pair
from support.virtual.session import VirtualSession

on_next: Any = ReactiveTest.on_next
on_completed: Any = ReactiveTest.on_completed
on_error: Any = ReactiveTest.on_error


def told(recording: Recording, lane: str) -> list[tuple[float, str, Any]]:
    return [(event.t, event.type, event.data) for event in recording.lanes[lane].events]


def fail(_: object) -> NoReturn:
    raise KeyError("mine")


# --- a connection ---------------------------------------------------------------------------------


def test_it_has_what_a_connection_told_and_when() -> None:
    """What came in and went out, and how that ended, in one order."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.map(str.upper)))
    recording = Recording.of(virtual.conn)
    virtual.run(1)
    virtual.peer.message("a")
    virtual.run(0.5)
    virtual.peer.close(4001, "why")
    virtual.run(1)
    close = Close(4001, "why")
    assert told(recording, "incoming")[0] == (1, "next", "a")
    assert [event[:2] for event in told(recording, "outgoing")] == [(1, "next"), (1.5, "error")]
    assert told(recording, "closed") == [(1.5, "close", close), (1.5, "completed", None)]
    assert told(recording, "errors") == [(1.5, "completed", None)]
    [*_, (_, kind, error)] = told(recording, "incoming")
    assert kind == "error"
    assert isinstance(error, ConnectionClosed)
    assert [(event.lane, event.type) for event in recording.events][:2] == [
        ("incoming", "next"),
        ("outgoing", "next"),
    ]
    assert [recording.lanes[name].dir for name in recording.lanes] == ["in", "out", None, None]
    assert repr(recording) == "<Recording incoming 2, outgoing 2, errors 1, closed 2>"
    assert len(recording) == 7


def test_it_is_no_subscriber_of_what_comes_in() -> None:
    """Messages wait for one, and are recorded when they are delivered."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    virtual.peer.message("a")
    virtual.run(5)
    assert told(recording, "incoming") == []
    assert not virtual.transport.reading
    notes = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert notes.values == ["a"]
    assert told(recording, "incoming") == [(5, "next", "a")]


def test_it_keeps_a_server_push_from_waiting() -> None:
    """What nobody ever subscribed is dropped and counted, as without it."""
    virtual = VirtualSession(lambda conn: rx.never())
    recording = Recording.of(virtual.conn)
    virtual.settle()
    virtual.peer.message("a", "b")
    virtual.run(1)
    assert virtual.dropped == {"unobserved": 2}
    assert virtual.transport.reading
    assert told(recording, "incoming") == []


def test_it_is_no_subscriber_of_faults() -> None:
    """One that nobody else observes closes with 1011, and is recorded."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    virtual.conn.incoming.subscribe(fail)
    virtual.peer.message("a")
    virtual.run(1)
    assert [type(event.data) for event in recording.lanes["errors"].events[:1]] == [KeyError]
    assert virtual.close_frame.code == 1011


def test_a_fault_that_is_observed_is_recorded_once() -> None:
    """And the connection goes on."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    faults = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.subscribe(fail)
    virtual.peer.message("a")
    virtual.run(1)
    assert len(faults.values) == 1
    assert [event.data for event in recording.lanes["errors"].events] == faults.values
    assert virtual.frames(Opcode.CLOSE) == []


def test_one_that_begins_late_has_the_end() -> None:
    """As who subscribes late is told it."""
    virtual = VirtualSession(lambda conn: rx.empty())
    virtual.peer.close(1000)
    virtual.run(1)
    recording = Recording.of(virtual.conn)
    assert [kind for _, kind, _ in told(recording, "closed")] == ["close", "completed"]
    assert told(recording, "incoming") == [(0, "completed", None)]


def test_it_may_stop() -> None:
    """What comes then is not recorded, and subscribers are told as ever."""
    virtual = VirtualSession(watch=True)
    recording = Recording.of(virtual.conn)
    virtual.peer.message("a")
    recording.stop()
    recording.stop()
    virtual.peer.message("b")
    virtual.run(1)
    assert virtual.incoming.values == ["a", "b"]
    assert [event.data for event in recording.events] == ["a"]


def test_what_is_no_connection_of_rxws_is_refused() -> None:
    """With what to use instead."""
    conn: Any = rxws.Connection(
        rx.never(),
        Subject(),
        rx.never(),
        rx.never(),
        *[None] * 3,  # type: ignore[arg-type] # unused
    )
    with pytest.raises(TypeError, match=r"add tap\(\) to a chain"):
        Recording.of(conn)


async def test_it_records_on_an_event_loop() -> None:
    """Its time is the loop's then."""
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
def test_each_lane_keeps_so_many_events() -> None:
    """Older ones are dropped and counted."""
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
def test_a_recording_has_a_bound(keep: Any) -> None:
    """Of one event at least."""
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
    """Neither values nor times nor the end, nor when the source is subscribed and disposed."""

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
    kinds = [kind for _, kind, _ in told(recording, "x")]
    assert ("disposed" in kinds) == (name == "goes on" or not plain[0])


def test_a_tap_hands_the_scheduler_up() -> None:
    """What is above it runs on the subscriber's."""
    clock = Clock()
    recording = Recording()
    got: list[Any] = []
    rx.timer(2.0).pipe(recording.tap("x")).subscribe(got.append, scheduler=clock)
    clock.run(5)
    assert got == [0]
    assert Timeline.of(recording.lanes["x"]) == [on_next(2, 0), on_completed(2)]


def test_a_tap_lets_a_subscriber_s_exception_through() -> None:
    """To who pushed, as without it; the value is recorded all the same."""
    subject: Subject[str] = Subject()
    recording = Recording()
    subject.pipe(recording.tap("x")).subscribe(fail)
    with pytest.raises(KeyError):
        subject.on_next("a")
    assert [event.data for event in recording.events] == ["a"]


def test_a_tap_tells_who_left_early() -> None:
    """`disposed`, once, and only where there was no end."""
    subject: Subject[str] = Subject()
    recording = Recording(scheduler=Clock())
    subscription = subject.pipe(recording.tap("x"), ops.take(1)).subscribe()
    subject.on_next("a")
    subscription.dispose()
    assert [kind for _, kind, _ in told(recording, "x")] == ["next", "disposed"]


def test_a_tap_may_be_subscribed_more_than_once() -> None:
    """All go into the one lane, whose time began with the first."""
    clock = Clock()
    recording = Recording()
    tapped = rx.timer(1.0).pipe(recording.tap("x"), ops.ignore_elements())
    tapped.subscribe(scheduler=clock)
    clock.run(3)
    tapped.subscribe(scheduler=clock)
    clock.run(3)
    assert [(t, kind) for t, kind, _ in told(recording, "x")] == [
        (1, "next"),
        (1, "completed"),
        (4, "next"),
        (4, "completed"),
    ]


def test_without_a_scheduler_time_passes_all_the_same() -> None:
    """By the machine's steady clock, from the subscription or the first note on."""
    recording = Recording()
    subject: Subject[str] = Subject()
    subject.pipe(recording.tap("x")).subscribe()
    subject.on_next("a")
    subject.on_next("b")
    one, two = [event.t for event in recording.events]
    assert 0 <= one <= two < 60
    first = Recording()
    first.lane("y").record("next", 1)
    assert told(first, "y") == [(0, "next", 1)]


def test_taps_and_a_connection_share_one_time() -> None:
    """A tap in the handler of a recorded connection."""
    virtual = VirtualSession(watch=True)
    recording = Recording.of(virtual.conn)
    virtual.conn.incoming.pipe(ops.delay(1.0), recording.tap("late")).subscribe(
        scheduler=virtual.conn.scheduler
    )
    virtual.run(2)
    virtual.peer.message("a")
    virtual.run(2)
    assert told(recording, "late") == [(3, "next", "a")]
    assert Timeline.of(recording.lanes["incoming"]) == marbles("--a")
