"""The scheduler that a connection hands down: virtual time here, faults told to the connection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Connection
from rxws._core.schedulers import ConnectionScheduler, call_later
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.virtual.session import VirtualSession

AnyConnection = Connection[Any, Any]


fail = raising(ValueError, "mine")


def test_it_has_the_time_of_the_scheduler_below() -> None:
    """There is one clock."""
    clock = Clock()
    scheduler = ConnectionScheduler(clock, fail)
    clock.run(7)
    assert scheduler.now == clock.now


def test_actions_run_when_they_are_due() -> None:
    """As soon as possible, after a while, at a time; seconds or a timedelta."""
    clock = Clock()
    scheduler = ConnectionScheduler(clock, fail)
    ran: list[tuple[float, object, object]] = []

    def action(on: object, state: object = None) -> None:
        ran.append((clock.time, on, state))

    scheduler.schedule(action, "now")
    scheduler.schedule_relative(2, action, "relative")
    scheduler.schedule_relative(timedelta(seconds=3), action)
    scheduler.schedule_absolute(clock.now + timedelta(seconds=4), action, "absolute")
    scheduler.schedule_relative(5, action).dispose()
    clock.run(10)
    assert ran == [
        (0, scheduler, "now"),
        (2, scheduler, "relative"),
        (3, scheduler, None),
        (4, scheduler, "absolute"),
    ]


def test_a_periodic_action_runs_until_it_is_disposed() -> None:
    """RxPY's `interval` wants it."""
    clock = Clock()
    times: list[float] = []
    running = ConnectionScheduler(clock, fail).schedule_periodic(
        2, lambda _: times.append(clock.time)
    )
    clock.run(5)
    running.dispose()
    clock.run(5)
    assert times == [2, 4]


def test_what_an_action_raises_is_a_fault() -> None:
    """Of each kind of action, and the scheduler goes on."""
    clock = Clock()
    faults: list[Exception] = []
    scheduler = ConnectionScheduler(clock, faults.append)
    scheduler.schedule(fail)
    scheduler.schedule_relative(1, fail)
    scheduler.schedule_absolute(clock.now + timedelta(seconds=1), fail)
    clock.run(2)
    assert [str(fault) for fault in faults] == ["mine"] * 3


def test_after_calls_back_once_unless_taken_back() -> None:
    """In seconds."""
    clock = Clock()
    called: list[float] = []
    call_later(clock, 1.5, lambda: called.append(clock.time))
    call_later(clock, 1.0, lambda: called.append(clock.time)).dispose()
    clock.run(10)
    assert called == [1.5]


# What a pipeline does with "a" at 0 s and "b" at 1 s: (operator, what leaves, when).
TIMED: list[tuple[str, Callable[[], Any], list[str], list[float]]] = [
    ("debounce", lambda: ops.debounce(2.0), ["b"], [3]),
    ("delay", lambda: ops.delay(2.0), ["a", "b"], [2, 3]),
    ("throttle_first", lambda: ops.throttle_first(2.0), ["a"], [0]),
    ("sample", lambda: ops.sample(4.0), ["b"], [4]),
    ("take_with_time", lambda: ops.take_with_time(0.5), ["a"], [0]),
    (
        "buffer_with_time",
        lambda: (
            lambda source: source.pipe(
                ops.buffer_with_time(2.5), ops.filter(bool), ops.map("+".join)
            )
        ),
        ["a+b"],
        [2.5],
    ),
    (
        "timeout",
        lambda: ops.timeout(2.0, rx.just("late")),
        ["a", "b", "late"],
        [0, 1, 3],
    ),
]


@pytest.mark.parametrize(
    ("operator", "values", "times"), [row[1:] for row in TIMED], ids=[row[0] for row in TIMED]
)
def test_time_in_a_returned_pipeline_is_the_connections(
    operator: Callable[[], Any], values: list[str], times: list[float]
) -> None:
    """No operator makes a timer of its own: the scheduler is handed down."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(operator()))
    virtual.peer.message("a")
    virtual.run(1)
    virtual.peer.message("b")
    virtual.run(5)
    assert virtual.messages == values
    assert [sent.at for sent in virtual.transport.sent[: len(values)]] == times


def test_a_source_with_time_of_its_own_follows_too() -> None:
    """A server push by `interval`."""
    virtual = VirtualSession(lambda _: rx.interval(2.0).pipe(ops.map(str)))
    virtual.run(7)
    assert [(sent.at, sent.message) for sent in virtual.transport.sent] == [
        (2, "0"),
        (4, "1"),
        (6, "2"),
    ]


def test_by_hand_the_scheduler_is_passed() -> None:
    """`scheduler=conn.scheduler`."""
    virtual = VirtualSession()
    virtual.conn.incoming.pipe(ops.debounce(2.0)).subscribe(
        virtual.conn.outgoing, scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("a")
    virtual.run(3)
    assert [(sent.at, sent.message) for sent in virtual.transport.sent] == [(2, "a")]


def test_what_a_subscriber_behind_a_timer_raises_is_a_fault() -> None:
    """Not something for the event loop's exception handler; the timer's others go on."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.pipe(ops.delay(1.0)).subscribe(fail, scheduler=virtual.conn.scheduler)
    delayed = virtual.watch(virtual.conn.incoming.pipe(ops.delay(1.0)))
    virtual.peer.message("a")
    virtual.run(2)
    assert [str(error) for error in errors.values] == ["mine"]
    assert errors.times == [1]
    assert delayed.values == ["a"]
    assert virtual.closed.values == []


def test_nobody_who_observes_the_fault_of_a_timer_ends_the_connection() -> None:
    """With 1011, as with any other fault."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.pipe(ops.delay(1.0)).subscribe(fail, scheduler=virtual.conn.scheduler)
    virtual.peer.message("a")
    virtual.run(2)
    assert virtual.close_frame.code == 1011
    assert virtual.close_frame.at == 1
