"""A coroutine function whose calls a test ends one by one, and the turns of the loop in between."""

from __future__ import annotations

import asyncio
from typing import Any

from support.virtual.session import Rig

__all__ = ["Desk", "settle"]


class Desk:
    """Each call waits until the test finishes it; what it returns by itself is `value + "!"`.

    Attributes:
        begun: The values of all calls, as they began.
        cancelled: The values of the calls that were cancelled.
        inside: How many calls are under way.
        most: How many were under way at once at the most.
    """

    def __init__(self) -> None:
        self.begun: list[Any] = []
        self.cancelled: list[Any] = []
        self.inside = self.most = 0
        self._waiting: dict[Any, asyncio.Future[Any]] = {}

    async def __call__(self, value: Any) -> Any:
        self.begun.append(value)
        self.inside += 1
        self.most = max(self.most, self.inside)
        future = self._waiting[value] = asyncio.get_running_loop().create_future()
        try:
            return await future
        except asyncio.CancelledError:
            self.cancelled.append(value)
            raise
        finally:
            self.inside -= 1

    def finish(self, *values: Any) -> None:
        """End calls; each returns its value and a mark."""
        for value in values:
            self._waiting.pop(value).set_result(f"{value}!")

    def fail(self, value: Any, error: BaseException) -> None:
        """End a call by an exception."""
        self._waiting.pop(value).set_exception(error)


async def settle(*rigs: Rig) -> None:
    """Let turns of the loop pass until all that follows at once has happened."""
    for _ in range(10):
        await asyncio.sleep(0)
        for rig in rigs:
            rig.settle()
