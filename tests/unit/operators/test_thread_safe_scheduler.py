"""Operators with RxPY's `AsyncIOScheduler`, which is not thread-safe, and other threads."""

from __future__ import annotations

import asyncio
import threading

import pytest
import reactivex as rx
from reactivex.abc import ObserverBase
from reactivex.disposable import Disposable
from reactivex.scheduler.eventloop import AsyncIOScheduler  # noqa: TID251 # what `await` passes

import rxws


async def test_disposing_connections_on_another_thread_takes_effect_at_once() -> None:
    """If another thread disposes `connections` or `reconnect`, the loop wakes at once."""
    loop = asyncio.get_running_loop()
    disposed = asyncio.Event()

    def dial(observer: ObserverBase[rxws.Connection[str, str]], _: object) -> Disposable:
        return Disposable(disposed.set)

    chain = rx.create(dial).pipe(rxws.operators.reconnect())
    subscription = chain.subscribe(scheduler=AsyncIOScheduler(loop))
    await asyncio.sleep(0)
    timer = threading.Timer(0.01, subscription.dispose)
    loop.call_later(2.0, lambda: None)  # wakes the loop, but too late
    started = loop.time()
    timer.start()
    await disposed.wait()
    assert loop.time() - started < 1.0
    timer.join()


async def test_a_subject_with_a_scheduler_that_is_not_thread_safe_wakes_the_loop() -> None:
    """A `WebSocketSubject` wakes the loop for another thread, whatever scheduler it got."""
    loop = asyncio.get_running_loop()
    feed = rxws.WebSocketSubject(rx.never(), scheduler=AsyncIOScheduler(loop))
    ended: asyncio.Future[None] = loop.create_future()
    feed.subscribe(on_completed=lambda: ended.set_result(None))
    timer = threading.Timer(0.01, feed.on_completed)
    loop.call_later(2.0, lambda: None)  # wakes the loop, but too late
    started = loop.time()
    timer.start()
    await ended
    assert loop.time() - started < 1.0
    timer.join()


def test_without_a_loop_and_a_scheduler_there_is_no_scheduler() -> None:
    """Without a scheduler and a running loop, subscribing raises RuntimeError."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        rx.never().pipe(rxws.operators.reconnect()).subscribe()
