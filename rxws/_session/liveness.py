"""Heartbeats: pings that find a dead peer, and never take a paused one for dead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.schedulers import call_later

from .read_gate import ReadGate
from .transport import Transport

__all__ = ["Heartbeat", "KeepAlive", "SendDeadline"]

# Seconds. aiohttp pings after a heartbeat of silence and gives up after half a heartbeat more, so
# that one of 1 s, the shortest that is usual, is content with this.
_SIGN_OF_LIFE = 0.25
_LATE = 0.02


class Heartbeat:
    """Pings every `interval` seconds, and gives up on a peer half an interval after a silent one.

    Any byte that comes in within that time is a sign of life (a large message may keep the pong
    waiting behind it). While reading is paused, or behind with what has come, no sign can come, so
    none is demanded.

    Args:
        scheduler: The connection's time.
        interval: Seconds.
        ping: Sends a ping with this payload.
        transport: Tells how many bytes have come in.
        gate: Tells for how many seconds reading has been paused in all.
        on_latency: Told of the seconds between a ping and its pong.
        on_dead: Called when the peer is dead.
    """

    __slots__ = (
        "_count",
        "_gate",
        "_interval",
        "_on_dead",
        "_on_latency",
        "_ping",
        "_scheduler",
        "_sent_at",
        "_timer",
        "_transport",
    )

    def __init__(
        self,
        scheduler: SchedulerBase,
        interval: float,
        ping: Callable[[bytes], None],
        transport: Transport,
        gate: ReadGate,
        on_latency: Callable[[float], None],
        on_dead: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._interval = interval
        self._ping = ping
        self._transport = transport
        self._gate = gate
        self._on_latency = on_latency
        self._on_dead = on_dead
        self._count = 0
        self._sent_at: datetime | None = None
        self._timer: DisposableBase = call_later(scheduler, interval, self._beat)

    def stop(self) -> None:
        """Ping no more."""
        self._timer.dispose()

    def on_pong(self, payload: bytes) -> None:
        """Take the time of a pong that answers the latest ping."""
        if self._sent_at is not None and payload == self._payload():
            self._on_latency((self._scheduler.now - self._sent_at).total_seconds())
            self._sent_at = None

    def _signs(self) -> tuple[float, ...]:
        """What changes with a sign of life, or while none can be read."""
        return self._transport.received, self._transport.deferred, self._gate.paused

    def _payload(self) -> bytes:
        return str(self._count).encode()

    def _beat(self) -> None:
        self._count += 1
        self._sent_at = self._scheduler.now
        before = self._signs()

        def check() -> None:
            if self._signs() == before:
                self._on_dead()
            else:
                self._timer = call_later(self._scheduler, self._interval / 2, self._beat)

        self._timer = call_later(self._scheduler, self._interval / 2, check)
        self._ping(self._payload())


class KeepAlive:
    """Unsolicited pongs while no ping of the peer's can be answered, or not in time.

    That is while reading is paused, and while what comes in keeps the loop busy: then a ping waits
    behind messages. RFC 6455, section 5.5.3, has unsolicited pongs as a unidirectional heartbeat: a
    peer that counts any traffic as a sign of life stays content, and neither looks like our death.

    Args:
        scheduler: The connection's time.
        is_behind: Tells whether reading is paused, or behind with what has come.
        pong: Sends a pong with this payload.
    """

    __slots__ = ("_due", "_is_behind", "_pong", "_scheduler", "_timer", "watching")

    def __init__(
        self,
        scheduler: SchedulerBase,
        is_behind: Callable[[], bool],
        pong: Callable[[bytes], None],
    ) -> None:
        self._scheduler = scheduler
        self._is_behind = is_behind
        self._pong = pong
        self._timer: DisposableBase | None = None
        self.watching = False  # whether a look is due
        self._due = scheduler.now

    def watch(self) -> None:
        """Look after a while, if that is not under way; most pauses are over by then."""
        if not self.watching:
            self.watching = True
            self._due = self._scheduler.now + timedelta(seconds=_SIGN_OF_LIFE)
            self._timer = call_later(self._scheduler, _SIGN_OF_LIFE, self._beat)

    def stop(self) -> None:
        """Send no more."""
        self.watching = False
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def _beat(self) -> None:
        self._timer = None
        self.watching = False
        # A timer that comes late tells that the loop is busy.
        late = (self._scheduler.now - self._due).total_seconds()
        if self._is_behind() or late > _LATE:
            self.watch()
            self._pong(b"")


class SendDeadline:
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
            call_later(self._scheduler, 0, self._check_left)

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

        self._timer = call_later(self._scheduler, self._seconds, check)

    def _check_left(self) -> None:
        """End the deadline where the wire takes frames still: all that waited has left."""
        if self._is_dry():
            self.stop()
