"""Flow control of one connection, as its users see it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from reactivex import Observable
from reactivex import operators as ops
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.scheduler import ImmediateScheduler

from rxws._core.connection import Close, Stats
from rxws._core.errors import ConnectionClosed
from rxws._core.streams.stream import Dispatcher, Fault, ReplayStream, Stream

from .liveness import KeepAlive
from .read_gate import Hold, ReadGate
from .send_buffer import SendBuffer
from .transport import Transport

__all__ = ["FlowControl"]

_NO_KEEP_ALIVE = KeepAlive(ImmediateScheduler.singleton(), bool, lambda: None)


class FlowControl:
    """The `Flow` of a connection, and the counters behind its `stats`."""

    __slots__ = (
        "_closed",
        "_deferred",
        "_dispatcher",
        "_fault",
        "_latency",
        "_location",
        "_pings",
        "_pongs",
        "_scheduler",
        "_transport",
        "_turn",
        "_writable",
        "drop_counts",
        "gate",
        "keep_alive",
        "received_bytes",
        "received_messages",
        "send_buffer",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: SchedulerBase,
        dispatcher: Dispatcher,
        fault: Fault,
        gate: ReadGate,
        send_buffer: SendBuffer,
    ) -> None:
        self._transport = transport
        self._scheduler = scheduler
        self._dispatcher = dispatcher
        self._fault = fault
        self.gate = gate
        self.send_buffer = send_buffer
        self._location = transport.locate()
        self._deferred = 0  # `Transport.deferred` when `_is_behind` was last called
        self._pings = 0  # how many were sent
        # These five are made when they are first needed.
        self.keep_alive = _NO_KEEP_ALIVE
        self._turn: asyncio.Lock | None = None  # of those that wait in `drained`
        self._writable: ReplayStream[bool] | None = None
        self._latency: Stream[float] | None = None
        self._pongs: Stream[int] | None = None
        self.received_messages = self.received_bytes = 0
        self.drop_counts: dict[str, int] = {}
        self._closed: Close | None = None

    # --- called by users: `Flow` ------------------------------------------------------------

    def pause(self) -> DisposableBase:
        """See `Flow.pause`."""
        hold = Hold(self._release)
        self.gate.hold(hold)
        return hold

    def _release(self, hold: object) -> None:
        self.run_on_session_thread(lambda: self.gate.release(hold))

    def run_on_session_thread(self, run: Callable[[], None]) -> None:
        """Call now if this thread runs the connection, else soon."""
        owner = self._dispatcher.owner
        if self._transport.locate() == self._location or (
            owner is not None and owner.may_run_here()
        ):
            run()
        else:
            self._transport.call_soon_threadsafe(run)

    @property
    def writable(self) -> Observable[bool]:
        """See `Flow.writable`."""
        if self._writable is None:
            writable = self.send_buffer.wire_writable
            self._writable = ReplayStream(self._dispatcher, self._fault, writable)
            if self._closed is not None:
                self._writable.end()
        return self._writable

    @property
    def buffered(self) -> int:
        """See `Flow.buffered`."""
        return self.send_buffer.buffered

    async def drained(self) -> None:
        """See `Flow.drained`."""
        if self._closed is None and not self.send_buffer.wire_writable:
            if self._turn is None:
                self._turn = asyncio.Lock()
            async with self._turn:  # if all went on at once, they would overflow the send buffer
                while self._closed is None and not self.send_buffer.wire_writable:
                    await self.writable.pipe(ops.first_or_default(bool, False))
        if self._closed is not None:
            raise ConnectionClosed(self._closed)

    async def ping(self) -> float:
        """See `Flow.ping`."""
        if self._closed is None:
            if self._pongs is None:
                self._pongs = Stream(self._dispatcher, self._fault)
            started, number = self._scheduler.now, self.send_ping()

            def is_answer(answered: int) -> bool:
                # A peer may answer only the latest of several pings (RFC 6455, section 5.5.3).
                return answered >= number

            def elapsed(_: int) -> float | None:
                return (self._scheduler.now - started).total_seconds()

            answers = self._pongs.pipe(ops.filter(is_answer), ops.map(elapsed))
            seconds = await answers.pipe(ops.first_or_default(None, None))
            if seconds is not None:
                return seconds
        assert self._closed is not None
        raise ConnectionClosed(self._closed)

    @property
    def latency(self) -> Observable[float]:
        """See `Flow.latency`."""
        if self._latency is None:
            self._latency = Stream(self._dispatcher, self._fault)
            if self._closed is not None:
                self._latency.end()
        return self._latency

    @property
    def stats(self) -> Stats:
        """See `Flow.stats`."""
        return Stats(
            self.received_messages,
            self.received_bytes,
            self.send_buffer.sent_messages,
            self.send_buffer.sent_bytes,
            dict(self.drop_counts),
            round(self.gate.held_seconds, 6),  # a sum of whole microseconds
        )

    def __repr__(self) -> str:
        state = "paused" if self.gate.holds else "flowing"
        if self._closed is not None:
            state = f"closed {self._closed.code}"
        return (
            f"<Flow {state} in={self.received_messages} out={self.send_buffer.sent_messages} "
            f"buffered={self.buffered}>"
        )

    # --- called by operators: `Upstream` ----------------------------------------------------

    @property
    def closing(self) -> bool:
        """See `Upstream.closing`."""
        return self.gate.permanently_open

    @property
    def delivering(self) -> bool:
        """See `Upstream.delivering`."""
        return self._dispatcher.busy

    def fail(self, code: int, reason: str) -> None:
        """See `Upstream.fail`."""
        if (owner := self._dispatcher.owner) is not None:
            self.run_on_session_thread(lambda: owner.fail(code, reason))

    # --- called by the session --------------------------------------------------------------

    def call_soon(self, deliver: Callable[[], None]) -> DisposableBase:
        """See `Transport.call_soon`."""
        return self._transport.call_soon(deliver)

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped messages."""
        self.drop_counts[reason] = self.drop_counts.get(reason, 0) + count

    def send_ping(self) -> int:
        """Send a ping, ahead of queued messages, and return its number."""
        self._pings += 1
        if not self.send_buffer.send_lost:
            self.send_buffer.ping = str(self._pings).encode()
            self._transport.wake()
        return self._pings

    def on_pong(self, payload: bytes) -> int | None:
        """Return the number of the ping that a pong answers, if it answers any."""
        try:
            number = int(payload)
        except ValueError:
            return None
        if not 0 < number <= self._pings:
            return None
        if self._pongs is not None:
            self._pongs.emit(number)
        return number

    def emit_latency(self, seconds: float) -> None:
        """Emit the time between a ping and its pong."""
        if self._latency is not None:
            self._latency.emit(seconds)

    def emit_writable(self, writable: bool) -> None:
        """Emit whether the wire is ready for messages."""
        if self._writable is not None:
            self._writable.emit(writable)

    def start_keep_alive(self) -> None:
        """Start the keep-alive, which runs for a while."""
        if self._closed is None:
            if self.keep_alive is _NO_KEEP_ALIVE:
                self.keep_alive = KeepAlive(
                    self._scheduler, self._is_behind, self.send_buffer.send_unsolicited_pong
                )
            self.keep_alive.start()

    def _is_behind(self) -> bool:
        """Whether reading is paused, or was deferred since the last call."""
        before, self._deferred = self._deferred, self._transport.deferred
        return self.gate.paused or self._deferred != before

    def close(self, close: Close) -> None:
        """End the streams and stop the timers."""
        self._closed = close
        self.keep_alive.stop()
        self.keep_alive = _NO_KEEP_ALIVE
        for stream in (self._writable, self._latency, self._pongs):
            if stream is not None:
                stream.end()
        self.send_buffer.stop_deadline()
