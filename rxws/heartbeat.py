"""Heartbeats: pings that find a dead peer, and never take a paused one for dead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from reactivex.abc import DisposableBase, SchedulerBase

from .scheduling import after

__all__ = ["Heartbeat"]


class Heartbeat:
    """Pings every `interval` seconds, and gives up on a peer half an interval after a silent one.

    Any byte that comes in within that time is a sign of life (a large message may keep the pong
    waiting behind it). While reading is paused no sign can come, so none is demanded.

    Args:
        scheduler: The connection's time.
        interval: Seconds.
        ping: Sends a ping with this payload.
        received: Tells how many bytes have come in.
        paused: Tells for how many seconds reading has been paused in all.
        on_latency: Told of the seconds between a ping and its pong.
        on_dead: Called when the peer is dead.
    """

    def __init__(
        self,
        scheduler: SchedulerBase,
        interval: float,
        ping: Callable[[bytes], None],
        received: Callable[[], int],
        paused: Callable[[], float],
        on_latency: Callable[[float], None],
        on_dead: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._interval = interval
        self._ping = ping
        self._received = received
        self._paused = paused
        self._on_latency = on_latency
        self._on_dead = on_dead
        self._count = 0
        self._sent_at: datetime | None = None
        self._timer: DisposableBase = after(scheduler, interval, self._beat)

    def stop(self) -> None:
        """Ping no more."""
        self._timer.dispose()

    def on_pong(self, payload: bytes) -> None:
        """Take the time of a pong that answers the latest ping."""
        if self._sent_at is not None and payload == self._payload():
            self._on_latency((self._scheduler.now - self._sent_at).total_seconds())
            self._sent_at = None

    def _payload(self) -> bytes:
        return str(self._count).encode()

    def _beat(self) -> None:
        self._count += 1
        self._sent_at = self._scheduler.now
        received, paused = self._received(), self._paused()

        def check() -> None:
            silent = self._received() == received
            if silent and self._paused() == paused:
                self._on_dead()
            else:
                self._timer = after(self._scheduler, self._interval / 2, self._beat)

        self._timer = after(self._scheduler, self._interval / 2, check)
        self._ping(self._payload())
