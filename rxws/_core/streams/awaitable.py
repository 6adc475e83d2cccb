"""Await the last value of an Observable: if the coroutine is cancelled, no message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.internal import SequenceContainsNoElementsError, noop

from rxws._core.schedulers.loop_scheduler import running_loop
from rxws._core.upstream import MessageSource, Upstreams, collect_upstreams

__all__ = ["last_value"]

T = TypeVar("T")


class _Waiter(asyncio.Future[None]):
    """A future that unsubscribes when it is cancelled, and not a turn of the loop later."""

    on_cancel: Callable[[], None] = noop

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self.on_cancel()
        return cancelled


class _Last(Upstreams):
    """The last value of an Observable, and the message that completed it."""

    __slots__ = ("_waiter", "error", "message", "values")

    tracks_delivery = True

    def __init__(self, waiter: _Waiter) -> None:
        super().__init__()
        self._waiter = waiter
        self.values: tuple[Any, ...] = ()
        self.error: Exception | None = None
        self.message: tuple[MessageSource, Any] | None = None

    def on_next(self, value: Any) -> None:
        self.values = (value,)

    def on_end(self, error: Exception | None = None) -> None:
        self.error = error
        loop = self._waiter.get_loop()
        if running_loop() is loop:
            self._wake()
        elif not loop.is_closed():
            loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    def end_delivery(self, source: MessageSource, data: Any) -> None:
        if self._waiter.done():
            self.message = source, data


async def last_value(source: Observable[T]) -> T:
    """Return the last value, or raise the error that the Observable fails with."""
    waiter = _Waiter(loop=asyncio.get_running_loop())
    last = _Last(waiter)
    with collect_upstreams(last):
        subscription = source.subscribe(last.on_next, last.on_end, last.on_end)
    waiter.on_cancel = subscription.dispose
    unused = True
    try:
        await waiter
        unused = False
        error, last.error = last.error, None
        if error is not None:
            raise error
        if not last.values:
            raise SequenceContainsNoElementsError
        value: T = last.values[0]
        return value
    finally:
        error = None  # it refers to this frame
        del waiter.on_cancel
        subscription.dispose()
        if unused and last.message is not None:
            message_source, data = last.message
            message_source.put_back(data)
