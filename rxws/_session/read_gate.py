"""Decides whether messages are delivered, and whether the transport reads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.internal import noop

from .transport import Transport

__all__ = ["HIGH_WATER", "UNDELIVERED", "Hold", "ReadGate"]

HIGH_WATER = "high water"  # holds delivery while the peer is behind
UNDELIVERED = "undelivered messages"  # holds delivery while earlier messages wait

# Shared, because most connections are not held and an empty set of their own takes 0.2 KiB each.
_NO_HOLDS: frozenset[object] = frozenset()


class _Stopwatch:
    """Measures the total time between `start` and `stop`."""

    __slots__ = ("_scheduler", "_since", "_total")

    def __init__(self, scheduler: SchedulerBase) -> None:
        self._scheduler = scheduler
        self._since: datetime | None = None
        self._total = 0.0

    @property
    def running(self) -> bool:
        return self._since is not None

    @property
    def seconds(self) -> float:
        total, since = self._total, self._since  # another thread may read this, for metrics
        return total if since is None else total + (self._scheduler.now - since).total_seconds()

    def start(self) -> None:
        self._since = self._scheduler.now

    def stop(self) -> None:
        self._total, self._since = self.seconds, None


class ReadGate:
    """Holds delivery from the first hold to the last release; pauses the transport separately.

    A hold does not pause reading: pings and the peer's close must still be seen. Messages that
    arrive meanwhile wait in the read-ahead of `incoming`, which pauses reading when it is full.
    """

    __slots__ = (
        "_hold_time",
        "_pause_time",
        "_scheduler",
        "_transport",
        "holds",
        "on_paused",
        "on_released",
        "permanently_open",
    )

    def __init__(self, transport: Transport, scheduler: SchedulerBase) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self.on_paused: Callable[[], None] = noop  # called when reading is paused
        self.on_released: Callable[[], None] = noop  # called after each release
        self.holds = _NO_HOLDS
        self.permanently_open = False  # from then on, holds and pauses are ignored
        self._hold_time: _Stopwatch | None = None  # these two are made when they are first needed
        self._pause_time: _Stopwatch | None = None

    @property
    def held(self) -> bool:
        """Whether delivery is held."""
        return bool(self.holds)

    @property
    def held_by_user(self) -> bool:
        """Whether a user's pause holds delivery."""
        return bool(self.holds - {HIGH_WATER, UNDELIVERED})

    @property
    def held_seconds(self) -> float:
        """Seconds for which delivery has been held so far."""
        return 0.0 if self._hold_time is None else self._hold_time.seconds

    @property
    def paused(self) -> bool:
        """Whether reading is paused."""
        return self._pause_time is not None and self._pause_time.running

    @property
    def paused_seconds(self) -> float:
        """Seconds for which reading has been paused so far."""
        return 0.0 if self._pause_time is None else self._pause_time.seconds

    def hold(self, by: object) -> None:
        """Hold delivery until `by` releases it."""
        if self.permanently_open:
            return
        if not self.holds:
            if self._hold_time is None:
                self._hold_time = _Stopwatch(self._scheduler)
            self._hold_time.start()
        self.holds |= {by}

    def held_besides(self, by: object) -> bool:
        """Whether there is a holder other than `by`."""
        return bool(self.holds - {by})

    def release(self, by: object) -> None:
        """Release a hold."""
        if by not in self.holds:
            return
        self.holds -= {by}
        if not self.holds and self._hold_time is not None:
            self._hold_time.stop()
        self.on_released()

    def pause(self) -> None:
        """Pause reading."""
        if self.permanently_open or self.paused:
            return
        if self._pause_time is None:
            self._pause_time = _Stopwatch(self._scheduler)
        self._pause_time.start()
        self._transport.pause_reading()
        self.on_paused()

    def resume(self) -> None:
        """Resume reading."""
        if self._pause_time is not None and self._pause_time.running:
            self._pause_time.stop()
            self._transport.resume_reading()

    def open_permanently(self) -> None:
        """Resume reading, and ignore all holds and pauses from now on."""
        self.permanently_open = True
        if self.holds and self._hold_time is not None:
            self.holds = _NO_HOLDS
            self._hold_time.stop()
        self.resume()

    def drop_callbacks(self) -> None:
        """Cut the reference cycles: nothing is read any more."""
        self.on_paused = self.on_released = noop


class Hold(DisposableBase):
    """A pause that a user asked for."""

    __slots__ = ("_release",)

    def __init__(self, release: Callable[[object], None]) -> None:
        self._release = release

    def dispose(self) -> None:
        """End the pause, from any thread; a second call does nothing."""
        self._release(self)
