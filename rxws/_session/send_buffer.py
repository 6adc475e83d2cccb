"""The queue of what goes out: what a peer that is behind has not been sent yet."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from rxws._core.errors import EncodeError
from rxws._core.frames import Frame, Opcode
from rxws.overflow import OVERHEAD, Latest, Overflow

__all__ = ["ConflatingSendBuffer", "SendBuffer", "make_send_buffer"]


class SendBuffer:
    """Messages in their order, the close frame that seals it, and control frames that pass by.

    Only whole messages are in here: what has begun to leave is the wire's, and never dropped.
    """

    __slots__ = ("_frames", "_seal", "bytes", "count", "ping", "pong", "taken")

    def __init__(self) -> None:
        self._frames: deque[Frame] | None = None
        self._seal: Frame | None = None
        self.bytes = 0
        self.count = 0
        self.ping: bytes | None = None
        self.pong: bytes | None = None  # one: only the latest ping wants an answer (5.5.3)
        self.taken = False  # whether the close frame was

    def __len__(self) -> int:
        return self.count

    @property
    def cost(self) -> int:
        """Bytes that it takes, tiny messages not being free."""
        return self.bytes + OVERHEAD * self.count

    def put(self, frame: Frame, key: Hashable = None) -> int:
        """Add a message, and tell how many it replaces."""
        if self._frames is None:  # an idle connection has none: it costs 0.6 KiB
            self._frames = deque()
        self._frames.append(frame)
        self.count += 1
        self.bytes += len(frame.payload)
        return 0

    def pop(self) -> Frame | None:
        """Take out the message that waits longest, None if there is none."""
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.count -= 1
        self.bytes -= len(frame.payload)
        return frame

    def drop_oldest(self, besides: Hashable) -> None:
        """Throw the message away that waits longest, besides the one of this key."""
        self.pop()

    def seal(self, close: Frame) -> None:
        """Let this close frame follow the messages, instead of one that has not left."""
        if not self.taken:
            self._seal = close

    def take(self) -> Frame | None:
        """Return the next frame to write, None if there is none."""
        if self.taken:
            return None  # RFC 6455, section 5.5.1: nothing is sent after a close frame
        if self.pong is not None:
            payload, self.pong = self.pong, None
            return Frame(Opcode.PONG, payload)
        if self.ping is not None:
            payload, self.ping = self.ping, None
            return Frame(Opcode.PING, payload)
        message = self.pop()
        if message is not None:
            return message
        close, self._seal = self._seal, None
        self.taken = close is not None
        return close

    def clear(self) -> int:
        """Throw all away that waits, a close frame included, and tell how many messages it was."""
        dropped, self.count = self.count, 0
        self._frames = self._seal = self.ping = self.pong = None
        self.bytes = 0
        return dropped


class ConflatingSendBuffer(SendBuffer):
    """An outbox in which a message replaces the one of the same key, in its place."""

    __slots__ = ("_by_key",)

    def __init__(self) -> None:
        super().__init__()
        self._by_key: OrderedDict[Hashable, Frame] = OrderedDict()

    def put(self, frame: Frame, key: Hashable = None) -> int:
        """Add a message, and tell how many it replaces."""
        try:
            old = self._by_key.get(key)
            self._by_key[key] = frame
        except Exception as exc:  # of the key's own comparison
            raise EncodeError(f"the key of overflow.latest cannot be compared: {exc}", key) from exc
        self.count = len(self._by_key)
        self.bytes += len(frame.payload) - (0 if old is None else len(old.payload))
        return old is not None

    def pop(self) -> Frame | None:
        """Take out the message whose key waits longest, None if there is none."""
        if not self._by_key:
            return None
        _, frame = self._by_key.popitem(last=False)
        self.count -= 1
        self.bytes -= len(frame.payload)
        return frame

    def drop_oldest(self, besides: Hashable) -> None:
        """Throw the message away whose key waits longest, besides this one."""
        if next(iter(self._by_key)) == besides:
            self._by_key.move_to_end(besides)
        self.pop()

    def clear(self) -> int:
        """Throw all away that waits, a close frame included, and tell how many messages it was."""
        self._by_key.clear()
        return super().clear()


def make_send_buffer(policy: Overflow) -> SendBuffer:
    """Make the outbox for a policy."""
    return ConflatingSendBuffer() if isinstance(policy, Latest) else SendBuffer()
