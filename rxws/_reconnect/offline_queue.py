"""The bounded queue of messages that wait for a connection, filled from any thread."""

from __future__ import annotations

import copy
import math
import sys
import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal, NamedTuple, TypeAlias, get_args

from rxws._core.checks import check_count, check_seconds
from rxws._core.connection import Close, Out
from rxws._core.errors import EncodeError
from rxws._session.bounded_queue import BoundedQueue, make_queue
from rxws._session.encoding import IMMUTABLE, Encoded, conflation_key, encode, size
from rxws.codecs import Codec
from rxws.overflow import OVERHEAD, Latest

__all__ = [
    "Dropped",
    "Ending",
    "OfflineQueue",
    "QueueOverflow",
    "Snapshot",
    "SubjectStats",
    "snapshot_of",
]

Reason = Literal["expired", "overflow", "conflated", "closed", "fault"]
"""Why a message was dropped; see `Dropped`."""

_Named = Literal["drop_oldest", "drop_newest"]

QueueOverflow: TypeAlias = _Named | Latest
"""Which message is dropped when the queue is full; see `rxws.overflow`."""

Ending = Close | Exception
"""How a subject ends: with a `Close`, or with the error given to `on_error`."""

_MAX_UNREPORTED = 1000  # dropped messages that are kept for `drops`


@dataclass(frozen=True, slots=True)
class Dropped(Generic[Out]):
    """A message that will never be sent, as `WebSocketSubject.drops` emits it.

    Args:
        value: The message, as it was pushed.
        reason: Why it was dropped: it waited longer than `ttl` (`"expired"`), the queue was full
            (`"overflow"`), a newer message with the same key replaced it (`"conflated"`), it was
            pushed after the end or disposed of with the subject (`"closed"`), or it could not be
            encoded (`"fault"`, which `errors` reports too).

    Examples:
        ```python
        feed.drops.subscribe(lambda drop: print(f"{drop.reason}: {drop.value}"))
        ```
    """

    value: Out
    reason: Reason


@dataclass(frozen=True, slots=True)
class SubjectStats:
    """Counts of the messages that were pushed into a `WebSocketSubject`, over all connections.

    Args:
        sent: Messages that were written to a socket.
        queued: Messages that are waiting in the queue.
        queued_bytes: Bytes of the payloads of the queued messages.
        dropped: Messages that were dropped, by reason; see `Dropped`.

    Examples:
        ```python
        if feed.stats.queued_bytes > 500_000:
            print("falling behind:", feed.stats)
        ```
    """

    sent: int = 0
    queued: int = 0
    queued_bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)


class Snapshot(NamedTuple):
    """A message that later changes of the pushed value do not affect."""

    value: Any
    size: int  # of the payload in bytes, or an estimate if the codec cannot encode the value
    encoded: Encoded | None = None  # the frame, if it can be sent on all connections


@dataclass(slots=True, eq=False)
class _QueuedMessage:
    value: Any  # as it was pushed; the caller may have changed it since
    snapshot: Snapshot
    key: Hashable
    queued_at: float
    position: int  # in the order in which messages were pushed

    @property
    def size(self) -> int:
        return self.snapshot.size


