"""Send one value to many connections: they share its encoding, and write a burst at once.

Whoever delivers a value to many subscribers enters a `Broadcast` meanwhile. A connection that sends
the *same object*, also behind operators that pass it on, takes the encoded bytes from there, and
its transport the finished frame. So a value must not change while it is being delivered.

A connection that returns the source itself, without an operator, is a `SharedObserver` of a
`SharedStream`. While it is idle, a delivery passes the finished frame to its socket and looks at
nothing but its `Wire`.

Whoever delivers several values in a row enters a `Burst` around them. The transports collect what
they write meanwhile, and write it at the end of the burst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, OnCompleted, OnError, OnNext, SchedulerBase

from rxws._core.frames import Opcode
from rxws._core.schedulers.loop_scheduler import running_loop
from rxws._core.streams.stream import RestartableStream, call_each

__all__ = [
    "MAX_COLLECTED",
    "Broadcast",
    "Burst",
    "BurstWriter",
    "Encoding",
    "FrameTarget",
    "SharedObserver",
    "SharedSender",
    "SharedStream",
    "Wire",
    "burst",
    "current",
]

T = TypeVar("T")
R = TypeVar("R")


class Encoding:
    """A value's encoding by one codec, and the frames that transports have built of it."""

    __slots__ = ("codec", "deflated", "frame", "opcode", "payload")

    def __init__(self, codec: object, opcode: Opcode, payload: bytes) -> None:
        self.codec = codec
        self.opcode = opcode
        self.payload = payload
        self.frame: bytes | None = None
        """The frame, unmasked and uncompressed."""
        self.deflated: dict[int, bytes] = {}
        """The frames that were compressed without context takeover, by the size of the window."""


_NO_VALUE: Any = object()
_NO_ENCODING = Encoding(object(), Opcode.TEXT, b"equal to a payload perhaps, but another object")


