"""A receiver that records every call of a transport."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rxws._core.frames import Frame


class RecordingReceiver:
    """Stand in for a session on a transport: record each call, and give the frames to send.

    Args:
        frames: The frames to send.

    Attributes:
        notifications: The calls in order: a message as itself, any other call as a tuple of its
            name and arguments.
        react: Called with each message after it was recorded.
        frames: The frames that were not taken yet.
    """

    def __init__(self, *frames: Frame) -> None:
        self.notifications: list[Any] = []
        self.react: Callable[[Any], object] = lambda _: None
        self.frames = deque(frames)

    @property
    def messages(self) -> list[str | bytes]:
        """The messages."""
        return [each for each in self.notifications if isinstance(each, str | bytes)]

    @property
    def others(self) -> list[Any]:
        """All but messages and what concerns writing."""
        return [
            each
            for each in self.notifications
            if not isinstance(each, str | bytes) and each[0] not in ("writable", "unsendable")
        ]

    def take(self) -> Frame | None:
        return self.frames.popleft() if self.frames else None

    def on_writable(self, writable: bool) -> None:
        self.notifications.append(("writable", writable))

    def on_unsendable(self) -> None:
        self.notifications.append(("unsendable",))

    def on_message(self, data: str | bytes, size: int) -> None:
        assert size == len(data.encode() if isinstance(data, str) else data)
        self.notifications.append(data)
        self.react(data)

    cleanup_timeout = 10.0  # seconds

    def on_unfinished(self, tasks: Sequence[object]) -> None:
        self.notifications.append(("unfinished", len(tasks)))

    def on_ping(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.notifications.append(("ping", payload))

    def on_pong(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.notifications.append(("pong", payload))

    def on_close(self, code: int | None, reason: str) -> None:
        self.notifications.append(("close", code, reason))

    def on_violation(self, code: int) -> None:
        self.notifications.append(("violation", code))

    def on_cancelled(self) -> None:
        self.notifications.append(("cancelled",))

    def on_lost(self) -> None:
        self.notifications.append(("lost",))

    end_deferred = False
    over = True

    def when_over(self, callback: Callable[[], None]) -> None:
        callback()

    def on_released(self) -> None:
        """Do nothing: a transport calls this after its last notification."""