class OfflineQueue:
    """Messages in the order they were pushed in; see `SubjectOptions` for the bounds.

    A single message is accepted whatever its size.
    """

    def __init__(
        self, bound: int, policy: QueueOverflow, ttl: float | None, seconds: Callable[[], float]
    ) -> None:
        check_count("queue", bound, "bytes")
        if not isinstance(policy, Latest) and policy not in get_args(_Named):
            raise ValueError(
                f"queue_overflow={policy!r} is unknown: use one of {get_args(_Named)} or "
                "overflow.latest()"
            )
        if ttl is not None and ttl != math.inf:
            check_seconds("ttl", ttl, "use a number above 0, or None for no limit")
        self.sent = 0  # counted by `Link`
        self.end: Ending | None = None  # follows the last message
        self._bound = bound
        self._policy = policy
        self._ttl = ttl
        self._seconds = seconds
        # Reentrant: a signal handler may push while it interrupts a push.
        self._lock = threading.RLock()
        self._positions = count()
        self._queue: BoundedQueue[_QueuedMessage] = make_queue(policy)
        self._dropped: dict[str, int] = {}
        self._unreported: deque[Dropped[Any]] = deque(maxlen=_MAX_UNREPORTED)

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def bytes(self) -> int:
        """The bytes of the payloads."""
        return self._queue.bytes

    @property
    def dropped(self) -> dict[str, int]:
        """The number of dropped messages by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def stats(self) -> SubjectStats:
        return SubjectStats(self.sent, len(self), self.bytes, self.dropped)

    def take_dropped(self) -> tuple[list[Dropped[Any]], dict[str, int]]:
        """Return at most 1000 messages dropped since the last call, and `dropped`."""
        with self._lock:
            dropped = list(self._unreported)
            self._unreported.clear()
            return dropped, self.dropped

    def next_position(self) -> int:
        """Return a position after all messages that were queued so far."""
        return next(self._positions)

    def put(self, value: Any, snapshot: Snapshot) -> None:
        """Queue a message; if the queue is full, drop one as the policy says.

        Raises:
            EncodeError: The key function of the policy failed.
        """
        # Not under the lock: the key function is the user's.
        key = conflation_key(self._policy, value) if isinstance(self._policy, Latest) else None
        with self._lock:
            if self.end is not None:
                self._drop(value, "closed")
                return
            now = self._seconds()
            queue = self._queue
            if self._policy == "drop_newest":
                self._drop_expired(now)
                if len(queue) and queue.cost + snapshot.size + OVERHEAD > self._bound:
                    self._drop(value, "overflow")
                    return
            message = _QueuedMessage(value, snapshot, key, now, next(self._positions))
            replaced = queue.put(message, key)
            if replaced is not None:
                self._drop(replaced.value, "conflated")
                message.position = replaced.position
            for dropped in queue.trim(self._bound, key):
                self._drop(dropped.value, "overflow")

    def seal(self, end: Ending) -> bool:
        """Drop messages pushed from now on; return False if there is an end already."""
        with self._lock:
            first = self.end is None
            if first:
                self.end = end
            return first

    def unseal(self) -> None:
        self.end = None

    def first_position(self) -> int | None:
        """Drop expired messages, and return the position of the first one left."""
        with self._lock:
            self._drop_expired(self._seconds())
            return self._queue.first().position if len(self._queue) else None

    def take(self) -> _QueuedMessage | None:
        """Drop expired messages, then remove and return the first one left."""
        with self._lock:
            self._drop_expired(self._seconds())
            return self._queue.pop() if len(self._queue) else None

    def put_back(self, message: _QueuedMessage) -> None:
        """Undo a `take`; drop the message if a newer one with its key was queued since."""
        with self._lock:
            if not self._queue.put_back(message, message.key):
                self._drop(message.value, "conflated")

    def drop(self, value: Any, reason: Reason) -> None:
        """Count and report a dropped message that is not in the queue."""
        with self._lock:
            self._drop(value, reason)

    def clear(self) -> None:
        """Drop all messages, and accept new ones."""
        with self._lock:
            while len(self._queue):
                self._drop(self._queue.pop().value, "closed")
            self.end = None

    def _drop_expired(self, now: float) -> None:
        if self._ttl is not None:
            while len(self._queue) and now - self._queue.first().queued_at > self._ttl:
                self._drop(self._queue.pop().value, "expired")

    def _drop(self, value: Any, reason: Reason) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        self._unreported.append(Dropped(value, reason))


def snapshot_of(codec: Codec[Any, Any], value: Any, is_used: bool) -> Snapshot:
    """Encode or copy a value that is being pushed.

    Args:
        codec: Measures the message.
        value: The message.
        is_used: Whether all connections use this codec. Otherwise the value must be copied.
    """
    if isinstance(value, str | bytes):
        return Snapshot(value, size(value))
    try:
        opcode, payload = encode(codec, value)
    except EncodeError:  # `try_send` reports it, unless the connection's own codec works
        copied = _copy(value)
        return Snapshot(copied, sys.getsizeof(copied))
    if is_used:
        return Snapshot(value, len(payload), Encoded(opcode, payload))
    return Snapshot(_copy(value), len(payload))


def _copy(value: Any) -> Any:
    if isinstance(value, IMMUTABLE):
        return value
    try:
        return bytes(value) if type(value) is memoryview else copy.deepcopy(value)
    except Exception:  # such as an object with a lock
        return value
