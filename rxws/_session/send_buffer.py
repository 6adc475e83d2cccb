"""The frames that wait until the wire takes them: the overflow policy and the high-water mark."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Protocol

from reactivex.abc import SchedulerBase

from rxws._core.frames import Frame, Opcode
from rxws._core.instrumentation import NO_TELEMETRY, ConnectionTelemetry
from rxws.overflow import OVERHEAD, REFUSING

from .bounded_queue import BoundedQueue, make_queue
from .liveness import SendDeadline
from .options import Options
from .read_gate import HIGH_WATER, ReadGate
from .transport import Transport

__all__ = ["SendBuffer", "SendBufferOwner"]


class SendBufferOwner(Protocol):
    """The connection of a `SendBuffer`; see `Session`."""

    def count_dropped(self, reason: str, count: int = 1) -> None: ...
    def on_overflow(self) -> None: ...
    def on_send_timeout(self) -> None: ...


class SendBuffer:
    """Messages in order, then the close frame; pings and pongs overtake them.

    Only whole frames are queued. A frame that the transport has taken is never dropped.
    """

    __slots__ = (
        "_close",
        "_close_taken",
        "_deadline",
        "_gate",
        "_options",
        "_owner",
        "_scheduler",
        "_sent_bytes",
        "_sent_messages",
        "_telemetry",
        "_transport",
        "external_backlog",
        "on_drained",
        "ping",
        "pong",
        "queue",
        "send_lost",
        "wire",
        "wire_writable",
        "write",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: SchedulerBase,
        options: Options,
        gate: ReadGate,
        owner: SendBufferOwner,
        telemetry: ConnectionTelemetry = NO_TELEMETRY,
    ) -> None:
        self._transport = transport
        self.write = telemetry.count_sent(transport.write)  # see `Transport.write`
        self._telemetry = telemetry
        self._scheduler = scheduler
        self._options = options
        self._gate = gate
        self._owner = owner
        self.wire = transport.wire
        if self.write is not transport.write:
            self.wire.target = None  # it counts every message
        self.wire_writable = True
        self.send_lost = False  # True once TCP is lost, even if received data is still pending
        self.queue: BoundedQueue[Frame] | None = None  # None, and no memory used, while empty
        self.ping: bytes | None = None
        self.pong: bytes | None = None  # RFC 6455, section 5.5.3: the latest ping is answered
        self._close: Frame | None = None
        self._close_taken = False
        self._deadline: SendDeadline | None = None  # made when the first message has to wait
        self.external_backlog = 0  # bytes that another queue keeps for `try_send`
        # Called when the wire is ready and all is sent.
        self.on_drained: Callable[[], None] | None = None
        self._sent_messages = self._sent_bytes = 0

    @property
    def sent_messages(self) -> int:
        """See `Stats.sent_messages`."""
        return self._sent_messages + self.wire.shared_messages

    @property
    def sent_bytes(self) -> int:
        """See `Stats.sent_bytes`."""
        return self._sent_bytes + self.wire.shared_bytes

    @property
    def buffered(self) -> int:
        """See `Flow.buffered`."""
        queue = self.queue
        queued = 0 if queue is None else queue.bytes
        return queued + self._transport.buffered + self.external_backlog

    def offer(self, opcode: Opcode, payload: bytes, key: Hashable = None) -> bool:
        """Send or queue a message, as the overflow policy allows.

        Returns:
            False if the message was dropped.

        Raises:
            EncodeError: The key cannot be compared with the other keys.
        """
        # The body of `try_send`, to save each message a call.
        if self.wire_writable and self.queue is None and self.write(opcode, payload):
            self._sent_messages += 1
            self._sent_bytes += len(payload)
            return True
        return self._enqueue(Frame(opcode, payload), key)

    def try_send(self, opcode: Opcode, payload: bytes) -> bool:
        """Send a message if the wire takes it now; otherwise return False."""
        if self.wire_writable and self.queue is None and self.write(opcode, payload):
            self._sent_messages += 1
            self._sent_bytes += len(payload)
            return True
        return False

    @property
    def ready(self) -> bool:
        """Whether `try_send` would send a message, or notice that TCP is lost."""
        return self.send_lost or (
            self.wire_writable and self.queue is None and self._transport.running
        )

    def _enqueue(self, frame: Frame, key: Hashable) -> bool:
        policy = self._options.overflow
        bound = self._options.max_buffer - self._transport.buffered
        queue = self.queue
        if policy in REFUSING:
            cost = len(frame.payload) + OVERHEAD + (0 if queue is None else queue.cost)
            if cost > bound:
                self._owner.count_dropped("overflow")
                if policy == "close":
                    self._owner.on_overflow()
                return False
        if queue is None:
            queue = make_queue(policy)
        if queue.put(frame, key) is not None:
            self._owner.count_dropped("conflated")
        self.queue = queue
        if dropped := queue.trim(bound, key):
            self._owner.count_dropped("overflow", len(dropped))
        self._get_deadline().on_queued()
        self._transport.wake()
        self._check_high_water()
        return True

    def set_close(self, close: Frame) -> None:
        """Queue the close frame behind all messages, instead of another one that is queued."""
        if not self._close_taken:
            self._close = close

    def send_unsolicited_pong(self) -> None:
        """Send an empty pong, unless the answer to a ping is queued."""
        if self.pong is None:
            self.pong = b""
            self._transport.wake()

    def set_external_backlog(self, waiting: int) -> None:
        """Count bytes that wait elsewhere for `try_send`: like queued bytes, they hold delivery."""
        self.external_backlog = 0 if self.send_lost else waiting
        self._check_high_water()

    def take(self) -> Frame | None:
        """Return the next frame to write."""
        # RFC 6455, section 5.5.1: nothing follows a close frame.
        frame = None if self._close_taken else self._next_frame()
        if frame is None:
            if self._gate.holds:
                self._check_high_water()
            if self.on_drained is not None:
                self.on_drained()
        return frame

    def _next_frame(self) -> Frame | None:
        if self.pong is not None:
            payload, self.pong = self.pong, None
            return Frame(Opcode.PONG, payload)
        if self.ping is not None:
            payload, self.ping = self.ping, None
            return Frame(Opcode.PING, payload)
        queue = self.queue
        if queue is not None:
            frame = queue.pop()
            if not queue.messages:
                self.queue = None
            self._sent_messages += 1
            self._sent_bytes += len(frame.payload)
            self._telemetry.on_queued_sent(frame)
            return frame
        close, self._close = self._close, None
        self._close_taken = close is not None
        return close

    def on_writable(self, writable: bool) -> bool:
        """Note that the wire is full or ready; return whether that changes anything."""
        if writable == self.wire_writable:
            return False
        self.wire_writable = writable
        self.wire.ready_for = None
        if writable:
            self._get_deadline().on_ready(0 if self.queue is None else len(self.queue))
        else:
            self._get_deadline().on_full()
        self._check_high_water()
        return True

    def _check_high_water(self) -> None:
        buffered = self.buffered
        if buffered > self._options.high_water:
            self._gate.hold(HIGH_WATER)
        elif buffered <= self._options.high_water // 2:
            self._gate.release(HIGH_WATER)

    def _get_deadline(self) -> SendDeadline:
        if self._deadline is None:
            self._deadline = SendDeadline(
                self._scheduler,
                self._options.send_timeout,
                self._is_drained,
                self._owner.on_send_timeout,
            )
        return self._deadline

    def _is_drained(self) -> bool:
        return self.wire_writable and not self.buffered

    def clear(self) -> None:
        """Drop all queued frames and count the messages among them."""
        if self.queue is not None:
            self._owner.count_dropped("closed", len(self.queue))
        self.queue = self._close = self.ping = self.pong = None

    def abandon(self) -> None:
        """Drop all queued frames: nothing more can be sent."""
        self.external_backlog = 0
        self.clear()
        self.stop_deadline()
        self._gate.release(HIGH_WATER)

    def stop_deadline(self) -> None:
        """Stop the timer of `send_timeout`."""
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline = None
