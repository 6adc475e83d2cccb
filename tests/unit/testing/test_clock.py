"""Virtual time: it passes when it is told to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.disposable import Disposable
from reactivex.scheduler import TimeoutScheduler

from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.schedulers import ConnectionScheduler, call_later, is_call_later, seconds_of
from rxws.testing import Clock


class Book:
    """Notes what runs on a clock, and when."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ran: list[tuple[float, str]] = []

    def note(self, name: str) -> Any:
        return lambda *_: self.ran.append((self.clock.time, name))


def test_what_is_due_runs_in_its_order() -> None:
    """By time, and within one by when it was scheduled."""
    book = Book()
    for at, name in ((2, "c"), (1, "a"), (1, "b"), (3, "late")):
        book.clock.schedule_relative(at, book.note(name))
    book.clock.run(2)
    assert book.ran == [(1, "a"), (1, "b"), (2, "c")]
    assert (book.clock.time, book.clock.pending) == (2, 1)


def test_times_may_be_given_in_each_of_rxpy_s_ways() -> None:
    """Seconds, a timedelta, a date; what has passed runs in the next turn."""
    book = Book()
    clock = book.clock
    clock.run(1)
    clock.schedule_relative(timedelta(seconds=2), book.note("relative"))
    clock.schedule_absolute(clock.now + timedelta(seconds=3), book.note("absolute"))
    clock.schedule_absolute(0.5, book.note("passed"))
    clock.run(9)
    assert book.ran == [(1, "passed"), (3, "relative"), (4, "absolute")]
    assert clock.seconds() == clock.time == 10


def test_a_thousand_actions_take_no_time() -> None:
    """RxPY's virtual time would let seconds pass."""
    book = Book()
    for _ in range(1000):
        book.clock.schedule(book.note("x"))
    book.clock.run(0)
    assert book.ran == [(0, "x")] * 1000


def test_time_that_does_not_get_on_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of a test that hangs; actions at other times do not count for it."""
    monkeypatch.setattr("rxws.testing.clock._ENDLESS", 1000)
    clock = Clock()

    def again(*_: object) -> None:
        clock.schedule(again)

    clock.run(1)
    clock.schedule(again)
    with pytest.raises(RuntimeError, match=r"the clock is stuck at 1\.0 s: .* an interval"):
        clock.run(1)


def test_what_was_disposed_does_not_run() -> None:
    """And is not pending; what an action returned is disposed with it."""
    book = Book()
    disposed: list[str] = []
    book.clock.schedule_relative(1, book.note("x")).dispose()
    assert (book.clock.pending, book.clock.actions) == (0, [])
    running = book.clock.schedule(lambda *_: Disposable(lambda: disposed.append("inner")))
    book.clock.run(2)
    running.dispose()
    assert (book.ran, disposed) == ([], ["inner"])


def test_a_busy_thread_lets_time_pass_and_nothing_run() -> None:
    """What was due meanwhile is late."""
    book = Book()
    book.clock.schedule_relative(1, book.note("late"))
    book.clock.sleep(5)
    assert book.ran == []
    book.clock.turn()
    assert book.ran == [(5, "late")]


def test_rxpy_s_operators_run_on_it() -> None:
    """Intervals are periodic on it, to the second."""
    book = Book()
    rx.interval(60.0).pipe(ops.take(3)).subscribe(book.note("tick"), scheduler=book.clock)
    book.clock.run(3600)
    assert [at for at, _ in book.ran] == [60, 120, 180]
    assert book.clock.pending == 0


async def test_seconds_are_those_of_the_scheduler() -> None:
    """Of its own clock where it has one, also behind a connection's scheduler, else of its date."""
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


def test_what_rxws_scheduled_itself_is_known() -> None:
    """From what an operator did."""
    clock = Clock()
    call_later(clock, 1, lambda: None)
    ConnectionScheduler(clock, print).schedule_relative(1, lambda *_: None)
    assert [is_call_later(action) for action in clock.actions] == [True, False]