class Broadcast:
    """The delivery of one value to many connections, as a context manager.

    Args:
        value: The value, which must not change during the delivery.
    """

    __slots__ = ("_outer", "_results", "encoding", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self.encoding = _NO_ENCODING
        """The encoding that was used last."""
        self._results: dict[int, tuple[object, Any]] = {}
        self._outer: Broadcast | None = None

    def __enter__(self) -> Broadcast:
        global current
        self._outer, current = current, self
        return self

    def __exit__(self, *_: object) -> None:
        # If another thread has delivered meanwhile, `current` may stay at a delivery that is over.
        # So nobody may find its value any more.
        global current
        current = self._outer or _IDLE
        self.value, self.encoding, self._outer = _NO_VALUE, _NO_ENCODING, None
        self._results.clear()

    def encode(
        self, codec: object, encode: Callable[[T], tuple[Opcode, bytes]], value: T
    ) -> Encoding:
        """Return the value's encoding by a codec; the first call for this codec makes it."""
        encoding = self.once(codec, lambda value: Encoding(codec, *encode(value)), value)
        self.encoding = encoding
        return encoding

    def once(self, function: object, compute: Callable[[T], R], value: T) -> R:
        """Return what a codec or a function makes of the value; the first call computes it."""
        found = self._results.get(id(function))
        if found is None:
            found = self._results[id(function)] = function, compute(value)
        result: R = found[1]
        return result


class BurstWriter(Protocol):
    """A transport that collects what it writes during a burst."""

    def end_burst(self) -> None:
        """Write what was collected; an exception must end this connection only."""
        ...


class Burst:
    """Several deliveries in a row, as a context manager. A burst within a burst is part of it."""

    __slots__ = ("_outer", "_writers", "location")

    def __init__(self) -> None:
        self.location: object = running_loop()
        self._writers: list[BurstWriter] = []
        self._outer: Burst | None = None

    def __enter__(self) -> Burst:
        global burst
        if burst is None or burst.location is not self.location:
            self._outer, burst = burst, self
        return self

    def __exit__(self, *_: object) -> None:
        global burst
        if burst is self:
            burst = self._outer
        self._outer = None
        self.end()

    def add(self, writer: BurstWriter, call_soon: Callable[[Callable[[], None]], object]) -> None:
        """Call `writer.end_burst` at the end.

        A subscriber may run a nested event loop. So the end is also scheduled with `call_soon`.
        """
        if not self._writers:
            call_soon(self.end)
        self._writers.append(writer)

    def end(self) -> None:
        """Write what was collected, and collect no more."""
        self.location = _ENDED
        writers, self._writers = self._writers, []
        call_each(lambda writer: writer.end_burst(), writers)


MAX_COLLECTED = 64 << 10
"""A connection writes what it has collected when that is more than so many bytes.

A burst, or a pipeline while a chunk is read, may send much more.
"""

_ENDED = object()
_IDLE = Broadcast(_NO_VALUE)

current: Broadcast = _IDLE
"""The delivery that is running, if any, on any thread."""

burst: Burst | None = None
"""The burst that is running, if any, on any thread."""


class FrameTarget(Protocol):
    """The part of an asyncio transport that a delivery calls."""

    def is_closing(self) -> bool: ...
    def write(self, data: bytes, /) -> None: ...


class Wire:
    """What a delivery looks at before it writes to a connection.

    It is one small object that the session and its transport share: with many connections, all
    others are not in the CPU's caches.

    Attributes:
        location: The event loop of the connection.
        ready_for: The codec whose messages may be written without asking the session; None if it
            must be asked.
        target: Where frames go that are neither masked nor compressed; None if the connection
            needs other frames.
        chunks: Frames that were written, and that `target` must get first.
        collected: Their payload bytes, and 1 for an empty message.
        shared_messages: The messages that deliveries have written.
        shared_bytes: The bytes of their payloads.
    """

    __slots__ = (
        "chunks",
        "collected",
        "location",
        "ready_for",
        "shared_bytes",
        "shared_messages",
        "target",
    )

    def __init__(self, location: object) -> None:
        self.location = location
        self.ready_for: object = None
        self.target: FrameTarget | None = None
        self.chunks: list[bytes] = []
        self.collected = 0
        self.shared_messages = self.shared_bytes = 0


class SharedSender(Protocol):
    """The observer side of a connection; see `rxws._session.outgoing.Outgoing`."""

    def push(self, value: Any) -> None: ...
    def on_error(self, error: Exception) -> None: ...
    def on_completed(self) -> None: ...


class SharedObserver(ObserverBase[Any]):
    """Sends what it observes on a connection, whose wire is known to a `SharedStream`.

    Args:
        outgoing: Sends a value in every state of the connection.
        wire: The wire of the connection.
        write: See `Transport.write`.
        on_interrupt: Ends the connection, because writing has raised.
    """

    __slots__ = ("on_interrupt", "outgoing", "wire", "write")

    def __init__(
        self,
        outgoing: SharedSender,
        wire: Wire,
        write: Callable[[Opcode, bytes], bool],
        on_interrupt: Callable[[BaseException], None],
    ) -> None:
        self.outgoing = outgoing
        self.wire = wire
        self.write = write
        self.on_interrupt = on_interrupt

    def on_next(self, value: Any) -> None:
        self.outgoing.push(value)

    def on_error(self, error: Exception) -> None:
        self.outgoing.on_error(error)

    def on_completed(self) -> None:
        self.outgoing.on_completed()


class SharedStream(RestartableStream[T]):
    """A stream whose values many connections send."""

    def subscribe(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """See `Stream.subscribe`."""
        if isinstance(on_next, SharedObserver) and not self._ended:
            return self._subscribe_core(on_next, scheduler)
        return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)

    def deliver(self, value: T) -> None:
        """See `Stream.deliver`; for a connection that is idle, call its socket at once."""
        delivery = current if current.value is value else _IDLE
        location, in_burst = running_loop(), burst is not None
        interrupt: BaseException | None = None
        for observer in self._all_observers:
            try:
                if type(observer) is SharedObserver:
                    wire, encoding = observer.wire, delivery.encoding
                    if wire.ready_for is encoding.codec and wire.location is location:
                        target, frame = wire.target, encoding.frame
                        collected, size = wire.collected, len(encoding.payload)
                        written = True
                        try:
                            if (
                                target is None
                                or frame is None
                                # The writer writes what it has collected, or joins the burst.
                                or (collected + size > MAX_COLLECTED if collected else in_burst)
                                or target.is_closing()
                            ):
                                written = observer.write(encoding.opcode, encoding.payload)
                            elif collected:
                                wire.chunks.append(frame)
                                wire.collected = collected + size
                            else:
                                target.write(frame)
                        except BaseException as exc:
                            observer.on_interrupt(exc)
                            raise
                        if written:
                            wire.shared_messages += 1
                            wire.shared_bytes += size
                            continue
                observer.on_next(value)
            except Exception as exc:
                self._on_fault(exc)
            except BaseException as exc:  # such as a KeyboardInterrupt: the others get the value
                interrupt = interrupt or exc
        if interrupt is not None:
            raise interrupt
