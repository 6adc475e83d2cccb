"""Flow control of one connection: when reading waits, what may wait to go out, and how long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.internal import noop
from reactivex.scheduler import ImmediateScheduler

from rxws._core.connection import Close, Stats
from rxws._core.errors import ConnectionClosed
from rxws._core.frames import Frame, Opcode
from rxws._core.streams import Dispatcher, Fault, ReplayStream, Stream
from rxws.overflow import OVERHEAD, REFUSING

from .liveness import KeepAlive, SendDeadline
from .options import Options
from .read_gate import Hold, ReadGate
from .send_buffer import make_send_buffer
from .transport import Transport

__all__ = ["FlowControl"]

_DATA = (Opcode.TEXT, Opcode.BINARY)
_NOBODY = KeepAlive(ImmediateScheduler.singleton(), bool, lambda _: None)  # never told to watch
_BEHIND = object()  # the hold of the peer that does not take what we send


class FlowControl:
    """The `Flow` of a connection, and what the session does with it.

    Args:
        transport: The wire.
        scheduler: The connection's time.
        options: The bounds.
        dispatcher: The dispatcher of the connection.
        fault: Told of what a subscriber of `writable` or `latency` raises.
        on_overflow: Called when `max_buffer` is hit.
        on_stuck: Called when `send_timeout` is hit.
    """

    __slots__ = (
        "_deferred",
        "_dispatcher",
        "_dropped",
        "_ended",
        "_fault",
        "_latency",
        "_on_overflow",
        "_on_stuck",
        "_options",
        "_patience",
        "_scheduler",
        "_thread",
        "_transport",
        "_writable",
        "gate",
        "keep_alive",
        "on_drained",
        "on_released",
        "outbox",
        "received_bytes",
        "received_messages",
        "send_lost",
        "sent_bytes",
        "sent_messages",
        "waiting",
        "wire_writable",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: SchedulerBase,
        options: Options,
        dispatcher: Dispatcher,
        fault: Fault,
        on_overflow: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self._options = options
        self._on_overflow = on_overflow
        self._on_stuck = on_stuck
        self.on_released: Callable[[], None] = noop  # called when a hold was let go
        self.on_drained: Callable[[], None] = (
            noop  # called when the wire takes frames and finds none
        )
        self.waiting = 0  # bytes that wait elsewhere, for `offer_now`
        self._thread = threading.get_ident()
        self._deferred = 0
        self.keep_alive = _NOBODY  # one is made with the first pause or message
        self.gate = ReadGate(transport, scheduler)
        self.gate.on_paused = self.watch
        self.outbox = make_send_buffer(options.overflow)
        self._dispatcher = dispatcher
        self._fault = fault
        self._writable: ReplayStream[bool] | None = None  # made when somebody asks, as is _latency
        self._latency: Stream[float] | None = None
        self.wire_writable = True
        self.send_lost = False  # whether TCP is lost, be it that reading has not come to that yet
        self._patience: SendDeadline | None = None  # one is made when a message has to wait
        self.received_messages = self.received_bytes = 0
        self.sent_messages = self.sent_bytes = 0
        self._dropped: dict[str, int] = {}
        self._ended: Close | None = None

    # --- what users see ---------------------------------------------------------------------

    def pause(self) -> DisposableBase:
        """See `Flow.pause`."""
        hold = Hold(self._release)
        self.gate.hold(hold)
        return hold

    def _release(self, hold: object) -> None:
        if threading.get_ident() != self._thread:
            self._transport.call_soon_threadsafe(lambda: self._release(hold))
            return
        self.gate.release(hold)
        self.on_released()

    @property
    def writable(self) -> Observable[bool]:
        """See `Flow.writable`."""
        if self._writable is None:
            self._writable = ReplayStream(self._dispatcher, self._fault, self.wire_writable)
            if self._ended is not None:
                self._writable.end()
        return self._writable

    @property
    def buffered(self) -> int:
        """See `Flow.buffered`."""
        return self.outbox.bytes + self._transport.buffered + self.waiting

    async def drained(self) -> None:
        """See `Flow.drained`."""
        while self._ended is None and not self.wire_writable:
            await self.writable.pipe(ops.first_or_default(bool, False))
        if self._ended is not None:
            raise ConnectionClosed(self._ended)

    @property
    def latency(self) -> Observable[float]:
        """See `Flow.latency`."""
        if self._latency is None:
            self._latency = Stream(self._dispatcher, self._fault)
            if self._ended is not None:
                self._latency.end()
        return self._latency

    @property
    def stats(self) -> Stats:
        """See `Flow.stats`."""
        return Stats(
            self.received_messages,
            self.received_bytes,
            self.sent_messages,
            self.sent_bytes,
            dict(self._dropped),
            round(self.gate.paused, 6),  # a sum of whole microseconds
        )

    def __repr__(self) -> str:
        state = "paused" if self.gate.holds else "flowing"
        if self._ended is not None:
            state = f"closed {self._ended.code}"
        return (
            f"<Flow {state} in={self.received_messages} out={self.sent_messages} "
            f"buffered={self.buffered}>"
        )

    # --- what the session does --------------------------------------------------------------

    def dropped(self, reason: str, count: int = 1) -> None:
        """Count messages that are lost."""
        if count:
            self._dropped[reason] = self._dropped.get(reason, 0) + count

    def ponged(self, seconds: float) -> None:
        """Tell of the time between a ping and its pong."""
        if self._latency is not None:
            self._latency.emit(seconds)

    def offer(self, kind: Opcode, payload: bytes, key: Hashable = None) -> bool:
        """Send a message and tell so, or do what the policy says of one that finds no room.

        A message that finds nothing waiting is sent whatever its size: it is the user's.
        """
        outbox = self.outbox
        # As in offer_now, without the call, which each message would pay for.
        if self.wire_writable and not outbox.count and self._transport.write(kind, payload):
            self.sent_messages += 1
            self.sent_bytes += len(payload)
            return True
        policy = self._options.overflow
        if policy in REFUSING and self._excess(len(payload) + OVERHEAD):
            self.dropped("overflow")
            if policy == "close":
                self._on_overflow()
            return False
        self.dropped("conflated", outbox.put(Frame(kind, payload), key))
        while outbox.count > 1 and self._excess():
            outbox.drop_oldest(key)
            self.dropped("overflow")
        self._waits().on_offered()
        self._transport.wake()
        self._check_water()
        return True

    def offer_now(self, kind: Opcode, payload: bytes) -> bool:
        """Send a message if it leaves at once, and tell so; else do nothing."""
        if self.outbox.count or not self.wire_writable or not self._transport.write(kind, payload):
            return False
        self.sent_messages += 1
        self.sent_bytes += len(payload)
        return True

    @property
    def ready(self) -> bool:
        """Whether `send_now` is worth a call: a message would leave, or a loss would show."""
        return self.send_lost or (
            self.wire_writable and not self.outbox.count and self._transport.running
        )

    def set_external_backlog(self, waiting: int) -> None:
        """So many bytes wait elsewhere by now: they hold up reading as if they waited here."""
        self.waiting = 0 if self.send_lost else waiting
        self._check_water()

    def _excess(self, more: int = 0) -> bool:
        return self.outbox.cost + self._transport.buffered + more > self._options.max_buffer

    def take(self) -> Frame | None:
        """Return the next message to write."""
        frame = self.outbox.take()
        if frame is None:
            if self.gate.held:
                self._check_water()
            self.on_drained()
        elif frame.kind in _DATA:
            self.sent_messages += 1
            self.sent_bytes += len(frame.payload)
        return frame

    def on_writable(self, writable: bool) -> None:
        """The wire is full, or takes frames again."""
        if writable == self.wire_writable:
            return
        self.wire_writable = writable
        if writable:
            self._waits().on_relieved(len(self.outbox))
        else:
            self._waits().on_full()
        self._check_water()
        if self._writable is not None:
            self._writable.emit(writable)

    def watch(self) -> None:
        """Give signs of life from now on, if it comes to that."""
        if self._ended is None:
            if self.keep_alive is _NOBODY:
                self.keep_alive = KeepAlive(self._scheduler, self._is_behind, self._pong)
            self.keep_alive.watch()

    def _is_behind(self) -> bool:
        """Whether reading is paused, or was behind with what had come since this was last asked."""
        before, self._deferred = self._deferred, self._transport.deferred
        return self.gate.held or self._deferred != before

    def _pong(self, payload: bytes) -> None:
        if self.outbox.pong is None:  # else a ping's own answer waits
            self.outbox.pong = payload
            self._transport.wake()

    def _check_water(self) -> None:
        if self.buffered > self._options.high_water:
            self.gate.hold(_BEHIND)
        elif self.buffered <= self._options.high_water // 2:
            self.gate.release(_BEHIND)
            self.on_released()

    def _waits(self) -> SendDeadline:
        if self._patience is None:
            self._patience = SendDeadline(
                self._scheduler, self._options.send_timeout, self._is_dry, self._on_stuck
            )
        return self._patience

    def _is_dry(self) -> bool:
        return self.wire_writable and not self.buffered

    def give_up(self) -> None:
        """Drop and count what waits: it will not leave."""
        self.waiting = 0
        self.dropped("closed", self.outbox.clear())
        self._wait_no_more()
        self.gate.release(_BEHIND)
        self.on_released()

    def close(self, ended: Close) -> None:
        """Tell all who wait that the connection is over."""
        self._ended = ended
        self.keep_alive.stop()
        for stream in (self._writable, self._latency):
            if stream is not None:
                stream.end()
        self._wait_no_more()

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.stop()
