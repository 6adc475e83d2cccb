"""asyncio's loop as a scheduler."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import Any

import pytest
from reactivex.disposable import Disposable

from rxws._core.loop_scheduler import LoopScheduler

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


class Ran:
    """An action that notes where it ran."""

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
    """Never within the call, and from another thread the loop is woken."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    ran = Ran()
    if threaded:
        thread = threading.Thread(target=schedule, args=(scheduler, ran))
        thread.start()
        await ran.wait()
        thread.join()
    else:
        schedule(scheduler, ran)
        assert ran.calls == []
        await ran.wait()
    assert ran.calls == [(1, threading.get_ident())]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=IDS)
async def test_what_is_disposed_does_not_run(schedule: Any) -> None:
    """It is taken back before its turn."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    ran = Ran()
    schedule(scheduler, ran).dispose()
    later = Ran()
    scheduler.schedule_relative(0.05, later)
    await later.wait()
    assert ran.calls == []


async def test_what_another_thread_disposes_does_not_run() -> None:
    """Its timer is gone from the loop."""
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)

    def timers() -> list[asyncio.TimerHandle]:
        """Those that are far off, as this test's is and no other."""
        scheduled: list[asyncio.TimerHandle] = vars(loop)["_scheduled"]
        far = loop.time() + 10 * PATIENCE
        return [timer for timer in scheduled if not timer.cancelled() and timer.when() > far]

    disposable = await asyncio.to_thread(scheduler.schedule_relative, 100 * PATIENCE, Ran())
    await asyncio.sleep(0)
    assert len(timers()) == 1
    await asyncio.wait_for(asyncio.to_thread(disposable.dispose), PATIENCE)
    assert timers() == []


async def test_it_knows_its_own_thread() -> None:
    """Where it was made."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    elsewhere: list[bool] = []
    thread = threading.Thread(target=lambda: elsewhere.append(scheduler.on_thread))
    thread.start()
    thread.join()
    assert scheduler.on_thread
    assert elsewhere == [False]


async def test_actions_of_one_turn_run_in_order() -> None:
    """As they were put on."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    ran = Ran()
    for state in range(5):
        scheduler.schedule(ran, state)
    await ran.wait(5)
    assert [state for state, _ in ran.calls] == [0, 1, 2, 3, 4]


async def test_its_own_thread_is_not_woken_by_a_pipe() -> None:
    """What is on the loop already costs no system call."""
    loop = asyncio.get_running_loop()
    scheduler = LoopScheduler(loop)
    ran = Ran()

    def refuse(*_: object, **__: object) -> Any:
        raise AssertionError("woken")

    original = loop.call_soon_threadsafe
    loop.call_soon_threadsafe = refuse  # type: ignore[method-assign]  # to see that nobody calls it
    try:
        scheduler.schedule(ran)
        scheduler.schedule_relative(0, ran)
        scheduler.schedule_relative(0.001, ran)
        await ran.wait(3)
    finally:
        loop.call_soon_threadsafe = original  # type: ignore[method-assign]  # as it was


async def test_what_an_action_returns_is_disposed_with_it() -> None:
    """Once it has run."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    disposed: list[str] = []
    scheduled = scheduler.schedule(lambda *_: Disposable(lambda: disposed.append("it")))
    await asyncio.sleep(0)
    assert disposed == []
    scheduled.dispose()
    scheduled.dispose()
    assert disposed == ["it"]


async def test_an_action_that_disposes_itself_disposes_what_it_returns() -> None:
    """At once, as nobody will come for it."""
    scheduler = LoopScheduler(asyncio.get_running_loop())
    disposed: list[str] = []

    def action(*_: object) -> Disposable:
        scheduled.dispose()
        return Disposable(lambda: disposed.append("it"))

    scheduled = scheduler.schedule(action)
    await asyncio.sleep(0)
    assert disposed == ["it"]


async def test_a_loop_has_one_scheduler_while_it_runs() -> None:
    """All its connections share it."""
    assert LoopScheduler.running() is LoopScheduler.running()
