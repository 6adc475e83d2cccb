"""The Subject that messages are pushed through, from any thread, onto the session's, in order."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from reactivex.abc import ObserverBase
from reactivex.subject import Subject

from .closing import check_sendable
from .messages import Close
from .overflow import OVERHEAD
from .streams import Dispatcher, Fault, Stream

__all__ = ["Outgoing", "Sink"]

T = TypeVar("T")

# Guards what other threads hand over. It is held for an append or a swap, so one serves all.
_HANDING_OVER = threading.Lock()


class Sink(Protocol):
    """What stands behind `outgoing`; called on the session's thread only."""

    def send(self, value: Any) -> bool:
        """A message was pushed; tell whether it is sent."""
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
    """

    is_disposed = False  # as Subject has it: pushing into a closed one counts, and never raises
    exception: Exception | None = None

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        sink: Sink,
        call_soon_threadsafe: Callable[[Callable[[], object]], None],
        bound: int,
    ) -> None:
        super().__init__(dispatcher, fault)
        self.is_stopped = False
        self._sink = sink
        self._call_soon_threadsafe = call_soon_threadsafe
        self._bound = bound
        self._thread = threading.get_ident()
        self._handed: list[tuple[Callable[..., None], tuple[Any, ...]]] = []
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
        if threading.get_ident() == self._thread:
            self._push(value)
        else:
            self._hand_over(self._push, value)

    def on_error(self, error: Exception) -> None:
        """Close with 1011, or with the code of a `ConnectionClosed`."""
        if threading.get_ident() == self._thread:
            self._fail(error)
        else:
            self._hand_over(self._fail, error)

    def on_completed(self) -> None:
        """Close with 1000 after all messages."""
        if threading.get_ident() == self._thread:
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

    def _push(self, value: T) -> None:
        # Sent first, then shown: who watches may send, too, and that comes behind.
        if isinstance(value, Close):
            if self._sink.close(value):
                self.emit(value)
            self.stop()
        elif self._sink.send(value) and self._observers:
            self.emit(value)

    def _fail(self, error: Exception) -> None:
        first = not self.is_stopped
        self._sink.close_for(error)  # who is stopped already still tells of the exception
        if first:
            self.stop(error)

    def _complete(self) -> None:
        if not self.is_stopped:
            self._sink.close(Close())
            self.stop()

    def _hand_over(self, what: Callable[..., None], *args: Any) -> None:
        cost = OVERHEAD + (len(args[0]) if args and isinstance(args[0], str | bytes) else 0)
        with _HANDING_OVER:
            idle = not self._handed
            # As on the session's thread: what finds nothing waiting is sent whatever its size.
            if not idle and what == self._push and self._handed_bytes + cost > self._bound:
                self._handed_lost += 1
                return
            self._handed_bytes += cost
            self._handed.append((what, args))
        if idle:  # one call takes all that is handed over until it runs
            self._call_soon_threadsafe(self._take_over)

    def _take_over(self) -> None:
        with _HANDING_OVER:
            handed, self._handed = self._handed, []
            lost, self._handed_lost = self._handed_lost, 0
            self._handed_bytes = 0
        for what, args in handed:
            what(*args)
        if lost:
            self._sink.overflow(lost)
