"""How long a peer may leave what was sent to it waiting: the deadline behind `send_timeout`."""

from __future__ import annotations

from collections.abc import Callable

from reactivex.abc import DisposableBase, SchedulerBase

from .scheduling import after

__all__ = ["Patience"]


class Patience:
    """The deadline of what waits for a peer, from when the wire was full.

    What waited when it began has to leave in time. A peer that takes a little now and then has
    taken nothing in time if it has not taken all of that.

    Args:
        scheduler: The connection's time.
        seconds: How long it is.
        is_dry: Tells whether nothing waits any more.
        on_stuck: Called when it has passed.
    """

    __slots__ = (
        "_full",
        "_is_dry",
        "_left",
        "_offered",
        "_on_stuck",
        "_relieved",
        "_scheduler",
        "_seconds",
        "_timer",
    )

    def __init__(
        self,
        scheduler: SchedulerBase,
        seconds: float,
        is_dry: Callable[[], bool],
        on_stuck: Callable[[], object],
    ) -> None:
        self._scheduler = scheduler
        self._seconds = seconds
        self._is_dry = is_dry
        self._on_stuck = on_stuck
        self._timer: DisposableBase | None = None
        self._full = False
        self._offered = self._left = 0  # messages that had to wait; those of them that left
        self._relieved = 0  # how often the wire was full and took frames again

    def on_offered(self) -> None:
        """A message has to wait."""
        self._offered += 1

    def on_full(self) -> None:
        """The wire is full."""
        self._full = True
        if self._timer is None:
            self._arm()

    def on_relieved(self, waiting: int) -> None:
        """The wire takes frames again, while so many messages wait."""
        self._full = False
        self._left = self._offered - waiting
        self._relieved += 1
        if self._timer is not None:
            after(self._scheduler, 0, self._check_left)

    def stop(self) -> None:
        """Nothing waits any more, or nothing will leave."""
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def _arm(self) -> None:
        mark, relieved = self._offered, self._relieved

        def check() -> None:
            self._timer = None
            if not self._full:
                return
            if self._left < mark or self._relieved == relieved:
                self._on_stuck()
            else:
                self._arm()

        self._timer = after(self._scheduler, self._seconds, check)

    def _check_left(self) -> None:
        """End the deadline where the wire takes frames still: all that waited has left."""
        if self._is_dry():
            self.stop()
