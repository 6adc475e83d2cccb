"""The Subject that sends: it passes messages to the session in order, from any thread."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import Disposable
from reactivex.subject import Subject

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed, EncodeError
from rxws._core.frames import Opcode
from rxws._core.hints import CONNECTION, with_hints
from rxws._core.streams.stream import Dispatcher, Fault, Stream
from rxws.closing import check_sendable
from rxws.overflow import OVERHEAD, REFUSING, Overflow

from .encoding import IMMUTABLE, Encoded, frame_if_different, is_unicode, size
from .transport import Transport

__all__ = ["Outgoing", "Sink"]

T = TypeVar("T")

_NORMAL = Close()

# Guards the calls from other threads, in all connections: it is held for an append or a swap only.
# It is reentrant for the same reason as the lock of `rxws._core.streams.stream`.
_LOCK = threading.RLock()


class _ThreadCalls:
    """Calls from other threads that the session's thread has yet to run."""

    __slots__ = ("bytes", "calls", "dropped", "has_end")

    def __init__(self) -> None:
        self.calls: deque[tuple[Callable[[], None], int]] = deque()  # with the bytes of each
        self.bytes = 0
        self.dropped = 0
        self.has_end = False  # whether one of them ends the stream

    def make_room(self, cost: int, bound: int, policy: Overflow) -> bool:
        """Drop the oldest messages if the policy allows; a lone message always fits."""
        while self.calls and self.bytes + cost > bound:
            if policy in REFUSING or self.has_end:  # a message after the end is too late
                return False
            self.bytes -= self.calls.popleft()[1]
            self.dropped += 1
        return True


class Sink(Protocol):
    """Where `outgoing` sends; called on the session's thread only, but for `encode`."""

    def encode(self, value: Any) -> Encoded:
        """Encode a message that is to be sent later, on any thread.

        Raises:
            EncodeError: The message cannot be encoded.
        """
        ...

    def send_encoded(self, encoded: Encoded | EncodeError) -> bool:
        """Do as `send` with what `encode` has returned or raised."""
        ...

    def send(self, value: Any) -> bool:
        """Send or queue a message; return whether the connection takes it."""
        ...

    def try_send(self, value: Any, encoded: Encoded | None = None) -> bool | None:
        """Send a message if the wire takes it now; `encoded` saves encoding it.

        Returns:
            False if it does not; None if the message cannot be encoded, which is reported.
        """
        ...

    def close(self, close: Close) -> bool:
        """Close after all queued messages; return False if the connection is closing already."""
        ...

    def close_with_error(self, error: Exception) -> bool:
        """Do as `close` because of an exception: `outgoing` failed, or a handler raised."""
        ...

    def on_interrupt(self, error: BaseException) -> None:
        """A codec raised an exception that is no fault; see `DispatcherOwner`."""
        ...

    def on_thread_overflow(self, dropped: int) -> None:
        """Other threads pushed messages beyond the bound, and some were dropped."""
        ...


class _Copied(Encoded):
    """A frame with a copy of its value, made when it was encoded."""

    value: Any


class _RecordingSink:
    """A sink that keeps the latest frame and its value as it was then, for recordings."""

    def __init__(self, sink: Sink, copy: Callable[[Any], Any]) -> None:
        self.sink = sink
        self.copy = copy
        self.copied: _Copied | None = None
        self.frame: str | bytes | None = None
        self.on_thread_overflow = sink.on_thread_overflow
        self.close_with_error = sink.close_with_error
        self.on_interrupt = sink.on_interrupt

    def encode(self, value: Any) -> Encoded:
        copied = _Copied(*self.sink.encode(value))
        copied.value = self.copy(value)
        return copied

    def send_encoded(self, encoded: Encoded | EncodeError) -> bool:
        self._keep(encoded)
        return self.sink.send_encoded(encoded)

    def send(self, value: Any) -> bool:
        encoded: Encoded | EncodeError
        try:
            encoded = self.sink.encode(value)
        except EncodeError as exc:
            encoded = exc
        except BaseException as exc:
            self.on_interrupt(exc)
            raise
        self._keep(encoded)
        return self.sink.send_encoded(encoded)

    def try_send(self, value: Any, encoded: Encoded | None = None) -> bool | None:
        if encoded is None:
            try:
                encoded = self.sink.encode(value)
            except EncodeError:
                return self.sink.try_send(value)  # reports it
        self._keep(encoded)
        return self.sink.try_send(value, encoded)

    def close(self, close: Close) -> bool:
        self.copied = self.frame = None
        return self.sink.close(close)

    def _keep(self, encoded: Encoded | EncodeError) -> None:
        self.frame = None
        if isinstance(encoded, Encoded):
            payload = encoded.payload
            self.frame = payload.decode() if encoded.opcode is Opcode.TEXT else payload
        self.copied = encoded if isinstance(encoded, _Copied) else None


