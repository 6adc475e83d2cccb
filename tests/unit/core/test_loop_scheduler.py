"""`LoopScheduler`: asyncio's event loop as a scheduler."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
from reactivex.disposable import Disposable

from rxws._core.schedulers.loop_scheduler import LoopScheduler

PATIENCE = 30.0  # seconds to wait before the test fails


class RecordingAction:
    """An action that records its state and thread at each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, int]] = []
        self._ran = asyncio.Event()

    def __call__(self, _: object, state: object = None) -> None:
        self.calls.append((state, threading.get_ident()))
        self._ran.set()

    async def wait(self, count: int = 1) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.calls) < count:
                self._ran.clear()
                await self._ran.wait()


SCHEDULES = [
    lambda scheduler, action: scheduler.schedule(action, 1),
    lambda scheduler, action: scheduler.schedule_relative(0, action, 1),
    lambda scheduler, action: scheduler.schedule_relative(-1, action, 1),
    lambda scheduler, action: scheduler.schedule_relative(0.01, action, 1),
    lambda scheduler, action: scheduler.schedule_relative(timedelta(seconds=0.01), action, 1),
    lambda scheduler, action: scheduler.schedule_absolute(
        scheduler.now + timedelta(seconds=0.01), action, 1
    ),
]
IDS = ["soon", "0", "-1", "seconds", "timedelta", "absolute"]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=IDS)
@pytest.mark.parametrize("threaded", [False, True], ids=["own thread", "another thread"])
async def test_actions_run_on_the_loop(schedule: Any, threaded: bool) -> None:
    """Actions run on the loop, never within the call, also if another thread schedules them."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    action = RecordingAction()
    if threaded:
        thread = threading.Thread(target=schedule, args=(scheduler, action))
        thread.start()
        await action.wait()
        thread.join()
    else:
        schedule(scheduler, action)
        assert action.calls == []
        await action.wait()
    assert action.calls == [(1, threading.get_ident())]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=IDS)
async def test_a_disposed_action_does_not_run(schedule: Any) -> None:
    """An action that is disposed before its time does not run."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    action = RecordingAction()
    schedule(scheduler, action).dispose()
    later = RecordingAction()
    scheduler.schedule_relative(0.05, later)
    await later.wait()
    assert action.calls == []


async def test_another_thread_may_dispose_a_timer() -> None:
    """A timer that another thread disposes is removed from the loop."""
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)

    def timers() -> list[asyncio.TimerHandle]:
        """The loop's timers far in the future, which are this test's only."""
        scheduled: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]
        far = loop.time() + 10 * PATIENCE
        return [timer for timer in scheduled if not timer.cancelled() and timer.when() > far]

    disposable = await asyncio.to_thread(
        scheduler.schedule_relative, 100 * PATIENCE, RecordingAction()
    )
    await asyncio.sleep(0)
    assert len(timers()) == 1
    await asyncio.wait_for(asyncio.to_thread(disposable.dispose), PATIENCE)
    assert timers() == []


async def test_on_thread_is_true_on_the_loops_thread() -> None:
    """`on_thread` is true on the thread of the loop and false on others."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(scheduler.on_thread))
    thread.start()
    thread.join()
    assert scheduler.on_thread
    assert elsewhere == [False]


async def test_actions_of_one_turn_run_in_order() -> None:
    """Actions of one turn run in the order in which they were scheduled."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    action = RecordingAction()
    for state in range(5):
        scheduler.schedule(action, state)
    await action.wait(5)
    assert [state for state, _ in action.calls] == [0, 1, 2, 3, 4]


async def test_scheduling_on_the_loops_thread_does_not_wake_it() -> None:
    """Scheduling on the loop's own thread makes no system call to wake it."""
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)
    action = RecordingAction()

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("woken")

    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = refuse  # type: ignore[method-assign]  # to see that nobody calls it
    try:
        scheduler.schedule(action)
        scheduler.schedule_relative(0, action)
        scheduler.schedule_relative(0.001, action)
        await action.wait(3)
    finally:
        loop.call_soon_threadsafe = original  # type: ignore[method-assign]  # as it was


async def test_a_disposable_that_an_action_returns_is_disposed_with_it() -> None:
    """A Disposable that an action returns is disposed with the scheduled action."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    disposed: list[str] = []
    scheduled = scheduler.schedule(lambda *_: Disposable(lambda: disposed.append("it")))
    await asyncio.sleep(0)
    assert disposed == []
    scheduled.dispose()
    scheduled.dispose()
    assert disposed == ["it"]


async def test_an_action_that_disposes_itself_disposes_what_it_returns() -> None:
    """If an action disposes itself, the Disposable that it returns is disposed at once."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    disposed: list[str] = []

    def action(*_: object) -> Disposable:
        scheduled.dispose()
        return Disposable(lambda: disposed.append("it"))

    scheduled = scheduler.schedule(action)
    await asyncio.sleep(0)
    assert disposed == ["it"]


async def test_a_loop_has_one_scheduler_while_it_runs() -> None:
    """`LoopScheduler.running()` returns the same scheduler for a loop."""
    assert LoopScheduler.running() is LoopScheduler.running()


async def test_calls_with_the_same_delay_share_one_timer() -> None:
    """Shared calls run in order, each after its delay, with one timer of the loop for all."""
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)
    called: list[str] = []
    done = asyncio.Event()
    before = timers()
    began = loop.time()
    first = scheduler.call_later_shared(0.02, lambda: called.append("first"))
    second = scheduler.call_later_shared(0.02, lambda: called.append("second"))
    scheduler.call_later_shared(0.02, lambda: called.append("third"))
    assert timers() == before + 1
    second.dispose()
    second.dispose()
    await asyncio.sleep(0.01)
    scheduler.call_later_shared(0.02, done.set)
    async with asyncio.timeout(PATIENCE):
        await done.wait()
    assert called == ["first", "third"]
    assert loop.time() - began >= 0.03
    first.dispose()
    assert timers() == before


async def test_shared_calls_are_removed_from_both_ends() -> None:
    """A disposed shared call is not called, and the last one also cancels the timer."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    before = timers()
    calls = [scheduler.call_later_shared(30.0, pytest.fail) for _ in range(4)]
    for index in (3, 0, 1, 2):
        assert timers() == before + 1
        calls[index].dispose()
    assert timers() == before


async def test_a_shared_call_can_be_disposed_by_another_one() -> None:
    """A shared call that is due does not run if it is disposed before its turn."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    done = asyncio.Event()
    scheduler.call_later_shared(0.001, lambda: second.dispose())
    second = scheduler.call_later_shared(0.001, pytest.fail)
    block(0.005)  # both are due in the same turn
    asyncio.get_running_loop().call_later(0.02, done.set)
    await done.wait()


async def test_a_shared_call_runs_in_its_own_context() -> None:
    """A shared call sees the context variables of the code that asked for it."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[int] = []
    for value in (1, 2):
        variable.set(value)
        scheduler.call_later_shared(0.001, lambda: seen.append(variable.get()))
    await asyncio.sleep(0.02)
    assert seen == [1, 2]


def block(seconds: float) -> None:
    time.sleep(seconds)


def timers() -> int:
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)
