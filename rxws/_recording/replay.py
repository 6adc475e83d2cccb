"""Telling recorded events again, each at its time."""

from __future__ import annotations

import math
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import TimeoutScheduler

from rxws._core.schedulers import call_later

from .jsonl import Event

__all__ = ["replay"]


def replay(
    events: list[Event], began: float, speed: float, scheduler: SchedulerBase | None
) -> Observable[Any]:
    """Make a cold Observable of events.

    Args:
        events: What it tells. Without an end among them it completes behind the last.
        began: The time in the events at which it is subscribed.
        speed: How much faster than that it goes.
        scheduler: The time; the subscriber's if not given.

    Raises:
        ValueError: The speed is not above 0.
    """
    if not speed > 0:
        raise ValueError(f"speed={speed!r} gets nowhere: use a number above 0")

    def subscribe(
        observer: ObserverBase[Any], scheduler_: SchedulerBase | None = None
    ) -> DisposableBase:
        time = scheduler or scheduler_ or TimeoutScheduler.singleton()
        return _replay(events, began, speed, observer, time)

    return Observable(subscribe)


def _replay(
    events: list[Event],
    began: float,
    speed: float,
    observer: ObserverBase[Any],
    scheduler: SchedulerBase,
) -> DisposableBase:
    """Tell one event after the other, each at its time from the start: delays do not add up."""
    timer = SerialDisposable()
    start = scheduler.now
    coming = iter(events)

    def go_on() -> None:
        event = next(coming, None)
        if event is None:
            observer.on_completed()
        elif math.isinf(speed):
            wait(0.0, event)
        else:
            passed = (scheduler.now - start).total_seconds()
            wait(max((event.t - began) / speed - passed, 0.0), event)

    def wait(seconds: float, event: Event) -> None:
        timer.disposable = call_later(scheduler, seconds, lambda: tell(event))

    def tell(event: Event) -> None:
        if event.type == "error":
            observer.on_error(event.data)
        elif event.type in ("completed", "disposed"):
            observer.on_completed()
        else:
            observer.on_next(event.data)
            go_on()

    go_on()
    return timer