@with_hints(CONNECTION)
class Outgoing(Stream[T], Subject[T]):
    """A Subject whose observer side sends messages, and whose observable side emits sent messages.

    Completing, failing or disposing it closes the connection. Messages pushed after that are
    dropped and counted.

    Args:
        dispatcher: The dispatcher of the connection.
        fault: Called with each exception that a subscriber raises.
        sink: Where messages go.
        transport: Calls back on the session's thread, from any thread.
        bound: Bytes that other threads may push before the session's thread runs.
        policy: The overflow policy for these bytes.
    """

    __slots__ = (
        "_bound",
        "_locate",
        "_location",
        "_policy",
        "_sink",
        "_thread_calls",
        "_transport",
        "is_stopped",
    )

    is_disposed = False  # for Subject: messages pushed after the end are counted and never raise
    exception: Exception | None = None
    # In __dict__, as few connections are recorded.
    _on_sent: tuple[Callable[[Any, str | bytes | None], None], ...] = ()

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        sink: Sink,
        transport: Transport,
        bound: int,
        policy: Overflow = "close",
    ) -> None:
        super().__init__(dispatcher, fault)
        self.is_stopped = False
        self._sink = sink
        self._transport = transport
        self._bound = bound
        self._policy: Overflow = policy
        self._locate = transport.locate
        self._location = transport.locate()
        self._thread_calls: _ThreadCalls | None = None  # None while there are none

    @property
    def observers(self) -> list[ObserverBase[T]]:  # type: ignore[override] # an attribute in Subject
        """The subscribers."""
        return list(self._observers)

    def watch_sent(
        self, on_sent: Callable[[Any, str | bytes | None], None], copy: Callable[[Any], Any]
    ) -> DisposableBase:
        """Call back when a message is sent or queued, before it is emitted and may change.

        Args:
            on_sent: Called with the value and its frame, or None if the value is the frame.
            copy: Copies a value that another thread has pushed, and may change until it is sent.
        """
        if not isinstance(self._sink, _RecordingSink):
            self._sink = _RecordingSink(self._sink, copy)

        def call(value: Any, frame: str | bytes | None) -> None:
            on_sent(value, frame)

        def stop() -> None:
            self._on_sent = tuple(each for each in self._on_sent if each is not call)
            if not self._on_sent and isinstance(self._sink, _RecordingSink):
                self._sink = self._sink.sink

        self._on_sent = (*self._on_sent, call)
        return Disposable(stop)

    def watch(self, observer: ObserverBase[T]) -> DisposableBase:
        subscription = super().watch(observer)
        self._transport.wire.ready_for = None
        return subscription

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        self._transport.wire.ready_for = None

    def emit(self, value: T) -> None:
        """See `Stream.emit`."""
        if self._on_sent and isinstance(self._sink, _RecordingSink):
            sent: Any = value if self._sink.copied is None else self._sink.copied.value
            for on_sent in self._on_sent:
                on_sent(sent, frame_if_different(sent, self._sink.frame))
        super().emit(value)

    def on_next(self, value: T) -> None:
        """Send a message; a `Close` closes with its code after all messages.

        Raises:
            ValueError: The code of the `Close` must not be sent.
        """
        if isinstance(value, Close):
            check_sendable(value)
        self.push(value)

    def push(self, value: T) -> None:
        """Do as `on_next`, but report an illegal `Close` to `errors` instead of raising."""
        if self._locate() == self._location and not isinstance(value, Close):
            # Send first, then emit: a subscriber may send, and its message comes second.
            if self._sink.send(value) and self._all_observers:
                self.emit(value)
        elif not isinstance(value, Close):
            self._push_from_thread(value)
        else:
            self.end_on_session_thread(self._close, value)

    def _push_from_thread(self, value: T) -> None:
        """Push on the session's thread; the caller may change the value meanwhile."""
        if isinstance(value, bytes) or (isinstance(value, str) and is_unicode(value)):
            self._call_on_session_thread(lambda: self._send(value), OVERHEAD + size(value))
            return
        encoded: Encoded | EncodeError
        try:
            encoded = self._sink.encode(value)
        except EncodeError as exc:
            encoded = exc
        cost = len(encoded.payload) if isinstance(encoded, Encoded) else 0

        def push() -> None:
            if self._sink.send_encoded(encoded) and self._all_observers:
                self.emit(value)

        self._call_on_session_thread(push, OVERHEAD + cost)

    def encode(self, value: T) -> Encoded | None:
        """Encode a message that is to be sent later if it may change until then.

        Returns:
            None if it cannot change or cannot be encoded, which is reported when it is sent.
        """
        if isinstance(value, IMMUTABLE):
            return None
        try:
            return self._sink.encode(value)
        except EncodeError:
            return None

    def _send(self, value: T) -> None:
        if self._sink.send(value) and self._all_observers:
            self.emit(value)

    def try_send(self, value: T, encoded: Encoded | None = None) -> bool | None:
        """Send a message if the wire takes it now, on the session's thread.

        It serves callers that keep their own queue, such as a `WebSocketSubject`.

        Returns:
            False if the wire does not take it; None if it cannot be encoded, which is reported.
        """
        sent = self._sink.try_send(value, encoded)
        if sent and self._all_observers:
            self.emit(value)
        return sent

    def on_error(self, error: Exception) -> None:
        """Close with 1011, or with the code of a `ConnectionClosed`."""
        self.end_on_session_thread(self._fail, error)

    def on_completed(self) -> None:
        """Close with 1000 after all messages."""
        self.end_on_session_thread(self._complete)

    def dispose(self) -> None:
        """Complete."""
        self.on_completed()

    def stop(self, error: Exception | None = None) -> None:
        """End the observable side; messages pushed from now on are dropped and counted."""
        if not self.is_stopped:
            self.is_stopped = True
            self.exception = error
            self.end(error)

    def drop_traceback(self) -> None:
        super().drop_traceback()
        self.exception = self._error

    def end_on_session_thread(self, end: Callable[..., None], *args: Any) -> None:
        """Call `end` on the session's thread: now, or after all calls from other threads."""
        if self._locate() == self._location:
            end(*args)
        else:
            self._call_on_session_thread(partial(end, *args))

    def _close(self, close: Any) -> None:
        try:
            check_sendable(close)
        except ValueError as exc:
            self._fault(exc)
            return
        if self._sink.close(close):
            self.emit(close)
        self.stop()

    def _fail(self, error: Exception) -> None:
        stopped = self.is_stopped
        # A `ConnectionClosed` is the end itself, which a pipeline passed on.
        if not self._sink.close_with_error(error) and not isinstance(error, ConnectionClosed):
            self._fault(error)
        if not stopped:
            self.stop(error)

    def _complete(self) -> None:
        if not self.is_stopped:
            self._sink.close(_NORMAL)
            self.stop()

    def _call_on_session_thread(self, run: Callable[[], None], cost: int = 0) -> None:
        """Call on the session's thread; `cost` is 0 for an end, which is never dropped."""
        owner = self._dispatcher.owner
        if owner is not None and owner.may_run_here() and self._thread_calls is None:
            run()
            return
        new = _ThreadCalls()
        with _LOCK:
            idle = self._thread_calls is None
            if idle:
                self._thread_calls = new
            waiting = self._thread_calls or new
            if cost and not waiting.make_room(cost, self._bound, self._policy):
                waiting.dropped += 1
            else:
                waiting.bytes += cost
                waiting.has_end = waiting.has_end or not cost
                waiting.calls.append((run, cost))
        if idle:  # one callback runs all calls that are made until then
            self._transport.call_soon_threadsafe(self._run_thread_calls)

    def _run_thread_calls(self) -> None:
        with _LOCK:
            waiting, self._thread_calls = self._thread_calls, None
        assert waiting is not None
        self._run_calls(waiting)

    def _run_calls(self, waiting: _ThreadCalls) -> None:
        try:
            while waiting.calls:
                run, _ = waiting.calls.popleft()
                run()
        except BaseException:  # has ended the connection: the other messages are only counted
            self._run_calls(waiting)
            raise
        if waiting.dropped:
            self._sink.on_thread_overflow(waiting.dropped)
