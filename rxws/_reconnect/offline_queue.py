"""The queue of a client without a connection: bounded, with a time to live, filled from any thread.

It knows no connection: who empties it says when something may leave, and what became of that.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Generic, Literal, TypeAlias, get_args

from rxws._core.connection import Close, Out
from rxws._session.encoding import conflation_key
from rxws.overflow import OVERHEAD, Latest

__all__ = [
    "Dropped",
    "Ending",
    "OfflineQueue",
    "QueueOverflow",
    "QueuedMessage",
    "Reason",
    "SubjectStats",
]

Reason = Literal["expired", "overflow", "conflated", "closed", "fault"]
"""Why a message was dropped.

`"expired"`: it waited for longer than `ttl`. `"overflow"`: the queue was full. `"conflated"`: a
newer one took its place. `"closed"`: it was pushed after the end. `"fault"`: the codec could not
encode it, which `errors` tells with the reason.
"""

_Named = Literal["drop_oldest", "drop_newest"]

QueueOverflow: TypeAlias = _Named | Latest
"""What happens to a message that would lift the queue above its bound; see `Overflow`."""

Ending = Close | Exception
"""What follows the messages: a `Close`, or an error as what `on_error` brought."""

# Drops that are kept to be told of, until the one who empties the queue comes to it.
_UNTOLD = 1000


@dataclass(frozen=True, slots=True)
class Dropped(Generic[Out]):
    """A message that will never be sent.

    Args:
        value: The message, as it was pushed.
        reason: Why: `"expired"`, `"overflow"`, `"conflated"`, `"closed"` or `"fault"`.
    """

    value: Out
    reason: Reason


@dataclass(frozen=True, slots=True)
class SubjectStats:
    """What became of the messages that were pushed into a `WebSocketSubject`.

    Args:
        sent: Messages that left for a socket.
        queued: Messages that wait.
        queued_bytes: Their payloads, in bytes.
        dropped: Messages that were dropped, by reason; see `Dropped`.
    """

    sent: int = 0
    queued: int = 0
    queued_bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])


class QueuedMessage:
    """A message that waits, and its place in the order of all."""

    __slots__ = ("key", "order", "since", "size", "value")

    def __init__(self, value: Any, size: int, key: Hashable, since: float, order: float) -> None:
        self.value = value
        self.size = size
        self.key = key
        self.since = since
        self.order = order


class OfflineQueue:
    """Messages in their order, and the end that seals them.

    Args:
        bound: Bytes that may wait, each message counting 128 more than its payload. One that finds
            nothing waiting may wait whatever its size.
        policy: What gives way above that.
        ttl: Seconds that a message may wait, None for any time.
        seconds: Tells the time.
    """

    def __init__(
        self, bound: int, policy: QueueOverflow, ttl: float | None, seconds: Callable[[], float]
    ) -> None:
        if not isinstance(bound, int) or isinstance(bound, bool):
            raise TypeError(f"queue={bound!r} is no number of bytes: use an int")
        if bound < 1:
            raise ValueError(f"queue={bound!r}: use 1 byte or more")
        if not isinstance(policy, Latest) and policy not in get_args(_Named):
            raise ValueError(
                f"queue_overflow={policy!r} is unknown: use one of {get_args(_Named)} or "
                "overflow.latest()"
            )
        if ttl is not None and (not isinstance(ttl, int | float) or isinstance(ttl, bool)):
            raise TypeError(f"ttl={ttl!r} is no number of seconds; None lets messages wait")
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl={ttl!r}: use a number of seconds above 0, or None")
        self.bytes = 0
        self.end: Ending | None = None
        self._bound = bound
        self._policy = policy
        self._ttl = ttl
        self._seconds = seconds
        self._lock = threading.Lock()
        self._order = count()
        self._waiting: deque[QueuedMessage] = deque()
        self._by_key: dict[Hashable, QueuedMessage] = {}  # filled only where the policy has keys
        self._dropped: dict[str, int] = {}
        self._untold: deque[Dropped[Any]] = deque(maxlen=_UNTOLD)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def cost(self) -> int:
        """Bytes that it takes, tiny messages not being free."""
        return self.bytes + OVERHEAD * len(self._waiting)

    @property
    def dropped(self) -> dict[str, int]:
        """How many messages were dropped, by reason."""
        with self._lock:
            return dict(self._dropped)

    @property
    def has_unreported(self) -> bool:
        """Whether `tell` has something."""
        return bool(self._untold)

    def tell(self) -> list[Dropped[Any]]:
        """Return what was dropped since this was last called; of very much only the latest."""
        with self._lock:
            told = list(self._untold)
            self._untold.clear()
            return told

    def next_order(self) -> int:
        """Return a place in the order, behind all that was given out so far."""
        return next(self._order)

    def put(self, value: Any, size: int) -> None:
        """Let a message of so many bytes wait, or do what the policy says.

        Raises:
            EncodeError: The key function of the policy failed.
        """
        # The user's: not under the lock.
        key = conflation_key(self._policy, value) if isinstance(self._policy, Latest) else None
        with self._lock:
            if self.end is not None:
                self._drop(value, "closed")
                return
            now = self._seconds()
            old = self._by_key.get(key) if isinstance(self._policy, Latest) else None
            if old is not None:
                self._drop(old.value, "conflated")
                self.bytes += size - old.size
                # In its place: a key that changes often does not wait for ever.
                old.value, old.size, old.since = value, size, now
                self._make_room(besides=old)
                return
            if self._policy == "drop_newest":
                self._drop_expired(now)  # whatever lives shall not give way to what does not
                if self._waiting and self.cost + size + OVERHEAD > self._bound:
                    self._drop(value, "overflow")
                    return
            waiting = QueuedMessage(value, size, key, now, next(self._order))
            self._waiting.append(waiting)
            self.bytes += size
            if isinstance(self._policy, Latest):
                self._by_key[key] = waiting
            self._make_room(besides=waiting)

    def seal(self, end: Ending) -> bool:
        """Let an end follow the messages, and tell whether it is the first to."""
        with self._lock:
            first = self.end is None
            if first:
                self.end = end
            return first

    def unseal(self) -> None:
        """Take messages again."""
        self.end = None

    def peek(self) -> float | None:
        """Return the place of what waits longest and has not expired."""
        with self._lock:
            self._drop_expired(self._seconds())
            return self._waiting[0].order if self._waiting else None

    def take(self) -> QueuedMessage | None:
        """Take out what waits longest and has not expired."""
        with self._lock:
            now = self._seconds()
            while self._waiting:
                waiting = self._remove_first()
                if not self._has_expired(waiting, now):
                    return waiting
                self._drop(waiting.value, "expired")
            return None

    def put_back(self, waiting: QueuedMessage) -> None:
        """Undo a `take`, unless a newer message of the same key came meanwhile."""
        with self._lock:
            if isinstance(self._policy, Latest):
                if waiting.key in self._by_key:
                    self._drop(waiting.value, "conflated")
                    return
                self._by_key[waiting.key] = waiting
            self._waiting.appendleft(waiting)
            self.bytes += waiting.size

    def drop(self, value: Any, reason: Reason) -> None:
        """Count a message that is lost, and tell of it."""
        with self._lock:
            self._drop(value, reason)

    def clear(self) -> None:
        """Drop all that waits, and the end."""
        with self._lock:
            while self._waiting:
                self._drop(self._remove_first().value, "closed")
            self.end = None

    def _remove_first(self) -> QueuedMessage:
        waiting = self._waiting.popleft()
        self.bytes -= waiting.size
        if isinstance(self._policy, Latest):
            del self._by_key[waiting.key]
        return waiting

    def _make_room(self, besides: QueuedMessage) -> None:
        while len(self._waiting) > 1 and self.cost > self._bound:
            if self._waiting[0] is besides:
                self._waiting.rotate(-1)
            self._drop(self._remove_first().value, "overflow")

    def _drop_expired(self, now: float) -> None:
        while self._waiting and self._has_expired(self._waiting[0], now):
            self._drop(self._remove_first().value, "expired")

    def _has_expired(self, waiting: QueuedMessage, now: float) -> bool:
        return self._ttl is not None and now - waiting.since > self._ttl

    def _drop(self, value: Any, reason: Reason) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + 1
        self._untold.append(Dropped(value, reason))
