"""A transport without a network, for a session in virtual time."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any, NamedTuple

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.broadcast import Wire
from rxws._core.errors import RxwsError
from rxws._core.frames import Frame, Opcode
from rxws._core.schedulers.timers import call_later
from rxws._session.transport import Delivery, Receiver

__all__ = ["Call", "FakeTransport", "NeedsEventLoop", "Sent", "needs_event_loop"]


class NeedsEventLoop(RxwsError):
    """A handler needs an event loop, and virtual time has none.

    Test it with `rxws.testing.pair` or on a server.
    """


def needs_event_loop(what: object) -> NeedsEventLoop:
    """Create the exception for a handler or a coroutine."""
    return NeedsEventLoop(
        f"{what!r} needs an event loop, and virtual time has none: test it with "
        "rxws.testing.pair or on a server"
    )


class Sent(NamedTuple):
    """A frame that a session wrote, with its time.

    Args:
        at: Seconds since the start.
        kind: The frame's opcode.
        payload: The frame's payload, unmasked.
    """

    at: float
    kind: Opcode
    payload: bytes

    @property
    def message(self) -> str | bytes:
        """The payload: `str` for a text frame, else `bytes`."""
        return self.payload.decode() if self.kind is Opcode.TEXT else self.payload

    @property
    def code(self) -> int | None:
        """The close code of a close frame, or None if the frame has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        return self.payload[2:].decode()

    def __repr__(self) -> str:
        if self.kind is Opcode.CLOSE:
            return f"Sent({self.at:g} s, CLOSE {self.code or ''} {self.reason!r})"
        return f"Sent({self.at:g} s, {self.kind.name} {self.message!r:.80})"


class Call(NamedTuple):
    """A call that a session made on its transport, with its time."""

    at: float
    name: str


