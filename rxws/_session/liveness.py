"""Timers that notice a dead peer, and that keep a live peer from taking us for dead."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.schedulers.timers import call_later, call_later_shared

from .transport import Delivery

__all__ = ["Heartbeat", "HeartbeatOwner", "KeepAlive", "SendDeadline"]

# Seconds. aiohttp's heartbeat pings after an interval of silence and gives up half an interval
# later. An interval of 1 s is the shortest in common use, and this period satisfies it.
_KEEP_ALIVE_PERIOD = 0.25
# While a ping waits behind earlier data, a check each half interval looks for progress. After this
# number of checks in a row without any, the peer is dead. It took the last byte at most half an
# interval before an earlier check, so at most 1.5 intervals before the last one.
_MAX_CHECKS = 2
# A timer that fires this many seconds late shows that the loop is busy.
_LATE = 0.02


class HeartbeatOwner(Protocol):
    """The connection that a `Heartbeat` watches; see `Session`."""

    def send_ping(self) -> int | None: ...
    def signs_of_life(self) -> tuple[float, ...]: ...
    def delivery(self) -> Delivery: ...
    def on_latency(self, seconds: float) -> None: ...
    def on_dead(self) -> None: ...


class Heartbeat:
    """Pings every `interval` seconds; a peer that stays silent for half an interval is dead.

    Any received byte counts as a sign of life, because a pong may wait behind a large message.
    While reading is paused or deferred, the peer is assumed to be alive. A ping may wait, too: no
    answer is due while the data before it is being delivered; see `_Backlog`.
    """

    __slots__ = ("_delivered", "_interval", "_number", "_owner", "_scheduler", "_sent_at", "_timer")

    def __init__(self, scheduler: SchedulerBase, interval: float, owner: HeartbeatOwner) -> None:
        self._scheduler = scheduler
        self._interval = interval
        self._owner = owner
        self._number: int | None = None  # of the latest ping
        self._delivered: int | None = None  # half an interval before the ping; None for the first
        self._sent_at: datetime | None = None
        # Most connections end before their first ping, so this timer must be cheap.
        self._timer: DisposableBase = call_later_shared(scheduler, interval, self._beat)

    def stop(self) -> None:
        """Stop pinging."""
        self._timer.dispose()

    def on_pong(self, number: int | None) -> None:
        """Report the latency if a pong answers the latest ping."""
        if self._sent_at is not None and number == self._number:
            self._owner.on_latency((self._scheduler.now - self._sent_at).total_seconds())
            self._sent_at = None

    def _beat(self) -> None:
        self._sent_at = self._scheduler.now
        before = self._owner.signs_of_life()
        delivery = self._owner.delivery()
        backlog = _Backlog(delivery, self._delivered) if delivery.pending else None

        def check() -> None:
            delivery = self._owner.delivery()
            if self._owner.signs_of_life() != before:
                self._delivered = delivery.delivered
                self._timer = call_later(self._scheduler, self._interval / 2, self._beat)
            elif backlog is not None and backlog.may_hold_up_the_ping(delivery):
                self._timer = call_later(self._scheduler, self._interval / 2, check)
            else:
                self._owner.on_dead()

        self._timer = call_later(self._scheduler, self._interval / 2, check)
        self._number = self._owner.send_ping()


class _Backlog:
    """The data that was written before a ping and is not delivered yet.

    A peer that takes this data is alive, although it cannot answer the ping yet. But a process that
    hangs does not stop its kernel from taking data. So delivered data counts only if it had to wait
    on this side, or if the ping is still behind it half an interval later; and data that is written
    after the ping never counts.
    """

    def __init__(self, delivery: Delivery, delivered_before: int | None) -> None:
        self._delivered, pending, self._blocked = delivery
        self._target = self._delivered + pending  # the counter's value once all is delivered
        progressed = delivered_before is not None and self._delivered > delivered_before
        self._checks_left = _MAX_CHECKS if self._blocked and progressed else 0

    def may_hold_up_the_ping(self, delivery: Delivery) -> bool:
        """Return whether the peer may not have the ping yet; called every half interval."""
        before, self._delivered = self._delivered, delivery.delivered
        counts = self._blocked or self._delivered < self._target
        if counts and before < min(self._delivered, self._target):
            self._checks_left = _MAX_CHECKS
        else:
            self._checks_left -= 1
        return self._checks_left > 0


class KeepAlive:
    """Sends unsolicited pongs while the peer's pings cannot be answered in time.

    Pings go unanswered while reading is paused, and are answered late while a busy loop lets them
    wait behind messages. RFC 6455, section 5.5.3, allows unsolicited pongs as a one-way heartbeat.
    A peer that counts any traffic as a sign of life then keeps the connection.
    """

    __slots__ = ("_due", "_is_behind", "_scheduler", "_send_pong", "_timer", "running")

    def __init__(
        self,
        scheduler: SchedulerBase,
        is_behind: Callable[[], bool],
        send_pong: Callable[[], None],
    ) -> None:
        self._scheduler = scheduler
        self._is_behind = is_behind
        self._send_pong = send_pong
        self._timer: DisposableBase | None = None
        self.running = False  # whether the timer runs
        self._due = scheduler.now

    def start(self) -> None:
        """Start the timer, unless it runs; most pauses end before it fires and cost no pong."""
        if not self.running:
            self.running = True
            self._due = self._scheduler.now + timedelta(seconds=_KEEP_ALIVE_PERIOD)
            self._timer = call_later(self._scheduler, _KEEP_ALIVE_PERIOD, self._on_timer)

    def stop(self) -> None:
        """Stop the timer."""
        self.running = False
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self.running = False
        late = (self._scheduler.now - self._due).total_seconds()
        if self._is_behind() or late > _LATE:
            self.start()
            self._send_pong()


class SendDeadline:
    """The timer of `send_timeout`, which starts when the wire is full.

    All messages that are queued when the timer starts must be sent before it fires. A peer that
    takes only some of them has missed the deadline, too.
    """

    __slots__ = (
        "_full",
        "_is_drained",
        "_on_timeout",
        "_queued",
        "_ready_count",
        "_scheduler",
        "_seconds",
        "_sent",
        "_timer",
    )

    def __init__(
        self,
        scheduler: SchedulerBase,
        seconds: float,
        is_drained: Callable[[], bool],
        on_timeout: Callable[[], object],
    ) -> None:
        self._scheduler = scheduler
        self._seconds = seconds
        self._is_drained = is_drained
        self._on_timeout = on_timeout
        self._timer: DisposableBase | None = None
        self._full = False
        self._queued = self._sent = 0  # messages queued so far, and how many of them were sent
        self._ready_count = 0  # how often a full wire became ready again

    def on_queued(self) -> None:
        """Count a message that has to wait."""
        self._queued += 1

    def on_full(self) -> None:
        """Start the timer if it does not run: the wire is full."""
        self._full = True
        if self._timer is None:
            self._start()

    def on_ready(self, queued: int) -> None:
        """Note that the wire is ready again while `queued` messages wait."""
        self._full = False
        self._sent = self._queued - queued
        self._ready_count += 1
        if self._timer is not None:
            call_later(self._scheduler, 0, self._stop_if_drained)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None

    def _start(self) -> None:
        must_be_sent, ready_count = self._queued, self._ready_count

        def check() -> None:
            self._timer = None
            if not self._full:
                return
            if self._sent < must_be_sent or self._ready_count == ready_count:
                self._on_timeout()
            else:
                self._start()

        self._timer = call_later(self._scheduler, self._seconds, check)

    def _stop_if_drained(self) -> None:
        if self._is_drained():
            self.stop()
