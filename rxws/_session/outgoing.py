"""The Subject that messages are pushed through, from any thread, onto the session's, in order."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, NamedTuple, Protocol, TypeVar

from reactivex.abc import ObserverBase
from reactivex.subject import Subject

from rxws._core.connection import Close
from rxws._core.streams import Dispatcher, Fault, Stream
from rxws.closing import check_sendable
from rxws.overflow import OVERHEAD, REFUSING, Overflow

__all__ = ["Outgoing", "Sink"]

T = TypeVar("T")

# Guards what other threads hand over. It is held for an append or a swap, so one serves all.
_HANDING_OVER = threading.Lock()


class _Handing(NamedTuple):
    """What another thread wants done, and the bytes that it takes meanwhile."""

    do: Callable[[], None]
    cost: int


class Sink(Protocol):
    """What stands behind `outgoing`; called on the session's thread only."""

    def send(self, value: Any) -> bool:
        """A message was pushed; tell whether it is sent."""
        ...

    def send_now(self, value: Any) -> bool | None:
        """Send a message if it leaves at once; else (False) do nothing. None: it is a fault."""
        ...

    def close(self, close: Close) -> bool:
        """A `Close` was pushed, or the stream completed; tell whether that is the end."""
        ...

    def close_for(self, error: Exception) -> None:
        """The stream failed."""
        ...

    def overflow(self, dropped: int) -> None:
        """Other threads pushed more than the bound before the session came to take it."""
        ...


class Outgoing(Stream[T], Subject[T]):
    """A Subject whose observer side is the connection's way out.

    Who subscribes it sees what is sent. Its end by the user closes the connection; disposing it
    is the same as completing it. What is pushed after the end is dropped and counted.

    Args:
        dispatcher: The dispatcher of the connection.
        fault: Told of every exception that a subscriber raises.
        sink: Where it goes.
        call_soon_threadsafe: Brings other threads' pushes onto this one.
        bound: Bytes that other threads may push before the session takes them.
        policy: What gives way above that.
    """

    __slots__ = (
        "_bound",
        "_call_soon_threadsafe",
        "_handed",
        "_handed_bytes",
        "_handed_end",
        "_handed_lost",
        "_policy",
        "_sink",
        "_thread",
        "is_stopped",
    )

    is_disposed = False  # as Subject has it: pushing into a closed one counts, and never raises
    exception: Exception | None = None

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        sink: Sink,
        call_soon_threadsafe: Callable[[Callable[[], object]], None],
        bound: int,
        policy: Overflow = "close",
    ) -> None:
        super().__init__(dispatcher, fault)
        self.is_stopped = False
        self._sink = sink
        self._call_soon_threadsafe = call_soon_threadsafe
        self._bound = bound
        self._policy = policy
        self._thread = get_ident()
        self._handed: deque[_Handing] | None = None
        self._handed_end = False  # whether an end is among them
        self._handed_bytes = 0
        self._handed_lost = 0

    @property
    def observers(self) -> list[ObserverBase[T]]:  # type: ignore[override] # an attribute in Subject
        """Who is subscribed."""
        return list(self._observers)

    def on_next(self, value: T) -> None:
        """Send a message, or, with a `Close`, close with its code after all messages.

        Raises:
            ValueError: The code of the `Close` may not be sent.
        """
        if isinstance(value, Close):
            check_sendable(value)
        self.push(value)

    def push(self, value: T) -> None:
        """Do as `on_next`, but a `Close` that may not be sent is a fault: a pipeline made it."""
        if get_ident() == self._thread and not isinstance(value, Close):
            # Sent first, then shown: who watches may send, too, and that comes behind.
            if self._sink.send(value) and self._all_observers:
                self.emit(value)
        elif not isinstance(value, Close):
            size = len(value) if isinstance(value, str | bytes) else 0
            self._hand_over(lambda: self.push(value), OVERHEAD + size)
        else:
            try:
                check_sendable(value)
            except ValueError as exc:
                self._fault(exc)
            else:
                self._close(value)

    def try_send(self, value: T) -> bool | None:
        """Send a message if it leaves for the socket at once, and otherwise do nothing.

        For a queue that outlives the connection; on the session's thread only.

        Returns:
            False if it does not leave, None if it cannot be encoded, which is reported as a fault.
        """
        sent = self._sink.send_now(value)
        if sent and self._all_observers:
            self.emit(value)
        return sent

    def on_error(self, error: Exception) -> None:
        """Close with 1011, or with the code of a `ConnectionClosed`."""
        if get_ident() == self._thread:
            self._fail(error)
        else:
            self._hand_over(lambda: self._fail(error))

    def on_completed(self) -> None:
        """Close with 1000 after all messages."""
        if get_ident() == self._thread:
            self._complete()
        else:
            self._hand_over(self._complete)

    def dispose(self) -> None:
        """Complete."""
        self.on_completed()

    def stop(self, error: Exception | None = None) -> None:
        """End the observable side; what is pushed from now on only counts as dropped."""
        if not self.is_stopped:
            self.is_stopped = True
            self.exception = error
            self.end(error)

    def _close(self, close: Any) -> None:
        if get_ident() != self._thread:
            self._hand_over(lambda: self._close(close))
            return
        if self._sink.close(close):
            self.emit(close)
        self.stop()

    def _fail(self, error: Exception) -> None:
        first = not self.is_stopped
        self._sink.close_for(error)  # who is stopped already still tells of the exception
        if first:
            self.stop(error)

    def _complete(self) -> None:
        if not self.is_stopped:
            self._sink.close(Close())
            self.stop()

    def _hand_over(self, do: Callable[[], None], cost: int = 0) -> None:
        """Bring something to the session's thread; an end costs nothing, and is never dropped."""
        with _HANDING_OVER:
            idle = self._handed is None
            if self._handed is None:  # an idle connection has none: it costs 0.6 KiB
                self._handed = deque()
            # As on the session's thread: what finds nothing waiting is sent whatever its size.
            if cost and not self._make_room(self._handed, cost):
                self._handed_lost += 1
                return
            self._handed_bytes += cost
            self._handed_end = self._handed_end or not cost
            self._handed.append(_Handing(do, cost))
        if idle:  # one call takes all that is handed over until it runs
            self._call_soon_threadsafe(self._take_over)

    def _make_room(self, handed: deque[_Handing], cost: int) -> bool:
        while handed and self._handed_bytes + cost > self._bound:
            if self._policy in REFUSING or self._handed_end:  # nothing gives way to what is late
                return False
            self._handed_bytes -= handed.popleft().cost
            self._handed_lost += 1
        return True

    def _take_over(self) -> None:
        with _HANDING_OVER:
            handed, self._handed = self._handed or deque(), None
            self._handed_end = False
            lost, self._handed_lost = self._handed_lost, 0
            self._handed_bytes = 0
        for handing in handed:
            handing.do()
        if lost:
            self._sink.overflow(lost)
