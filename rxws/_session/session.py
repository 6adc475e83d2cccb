"""How one connection works: what it does with frames and messages, and how it ends.

A session knows no socket, event loop or aiohttp. A transport passes received frames to it and takes
frames from it; a scheduler provides the time.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Generic, TypeVar

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws import closing
from rxws._core import broadcast
from rxws._core.broadcast import SharedObserver
from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close, Connection, Handshake
from rxws._core.errors import BufferOverflow, ConnectionClosed, EncodeError, SendTimeout
from rxws._core.frames import Frame, Opcode
from rxws._core.instrumentation import NO_TELEMETRY, ConnectionTelemetry
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.timers import Deadline, raise_soon
from rxws._core.streams.stream import Dispatcher
from rxws.overflow import Latest

from .blame import blame
from .closed import ClosedStream
from .encoding import Encoded, conflation_key, encoder, shared_key
from .error_stream import ErrorStream
from .flow import FlowControl
from .incoming import IncomingStream
from .liveness import Heartbeat
from .options import Options
from .outgoing import Outgoing
from .read_gate import ReadGate
from .send_buffer import SendBuffer
from .transport import Delivery, Transport

__all__ = ["Session", "State"]

In = TypeVar("In")
Out = TypeVar("Out")


class State(enum.Enum):
    """The state of a connection. It only changes to a state further down."""

    OPEN = enum.auto()
    """Messages go both ways."""
    DRAINING = enum.auto()
    """Our close frame waits behind queued messages."""
    CLOSING = enum.auto()
    """Our close frame is sent, and we wait for the peer's."""
    CLOSED = enum.auto()
    """`incoming` and `closed` have ended. The close frame may still be on its way."""


_OPEN = State.OPEN  # a global name is faster to look up than a member of an enum


