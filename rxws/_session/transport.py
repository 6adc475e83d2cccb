"""The interface between a session and the wire: which methods each may call on the other.

A session knows no socket, event loop or aiohttp. It calls a `Transport`, and the transport calls it
as a `Receiver`. All calls happen on one thread, except `call_soon_threadsafe`.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, Protocol

from reactivex.abc import DisposableBase

from rxws._core.broadcast import Wire
from rxws._core.frames import Frame, Opcode

__all__ = ["Delivery", "Receiver", "Transport"]


class Delivery(NamedTuple):
    """How much of the data that a transport has taken is delivered to the peer's kernel.

    Args:
        delivered: A counter of delivered bytes; only differences have a meaning.
        pending: The bytes that are not delivered yet.
        blocked: Whether some of them wait on this side: the peer or the network is too slow.
    """

    delivered: int
    pending: int
    blocked: bool


class Transport(Protocol):
    """The wire, as a session sees it."""

    __slots__ = ()

    @property
    def wire(self) -> Wire:
        """What deliveries to many connections look at."""
        ...

    @property
    def running(self) -> bool:
        """Whether the transport takes frames from a session yet."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that the transport has taken from the session and the kernel has not taken yet."""
        ...

    @property
    def received(self) -> int:
        """A counter that grows with any received data, even a part of a frame: a sign of life."""
        ...

    @property
    def deferred(self) -> int:
        """A counter that grows while received frames wait because the loop has other work."""
        ...

    def delivery(self) -> Delivery:
        """Return how much is delivered. It may cost system calls: don't ask for each message."""
        ...

    def write(self, opcode: Opcode, payload: bytes, /) -> bool:
        """Write a message now. Call it only while the wire is writable and no frame is queued.

        Returns:
            False if nothing is written: the connection does not run yet, or TCP is lost.
        """
        ...

    def wake(self) -> None:
        """Call `Receiver.take` until it returns None or the wire is full."""
        ...

    def pause_reading(self) -> None:
        """Stop delivering frames and the end of TCP; the frame being delivered is completed."""
        ...

    def resume_reading(self) -> None:
        """Deliver frames again, but not from within this call."""
        ...

    def finish(self, linger: bool) -> bool:
        """Write all queued frames, then end TCP.

        Args:
            linger: True half-closes TCP, then reads and discards data until the peer ends TCP,
                too. False closes TCP when all is written: both close frames were exchanged, and no
                data can follow.

        Returns:
            Whether there is nothing left to wait for.
        """
        ...

    def abort(self) -> None:
        """End TCP now and discard unsent data."""
        ...

    def call_soon(self, deliver: Callable[[], None]) -> DisposableBase:
        """Call back in the next turn to deliver messages that waited; disposing prevents that.

        A subscriber that raises a `BaseException` ends the connection, as when a frame is read.
        """
        ...

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine; disposing cancels it, unless `let_finish` was called for its task."""
        ...

    def let_finish(self, task: Any) -> None:
        """Wait for a task at the end as for those of `spawn`, but do not cancel it."""
        ...

    @staticmethod
    def locate() -> object:
        """Return the running event loop, or the thread for a transport without an event loop.

        A session compares it with the value from its creation: if equal, calls may be direct.
        """
        ...

    def may_run_here(self) -> bool:
        """See `rxws._core.schedulers.loop_scheduler.may_run_here`; False without an event loop."""
        ...

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back on the session's thread, from any thread; do nothing if the loop is closed."""
        ...


class Receiver(Protocol):
    """A session, as the wire sees it."""

    def take(self) -> Frame | None:
        """Return the next frame to write, or None. Nothing follows a close frame."""
        ...

    def on_writable(self, writable: bool) -> None:
        """The wire is full (False), or ready for frames again (True)."""
        ...

    def on_unsendable(self) -> None:
        """TCP is lost for sending; data received before may still be delivered."""
        ...

    @property
    def on_message(self) -> Callable[[str | bytes, int], None]:
        """The callback for a received message and its size in bytes; looked up once."""
        ...

    def on_ping(self, payload: bytes) -> None:
        """A ping was received."""
        ...

    def on_pong(self, payload: bytes) -> None:
        """A pong was received."""
        ...

    def on_close(self, code: int | None, reason: str) -> None:
        """A close frame was received; the code is None if the frame has none."""
        ...

    def on_violation(self, code: int) -> None:
        """The peer broke the protocol; the close code is 1002, 1007 or 1009."""
        ...

    def on_cancelled(self) -> None:
        """The task that runs the connection was cancelled."""
        ...

    def on_lost(self) -> None:
        """TCP has ended."""
        ...

    @property
    def end_deferred(self) -> bool:
        """Whether the reported end waits behind messages; the receiver then ends TCP itself."""
        ...

    @property
    def over(self) -> bool:
        """Whether all streams have ended and everything of the handler is disposed."""
        ...

    def when_over(self, callback: Callable[[], None]) -> None:
        """Call back once it is over, at once if it already is."""
        ...

    @property
    def cleanup_timeout(self) -> float:
        """Seconds for which the transport waits for cancelled tasks after the end."""
        ...

    def on_unfinished(self, tasks: Sequence[object]) -> None:
        """These tasks have not ended in time; the transport no longer waits for them."""
        ...

    def on_released(self) -> None:
        """The transport has released the receiver, and calls it no more."""
        ...
