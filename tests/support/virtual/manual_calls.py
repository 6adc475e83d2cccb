"""A coroutine function whose calls the test ends one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from reactivex.subject import Subject

from rxws.operators import map_async
from rxws.testing import Clock
from support.subscriber import Subscriber
from support.virtual.session import VirtualSession

__all__ = ["ManualCalls", "ManualMapping", "settle"]


class ManualCalls:
    """A coroutine function: each call waits until the test ends it.

    Attributes:
        started: The values of all calls, in order.
        cancelled: The values of the calls that were cancelled.
        running: How many calls are running.
        max_running: How many ran at the same time at most.
    """

    def __init__(self) -> None:
        self.started: list[Any] = []
        self.cancelled: list[Any] = []
        self.running = self.max_running = 0
        self._waiting: dict[Any, asyncio.Future[Any]] = {}

    async def __call__(self, value: Any) -> Any:
        self.started.append(value)
        self.running += 1
        self.max_running = max(self.max_running, self.running)
        future = self._waiting[value] = asyncio.get_running_loop().create_future()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        finally:
            self.running -= 1

    def finish(self, *values: Any) -> None:
        """End calls; each returns `f"{value}!"`."""
        for value in values:
            self._waiting.pop(value).set_result(f"{value}!")

    def fail(self, value: Any, error: BaseException) -> None:
        """Make a call raise."""
        self._waiting.pop(value).set_exception(error)


class ManualMapping:
    """A source, `map_async` of `ManualCalls`, and a subscriber of the result."""

    def __init__(self, *more: Callable[[Any], Any], **options: Any) -> None:
        self.calls = ManualCalls()
        self.source: Subject[str] = Subject()
        mapped = self.source.pipe(map_async(self.calls, **options), *more)
        self.out: Subscriber[Any] = Subscriber(mapped, Clock())

    def push(self, *values: str) -> None:
        for value in values:
            self.source.on_next(value)

    async def finish(self, *values: str) -> None:
        for value in values:
            self.calls.finish(value)
            await settle()


async def settle(*sessions: VirtualSession) -> None:
    """Run the loop and the sessions until nothing more happens without time passing."""
    for _ in range(10):
        await asyncio.sleep(0)
        for virtual in sessions:
            virtual.settle()
