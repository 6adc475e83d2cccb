"""Send one value to many connections: they share its encoding, and write a burst at once.

Whoever delivers a value to many subscribers enters a `Broadcast` meanwhile. A connection that sends
the *same object*, also behind operators that pass it on, takes the encoded bytes from there, and
its transport the finished frame. So a value must not change while it is being delivered.

Whoever delivers several values in a row enters a `Burst` around them. The transports collect what
they write meanwhile, and write it at the end of the burst.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from rxws._core.frames import Opcode
from rxws._core.schedulers.loop_scheduler import running_loop
from rxws._core.streams.stream import call_each

__all__ = ["Broadcast", "Burst", "BurstWriter", "Encoding", "burst", "current"]

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
_NO_ENCODING = Encoding(None, Opcode.TEXT, b"equal to a payload perhaps, but never the same object")


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


_ENDED = object()
_IDLE = Broadcast(_NO_VALUE)

current: Broadcast = _IDLE
"""The delivery that is running, if any, on any thread."""

burst: Burst | None = None
"""The burst that is running, if any, on any thread."""
