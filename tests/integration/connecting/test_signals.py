"""Signal handlers that push while they interrupt a push of the main thread."""

from __future__ import annotations

import asyncio
import dis
import functools
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import CodeType, FrameType
from typing import Any

import pytest

import rxws
from rxws import overflow
from rxws._core.streams.stream import Dispatcher, Stream
from rxws.testing import pair
from support.loops import running_in_thread
from support.peers.raw import PATIENCE


@functools.cache
def opnames(code: CodeType) -> dict[int, str]:
    return {each.offset: each.opname for each in dis.get_instructions(code)}


def handles_signals(opname: str) -> bool:
    """Return whether CPython runs signal handlers right after this instruction."""
    if opname.startswith("CALL_INTRINSIC"):
        return False
    return opname.startswith(("CALL", "RESUME", "JUMP_BACKWARD"))


@contextmanager
def interrupted_at(index: int, handler: Callable[[], object]) -> Iterator[list[str]]:
    """Raise a signal the n-th time that CPython could run its handler in the code of rxws.

    Yields:
        The place; empty if there are fewer than n.
    """
    passed = 0
    place: list[str] = []
    previous: dict[FrameType, str] = {}

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal passed
        if "/rxws/_" not in frame.f_code.co_filename or place:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            if handles_signals(previous.get(frame, "")):
                passed += 1
                if passed == index:
                    place.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
                    signal.raise_signal(signal.SIGUSR1)
            previous[frame] = opnames(frame.f_code)[frame.f_lasti]
        return trace

    previous_handler = signal.signal(signal.SIGUSR1, lambda *_: handler())
    previous_alarm = signal.signal(signal.SIGALRM, fail_deadlocked)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    previous_trace = sys.gettrace()
    # CPython 3.12 traces opcodes only if some frame asked for them before `settrace`.
    sys._getframe().f_trace_opcodes = True
    sys.settrace(trace)
    try:
        yield place
    finally:
        sys.settrace(previous_trace)
        previous.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_alarm)
        signal.signal(signal.SIGUSR1, previous_handler)


def fail_deadlocked(*_: object) -> None:
    raise AssertionError("deadlock")


def every_place(act: Callable[[], object], handler: Callable[[], object]) -> Iterator[str]:
    """Act once for each place where a signal may interrupt `act`, with a signal at that place."""
    for index in count(1):
        with interrupted_at(index, handler) as place:
            act()
        if not place:
            assert index > 5
            return
        yield place[0]


def test_a_push_interrupted_by_a_push() -> None:
    """Both messages arrive if a signal handler pushes while the main thread pushes."""
    loop = asyncio.new_event_loop()

    async def make() -> Any:
        return pair()

    both = loop.run_until_complete(make())
    server, client = both
    got: list[str] = []
    server.incoming.subscribe(got.append)
    pushed = 0
    with running_in_thread(loop):
        places = every_place(
            lambda: client.outgoing.on_next("main"), lambda: client.outgoing.on_next("signal")
        )
        for _ in places:
            pushed += 1
        arrived = asyncio.run_coroutine_threadsafe(until(lambda: len(got) > 2 * pushed), loop)
        arrived.result(PATIENCE)
    assert got.count("signal") == pushed
    assert got.count("main") == pushed + 1
    loop.run_until_complete(both.aclose())
    loop.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  # a pair has no event for it
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", overflow.latest(id)], ids=str)
def test_a_push_into_a_subject_interrupted_by_a_push(policy: Any) -> None:
    """Both messages are queued if a signal handler pushes into the subject, too."""
    feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(
        "ws://unused.invalid/", queue_overflow=policy
    )
    numbers = iter(range(1000, 100_000))
    pushed = 0

    def push() -> None:
        nonlocal pushed
        pushed += 1
        feed.on_next(f"number {next(numbers)}")

    for place in every_place(push, push):
        assert feed.stats.queued == pushed, place
        assert feed.stats.queued_bytes == pushed * len("number 1000"), place


def test_a_subscription_interrupted_by_a_subscription() -> None:
    """No subscriber is lost if a signal handler subscribes or unsubscribes, too."""
    stream: Stream[int] = Stream(Dispatcher(), lambda _: None)
    got: list[str] = []

    def subscribe_twice(name: str) -> None:
        stream.subscribe(lambda _: got.append(name))
        stream.subscribe(lambda _: got.append(f"{name}, disposed")).dispose()

    def act() -> None:
        nonlocal stream
        stream = Stream(Dispatcher(), lambda _: None)
        subscribe_twice("main")

    for place in every_place(act, lambda: subscribe_twice("signal")):
        got.clear()
        stream.emit(1)
        assert sorted(got) == ["main", "signal"], place


def test_a_pause_of_a_subject_interrupted_by_a_pause() -> None:
    """A signal handler may pause and resume the flow of a subject."""
    feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject("ws://unused.invalid/")
    pauses: Any = feed._lifecycle.pauses

    def pause() -> None:
        pauses.pause().dispose()

    def switch() -> None:
        pause()
        held = pauses.pause()
        pauses.switch_to(None)
        held.dispose()

    for place in every_place(switch, pause):
        assert not pauses._pauses, place
