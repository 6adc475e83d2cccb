"""The messages that were received and cannot be delivered yet."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from reactivex.abc import DisposableBase

from rxws.overflow import OVERHEAD

__all__ = ["ReadAhead"]


class ReadAhead:
    """Messages between the parser and `incoming`, and the end of the connection behind them.

    It exists only while something waits. Its size counts like that of the send buffer: each message
    counts its payload and 128 bytes.

    Args:
        limit: The size in bytes at which reading must pause. A first message always fits.
    """

    __slots__ = (
        "_limit",
        "_messages",
        "_size",
        "end",
        "flush_timer",
        "hold_timer",
        "on_delivered",
        "terminal",
        "warned",
    )

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._messages: deque[tuple[str | bytes, int]] = deque()
        self._size = 0
        self.end: Callable[[], None] | None = None  # ends the connection, after the messages
        # Once the connection has ended: the error of `incoming`, and a callback for its end.
        self.terminal: tuple[Exception | None] | None = None
        self.on_delivered: Callable[[], None] | None = None
        self.flush_timer: DisposableBase | None = None
        self.hold_timer: DisposableBase | None = None
        self.warned = False  # whether the wait for a subscriber was logged

    @property
    def count(self) -> int:
        """The number of messages; there may be none if only an end waits."""
        return len(self._messages)

    @property
    def full(self) -> bool:
        """Whether reading must pause."""
        return self._size >= self._limit

    @property
    def half_empty(self) -> bool:
        """Whether reading may resume."""
        return self._size <= self._limit // 2

    def put(self, data: str | bytes, size: int) -> None:
        """Append a message of `size` bytes."""
        size += OVERHEAD
        self._messages.append((data, size))
        self._size += size

    def put_first(self, data: str | bytes, size: int) -> None:
        """Put a message of `size` bytes back in front of all others."""
        size += OVERHEAD
        self._messages.appendleft((data, size))
        self._size += size

    def pop(self) -> str | bytes:
        """Remove and return the oldest message."""
        data, size = self._messages.popleft()
        self._size -= size
        return data

    def clear(self) -> int:
        """Remove all messages, and return how many there were."""
        count = len(self._messages)
        self._messages.clear()
        self._size = 0
        return count

    def stop_timers(self) -> None:
        """Stop both timers."""
        self.stop_hold_timer()
        if self.flush_timer is not None:
            self.flush_timer.dispose()
            self.flush_timer = None

    def stop_hold_timer(self) -> None:
        """Stop the timer of `hold_timeout`."""
        if self.hold_timer is not None:
            self.hold_timer.dispose()
            self.hold_timer = None
