"""A wire without a network, in virtual time: the transport below a session, and the peer behind it.

`FakeTransport` is what a session writes to and is paused by; it notes every frame and every call
with its time. `Wire` plays the peer: what it sends arrives in order, as far as reading is not
paused. Both run on a `Clock`, whose turn stands for a turn of an event loop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

from clock import Clock
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws.framing import size
from rxws.messages import Frame, Kind
from rxws.transport import Receiver

__all__ = ["Call", "FakeTransport", "Sent", "Wire"]


class Sent(NamedTuple):
    """A frame that a session wrote, and when."""

    at: float
    kind: Kind
    payload: bytes

    @property
    def message(self) -> str | bytes:
        """The message that it carries."""
        return self.payload.decode() if self.kind is Kind.TEXT else self.payload

    @property
    def code(self) -> int | None:
        """The code of a close frame, None where it has none."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        return self.payload[2:].decode()


class Call(NamedTuple):
    """A call that a session made on its transport, and when."""

    at: float
    name: str


class FakeTransport:
    """A `Transport` in virtual time.

    Args:
        clock: The time. Nothing is ever called back from within a call; it comes in a later turn.

    Attributes:
        sent: Every frame that was taken, in order.
        calls: Every pause, resume, finish, linger, abort, spawn and cancel, in order.
        reading: Whether frames that come in are delivered.
        writable: Whether frames that go out are taken.
        buffered: Bytes that were taken while the peer takes none.
        received: The number of signs of life so far.
        severed: Whether TCP takes nothing more.
        over: Whether TCP has ended, and all that it brought before was delivered.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent: list[Sent] = []
        self.calls: list[Call] = []
        self.reading = True
        self.writable = True
        self.buffered = 0
        self.received = 0
        self.deferred = 0
        self.severed = False
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

    def _note(self, name: str) -> None:
        self.calls.append(Call(self.clock.time, name))

    # --- what a session calls ---------------------------------------------------------------

    def wake(self) -> None:
        """Take frames until there are none, or the peer takes no more."""
        if self._writing or self._receiver is None:
            return
        self._writing = True
        while self.writable and not self.severed:
            frame = self._receiver.take()
            if frame is None:
                break
            self._write(frame)
        self._writing = False
        if self._finishing is not None and self.writable:
            self._end(linger=self._finishing)

    def write(self, kind: Kind, payload: bytes) -> bool:
        """Take a message at once, unless TCP has ended or there is no session yet."""
        if self.severed or self._receiver is None:
            return False
        assert self.writable
        assert not self._writing
        self._write(Frame(kind, payload))
        return True

    def _write(self, frame: Frame) -> None:
        self.sent.append(Sent(self.clock.time, *frame))
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
        self.clock.schedule(lambda *_: self.on_resumed())

    def finish(self, linger: bool) -> bool:
        """End TCP when all is written, or, lingering, when the peer has ended it too."""
        self._note("linger" if linger else "finish")
        self._finishing = linger
        self.wake()
        return self.severed and not linger

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
        if not self.severed:
            self.severed = True
            self.clock.schedule(lambda *_: self.receiver.on_unsendable())

    def lose(self) -> None:
        """TCP ends; the session is told in a later turn, once."""
        self.sever()
        if not self.over:
            self.over = True
            self.clock.schedule(lambda *_: self.receiver.on_lost())

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine that never has to wait, in a later turn."""
        self._note("spawn")

        def run(*_: object) -> None:
            try:
                coroutine.send(None)
            except StopIteration:
                return
            coroutine.close()
            raise RuntimeError(
                f"{coroutine!r} waits for something that only an event loop can bring: in virtual "
                "time nothing else runs"
            )

        running = self.clock.schedule(run)

        def cancel() -> None:
            self._note("cancel")
            running.dispose()
            coroutine.close()

        return Disposable(cancel)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn."""

        def run(*_: object) -> None:
            callback()

        self.clock.schedule(run)


class Wire:
    """The peer behind a `FakeTransport`.

    Args:
        transport: The transport.
        overrun: How many frames still arrive after reading was paused: 0 for a wire that stops at
            once, 1 for one that had a frame on its way.
    """

    def __init__(self, transport: FakeTransport, overrun: int = 0) -> None:
        self._transport = transport
        self._overrun = self._grace = overrun
        self._on_its_way: deque[Callable[[], None]] = deque()
        self._said_goodbye = False
        transport.on_resumed = self._deliver

    def message(self, *messages: str | bytes) -> None:
        """Send messages."""
        for message in messages:
            self._send(partial(self._transport.receiver.on_message, message, size(message)))

    def ping(self, payload: bytes = b"") -> None:
        """Send a ping."""
        self._send(lambda: self._transport.receiver.on_ping(payload))

    def pong(self, payload: bytes = b"") -> None:
        """Send a pong."""
        self._send(lambda: self._transport.receiver.on_pong(payload))

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Send a close frame. What follows it is not read, but for the end of TCP."""
        self._send(lambda: self._part(self._transport.receiver.on_close, code, reason))

    def violation(self, code: int) -> None:
        """Send what the parser refuses with this code."""
        self._send(lambda: self._part(self._transport.receiver.on_violation, code))

    def lost(self) -> None:
        """End TCP: nothing more can be sent; what was sent before is read first, then the end."""
        self._transport.sever()
        self._on_its_way.append(self._transport.lose)
        self._deliver()

    def stop(self) -> None:
        """Take nothing more: what is written next waits, and fills the wire."""
        self._transport.room = 0

    def go(self, frames: int | None = None) -> None:
        """Take what waits, and so many frames more (all, if None)."""
        self._transport.room = frames
        if not self._transport.writable:
            self._transport.set_writable(True)

    def _part(self, tell: Callable[..., None], *args: Any) -> None:
        self._said_goodbye = True
        tell(*args)

    def _send(self, arrive: Callable[[], None]) -> None:
        def read() -> None:
            self._transport.received += 1
            if not (self._transport.over or self._transport.lingering or self._said_goodbye):
                arrive()

        self._on_its_way.append(read)
        self._deliver()

    def _deliver(self) -> None:
        while self._on_its_way:
            if self._transport.reading:
                self._grace = self._overrun
            elif self._grace:
                self._grace -= 1
            else:
                return
            self._on_its_way.popleft()()
