"""The queue of messages that a client publishes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rxws import codecs
from rxws._core.errors import short_repr
from rxws._reconnect.offline_queue import (
    Dropped,
    OfflineQueue,
    QueueOverflow,
    Reason,
    Snapshot,
)
from rxws._session.encoding import encode
from rxws.hub._protocol.frames import embed, publish_command
from rxws.overflow import Latest

from .errors import NotPublished

__all__ = ["Done", "Publication", "PublishQueue"]

Done = Callable[[Exception | None], None]

_WHY: dict[Reason, str] = {
    "conflated": "a newer message with the same key has replaced it",
    "fault": "the key function of queue_overflow= has failed",
    "closed": "the client was closed, or has stopped trying to connect; see client.status",
    "expired": "it waited longer than ttl=; raise ttl=",
    "overflow": "the queue was full; raise queue=, or publish less while there is no connection",
}


class Publication:
    """A message to publish.

    Attributes:
        withdrawn: Whether nobody wants it to be sent any more.
    """

    __slots__ = ("data", "done", "topic", "value", "withdrawn")

    def __init__(self, topic: str, value: Any, done: Done | None = None) -> None:
        _, payload = encode(codecs.json, value)
        self.topic = topic
        self.value = value
        self.data = embed(payload.decode())
        self.done = done
        self.withdrawn = False

    def line(self, id_: int) -> str:
        """Return the command with an id."""
        return publish_command(id_, self.topic, self.data)


class PublishQueue(OfflineQueue):
    """Publications in the order in which they were pushed, from any thread.

    Those that somebody awaits fail when they are dropped; the others are reported.
    """

    def __init__(
        self, bound: int, policy: QueueOverflow, ttl: float | None, seconds: Callable[[], float]
    ) -> None:
        if isinstance(policy, Latest):
            policy = Latest(partial(_key, policy))
        super().__init__(bound, policy, ttl, seconds)
        self.failure: Exception | None = None  # why the client has stopped trying to connect
        self._unreported: deque[Dropped[Any]] = deque()  # no limit: somebody may await them
        self._reported: Counter[str] = Counter()

    def add(self, publication: Publication) -> None:
        """Queue a message.

        Raises:
            EncodeError: The key function of the overflow policy has failed.
        """
        self.put(publication, Snapshot(publication, len(publication.data)))

    def take_dropped(self) -> tuple[list[Dropped[Any]], dict[str, int]]:
        found, _ = super().take_dropped()
        dropped: list[Dropped[Any]] = []
        for each in found:
            publication, reason = each.value, each.reason
            if publication.done is None:
                self._reported[reason] += 1
                dropped.append(Dropped(publication.value, reason))
            elif not publication.withdrawn:
                topic = short_repr(publication.topic)
                error = NotPublished(
                    f"a message to topic {topic} was dropped before it was sent: {_WHY[reason]}"
                )
                error.__cause__ = self.failure
                publication.done(error)
        return dropped, dict(self._reported)


def _key(policy: Latest, publication: Publication) -> tuple[str, Any]:
    return publication.topic, policy.of(publication.value)
