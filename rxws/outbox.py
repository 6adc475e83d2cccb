"""The queue of what goes out: what a peer that is behind has not been sent yet."""

from __future__ import annotations

from collections import deque

from .messages import Frame, Kind
from .overflow import OVERHEAD

__all__ = ["Outbox"]


class Outbox:
    """The bounded queue of what goes out: the messages, and the close frame that seals it."""

    __slots__ = ("_frames", "_seal", "bytes", "ping", "pong", "taken")

    def __init__(self) -> None:
        self._frames: deque[Frame] | None = None
        self._seal: Frame | None = None
        self.bytes = 0
        self.ping: bytes | None = None
        self.pong: bytes | None = None  # one: only the latest ping wants an answer (5.5.3)
        self.taken = False  # whether the close frame was

    def __len__(self) -> int:
        return len(self._frames) if self._frames else 0

    @property
    def cost(self) -> int:
        """Bytes that it takes, tiny messages not being free."""
        return self.bytes + OVERHEAD * len(self)

    def put(self, frame: Frame) -> None:
        """Add a message."""
        if self._frames is None:  # an idle connection has none: it costs 0.6 KiB
            self._frames = deque()
        self._frames.append(frame)
        self.bytes += len(frame.payload)

    def seal(self, close: Frame) -> None:
        """Let this close frame follow the messages, instead of one that has not left."""
        if not self.taken:
            self._seal = close

    def take(self) -> Frame | None:
        """Return the next frame, None if there is none."""
        if self.taken:
            return None  # RFC 6455, section 5.5.1: nothing is sent after a close frame
        if self.pong is not None:
            payload, self.pong = self.pong, None
            return Frame(Kind.PONG, payload)
        if self.ping is not None:
            payload, self.ping = self.ping, None
            return Frame(Kind.PING, payload)
        if self._frames:
            frame = self._frames.popleft()
            self.bytes -= len(frame.payload)
            return frame
        frame_or_none, self._seal = self._seal, None
        self.taken = self.taken or frame_or_none is not None
        return frame_or_none

    def clear(self) -> int:
        """Throw the messages away, and tell how many there were."""
        dropped = len(self)
        self._frames = None
        self.bytes = 0
        return dropped
