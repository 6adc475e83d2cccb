"""On which thread the code of a scheduler may run, and calls from other threads."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident

import pytest
from reactivex.abc import SchedulerBase
from reactivex.internal import noop
from reactivex.scheduler.eventloop import (  # noqa: TID251 # users may pass them
    AsyncIOScheduler,
    AsyncIOThreadSafeScheduler,
)

from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.loop_scheduler import LoopScheduler, may_run_here
from rxws._core.schedulers.threads import check_here, run_on, runs_here
from rxws.testing.clock import Clock
from support.loops import running_in_thread
from support.peers.raw import PATIENCE

Loop = asyncio.AbstractEventLoop
OfLoop = Callable[[Loop], SchedulerBase]


def of_connection(loop: Loop) -> ConnectionScheduler:
    return ConnectionScheduler(LoopScheduler(loop), noop)


THREAD_SAFE: list[OfLoop] = [LoopScheduler, of_connection, AsyncIOThreadSafeScheduler]
schedulers = pytest.mark.parametrize("of_loop", [*THREAD_SAFE, AsyncIOScheduler])
thread_safe = pytest.mark.parametrize("of_loop", THREAD_SAFE)


@pytest.fixture
def loop() -> Iterator[Loop]:
    """A loop that does not run yet."""
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@contextmanager
def running_elsewhere(loop: Loop) -> Iterator[threading.Thread]:
    """Run a loop in another thread; it has begun."""
    with running_in_thread(loop) as thread:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(PATIENCE)
        yield thread


async def runs_now(scheduler: SchedulerBase) -> bool:
    return runs_here(scheduler, get_ident())


@schedulers
def test_the_code_of_a_loop_runs_only_while_that_loop_is_running(
    loop: Loop, of_loop: OfLoop
) -> None:
    """The code of an event loop's scheduler runs on this loop, and not while another one runs."""
    scheduler = of_loop(loop)
    assert loop.run_until_complete(runs_now(scheduler))
    assert not asyncio.run(runs_now(scheduler))
    with running_elsewhere(loop):
        assert not runs_here(scheduler, get_ident())
        assert asyncio.run_coroutine_threadsafe(runs_now(scheduler), loop).result(PATIENCE)


def test_a_loops_code_may_run_in_its_thread_while_no_loop_is_running(loop: Loop) -> None:
    """While no event loop runs, only the thread that an object was made in may use it."""
    assert may_run_here(loop, get_ident(), "this caller")
    assert not may_run_here(loop, get_ident() + 1, "this caller")
    with running_elsewhere(loop):
        assert not may_run_here(loop, get_ident(), "this caller")


def test_another_loop_in_the_same_thread_is_an_error(loop: Loop) -> None:
    """While another event loop runs in the thread, the error names both loops and the remedy."""

    async def use_it() -> str:
        with pytest.raises(RuntimeError) as raised:
            LoopScheduler(loop).check("this caller")
        running = asyncio.get_running_loop()
        assert f"belongs to the event loop {loop!r}, but {running!r} is" in str(raised.value)
        return str(raised.value)

    text = asyncio.run(use_it())
    assert text.startswith("this caller belongs")
    assert text.endswith("in the loop that it was made in, and make one for each loop")


def test_without_a_loop_the_thread_decides() -> None:
    """The code of a scheduler without an event loop runs on the thread that it began on."""
    for scheduler in (Clock(), ConnectionScheduler(Clock(), noop)):
        assert runs_here(scheduler, get_ident())
        assert not runs_here(scheduler, get_ident() + 1)


@schedulers
def test_the_error_names_the_owner_and_the_remedy(loop: Loop, of_loop: OfLoop) -> None:
    """The error on another thread names what was used, its event loop, and the remedy."""
    with running_elsewhere(loop), pytest.raises(RuntimeError) as raised:
        check_here(of_loop(loop), get_ident(), "this caller", "use it in its own event loop")
    text = str(raised.value)
    assert text.startswith(f"this caller belongs to the event loop <{type(loop).__name__} ")
    assert text.endswith(", but this thread runs no event loop: use it in its own event loop")


def test_the_error_names_the_thread_of_a_scheduler_without_a_loop() -> None:
    """Without an event loop, the error names the scheduler, and the loop that is running."""
    clock = Clock()
    scheduler = ConnectionScheduler(clock, noop)
    check_here(scheduler, get_ident(), "this caller", "use it in its own thread")

    async def check() -> None:
        check_here(scheduler, get_ident() + 1, "this caller", "use it in its own thread")

    with pytest.raises(RuntimeError) as raised:
        asyncio.run(check())
    text = str(raised.value)
    assert text.startswith(f"this caller belongs to the thread of {clock!r}, but <")
    assert text.endswith(" is running: use it in its own thread")


@thread_safe
def test_a_call_on_the_own_loop_runs_at_once(loop: Loop, of_loop: OfLoop) -> None:
    """A call on the scheduler's event loop runs within `run_on`, and only once."""
    scheduler, called = of_loop(loop), list[int]()

    async def call() -> None:
        run_on(scheduler, get_ident(), lambda: called.append(get_ident()))
        assert called == [get_ident()]
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    loop.run_until_complete(call())
    assert called == [get_ident()]


@thread_safe
def test_a_call_from_another_thread_runs_on_the_loop(loop: Loop, of_loop: OfLoop) -> None:
    """A call from another thread runs on the thread of the event loop."""
    scheduler, called = of_loop(loop), list[int | None]()
    done = threading.Event()

    def call() -> None:
        called.append(get_ident())
        done.set()

    with running_elsewhere(loop) as thread:
        run_on(scheduler, get_ident(), call)
        assert done.wait(PATIENCE)
    assert called == [thread.ident]


@thread_safe
def test_a_call_from_another_thread_to_a_closed_loop_is_dropped(
    loop: Loop, of_loop: OfLoop, caplog: pytest.LogCaptureFixture
) -> None:
    """If the event loop is closed, a call from another thread is dropped, as the log says."""
    scheduler, owner, called = of_loop(loop), get_ident(), list[int]()
    loop.close()
    caplog.set_level(logging.DEBUG, "rxws")
    thread = threading.Thread(target=run_on, args=(scheduler, owner, lambda: called.append(1)))
    thread.start()
    thread.join()
    assert called == []
    assert [(one.levelno, one.getMessage()) for one in caplog.records] == [
        (logging.DEBUG, "dropped a call from another thread: the loop is closed")
    ]


def test_what_a_call_raises_on_its_thread_reaches_the_caller() -> None:
    """A RuntimeError that a call raises on its own thread is not mistaken for a closed loop."""

    def call() -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        run_on(Clock(), get_ident(), call)


def test_without_a_loop_a_call_from_another_thread_waits_for_the_clock() -> None:
    """A call from another thread to a scheduler without an event loop runs in its next turn."""
    clock, called = Clock(), list[int]()
    run_on(clock, get_ident() + 1, lambda: called.append(get_ident()))
    assert called == []
    clock.run(0)
    assert called == [get_ident()]


@thread_safe
def test_a_call_while_another_loop_runs_in_the_thread_waits(loop: Loop, of_loop: OfLoop) -> None:
    """A call while another event loop runs in the same thread runs when its own loop does."""
    scheduler, called = of_loop(loop), list[int]()

    async def call() -> None:
        run_on(scheduler, get_ident(), lambda: called.append(1))

    asyncio.run(call())
    assert called == []
    loop.run_until_complete(asyncio.sleep(0.001))
    assert called == [1]
