"""`ConnectionScheduler`: the time of the scheduler below, and faults to the connection."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Connection
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.timers import call_later
from rxws.testing.clock import Clock
from support.callbacks import raising
from support.virtual.session import VirtualSession

AnyConnection = Connection[Any, Any]


raise_error = raising(ValueError, "mine")


def test_now_is_that_of_the_scheduler_below() -> None:
    """`now` is that of the scheduler below."""
    clock = Clock()
    scheduler = ConnectionScheduler(clock, raise_error)
    clock.run(7)
    assert scheduler.now == clock.now


def test_actions_run_when_they_are_due() -> None:
    """Actions run at their time, given in seconds, as a timedelta or as a datetime."""
    clock = Clock()
    scheduler = ConnectionScheduler(clock, raise_error)
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
    """A periodic action, which `interval` uses, runs until it is disposed."""
    clock = Clock()
    times: list[float] = []
    running = ConnectionScheduler(clock, raise_error).schedule_periodic(
        2, lambda _: times.append(clock.time)
    )
    clock.run(5)
    running.dispose()
    clock.run(5)
    assert times == [2, 4]


def test_an_exception_of_an_action_is_a_fault() -> None:
    """An exception of an action is a fault, and the scheduler continues."""
    clock = Clock()
    faults: list[Exception] = []
    scheduler = ConnectionScheduler(clock, faults.append)
    scheduler.schedule(raise_error)
    scheduler.schedule_relative(1, raise_error)
    scheduler.schedule_absolute(clock.now + timedelta(seconds=1), raise_error)
    clock.run(2)
    assert [str(fault) for fault in faults] == ["mine"] * 3


def test_what_is_no_exception_propagates_without_an_owner() -> None:
    """Without a connection, a KeyboardInterrupt of an action is no fault, and propagates."""
    clock, faults = Clock(), list[Exception]()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    ConnectionScheduler(clock, faults.append).schedule_relative(1, interrupt)
    with pytest.raises(KeyboardInterrupt):
        clock.run(1)
    assert faults == []


def test_call_later_calls_once_unless_disposed() -> None:
    """`call_later` calls once after the given seconds, unless it is disposed."""
    clock = Clock()
    called: list[float] = []
    call_later(clock, 1.5, lambda: called.append(clock.time))
    call_later(clock, 1.0, lambda: called.append(clock.time)).dispose()
    clock.run(10)
    assert called == [1.5]


# For "a" at 0 s and "b" at 1 s: (operator, messages sent, times).
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
def test_a_returned_pipeline_uses_the_connections_scheduler(
    operator: Callable[[], Any], values: list[str], times: list[float]
) -> None:
    """Time operators of a returned pipeline use the connection's scheduler."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(operator()))
    virtual.peer.message("a")
    virtual.run(1)
    virtual.peer.message("b")
    virtual.run(5)
    assert virtual.messages == values
    assert [sent.at for sent in virtual.transport.sent[: len(values)]] == times


def test_a_returned_interval_uses_the_connections_scheduler() -> None:
    """A returned `interval` uses the connection's scheduler."""
    virtual = VirtualSession(lambda _: rx.interval(2.0).pipe(ops.map(str)))
    virtual.run(7)
    assert [(sent.at, sent.message) for sent in virtual.transport.sent] == [
        (2, "0"),
        (4, "1"),
        (6, "2"),
    ]


def test_a_subscription_by_hand_uses_the_scheduler_passed() -> None:
    """A subscription with `scheduler=conn.scheduler` uses it for its time operators."""
    virtual = VirtualSession()
    virtual.conn.incoming.pipe(ops.debounce(2.0)).subscribe(
        virtual.conn.outgoing, scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("a")
    virtual.run(3)
    assert [(sent.at, sent.message) for sent in virtual.transport.sent] == [(2, "a")]


def test_an_exception_behind_a_timer_is_a_fault() -> None:
    """An exception of a subscriber behind a timer is a fault; others get the value."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.incoming.pipe(ops.delay(1.0)).subscribe(
        raise_error, scheduler=virtual.conn.scheduler
    )
    delayed = virtual.watch(virtual.conn.incoming.pipe(ops.delay(1.0)))
    virtual.peer.message("a")
    virtual.run(2)
    assert [str(error) for error in errors.values] == ["mine"]
    assert errors.times == [1]
    assert delayed.values == ["a"]
    assert virtual.closed.values == []


def test_an_unobserved_exception_behind_a_timer_closes_with_1011() -> None:
    """An unobserved exception behind a timer closes with 1011."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.pipe(ops.delay(1.0)).subscribe(
        raise_error, scheduler=virtual.conn.scheduler
    )
    virtual.peer.message("a")
    virtual.run(2)
    assert virtual.close_frame.code == 1011
    assert virtual.close_frame.at == 1
