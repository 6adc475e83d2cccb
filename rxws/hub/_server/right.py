"""The time for which a client may do something."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from reactivex.abc import SchedulerBase

from rxws._core.schedulers.timers import Deadline

__all__ = ["GRACE", "Expiry", "RightTimer"]

GRACE = 1.0
"""Seconds in which a right that has expired must be confirmed, unless the client refreshes it."""

_MAX_TTL = (1 << 32) - 1


class Expiry(NamedTuple):
    """Tells a client whether it must refresh a right, and after how many seconds."""

    expires: bool = False
    ttl: int = 0


class RightTimer(Deadline):
    """The end of a right.

    Args:
        scheduler: Runs the timer.
        refreshes: Whether the client refreshes the right, with a new token.
    """

    __slots__ = ("refreshes",)

    def __init__(self, scheduler: SchedulerBase, *, refreshes: bool) -> None:
        super().__init__(scheduler)
        self.refreshes = refreshes

    def grant(self, seconds: float, on_expired: Callable[[], None]) -> Expiry:
        """Call back at the end of a right, unless it is infinite."""
        if seconds == math.inf:
            self.clear()
            return Expiry()
        self.set(seconds, on_expired)
        if not self.refreshes:
            return Expiry()
        # Clients refresh earlier than the end.
        return Expiry(True, max(1, min(int(seconds - min(seconds / 4, 15.0)), _MAX_TTL)))
