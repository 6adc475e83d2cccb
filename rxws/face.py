"""The streams of one connection that its user sees: made, told of faults, and ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from reactivex.abc import DisposableBase, SchedulerBase

from .connection import Connection
from .errors import ConnectionClosed
from .flow import FlowControl
from .inbound import Inbound
from .messages import Close, Handshake
from .options import Options
from .outgoing import Outgoing, Sink
from .scheduling import ConnectionScheduler
from .streams import Dispatcher, Fault, Replay, Stream
from .transport import Transport

__all__ = ["Face"]

In = TypeVar("In")
Out = TypeVar("Out")


class Face(Generic[In, Out]):
    """The user's side of a session.

    Args:
        transport: The wire.
        scheduler: The time.
        options: The options.
        handshake: What was agreed before the first frame.
        sink: Takes what is pushed through `outgoing`.
        on_unobserved: Told of a fault that nobody observes.
        on_overflow: Called when `max_buffer` is hit.
        on_stuck: Called when `send_timeout` is hit.
    """

    __slots__ = (
        "_dispatcher",
        "_held",
        "_on_unobserved",
        "closed",
        "connection",
        "errors",
        "flow",
        "incoming",
        "outgoing",
        "scheduler",
    )

    def __init__(
        self,
        transport: Transport,
        scheduler: SchedulerBase,
        options: Options,
        handshake: Handshake,
        sink: Sink,
        on_unobserved: Fault,
        on_overflow: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        dispatcher = self._dispatcher = Dispatcher()
        fault = self.fault
        self._on_unobserved = on_unobserved
        self._held: list[DisposableBase] | None = []
        self.scheduler = ConnectionScheduler(scheduler, fault)
        self.flow = FlowControl(
            transport,
            scheduler,
            options,
            dispatcher,
            fault,
            on_overflow,
            on_stuck,
        )
        self.incoming: Inbound[In] = Inbound(dispatcher, fault, options, self.flow, scheduler)
        self.flow.on_released = self.incoming.flush
        self.outgoing: Outgoing[Out | Close] = Outgoing(
            dispatcher,
            fault,
            sink,
            transport.call_soon_threadsafe,
            options.max_buffer,
            options.overflow,
        )
        # Who raises while told of a fault cannot be told of that: nobody observes it.
        self.errors: Stream[Exception] = Stream(dispatcher, on_unobserved)
        self.closed: Replay[Close] = Replay(dispatcher, fault)
        self.connection: Connection[In, Out] = Connection(
            self.incoming,
            self.outgoing,
            self.errors,
            self.closed,
            self.flow,
            handshake,
            self.scheduler,
        )

    def fault(self, error: Exception) -> None:
        """Tell of a fault that is not the end; it may be the end where nobody listens."""
        if self.errors.observed:
            self._dispatcher.post(self._tell_fault, error)
        else:
            self.errors.emit(error)  # for who only watches
            self._on_unobserved(error)

    def _tell_fault(self, error: Exception) -> None:
        if self.errors.observed:
            self.errors.tell(error)
        else:  # the connection has ended meanwhile
            self._on_unobserved(error)

    def hold(self, disposable: DisposableBase) -> None:
        """Dispose something at the end; at once if that is over."""
        if self._held is None:
            disposable.dispose()
        else:
            self._held.append(disposable)

    def end(self, close: Close, error: ConnectionClosed | None) -> None:
        """Tell the verdict: one terminal notification of `incoming`, one `Close` of `closed`."""
        self.flow.gate.let_all_in()
        self.incoming.finish(close, error)
        self.outgoing.stop()
        self.flow.close(close)
        self.closed.emit(close)
        self.closed.end()
        self.errors.end()
        self._dispatcher.post(self._let_go)

    def _let_go(self) -> None:
        held, self._held = self._held or [], None
        for disposable in held:
            try:
                disposable.dispose()
            except Exception as exc:
                self.fault(exc)
