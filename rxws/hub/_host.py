"""The interface of a hub to its parts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from reactivex.abc import SchedulerBase

from ._backplane import Backplane

__all__ = ["HubHost"]


class HubHost(Protocol):
    """See `TopicRegistry`."""

    @property
    def backplane(self) -> Backplane:
        """The hub's backplane."""
        ...

    @property
    def scheduler(self) -> SchedulerBase:
        """The hub's scheduler."""
        ...

    def default_scheduler(self) -> SchedulerBase:
        """Return the scheduler for chains that begin with an Observable of the hub."""
        ...

    def prepare(self, what: str) -> None:
        """Start a hub that needs no connection, and check that this is its thread.

        Raises:
            RuntimeError: It is not, or the hub has not started.
        """
        ...

    def run(self, action: Callable[[], object]) -> None:
        """Call on the hub's thread: now if it is the current one."""
        ...
