"""Emit recorded events again, each at its time."""

from __future__ import annotations

import math
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import SerialDisposable
from reactivex.scheduler import TimeoutScheduler

from rxws._core.schedulers.timers import call_later
from rxws._session.encoding import decode_error
from rxws.codecs import Codec

from .jsonl import Event, RecordedValue
from .snapshot import Snapshots

__all__ = ["replay"]


def replay(
    events: list[Event],
    start: float,
    speed: float,
    scheduler: SchedulerBase | None,
    codec: Codec[Any, Any] | None,
) -> Observable[Any]:
    """Make a cold Observable that emits events, starting at the recorded time `start`."""
    if not speed > 0:
        raise ValueError(f"speed={speed!r} must be a number above 0")
    for event in events:
        if codec is None and isinstance(event.data, RecordedValue) and event.frame is not None:
            raise ValueError(
                f"the file has only the repr and the frame of {event.data!r:.80}: pass the "
                "connection's codec, as in replay(codec=...), to decode the frame again"
            )
    copies = Snapshots()  # a subscriber may change what it gets

    def value_of(event: Event) -> Any:
        if codec is not None and event.frame is not None:
            return codec.decode(event.frame)
        return copies.of(event.data)

    def subscribe(
        observer: ObserverBase[Any], subscribed_on: SchedulerBase | None = None
    ) -> DisposableBase:
        clock = scheduler or subscribed_on or TimeoutScheduler.singleton()
        timer = SerialDisposable()
        began = clock.now
        remaining = iter(events)

        def schedule_next() -> None:
            event = next(remaining, None)
            if event is None:
                observer.on_completed()
                return
            seconds = 0.0
            if not math.isinf(speed):
                # Measured from the start, so that delays do not add up.
                elapsed = (clock.now - began).total_seconds()
                seconds = max((event.t - start) / speed - elapsed, 0.0)
            timer.disposable = call_later(clock, seconds, lambda: emit(event))

        def emit(event: Event) -> None:
            if event.type == "error":
                observer.on_error(event.data)
            elif event.type in ("completed", "disposed"):
                observer.on_completed()
            else:
                try:
                    value = value_of(event)
                except Exception as exc:
                    observer.on_error(decode_error(exc, event.frame or ""))
                    return
                observer.on_next(value)
                schedule_next()

        schedule_next()
        return timer

    return Observable(subscribe)
