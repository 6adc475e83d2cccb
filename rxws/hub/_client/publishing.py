"""The messages that a client publishes: they wait, are sent, and confirmed."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Protocol

from reactivex.abc import SchedulerBase

from rxws import codecs
from rxws._core.errors import short_repr
from rxws._core.schedulers.timers import Deadline
from rxws._reconnect.diagnostics import DropStream
from rxws._reconnect.offline_queue import (
    Dropped,
    OfflineQueue,
    QueueOverflow,
    Reason,
    Snapshot,
)
from rxws._session.encoding import encode
from rxws.hub._errors import Unconfirmed
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import embed, publish_command
from rxws.hub._protocol.schema import PublishResult, Result
from rxws.hub._stats import Counters
from rxws.overflow import Latest

from .errors import NotPublished, refusal
from .replies import Lost, OnReply

__all__ = ["ClientPublisher", "Done", "Publication", "PublishQueue"]

_MAX_IN_FLIGHT = 64  # publish commands without a reply
_LINGER = 5.0  # seconds for which a connection that was opened for a message stays open

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


class PublisherHost(Protocol):
    """The interface of the client to its publisher; see `ClientRegistry`."""

    counters: Counters

    @property
    def scheduler(self) -> SchedulerBase: ...
    @property
    def ready(self) -> bool:
        """Whether commands can be sent."""
        ...

    def call(
        self, request: Callable[[int], str], expects: type[Result], on_reply: OnReply
    ) -> None: ...
    def reconcile(self) -> None:
        """Open the connection if somebody needs it, or close it."""
        ...

    def report(self, error: Exception) -> None: ...


class ClientPublisher:
    """Sends the messages of the queue, and finishes them with the replies.

    Attributes:
        active: Whether it needs the connection: while there are messages, and 5 s longer.
    """

    def __init__(self, host: PublisherHost, queue: PublishQueue, drops: DropStream) -> None:
        self.active = False
        self._host = host
        self._queue = queue
        self._drops = drops
        self._in_flight = 0
        self._unsent: list[Any] = []  # those that a lost connection has not taken
        self._linger = Deadline(host.scheduler)
        self._idle: asyncio.Event | None = None  # somebody waits for it

    def __len__(self) -> int:
        """Return the number of messages that wait."""
        return len(self._queue)

    @property
    def dropped(self) -> Mapping[str, int]:
        return self._queue.dropped

    @property
    def _busy(self) -> bool:
        return len(self._queue) > 0 or self._in_flight > 0

    def add(self, publication: Publication) -> None:
        """Queue a message, from any thread; `pump` must follow."""
        self._queue.add(publication)

    def pump(self) -> None:
        """Send queued messages, and open the connection for them."""
        self._drops.report_new()
        if not self._busy:
            return
        if not self.active:
            self.active = True
            self._host.reconcile()
        while self._host.ready and self._in_flight < _MAX_IN_FLIGHT:
            queued = self._queue.take()
            if queued is None:
                break
            publication: Publication = queued.value
            if not publication.withdrawn:
                self._in_flight += 1
                self._host.call(publication.line, PublishResult, partial(self._on_reply, queued))
        self._drops.report_new()
        if self._busy:
            self._linger.clear()
        else:
            self._on_idle()

    def _on_reply(self, queued: Any, reply: PublishResult | ErrorReply | Lost) -> None:
        self._in_flight -= 1
        publication: Publication = queued.value
        if isinstance(reply, Lost) and not reply.written:
            self._unsent.append(queued)
            return
        error = self._outcome(publication.topic, reply)
        if publication.done is not None:
            publication.done(error)
        elif error is not None:
            self._host.report(error)
        if not isinstance(reply, Lost):
            self.pump()
            if not self._busy:
                self._on_idle()

    def _outcome(self, topic: str, reply: PublishResult | ErrorReply | Lost) -> Exception | None:
        """Count a message, and return the error if it is not confirmed."""
        counters = self._host.counters
        counters.published += 1
        if isinstance(reply, PublishResult):
            counters.confirmed += 1
            return None
        if isinstance(reply, ErrorReply) and reply.code != ErrorCode.INTERNAL:
            counters.refused += 1
            return refusal("publish", topic, reply)
        counters.unconfirmed += 1
        why = "the connection was lost" if isinstance(reply, Lost) else "the server has failed"
        return Unconfirmed(
            f"a message to topic {short_repr(topic)} may have been published: {why} before the "
            "reply"
        )

    def on_lost(self) -> None:
        """The connection is closed: queue again what it has not taken."""
        unsent, self._unsent = self._unsent, []
        for queued in reversed(unsent):
            self._queue.put_back(queued)
        if self.active and not self._busy:
            self._on_idle()

    def _on_idle(self) -> None:
        self._drops.log_unobserved()
        self._linger.set(_LINGER, self.stop)
        if self._idle is not None:
            self._idle.set()

    async def drain(self, timeout: float) -> None:
        """Wait until all messages are confirmed, at most for this number of seconds."""
        if not self._busy:
            return
        self._idle = asyncio.Event()
        try:
            async with asyncio.timeout(timeout):
                await self._idle.wait()
        except TimeoutError:
            pass
        finally:
            self._idle = None

    def stop(self) -> None:
        """Need the connection no longer."""
        self._release()
        self._host.reconcile()

    def _release(self) -> None:
        self._linger.clear()
        self.active = False

    def on_loop_closed(self) -> None:
        """Begin anew: nothing of the old event loop can run any more."""
        self._in_flight = 0
        self.active = False

    def dispose(self) -> None:
        """Drop the queue."""
        self._queue.clear()
        self._drops.log_unobserved()
        self.stop()

    def fail(self, error: Exception | None) -> None:
        """Drop the queue: the client has stopped trying to connect."""
        self._release()
        self._queue.failure = error
        self._queue.clear()
        self._drops.log_unobserved()
        self._queue.failure = None
