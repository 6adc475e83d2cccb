"""A wire without a network: what a session writes to and is paused by.

Time is a scheduler's; with a `Clock` it is virtual, and a turn of that stands for a turn of an
event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.errors import RxwsError
from rxws._core.frames import Frame, Opcode
from rxws._core.schedulers import call_later
from rxws._session.transport import Receiver

__all__ = ["Call", "FakeTransport", "NeedsEventLoop", "Sent"]


class NeedsEventLoop(RxwsError):
    """A handler waits for something that only an event loop brings; in virtual time nothing does.

    Test it with `rxws.testing.pair`, or on a server.
    """


class Sent(NamedTuple):
    """A frame that a session wrote, and when.

    Args:
        at: Seconds from the beginning.
        kind: What it carries.
        payload: The bytes.
    """

    at: float
    kind: Opcode
    payload: bytes

    @property
    def message(self) -> str | bytes:
        """The message that it carries."""
        return self.payload.decode() if self.kind is Opcode.TEXT else self.payload

    @property
    def code(self) -> int | None:
        """The code of a close frame, None where it has none."""
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
    """A call that a session made on its transport, and when."""

    at: float
    name: str


def run_without_waiting(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that never has to wait.

    Raises:
        NeedsEventLoop: It has to.
    """
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise NeedsEventLoop(
        f"{coroutine!r} waits for something that only an event loop brings, and in virtual time "
        "there is none: test it with rxws.testing.pair, or on a server"
    )


class FakeTransport:
    """A `Transport` without a network. Nothing is called back from within a call, but in a turn.

    Args:
        scheduler: The time, and the turns.
        carry: Told of every frame that is taken; without it they are kept in `sent`.

    Attributes:
        sent: Every frame that was taken, in order.
        calls: Every pause, resume, finish, linger, abort, spawn and cancel, in order.
        reading: Whether frames that come in are delivered.
        writable: Whether frames that go out are taken.
        buffered: Bytes that were taken while the peer takes none.
        received: The number of signs of life so far.
        send_lost: Whether TCP takes nothing more.
        over: Whether TCP has ended, and all that it brought before was delivered.
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
        self.received = 0
        self.deferred = 0
        self.send_lost = False
        self.over = False
        self.room: int | None = None  # frames that the peer takes yet; None for any number
        self.lingering = False
        self.on_resumed: Callable[[], None] = lambda: None
        self._receiver: Receiver | None = None
        self._writing = False
        self._finishing: bool | None = None  # and whether to linger

    def attach(self, receiver: Receiver) -> None:
        """Become the wire of a session; what it has to send until then waits."""
        self._receiver = receiver
        self.wake()

    @property
    def receiver(self) -> Receiver:
        """The session."""
        assert self._receiver is not None, "attach() the session first"
        return self._receiver

    def times(self, name: str) -> list[float]:
        """When a call of this name was made."""
        return [call.at for call in self.calls if call.name == name]

    @property
    def time(self) -> float:
        """Seconds since the beginning."""
        return (self.scheduler.now - self._began).total_seconds()

    def _note(self, name: str) -> None:
        self.calls.append(Call(self.time, name))

    def _soon(self, callback: Callable[[], object]) -> DisposableBase:
        return call_later(self.scheduler, 0, callback)

    # --- what a session calls ---------------------------------------------------------------

    def wake(self) -> None:
        """Take frames until there are none, or the peer takes no more."""
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

    def write(self, kind: Opcode, payload: bytes) -> bool:
        """Take a message at once, unless TCP has ended or there is no session yet."""
        if self.send_lost or self._receiver is None:
            return False
        assert self.writable
        assert not self._writing
        self._write(Frame(kind, payload))
        return True

    def _write(self, frame: Frame) -> None:
        self._carry(Sent(self.time, *frame))
        if self.room is None:
            return
        if self.room:
            self.room -= 1
        else:
            self.set_writable(False, len(frame.payload))

    def set_writable(self, writable: bool, buffered: int = 0) -> None:
        """Fill up with so many bytes, or let them go and take more."""
        self.writable = writable
        self.buffered = buffered
        self.receiver.on_writable(writable)
        self.wake()

    def pause_reading(self) -> None:
        """Deliver no more frames."""
        self._note("pause")
        self.reading = False

    def resume_reading(self) -> None:
        """Deliver frames again, in a later turn."""
        self._note("resume")
        self.reading = True
        self._soon(lambda: self.on_resumed())

    def finish(self, linger: bool) -> bool:
        """End TCP when all is written, or, lingering, when the peer has ended it too."""
        self._note("linger" if linger else "finish")
        self._finishing = linger
        self.wake()
        return self.send_lost and not linger

    def _end(self, *, linger: bool) -> None:
        self._finishing = None
        if linger:
            self.lingering = True
        else:
            self.lose()

    def abort(self) -> None:
        """End TCP."""
        self._note("abort")
        self.lose()

    def sever(self) -> None:
        """Take nothing more; the session is told in a later turn, once."""
        if not self.send_lost:
            self.send_lost = True
            self._soon(self.receiver.on_unsendable)

    def lose(self) -> None:
        """TCP ends; the session is told in a later turn, once."""
        self.sever()
        if not self.over:
            self.over = True
            self._soon(self.receiver.on_lost)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine that never has to wait, in a later turn."""
        self._note("spawn")
        running = self._soon(lambda: run_without_waiting(coroutine))

        def cancel() -> None:
            self._note("cancel")
            running.dispose()
            coroutine.close()

        return Disposable(cancel)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn."""
        self._soon(callback)
