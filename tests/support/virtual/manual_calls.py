"""A coroutine function whose calls the test ends one by one."""

from __future__ import annotations

import asyncio
from typing import Any

from support.virtual.session import VirtualSession

__all__ = ["ManualCalls", "settle"]


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
        """End calls; each returns its value and a mark."""
        for value in values:
            self._waiting.pop(value).set_result(f"{value}!")

    def fail(self, value: Any, error: BaseException) -> None:
        """End a call by an exception."""
        self._waiting.pop(value).set_exception(error)


async def settle(*sessions: VirtualSession) -> None:
    """Let turns of the loop pass until all that follows at once has happened."""
    for _ in range(10):
        await asyncio.sleep(0)
        for virtual in sessions:
            virtual.settle()
