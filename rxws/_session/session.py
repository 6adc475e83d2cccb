"""One connection's life: from its first frame to its one verdict, on whatever wire and clock.

It knows no socket, event loop or aiohttp: frames come by call, time comes from a scheduler, and
bytes leave through the transport port.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from reactivex.abc import DisposableBase, SchedulerBase

from rxws import closing
from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close, Connection, Handshake
from rxws._core.errors import BufferOverflow, ConnectionClosed, EncodeError, SendTimeout
from rxws._core.frames import Frame, Opcode
from rxws._core.log import logger
from rxws._core.schedulers import ConnectionScheduler, Deadline
from rxws._core.streams import Dispatcher, ReplayStream, Stream
from rxws.overflow import Latest

from .encoding import conflation_key, encoder
from .flow import FlowControl
from .incoming import IncomingStream
from .liveness import Heartbeat
from .options import Options
from .outgoing import Outgoing
from .transport import Transport

__all__ = ["Session", "State"]


class State(enum.Enum):
    """Where a connection stands. It only ever moves down this list."""

    OPEN = enum.auto()
    """Messages go both ways."""
    DRAINING = enum.auto()
    """Our close frame waits behind what is queued."""
    CLOSING = enum.auto()
    """Our close frame has left; the peer's answer is waited for."""
    CLOSED = enum.auto()
    """The verdict is told. The wire may still be busy with the close frame."""


In = TypeVar("In")
Out = TypeVar("Out")


_OPEN = State.OPEN  # a global name is faster to look up than a member of an enum


