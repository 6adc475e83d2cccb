"""Holds on reading: frames come in while nobody holds the gate."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reactivex.abc import DisposableBase, SchedulerBase

from .transport import Transport

__all__ = ["Hold", "ReadGate"]


# Frozen, and one for all: most gates are open, and an empty set of their own costs 0.2 KiB each.
_NOBODY: frozenset[object] = frozenset()


class ReadGate:
    """Lets frames in while nobody holds it.

    Args:
        transport: Whose reading is paused and resumed.
        scheduler: Whose time measures the pauses.
    """

    __slots__ = (
        "_paused",
        "_scheduler",
        "_since",
        "_transport",
        "holds",
        "on_paused",
        "open_for_good",
    )

    def __init__(self, transport: Transport, scheduler: SchedulerBase) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self.on_paused: Callable[[], None] | None = None  # called when reading is paused
        self.holds = _NOBODY  # reading is paused while there is any
        self.open_for_good = False
        self._since: datetime | None = None
        self._paused = 0.0

    @property
    def held(self) -> bool:
        """Whether reading is paused."""
        return bool(self.holds)

    @property
    def paused(self) -> float:
        """Seconds that reading was paused so far."""
        if self._since is None:
            return self._paused
        return self._paused + (self._scheduler.now - self._since).total_seconds()

    def hold(self, by: object) -> None:
        """Pause reading until `by` releases it."""
        if self.open_for_good:
            return
        if not self.holds:
            self._since = self._scheduler.now
            self._transport.pause_reading()
            if self.on_paused is not None:
                self.on_paused()
        self.holds |= {by}

    def held_besides(self, by: object) -> bool:
        """Whether anybody else holds it."""
        return bool(self.holds - {by})

    def release(self, by: object) -> None:
        """Release a hold; with the last one reading goes on."""
        if by in self.holds:
            self.holds -= {by}
            if not self.holds:
                self._resume()

    def open_permanently(self) -> None:
        """Let frames in from now on, whoever holds it: the answer to a close is waited for."""
        self.open_for_good = True
        if self.holds:
            self.holds = _NOBODY
            self._resume()

    def _resume(self) -> None:
        self._paused = self.paused
        self._since = None
        self._transport.resume_reading()


class Hold(DisposableBase):
    """One hold on the flow."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[object], None]) -> None:
        self._release = release

    def dispose(self) -> None:
        """Let go, from any thread; the second time nothing happens."""
        self._release(self)