class Session(Generic[In, Out]):
    """Receives frames from a transport, sends frames through it, and makes the `Connection`."""

    __slots__ = (
        "__weakref__",
        "_deadline",
        "_dispatcher",
        "_disposables",
        "_drop_counts",
        "_encode",
        "_heartbeat",
        "_latest",
        "_options",
        "_own_close",
        "_released",
        "_telemetry",
        "_transport",
        "cleanup_timeout",
        "closed",
        "connection",
        "errors",
        "flow",
        "gate",
        "incoming",
        "outgoing",
        "scheduler",
        "send_buffer",
        "state",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: SchedulerBase,
        options: Options,
        handshake: Handshake,
        telemetry: ConnectionTelemetry = NO_TELEMETRY,
    ) -> None:
        self._transport = transport
        self._telemetry = telemetry
        self._options = options
        self._released = False  # see `on_released`
        self.state = State.OPEN
        self._own_close: Close | None = None  # how we close the connection, once we do
        self.cleanup_timeout = options.close_timeout
        self._deadline = Deadline(scheduler)
        self._encode = encoder(options.codec)
        self._latest = options.overflow if isinstance(options.overflow, Latest) else None
        self._disposables: list[DisposableBase] | None = []
        self._heartbeat: Heartbeat | None = None
        if options.heartbeat is not None:
            self._heartbeat = Heartbeat(scheduler, options.heartbeat, self)

        dispatcher = self._dispatcher = Dispatcher(scheduler)
        dispatcher.owner = self
        errors = self.errors = ErrorStream(dispatcher, self, handshake)
        fault = errors.report  # bound once: each bound method takes 64 bytes
        gate = self.gate = ReadGate(transport, scheduler)
        self.scheduler = ConnectionScheduler(scheduler, fault, self)
        self.send_buffer = SendBuffer(transport, scheduler, options, gate, self, telemetry)
        self.flow = FlowControl(transport, scheduler, dispatcher, fault, gate, self.send_buffer)
        self._drop_counts = self.flow.drop_counts
        self.incoming: IncomingStream[In] = IncomingStream(
            dispatcher, fault, options, self.flow, scheduler
        )
        gate.on_paused = self.flow.start_keep_alive
        gate.on_released = self.incoming.flush
        self.outgoing: Outgoing[Out | Close] = Outgoing(
            dispatcher, fault, self, transport, options.max_buffer, options.overflow
        )
        self.closed = ClosedStream(dispatcher, fault, self.incoming)
        self.connection: Connection[In, Out] = Connection(
            self.incoming, self.outgoing, errors, self.closed, self.flow, handshake, self.scheduler
        )
        telemetry.on_open(self.connection)

    # --- for the handler --------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine and cancel it when the connection ends."""
        self.dispose_at_end(self._transport.spawn(coroutine))

    def drained(self) -> Awaitable[None] | None:
        """See `SchedulerOwner.drained`."""
        if self.state is not _OPEN or self.send_buffer.wire_writable:
            return None
        return self._drained()

    async def _drained(self) -> None:
        with suppress(ConnectionClosed):
            await self.flow.drained()

    def let_finish(self, task: Any) -> None:
        """See `Transport.let_finish`."""
        self._transport.let_finish(task)

    def dispose_at_end(self, disposable: DisposableBase) -> None:
        """Dispose it when the connection ends, or now if the connection has ended."""
        if self._disposables is None:
            disposable.dispose()
        else:
            self._disposables.append(disposable)

    # --- Sink: called by `outgoing` ---------------------------------------------------------

    def send(self, value: Any) -> bool:
        if self.state is not _OPEN or (
            (send_buffer := self.send_buffer).send_lost and self._check_for_loss()
        ):
            self.count_dropped("closed")
            return False
        try:
            delivery = broadcast.current
            if delivery.value is value:
                encoding = delivery.encoding
                if encoding.codec is not self._options.codec:
                    encoding = delivery.encode(self._options.codec, self._encode, value)
                key = self._latest and shared_key(delivery, self._latest, value)
                sent = send_buffer.offer(encoding.opcode, encoding.payload, key)
                if send_buffer.wire.ready_for is None:
                    self._on_shared(encoding.codec)
                return sent
            opcode, payload = self._encode(value)
            key = self._latest and conflation_key(self._latest, value)
            return send_buffer.offer(opcode, payload, key)
        except BaseException as exc:
            self._on_unsent(exc)
            return False

    def shared_observer(self) -> SharedObserver:
        """Return an observer that sends, for a source that many connections share."""
        buffer = self.send_buffer
        return SharedObserver(self.outgoing, buffer.wire, buffer.write, self.on_interrupt)

    def _on_shared(self, codec: object) -> None:
        """Let deliveries write without asking, if there is nothing to check.

        An end, a full wire or an observer of `outgoing` sets `ready_for` to None again. Messages
        are queued only while the wire is full or lost; the transport knows a loss first.
        """
        buffer, wire = self.send_buffer, self.send_buffer.wire
        if (
            self.state is _OPEN
            and buffer.wire_writable
            and buffer.queue is None
            and not buffer.send_lost
        ):
            wire.ready_for = codec
            if self.outgoing._all_observers:  # pyright: ignore[reportPrivateUsage] # another thread may add one
                wire.ready_for = None

    def encode(self, value: Any) -> Encoded:
        try:
            delivery = broadcast.current
            if delivery.value is value:
                encoding = delivery.encode(self._options.codec, self._encode, value)
                key = self._latest and shared_key(delivery, self._latest, value)
                return Encoded(encoding.opcode, encoding.payload, key)
            opcode, payload = self._encode(value)
            return Encoded(opcode, payload, self._latest and conflation_key(self._latest, value))
        except EncodeError as exc:
            if not self._released:
                blame(exc, self.incoming)
            raise
        except BaseException as exc:
            if not self._released:
                self.outgoing.end_on_session_thread(self.on_interrupt, exc)
            raise

    def send_encoded(self, encoded: Encoded | EncodeError) -> bool:
        if self.state is not _OPEN or self._check_for_loss():
            self.count_dropped("closed")
            return False
        if isinstance(encoded, EncodeError):
            self.errors.report_encode_error(encoded)
            return False
        try:
            return self.send_buffer.offer(*encoded)
        except BaseException as exc:
            self._on_unsent(exc)
            return False

    def try_send(self, value: Any, encoded: Encoded | None = None) -> bool | None:
        if self.state is not _OPEN or self._check_for_loss():
            return False
        try:
            opcode, payload = encoded[:2] if encoded is not None else self._encode(value)
            return self.send_buffer.try_send(opcode, payload)
        except BaseException as exc:
            self._on_unsent(exc)
            return None

    def _on_unsent(self, error: BaseException) -> None:
        """Report a value that cannot be encoded; any other exception ends the connection."""
        if not isinstance(error, EncodeError):
            self.on_interrupt(error)
            raise error
        blame(error, self.incoming)
        self.errors.report_encode_error(error)

    def _check_for_loss(self) -> bool:
        """Return whether TCP is lost for sending; end the connection if a pause hid the loss."""
        # Without a pause, the data that came before the loss is being read, and the end follows.
        if self.send_buffer.send_lost and self.gate.paused and not self.incoming.run_deferred_end():
            self._on_lost()
        return self.send_buffer.send_lost

    def close(self, close: Close) -> bool:
        if self.state is not State.OPEN:
            return False
        self.state = State.DRAINING
        self.send_buffer.wire.ready_for = None
        self._own_close = Close(close.code, close.reason)
        self.gate.open_permanently()
        self.incoming.discard_always()
        # The time limit of all queued messages together; `take` starts the one of the answer.
        self._deadline.set(self._options.send_timeout, self.on_send_timeout)
        self._queue_close_frame(self._own_close)
        self._transport.wake()
        return True

    def close_with_error(self, error: Exception) -> bool:
        if self.state is not State.OPEN:
            return False
        close = closing.for_exception(error)
        if close.code == closing.UNEXPECTED.code:
            self.errors.log_failure(error)
            self._telemetry.on_exception(error)
        return self.close(close)

    def on_thread_overflow(self, dropped: int) -> None:
        self.count_dropped("overflow", dropped)
        if self._options.overflow == "close":
            self.on_overflow()

    # --- Receiver: called by the transport --------------------------------------------------

    def take(self) -> Frame | None:
        frame = self.send_buffer.take()
        if frame is not None and frame.opcode is Opcode.CLOSE and self.state is State.DRAINING:
            self.state = State.CLOSING
            self._await_answer(self._transport.delivery(), self._options.send_timeout)
        return frame

    def _await_answer(self, delivery: Delivery, at_most: float) -> None:
        """Wait `close_timeout` for the peer's close frame.

        Our close frame may be in the kernel behind other data, which a reset would discard. While
        the peer takes that data, wait longer, but no more than about `at_most` seconds.
        """
        timeout = self._options.close_timeout

        def check() -> None:
            may_wait = delivery.pending and at_most > timeout
            now = self._transport.delivery() if may_wait else delivery
            if now.delivered > delivery.delivered:
                self._await_answer(now, at_most - timeout)
            else:
                self.terminate()

        self._deadline.set(timeout, check)

    def on_writable(self, writable: bool) -> None:
        if self.state is not State.CLOSED and self.send_buffer.on_writable(writable):
            self.flow.emit_writable(writable)

    def on_unsendable(self) -> None:
        self.send_buffer.send_lost = True
        self.send_buffer.abandon()

    @property
    def on_message(self) -> Callable[[str | bytes, int], None]:
        """See `Receiver.on_message`; messages go straight to `incoming`, to save each a call."""
        return self._telemetry.count_received(self.incoming.receive)

    def on_ping(self, payload: bytes) -> None:
        """Answer with a pong."""
        self.send_buffer.pong = payload
        self._transport.wake()

    def on_pong(self, payload: bytes) -> None:
        if self.state is not State.CLOSED:
            number = self.flow.on_pong(payload)
            if self._heartbeat is not None:
                self._heartbeat.on_pong(number)

    def _after_messages(self, end: Callable[[], None]) -> None:
        """End the connection once the messages before its end are delivered."""
        if self.state is not State.CLOSED and not self.incoming.defer(end):
            end()

    def on_close(self, code: int | None, reason: str) -> None:
        """End: the peer closes the connection, or answers our close frame."""
        self._after_messages(partial(self._on_close, code, reason))

    def _on_close(self, code: int | None, reason: str) -> None:
        if code is not None and not closing.is_wire_code(code):
            self._on_violation(1002)
        elif self.state is State.CLOSING:
            self._end_as_requested()
            self._finish(linger=False)
        else:
            close = Close(1005 if code is None else code, reason, by="peer")
            self._end(close)
            # RFC 6455, section 5.5.1: the answer typically echoes the status code.
            self._queue_close_frame(None if code is None else close)
            self._finish(linger=False)

    def on_violation(self, code: int) -> None:
        """End: the peer broke the protocol. It gets a close frame (RFC 6455, section 7.1.7)."""
        self._after_messages(partial(self._on_violation, code))

    def _on_violation(self, code: int) -> None:
        if self.state is State.CLOSING:
            self._end_as_requested()
            self._finish(linger=True)
        else:
            self._fail(closing.violation(code))

    def on_lost(self) -> None:
        """End: TCP is gone."""
        if self.state is State.CLOSED or not self.incoming.defer(self._on_deferred_loss):
            self._on_lost()

    def _on_deferred_loss(self) -> None:
        self._on_lost()
        self._finish(linger=False)  # if the peer has only half-closed, our side is still open

    def _on_lost(self) -> None:
        # While the wire is full, the kernel may not have taken our close frame: the peer never
        # saw it, and the connection did not end by it.
        if self.state is State.CLOSING and self.send_buffer.wire_writable:
            self._end_as_requested()
        elif self.state is not State.CLOSED:
            self._end(Close(1006, by="network"))
        self._deadline.clear()
        if not self.send_buffer.send_lost:  # otherwise `on_unsendable` has done it
            self.send_buffer.abandon()

    def on_cancelled(self) -> None:
        """End as a server does that goes away."""
        self.shutdown()

    @property
    def end_deferred(self) -> bool:
        return self.incoming.end_deferred

    @property
    def over(self) -> bool:
        return self._disposables is None

    def when_over(self, callback: Callable[[], None]) -> None:
        self.dispose_at_end(Disposable(callback))

    def on_unfinished(self, tasks: Sequence[object]) -> None:
        """Log the tasks."""
        self.errors.log_unfinished(tasks, self.cleanup_timeout)

    def on_released(self) -> None:
        """Cut the reference cycles, so that Python frees a closed connection at once.

        The parts of the connection, which a user may keep, still refer to this session: it counts
        dropped messages. It no longer refers to them.
        """
        self._telemetry.on_released()
        self._released = True
        self.incoming.drop_traceback()
        self.outgoing.drop_traceback()
        self.gate.drop_callbacks()
        del self.connection, self.incoming, self.outgoing, self.errors, self.closed
        del self.flow, self.gate, self.send_buffer, self.scheduler, self._deadline

    # --- DispatcherOwner, ErrorStreamOwner, SendBufferOwner and HeartbeatOwner --------------

    def fail(self, code: int, reason: str) -> None:
        """See `DispatcherOwner.fail`."""
        if self.state is State.OPEN:
            self._fail(Close(code, reason))

    def on_interrupt(self, error: BaseException) -> None:
        """End with 1011, unless the connection is closing; the caller re-raises the error."""
        if self.state is State.OPEN:
            self._fail(closing.UNEXPECTED, error)
        else:
            self.shutdown()

    def may_run_here(self) -> bool:
        """See `Transport.may_run_here`."""
        return self._transport.may_run_here()

    @property
    def is_open(self) -> bool:
        return self.state is State.OPEN

    def close_after_fault(self, error: Exception) -> None:
        if self.state is State.OPEN:
            self._fail(closing.for_fault(error), error)

    def count_dropped(self, reason: str, count: int = 1) -> None:
        self._drop_counts[reason] = self._drop_counts.get(reason, 0) + count
        if self._released:
            self._telemetry.on_dropped_late(reason, count)

    def on_overflow(self) -> None:
        """End with 1013 and drop queued messages: one did not fit, and the policy is `"close"`."""
        if self.state is State.OPEN:
            error = BufferOverflow(Close(1013, CLOSE_CODES[1013].reason))
            self._end(error.close, error=error)
            self.send_buffer.clear()
            self._queue_close_frame(error.close)
            self._finish(linger=True)

    def on_send_timeout(self) -> None:
        """Abort with 1006: the peer has not taken the queued messages in time.

        If its close frame has arrived, the connection ends by that.
        """
        if not self.incoming.run_deferred_end():
            close = Close(1006)
            self._end(close, error=SendTimeout(close))
        self._abort()

    def send_ping(self) -> int | None:
        return None if self._check_for_loss() else self.flow.send_ping()

    def signs_of_life(self) -> tuple[float, ...]:
        """Return counters; one of them changes when data arrives, or while none can be read."""
        # While a subscriber runs a nested event loop, nothing is read.
        nested = self.scheduler.seconds() if self._dispatcher.busy else 0.0
        return self._transport.received, self._transport.deferred, self.gate.paused_seconds, nested

    def delivery(self) -> Delivery:
        return self._transport.delivery()

    def on_latency(self, seconds: float) -> None:
        self._telemetry.on_latency(seconds)
        self.flow.emit_latency(seconds)

    def on_dead(self) -> None:
        """Abort with 1006: the peer does not answer pings."""
        if self.state is State.OPEN:
            self._end(Close(1006, by="network"))
            self._abort()

    # --- ends -------------------------------------------------------------------------------
    #
    # `_end` ends the streams. Then `_finish` ends TCP after the queued frames, or `_abort` at once.

    def shutdown(self, within: float | None = None, close: Close = closing.GOING_AWAY) -> None:
        """End because the application stops, and abort TCP after `within` seconds."""
        if within is not None:
            self.cleanup_timeout = within
        self.stop_waiting()
        if self.state is not State.CLOSED:
            self._queue_close_frame(self._end_as_requested(close))
            self._finish(linger=True, within=within)

    def terminate(self) -> None:
        """End and abort TCP at once, without waiting for the peer."""
        self.stop_waiting()
        if self.state is not State.CLOSED:
            self._end_as_requested()
        if not self._released:
            self._abort()

    def stop_waiting(self) -> None:
        """End now if the peer has ended the connection; drop messages without a subscriber."""
        if not self._released:
            self.incoming.discard_until_subscribed()
            self.incoming.run_deferred_end()

    def _end_as_requested(self, default: Close = closing.GOING_AWAY) -> Close:
        """End with the `Close` that the handler sent, if it has sent one."""
        close = self._own_close or default
        self._end(close, requested=self._own_close is not None)
        return close

    def _fail(self, close: Close, cause: BaseException | None = None) -> None:
        """End with an error, and send the close frame."""
        error = ConnectionClosed(close)
        error.__cause__ = cause
        if cause is not None:
            self._telemetry.on_exception(cause)
        self._end(close, error=error)
        self._queue_close_frame(close)
        self._finish(linger=True)

    def _end(
        self, close: Close, *, requested: bool = False, error: ConnectionClosed | None = None
    ) -> None:
        """Complete or fail all streams; an end that the handler requested always completes.

        If messages wait for a subscriber, `incoming` ends after these messages, then `errors` and
        everything of the handler. All other streams end now.
        """
        self.state = State.CLOSED  # first, so that messages that operators flush now are not sent
        self.send_buffer.wire.ready_for = None
        self._deadline.clear()
        if self._heartbeat is not None:
            self._heartbeat.stop()
            self._heartbeat = None
        try:
            clean = requested or self._options.is_clean(close)
        except BaseException as exc:
            raise_soon(self.scheduler, exc)
            clean = closing.is_clean(close)
        failed = not clean or close.code == closing.UNEXPECTED.code
        if clean:
            error = None
        elif error is None:
            error = ConnectionClosed(close)
        self.gate.open_permanently()
        self._take_steps(
            partial(self.incoming.finish, close, error),
            self.outgoing.stop,
            partial(self.flow.close, close),
            partial(self.closed.report, close),
            partial(self._telemetry.on_closed, close, failed),
            partial(self._dispatcher.post, self._end_handler),
        )

    def _end_handler(self) -> None:
        """End what belongs to the handler, after `incoming` has ended."""
        if not self.incoming.when_ended(self._end_handler):
            self._take_steps(self.errors.end)
            self._dispatcher.post(self._dispose_all)

    def _take_steps(self, *steps: Callable[[], None]) -> None:
        """Take the steps of an end; if user code raises in one, the others follow."""
        for step in steps:
            try:
                step()
            except Exception as exc:
                self.errors.report(exc)
            except BaseException as exc:
                raise_soon(self.scheduler, exc)

    def _dispose_all(self) -> None:
        disposables, self._disposables = self._disposables or [], None
        self._dispatcher.owner = None
        self._take_steps(*[disposable.dispose for disposable in disposables])

    def _queue_close_frame(self, close: Close | None) -> None:
        """Queue the close frame; the caller wakes the transport."""
        payload = b"" if close is None else close.code.to_bytes(2, "big") + close.reason.encode()
        self.send_buffer.set_close(Frame(Opcode.CLOSE, payload))

    def _finish(self, linger: bool, within: float | None = None) -> None:
        if not self._transport.finish(linger):
            seconds = self._options.close_timeout if within is None else within
            self._deadline.set(seconds, self._abort)

    def _abort(self) -> None:
        self._deadline.clear()
        self.send_buffer.abandon()
        self._transport.abort()