class Session(Generic[In, Out]):
    """Receives frames from a transport, sends frames through it, and makes the `Connection`.

    Args:
        transport: The wire.
        scheduler: The clock and the timers.
        options: The options.
        handshake: The result of the opening handshake.
    """

    __slots__ = (
        "__weakref__",
        "_deadline",
        "_dispatcher",
        "_disposables",
        "_encode",
        "_heartbeat",
        "_latest",
        "_options",
        "_own_close",
        "_transport",
        "closed",
        "connection",
        "errors",
        "flow",
        "incoming",
        "outgoing",
        "scheduler",
        "state",
    )

    def __init__(
        self, transport: Transport, scheduler: SchedulerBase, options: Options, handshake: Handshake
    ) -> None:
        self._transport = transport
        self._options = options
        self.state = State.OPEN
        self._own_close: Close | None = None  # how we close the connection, once we do
        self._deadline = Deadline(scheduler)
        self._encode = encoder(options.codec)
        self._latest = options.overflow if isinstance(options.overflow, Latest) else None
        self._disposables: list[DisposableBase] | None = []

        dispatcher = self._dispatcher = Dispatcher()
        fault = self.report_fault  # bound once: each bound method takes 64 bytes
        self.scheduler = ConnectionScheduler(scheduler, fault)
        self.flow = FlowControl(
            transport,
            scheduler,
            options,
            dispatcher,
            fault,
            self._on_overflow,
            self._on_stuck,
        )
        self.incoming: IncomingStream[In] = IncomingStream(
            dispatcher, fault, options, self.flow, scheduler
        )
        self.flow.on_released = self.incoming.flush
        self.outgoing: Outgoing[Out | Close] = Outgoing(
            dispatcher,
            fault,
            self,
            transport.call_soon_threadsafe,
            options.max_buffer,
            options.overflow,
        )
        # A subscriber of `errors` that raises cannot be notified of its own exception.
        self.errors: Stream[Exception] = Stream(dispatcher, self._on_unobserved_fault)
        self.closed: ReplayStream[Close] = ReplayStream(dispatcher, fault)
        self.connection: Connection[In, Out] = Connection(
            self.incoming,
            self.outgoing,
            self.errors,
            self.closed,
            self.flow,
            handshake,
            self.scheduler,
        )
        self._heartbeat: Heartbeat | None = None
        if options.heartbeat is not None:
            self._heartbeat = Heartbeat(
                scheduler,
                options.heartbeat,
                self._send_ping,
                transport,
                self.flow.gate,
                self.flow.ponged,
                self._on_dead,
            )

    # --- for the handler --------------------------------------------------------------------

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine and cancel it when the connection ends."""
        self.dispose_at_end(self._transport.spawn(coroutine))

    def dispose_at_end(self, disposable: DisposableBase) -> None:
        """Dispose it when the connection ends, or now if the connection has ended."""
        if self._disposables is None:
            disposable.dispose()
        else:
            self._disposables.append(disposable)

    def report_fault(self, error: Exception) -> None:
        """Emit an exception on `errors`; if nobody subscribes to `errors`, close the connection."""
        if self.errors.observed:
            self._dispatcher.post(self._emit_fault, error)
        else:
            self.errors.emit(error)  # for watchers, which do not count as subscribers
            self._on_unobserved_fault(error)

    def _emit_fault(self, error: Exception) -> None:
        if self.errors.observed:
            self.errors.deliver(error)
        else:  # the connection has ended since
            self._on_unobserved_fault(error)

    def _on_unobserved_fault(self, error: Exception) -> None:
        logger.error("a fault that nobody observes on conn.errors: %s", error, exc_info=error)
        if self.state is State.OPEN:
            close = closing.for_fault(error)
            ended = ConnectionClosed(close)
            ended.__cause__ = error
            self._fail(ended)

    # --- what the handler's side does (the Sink behind `outgoing`) --------------------------

    def send(self, value: Any) -> bool:
        """Encode a message and send it, or queue it."""
        flow = self.flow
        if self.state is not _OPEN or (flow.send_lost and self._is_severed()):
            flow.dropped("closed")
            return False
        try:
            kind, payload = self._encode(value)
            key = self._latest and conflation_key(self._latest, value)
            return flow.offer(kind, payload, key)
        except EncodeError as exc:
            self.report_fault(exc)
            return False

    def send_now(self, value: Any) -> bool | None:
        """Send a message if it leaves at once; else (False) do nothing. None: it is a fault."""
        if self.state is not _OPEN or self._is_severed():
            return False
        try:
            return self.flow.offer_now(*self._encode(value))
        except EncodeError as exc:
            self.report_fault(exc)
            return None

    def close(self, close: Close) -> bool:
        """Close after all that is queued, and wait for the peer's answer."""
        if self.state is not State.OPEN:
            return False
        self.state = State.DRAINING
        self._own_close = Close(close.code, close.reason)
        self.flow.gate.open_permanently()
        self.incoming.discard_from_now()
        # What is queued has so long to leave, however it trickles; then so long for the answer.
        self._deadline.set(self._options.send_timeout, self._on_stuck)
        self._seal(self._own_close)
        self._transport.wake()
        return True

    def close_for(self, error: Exception) -> None:
        """Close because of an exception that reached `outgoing`, or a handler that raised."""
        if self.state is not State.OPEN:
            if not isinstance(error, ConnectionClosed):  # the end itself, come through a pipeline
                self.report_fault(error)
            return
        close = closing.for_exception(error)
        if close.code == closing.UNEXPECTED.code:
            logger.error("a handler's pipeline failed: closing with 1011", exc_info=error)
        self.close(close)

    def overflow(self, dropped: int) -> None:
        """Do as the policy says, because threads pushed more than the bound."""
        self.flow.dropped("overflow", dropped)
        if self._options.overflow == "close":
            self._on_overflow()

    # --- what the wire does (the Receiver) --------------------------------------------------

    def take(self) -> Frame | None:
        """Return the next frame to write."""
        frame = self.flow.take()
        if frame is not None and frame.kind is Opcode.CLOSE and self.state is State.DRAINING:
            self.state = State.CLOSING
            self._deadline.set(self._options.close_timeout, self.kill)
        return frame

    def on_writable(self, writable: bool) -> None:
        """The wire is full, or takes frames again."""
        if self.state is not State.CLOSED:
            self.flow.on_writable(writable)

    def on_unsendable(self) -> None:
        """TCP is lost: nothing of what waits will leave, so it holds up reading no more."""
        self.flow.send_lost = True
        self.flow.give_up()

    @property
    def on_message(self) -> Callable[[str | bytes, int], None]:
        """See `Receiver.on_message`: the way in of each message, without a stop here."""
        return self.incoming.receive

    def on_ping(self, payload: bytes) -> None:
        """A ping came: answer."""
        self.flow.outbox.pong = payload
        self._transport.wake()

    def on_pong(self, payload: bytes) -> None:
        """A pong came."""
        if self._heartbeat is not None:
            self._heartbeat.on_pong(payload)

    def on_close(self, code: int | None, reason: str) -> None:
        """The peer's close frame came: it ends the connection, or answers ours."""
        if self.state is State.CLOSED:
            return
        if code is not None and not closing.is_wire_code(code):
            self.on_violation(1002)
        elif self.state is State.CLOSING:
            self._end_as_planned()
            self._finish(linger=False)
        else:
            close = Close(1005 if code is None else code, reason, by="peer")
            self._end(close)
            # RFC 6455, section 5.5.1: the answer typically echoes the status code.
            self._seal(None if code is None else close)
            self._finish(linger=False)

    def on_violation(self, code: int) -> None:
        """The peer broke the protocol: tell it so (RFC 6455, section 7.1.7)."""
        if self.state is State.CLOSING:
            self._end_as_planned()
            self._finish(linger=True)
        elif self.state is not State.CLOSED:
            self._fail(ConnectionClosed(closing.violation(code)))

    def on_lost(self) -> None:
        """TCP ended."""
        # What the kernel has not taken the peer has not heard: such a close is as good as unsent.
        if self.state is State.CLOSING and self.flow.wire_writable:
            self._end_as_planned()
        elif self.state is not State.CLOSED:
            self._end(Close(1006, by="network"))
        self._deadline.clear()
        if not self.flow.send_lost:  # else it was done then, and nothing was queued since
            self.flow.give_up()

    def on_cancelled(self) -> None:
        """The connection is cut off from outside: an application ends, as far as we know."""
        self.shutdown()

    # --- ends -------------------------------------------------------------------------------

    def shutdown(self, within: float | None = None) -> None:
        """End because the application does, and be gone within so many seconds."""
        if self.state is not State.CLOSED:
            self._seal(self._end_as_planned())
            self._finish(linger=True, within=within)

    def kill(self) -> None:
        """End at once: a deadline has passed."""
        if self.state is not State.CLOSED:
            self._end_as_planned()
        self._abort()

    def _end_as_planned(self) -> Close:
        """End as we said we would, or else because the application does."""
        close = self._own_close or closing.GOING_AWAY
        self._end(close, caused=self._own_close is not None)
        return close

    def _on_overflow(self) -> None:
        if self.state is State.OPEN:
            self._fail(BufferOverflow(Close(1013, CLOSE_CODES[1013].reason)), clear=True)

    def _on_stuck(self) -> None:
        close = Close(1006)
        self._end(close, error=SendTimeout(close))
        self._abort()

    def _on_dead(self) -> None:
        if self.state is State.OPEN:
            self._end(Close(1006, by="network"))
            self._abort()

    def _fail(self, error: ConnectionClosed, clear: bool = False) -> None:
        """End by a verdict of ours: it is told at once, and the peer gets the close frame."""
        self._end(error.close, error=error)
        if clear:
            self.flow.dropped("closed", self.flow.outbox.clear())
        self._seal(error.close)
        self._finish(linger=True)

    def _end(
        self, close: Close, *, caused: bool = False, error: ConnectionClosed | None = None
    ) -> None:
        """Tell the verdict; `completes` has no say in an end that `outgoing` caused."""
        self.state = State.CLOSED  # first, so that what an operator flushes now is not sent
        self._deadline.clear()
        if self._heartbeat is not None:
            self._heartbeat.stop()
        clean = caused or self._options.is_clean(close)
        if not clean and error is None:
            error = ConnectionClosed(close)
        self.flow.gate.open_permanently()
        self.incoming.finish(close, None if clean else error)
        self.outgoing.stop()
        self.flow.close(close)
        self.closed.emit(close)
        self.closed.end()
        self.errors.end()
        self._dispatcher.post(self._dispose_all)

    def _dispose_all(self) -> None:
        disposables, self._disposables = self._disposables or [], None
        for disposable in disposables:
            try:
                disposable.dispose()
            except Exception as exc:
                self.report_fault(exc)

    def _seal(self, close: Close | None) -> None:
        """Let the close frame follow what is queued; the wire is woken by `finish`, or else."""
        payload = b"" if close is None else close.code.to_bytes(2, "big") + close.reason.encode()
        self.flow.outbox.seal(Frame(Opcode.CLOSE, payload))

    def _finish(self, linger: bool, within: float | None = None) -> None:
        if not self._transport.finish(linger):
            seconds = self._options.close_timeout if within is None else within
            self._deadline.set(seconds, self._abort)

    def _abort(self) -> None:
        self._deadline.clear()
        self.flow.give_up()
        self._transport.abort()

    def _send_ping(self, payload: bytes) -> None:
        if not self._is_severed():
            self.flow.outbox.ping = payload
            self._transport.wake()

    def _is_severed(self) -> bool:
        """Whether nothing can be sent any more; a loss during a pause is told by that."""
        if self.flow.send_lost and self.flow.gate.held:
            self.on_lost()  # else what came before the loss is being delivered, and tells it
        return self.flow.send_lost
