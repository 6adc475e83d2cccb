"""A subscriber that records every notification."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase

from rxws.status import Closed, Status, follows
from rxws.testing import Clock

T = TypeVar("T")

PATIENCE = 30.0  # seconds until a wait fails
INITIAL = Closed(None)  # the status of a client that nobody has subscribed yet


class Subscriber(ObserverBase[T], Generic[T]):
    """Record the notifications of a subscription.

    Args:
        observable: What to subscribe; None if the test subscribes it later, as any observer.
        clock: The clock of `times` and `ended_at`.
        changed: The event to set after each notification.
        options: Arguments of `subscribe`.

    Attributes:
        values: The values.
        times: When each value arrived, if there is a clock.
        ends: The terminal notifications: an exception, or None for completion. A correct
            Observable sends one.
        ended_at: When the last of them arrived.
        threads: The threads that called it.
    """

    subscription: DisposableBase

    def __init__(
        self,
        observable: Observable[T] | None = None,
        clock: Clock | None = None,
        *,
        changed: asyncio.Event | None = None,
        **options: Any,
    ) -> None:
        self.values: list[T] = []
        self.times: list[float] = []
        self.ends: list[Exception | None] = []
        self.ended_at: float | None = None
        self.threads: set[int] = set()
        self._clock = clock
        self._changed = changed or asyncio.Event()
        if observable is not None:
            self.subscription = observable.subscribe(
                self.on_next, self.on_error, self.on_completed, **options
            )

    def on_next(self, value: T) -> None:
        assert not self.ends, f"{value!r} came after the end"
        self.values.append(value)
        if self._clock is not None:
            self.times.append(self._clock.time)
        self._notified()

    def on_error(self, error: Exception) -> None:
        self._end(error)

    def on_completed(self) -> None:
        self._end(None)

    def _end(self, error: Exception | None) -> None:
        self.ends.append(error)
        if self._clock is not None:
            self.ended_at = self._clock.time
        self._notified()

    def _notified(self) -> None:
        self.threads.add(threading.get_ident())
        self._changed.set()

    @property
    def error(self) -> Exception | None:
        """The one terminal notification: an exception, or None for completion."""
        [error] = self.ends
        return error

    @property
    def notifications(self) -> list[Any]:
        """The values, then the terminal notification: an exception, or "|" for completion."""
        return [*self.values, *("|" if end is None else end for end in self.ends)]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on the notifications holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def end(self) -> Exception | None:
        """Wait for the terminal notification and return `error`."""
        await self.until(lambda: self.ends)
        return self.error


class StatusSubscriber(Subscriber[Status]):
    """Record statuses, and check that each may follow the one before.

    Args:
        observable: As for `Subscriber`.
        clock: As for `Subscriber`.
        before: The status before the first; None allows any first status.
    """

    def __init__(
        self,
        observable: Observable[Status] | None = None,
        clock: Clock | None = None,
        *,
        before: Status | None = INITIAL,
    ) -> None:
        self._before = before
        super().__init__(observable, clock)

    def on_next(self, value: Status) -> None:
        if self._before is not None:
            assert follows(value, self._before), f"{value!r} after {self._before!r}"
        self._before = value
        super().on_next(value)

    def on_error(self, error: Exception) -> None:
        raise AssertionError(error)

    def on_completed(self) -> None:
        raise AssertionError("the status ended")

    @property
    def names(self) -> list[str]:
        """The names of the statuses."""
        return [type(status).__name__ for status in self.values]
