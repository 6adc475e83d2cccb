"""`Clock`: virtual time."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import TimeoutScheduler

from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._core.schedulers.timers import call_later, is_call_later, seconds_of
from rxws.testing import Clock


class ActionLog:
    """A clock, and a record of the actions that ran on it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ran: list[tuple[float, str]] = []

    def action(self, name: str) -> Any:
        return lambda *_: self.ran.append((self.clock.time, name))


def test_actions_run_in_order_of_their_time() -> None:
    """Actions run in the order of their time, then of their scheduling."""
    log = ActionLog()
    for at, name in ((2, "c"), (1, "a"), (1, "b"), (3, "late")):
        log.clock.schedule_relative(at, log.action(name))
    log.clock.run(2)
    assert log.ran == [(1, "a"), (1, "b"), (2, "c")]
    assert (log.clock.time, log.clock.pending) == (2, 1)


def test_times_may_be_seconds_timedeltas_and_datetimes() -> None:
    """Times may be seconds, timedeltas and datetimes; a past one runs in the next turn."""
    log = ActionLog()
    clock = log.clock
    clock.run(1)
    clock.schedule_relative(timedelta(seconds=2), log.action("relative"))
    clock.schedule_absolute(clock.now + timedelta(seconds=3), log.action("absolute"))
    clock.schedule_absolute(0.5, log.action("passed"))
    clock.run(9)
    assert log.ran == [(1, "passed"), (3, "relative"), (4, "absolute")]
    assert clock.seconds() == clock.time == 10


def test_actions_run_in_the_context_that_scheduled_them() -> None:
    """An action sees the context variables as they were when it was scheduled, as on a loop."""
    clock, variable, seen = Clock(), ContextVar("variable", default="unset"), []
    variable.set("scheduled")
    clock.schedule(lambda *_: seen.append(variable.get()))
    variable.set("running")
    clock.run(0)
    assert seen == ["scheduled"]


def test_a_thousand_actions_take_no_virtual_time() -> None:
    """1000 actions take no virtual time, other than in RxPY's virtual time."""
    log = ActionLog()
    for _ in range(1000):
        log.clock.schedule(log.action("x"))
    log.clock.run(0)
    assert log.ran == [(0, "x")] * 1000


def test_a_clock_that_is_stuck_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Endless actions at one time raise RuntimeError instead of hanging the test."""
    monkeypatch.setattr("rxws.testing.clock._ENDLESS", 1000)
    clock = Clock()

    def reschedule(*_: object) -> None:
        clock.schedule(reschedule)

    clock.run(1)
    clock.schedule(reschedule)
    with pytest.raises(RuntimeError, match=r"the clock is stuck at 1\.0 s: .* an interval"):
        clock.run(1)


def test_a_disposed_action_does_not_run() -> None:
    """A disposed action neither runs nor counts as pending; what it returned is disposed."""
    log = ActionLog()
    disposed: list[str] = []
    log.clock.schedule_relative(1, log.action("x")).dispose()
    assert (log.clock.pending, log.clock.actions) == (0, [])
    running = log.clock.schedule(lambda *_: Disposable(lambda: disposed.append("inner")))
    log.clock.run(2)
    running.dispose()
    assert (log.ran, disposed) == ([], ["inner"])


def test_sleep_passes_time_without_running_actions() -> None:
    """`sleep` passes time without running actions, as a busy thread does."""
    log = ActionLog()
    log.clock.schedule_relative(1, log.action("late"))
    log.clock.sleep(5)
    assert log.ran == []
    log.clock.turn()
    assert log.ran == [(5, "late")]


def test_an_interval_is_exact() -> None:
    """An `interval` of RxPY is exact on the clock."""
    log = ActionLog()
    rx.interval(60.0).pipe(ops.take(3)).subscribe(log.action("tick"), scheduler=log.clock)
    log.clock.run(3600)
    assert [at for at, _ in log.ran] == [60, 120, 180]
    assert log.clock.pending == 0


async def test_seconds_are_those_of_the_scheduler() -> None:
    """`seconds_of` returns the time of the scheduler's own clock, else of its `now`."""
    clock = Clock()
    clock.run(7)
    assert seconds_of(clock)() == 7
    assert seconds_of(ConnectionScheduler(clock, print))() == 7
    loop = LoopScheduler.running()
    before = asyncio.get_running_loop().time()
    assert before <= seconds_of(loop)() <= asyncio.get_running_loop().time()
    plain = TimeoutScheduler.singleton()
    before = plain.to_seconds(plain.now)
    assert before <= seconds_of(plain)() <= plain.to_seconds(plain.now)


def test_is_own_recognises_actions_of_rxws() -> None:
    """`is_own` is true for actions that rxws itself scheduled."""
    clock = Clock()
    call_later(clock, 1, lambda: None)
    ConnectionScheduler(clock, print).schedule_relative(1, lambda *_: None)
    assert [is_call_later(action) for action in clock.actions] == [True, False]
