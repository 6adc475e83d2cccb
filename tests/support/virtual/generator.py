"""An async generator that logs what happens to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

__all__ = ["Generator"]


class Generator:
    """A factory of async generators that yield 0, 1, 2 and so on.

    Args:
        count: How many items it yields; None for an endless one.
        waits_at: Before this item it waits until it is cancelled.
        cleanup_turns: For how many turns of the loop its `finally` block waits.
        fails_with: What its `finally` block raises.

    Attributes:
        log: What happened: "start", "cancelled", "cleanup" (if that waits) and "closed".
        requested: How many items were requested.
    """

    def __init__(
        self,
        count: int | None = None,
        *,
        waits_at: int | None = None,
        cleanup_turns: int = 0,
        fails_with: Exception | None = None,
    ) -> None:
        self._count = count
        self._waits_at = waits_at
        self._cleanup_turns = cleanup_turns
        self._fails_with = fails_with
        self.log: list[str] = []
        self.requested = 0

    @property
    def started(self) -> int:
        """How many generators were started."""
        return self.log.count("start")

    @property
    def closed(self) -> int:
        """How many generators ran their `finally` block to its end."""
        return self.log.count("closed")

    async def __call__(self, _: object = None) -> AsyncIterator[int]:
        self.log.append("start")
        number = 0
        try:
            while self._count is None or number < self._count:
                self.requested += 1
                if number == self._waits_at:
                    await asyncio.Event().wait()
                yield number
                number += 1
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise
        finally:
            if self._cleanup_turns:
                self.log.append("cleanup")
                for _ in range(self._cleanup_turns):
                    await asyncio.sleep(0)
            self.log.append("closed")
            if self._fails_with is not None:
                raise self._fails_with
