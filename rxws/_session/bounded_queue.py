"""Queues that count the bytes of their messages: in order of arrival, or one message per key."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Any, Generic, TypeVar

from rxws._core.errors import EncodeError
from rxws._core.log import text_of
from rxws.overflow import OVERHEAD, Latest

__all__ = ["BoundedQueue", "KeyedQueue", "make_queue"]

T = TypeVar("T")


class BoundedQueue(Generic[T]):
    """First in, first out; `trim` bounds it. Messages have a `size`, that of their payload."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages: Any = deque()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self.messages)

    @property
    def cost(self) -> int:
        """The bytes that count towards a bound: tiny messages take memory, too."""
        return self.bytes + OVERHEAD * len(self.messages)

    def put(self, message: Any, key: Hashable) -> T | None:
        """Add a message and return the one that it replaces, if any.

        Raises:
            EncodeError: The key cannot be compared with the other keys.
        """
        self.messages.append(message)
        self.bytes += message.size
        return None

    def put_back(self, message: Any, key: Hashable) -> bool:
        """Undo a `pop`; return False if a newer message of the same key is queued."""
        self.messages.appendleft(message)
        self.bytes += message.size
        return True

    def first(self) -> T:
        return self.messages[0]  # type: ignore[no-any-return]

    def pop(self) -> T:
        message: Any = self.messages.popleft()
        self.bytes -= message.size
        return message  # type: ignore[no-any-return]

    def trim(self, bound: int, keep: Hashable) -> list[T]:
        """Remove and return the oldest messages above the bound, except that with key `keep`."""
        removed: list[T] = []
        while self.cost > bound and len(self.messages) > 1:
            removed.append(self._pop_except(keep))
        return removed

    def _pop_except(self, key: Hashable) -> T:
        return self.pop()  # the message to keep is the newest


class KeyedQueue(BoundedQueue[T]):
    """A message replaces the queued one of the same key, in its place."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__()
        self.messages = OrderedDict()

    def put(self, message: Any, key: Hashable) -> T | None:
        try:
            replaced = self.messages.get(key)
            self.messages[key] = message
        except Exception as exc:
            text = f"the key of overflow.latest cannot be compared: {text_of(exc)}"
            raise EncodeError(text, key) from exc
        self.bytes += message.size - (0 if replaced is None else replaced.size)
        return replaced  # type: ignore[no-any-return]

    def put_back(self, message: Any, key: Hashable) -> bool:
        if key in self.messages:
            return False
        self.messages[key] = message
        self.messages.move_to_end(key, last=False)
        self.bytes += message.size
        return True

    def first(self) -> T:
        return next(iter(self.messages.values()))  # type: ignore[no-any-return]

    def pop(self) -> T:
        message: Any = self.messages.popitem(last=False)[1]
        self.bytes -= message.size
        return message  # type: ignore[no-any-return]

    def _pop_except(self, key: Hashable) -> T:
        oldest, message = next(iter(self.messages.items()))
        if message is self.messages.get(key):  # not `==`, which may raise if the hashes differ
            self.messages.move_to_end(oldest)
        return self.pop()


def make_queue(policy: object) -> BoundedQueue[Any]:
    return KeyedQueue() if isinstance(policy, Latest) else BoundedQueue()
