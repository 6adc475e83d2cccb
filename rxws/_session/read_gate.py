"""Pauses reading while at least one holder wants it paused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.internal import noop

from .transport import Transport

__all__ = ["Hold", "ReadGate"]


# Shared, because most connections are not paused and an empty set of their own takes 0.2 KiB each.
_NO_HOLDS: frozenset[object] = frozenset()


class ReadGate:
    """Pauses a transport with the first hold, and resumes it with the last release."""

    __slots__ = (
        "_paused",
        "_paused_since",
        "_scheduler",
        "_transport",
        "holds",
        "on_paused",
        "on_released",
        "open_for_good",
    )

    def __init__(self, transport: Transport, scheduler: SchedulerBase) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self.on_paused: Callable[[], None] = noop  # called when reading is paused
        self.on_released: Callable[[], None] = noop  # called after each release
        self.holds = _NO_HOLDS
        self.open_for_good = False  # whether holds are ignored
        self._paused_since: datetime | None = None
        self._paused = 0.0

    @property
    def held(self) -> bool:
        """Whether reading is paused."""
        return bool(self.holds)

    @property
    def paused(self) -> float:
        """Seconds that reading has been paused so far."""
        if self._paused_since is None:
            return self._paused
        return self._paused + (self._scheduler.now - self._paused_since).total_seconds()

    def hold(self, by: object) -> None:
        """Pause reading until `by` releases it."""
        if self.open_for_good:
            return
        if not self.holds:
            self._paused_since = self._scheduler.now
            self._transport.pause_reading()
            self.on_paused()
        self.holds |= {by}

    def held_besides(self, by: object) -> bool:
        """Whether there is a holder other than `by`."""
        return bool(self.holds - {by})

    def release(self, by: object) -> None:
        """Release a hold; reading resumes with the last one."""
        if by in self.holds:
            self.holds -= {by}
            if not self.holds:
                self._resume()
        self.on_released()

    def open_permanently(self) -> None:
        """Resume reading and ignore all holds from now on, to receive the peer's close frame."""
        self.open_for_good = True
        if self.holds:
            self.holds = _NO_HOLDS
            self._resume()

    def release_callbacks(self) -> None:
        """Drop the callbacks, because nothing is read any more."""
        self.on_paused = self.on_released = noop

    def _resume(self) -> None:
        self._paused = self.paused
        self._paused_since = None
        self._transport.resume_reading()


class Hold(DisposableBase):
    """A pause that a user asked for."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[object], None]) -> None:
        self._release = release

    def dispose(self) -> None:
        """End the pause, from any thread; a second call does nothing."""
        self._release(self)