def run_without_waiting(coroutine: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine to its end, or raise `NeedsEventLoop` if it suspends."""
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise needs_event_loop(coroutine)


class FakeTransport:
    """A session's transport without a network.

    As with a socket, it never calls the session back from within a call, only in a later turn of
    the scheduler.

    Args:
        scheduler: A `Clock`, or another scheduler.
        carry: Called with every frame that the session writes; by default `sent` collects them.

    Attributes:
        sent: The frames written so far, in order.
        calls: The session's calls so far, in order: pause, resume, finish, linger, abort, spawn and
            cancel.
        reading: Whether the session accepts incoming frames.
        writable: Whether the transport accepts outgoing frames.
        buffered: Bytes that were written while the peer does not read.
        delivered: A counter of the bytes that were written and did not stay in `buffered`.
        received: A counter that grows with everything the peer sends.
        send_lost: Whether nothing more can be sent over TCP.
        over: Whether TCP has ended and everything before its end was delivered.
    """

    def __init__(
        self, scheduler: SchedulerBase, carry: Callable[[Sent], None] | None = None
    ) -> None:
        self.scheduler = scheduler
        self._began = scheduler.now
        self.sent: list[Sent] = []
        self._carry = carry or self.sent.append
        self.calls: list[Call] = []
        self.reading = True
        self.writable = True
        self.buffered = 0
        self.delivered = 0
        self.received = 0
        self.deferred = 0
        self.send_lost = False
        self.over = False
        self.wire = Wire(location=self)  # nothing runs there, so deliveries always ask the session
        self.room: int | None = None  # number of frames that the peer still reads; None for all
        self.lingering = False
        self.on_resumed: Callable[[], None] = lambda: None
        self._receiver: Receiver | None = None
        self._writing = False
        self._finishing: bool | None = None  # whether to linger; None before `finish`

    def attach(self, receiver: Receiver) -> None:
        """Connect a session, and write what it has queued."""
        self._receiver = receiver
        self.wake()

    @property
    def running(self) -> bool:
        """Whether a session is attached."""
        return self._receiver is not None

    @property
    def receiver(self) -> Receiver:
        """The attached session."""
        assert self._receiver is not None, "attach() the session first"
        return self._receiver

    def times(self, name: str) -> list[float]:
        """Return the times of the calls with this name."""
        return [call.at for call in self.calls if call.name == name]

    @property
    def time(self) -> float:
        """Seconds since the transport was created."""
        return (self.scheduler.now - self._began).total_seconds()

    def _log_call(self, name: str) -> None:
        self.calls.append(Call(self.time, name))

    def _schedule(self, callback: Callable[[], object]) -> DisposableBase:
        return call_later(self.scheduler, 0, callback)

    # --- what a session calls ---------------------------------------------------------------

    def wake(self) -> None:
        """Write the session's queued frames until none is left or the transport is full."""
        if self._writing or self._receiver is None:
            return
        self._writing = True
        while self.writable and not self.send_lost:
            frame = self._receiver.take()
            if frame is None:
                break
            self._write(frame)
        self._writing = False
        if self._finishing is not None and (self.writable or self.send_lost):
            self._end(linger=self._finishing)

    def write(self, opcode: Opcode, payload: bytes) -> bool:
        """Write a message at once; return False after TCP has ended and before `attach`."""
        if self.send_lost or self._receiver is None:
            return False
        assert self.writable
        assert not self._writing
        self._write(Frame(opcode, payload))
        return True

    def _write(self, frame: Frame) -> None:
        self._carry(Sent(self.time, *frame))
        if self.room == 0:
            self.set_writable(False, len(frame.payload))
            return
        self.delivered += len(frame.payload)
        if self.room is not None:
            self.room -= 1

    def delivery(self) -> Delivery:
        """Return how many bytes are delivered, and how many the peer has not taken."""
        return Delivery(self.delivered, self.buffered, self.buffered > 0)

    def drain(self, size: int) -> None:
        """Deliver this many of the buffered bytes; the transport stays full."""
        self.delivered += size
        self.buffered -= size

    def set_writable(self, writable: bool, buffered: int = 0) -> None:
        """Become writable, or full with this many bytes buffered."""
        if writable:
            self.delivered += self.buffered
        self.writable = writable
        self.buffered = buffered
        self.receiver.on_writable(writable)
        self.wake()

    def pause_reading(self) -> None:
        """Stop delivering frames."""
        self._log_call("pause")
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver frames again, in a later turn."""
        self._log_call("resume")
        self.reading = True
        self._schedule(lambda: self.on_resumed())

    def finish(self, linger: bool) -> bool:
        """End TCP once everything is written; with `linger`, leave the end to the peer."""
        self._log_call("linger" if linger else "finish")
        self._finishing = linger
        self.wake()
        return self.over or (self.send_lost and not linger)

    def _end(self, *, linger: bool) -> None:
        self._finishing = None
        if linger:
            self.lingering = True
        else:
            self.lose()

    def abort(self) -> None:
        """End TCP at once."""
        self._log_call("abort")
        self.lose()

    def sever(self) -> None:
        """Lose TCP for sending, and notify the session once, in a later turn."""
        if not self.send_lost:
            self.send_lost = True
            self._schedule(self.receiver.on_unsendable)

    def lose(self) -> None:
        """End TCP, and notify the session once, in a later turn."""
        self.sever()
        if not self.over:
            self.over = True
            self._schedule(self.receiver.on_lost)

    def call_soon(self, deliver: Callable[[], None]) -> DisposableBase:
        """Call back in a later turn."""
        return self._schedule(deliver)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine in a later turn; it must not suspend."""
        self._log_call("spawn")
        running = self._schedule(lambda: run_without_waiting(coroutine))

        def cancel() -> None:
            self._log_call("cancel")
            running.dispose()
            if inspect.getcoroutinestate(coroutine) != inspect.CORO_RUNNING:
                coroutine.close()

        return Disposable(cancel)

    def let_finish(self, task: Any) -> None:
        """Do nothing: a coroutine of `spawn` ends without a task."""

    @staticmethod
    def locate() -> object:
        """Return the thread."""
        return get_ident()

    def may_run_here(self) -> bool:
        """Return False: there is no event loop."""
        return False

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn."""
        self._schedule(callback)
