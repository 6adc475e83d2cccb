"""The bounded queue of messages that a hub publishes, filled from any thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import partial
from itertools import count
from operator import attrgetter
from typing import Protocol, TypeAlias, get_args

from reactivex.internal import noop

from rxws._core.checks import check_count
from rxws._core.errors import EncodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._session.bounded_queue import BoundedQueue, make_queue
from rxws._session.encoding import conflation_key, size
from rxws.overflow import OVERHEAD, Latest, Named

from ._backplane import Backplane, Done, PublishRequest
from ._errors import BackplaneError, Unconfirmed
from ._messages import Position
from ._names import RESERVED
from ._stats import Counters

__all__ = ["PublishOverflow", "Publisher", "PublisherHost", "Queued"]

PublishOverflow: TypeAlias = Named | Latest
"""Which message is dropped when too many wait; see `rxws.overflow`. `"close"` is not possible."""

_POLICIES = tuple(name for name in get_args(Named) if name != "close")


class PublisherHost(Protocol):
    """The interface of the hub to its publisher; see `TopicRegistry`."""

    backplane: Backplane
    counters: Counters

    def post(self, action: Callable[[], object]) -> bool:
        """Call on the hub's thread in the next turn; return False if there is none yet."""
        ...

    def must_wait(self, request: PublishRequest) -> bool:
        """Whether a message must not be published yet."""
        ...

    def is_away(self, topic: str) -> bool:
        """Whether the backplane's engine for this topic is known to be away."""
        ...

    def seconds(self) -> float: ...


class Queued:
    """A message that waits to be published."""

    __slots__ = ("done", "key", "number", "queued_at", "request", "size", "withdrawn")

    def __init__(
        self,
        request: PublishRequest,
        key: Hashable,
        done: Done[Position | None] | None,
        number: int,
        at: float,
    ) -> None:
        self.request = request
        self.key = key
        self.done = done
        self.number = number
        self.size = size(request.payload)
        self.queued_at = at
        self.withdrawn = False  # whether nobody wants it to be published any more

    def finish(self, result: Position | Exception | None) -> None:
        if self.done is not None:
            self.done(result)


class Publisher:
    """Publishes the messages of one turn together, and keeps their order in each topic.

    Messages wait while the backplane is away or their topic is being attached. `max_buffer` bounds
    those of one turn, those that wait, and those that the backplane has not answered. If the
    backplane returns messages, because it is away, they wait again, and the policy drops what
    exceeds the bound.
    """

    def __init__(self, host: PublisherHost, max_buffer: int, policy: PublishOverflow) -> None:
        check_count("max_buffer", max_buffer, "bytes")
        if not isinstance(policy, Latest) and policy not in _POLICIES:
            raise ValueError(
                f"overflow={policy!r} is unknown: use one of {_POLICIES} or overflow.latest()"
            )
        self._host = host
        self._bound = max_buffer
        self._policy = policy
        # Reentrant: a signal handler may publish while it interrupts a publish.
        self._lock = threading.RLock()
        self._queue: BoundedQueue[Queued] = make_queue(policy)  # those of this turn
        self._waiting: BoundedQueue[Queued] = make_queue(policy)
        self._waiting_topics: set[str] = set()  # nothing of theirs may overtake what waits
        self._retry = False  # whether the next pump tries again what waits
        self._numbers = count()
        self._scheduled = False
        self._in_flight: dict[int, Queued] = {}
        self._in_flight_bytes = 0
        self._failed: list[Queued] = []
        self.on_answered: Callable[[], object] = noop  # called when nothing is in flight

    def __len__(self) -> int:
        return len(self._failed) + len(self._waiting) + len(self._queue)

    @property
    def in_flight(self) -> int:
        """How many messages the backplane has not answered."""
        return len(self._in_flight)

    @property
    def expects_answers(self) -> bool:
        """Whether the backplane can answer one of them soon."""
        is_away = self._host.is_away
        return any(not is_away(queued.request.topic) for queued in self._in_flight.values())

    @property
    def lag(self) -> float:
        """Seconds for which the oldest message has been waiting."""
        with self._lock:
            oldest = list(self._in_flight.values())[:1]
            oldest += [queue.first() for queue in (self._waiting, self._queue) if len(queue)]
        now = self._host.seconds()
        return max((now - queued.queued_at for queued in oldest), default=0.0)

    def publish(
        self, request: PublishRequest, value: object, done: Done[Position | None] | None = None
    ) -> Queued:
        """Queue a message, from any thread.

        Args:
            request: The message.
            value: Before it was encoded, for the key of `overflow.latest`.
            done: Called on the hub's thread with the result.

        Raises:
            EncodeError: The key function has failed.
        """
        key: Hashable = None
        if isinstance(self._policy, Latest):
            key = object()  # what a hub itself publishes replaces nothing
            if not request.topic.startswith(RESERVED):
                key = request.topic, conflation_key(self._policy, value)
        queued = Queued(request, key, done, next(self._numbers), self._host.seconds())
        with self._lock:
            dropped = self._put(self._queue, queued)
            self._schedule()
        for each in dropped:
            self._drop(each)
        return queued

    def _put(self, queue: BoundedQueue[Queued], queued: Queued) -> list[Queued]:
        """Queue a message, and return those that are dropped instead."""
        key = queued.key
        full = len(queue) and queue.cost + queued.size + OVERHEAD > self._bound
        if full and self._policy == "drop_newest":
            return [queued]
        replaced = queue.put(queued, key)
        return [*([] if replaced is None else [replaced]), *queue.trim(self._bound, key)]

    def pump_soon(self) -> None:
        """Publish in the next turn what need not wait any more."""
        with self._lock:
            self._retry = True
            self._schedule()

    def flush(self) -> None:
        """Publish now what need not wait."""
        self._retry = True
        self._pump()

    def reset(self) -> None:
        """Forget what the event loop would have done that was closed."""
        with self._lock:
            self._scheduled = False
            self._retry = True
        self._in_flight.clear()
        self._in_flight_bytes = 0

    def clear(self, error: Exception) -> None:
        """Drop all messages that wait."""
        with self._lock:
            dropped = [*self._failed, *_take_all(self._waiting), *_take_all(self._queue)]
            self._failed = []
        for each in dropped:
            self._host.counters.dropped += 1
            each.finish(error)

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = self._host.post(self._pump)

    def _pump(self) -> None:
        with self._lock:
            self._scheduled = False
            taken = _take_all(self._queue)
            if self._retry:
                failed, self._failed = self._failed, []
                failed.sort(key=attrgetter("number"))
                taken = [*failed, *_take_all(self._waiting), *taken]
                self._waiting_topics.clear()
                self._retry = False
        waiting: list[Queued] = []
        topics = self._waiting_topics
        for queued in taken:
            request = queued.request
            if queued.withdrawn:
                continue
            full = self._in_flight_bytes > self._bound
            if full or request.topic in topics or self._host.must_wait(request):
                topics.add(request.topic)
                waiting.append(queued)
            else:
                self._send(queued)
        if waiting:
            self._wait(waiting)

    def _wait(self, waiting: list[Queued]) -> None:
        with self._lock:
            dropped = [each for queued in waiting for each in self._put_waiting(queued)]
            # Dropped messages leave their topics behind, until all are tried again.
            self._retry |= len(self._waiting_topics) > 2 * len(self._waiting)
        for each in dropped:
            self._drop(each)

    def _put_waiting(self, queued: Queued) -> list[Queued]:
        try:
            return self._put(self._waiting, queued)
        except EncodeError as exc:  # the keys cannot be compared
            logger.error("a message was dropped: %s", one_line(exc))
            return [queued]

    def _send(self, queued: Queued) -> None:
        self._in_flight[queued.number] = queued
        self._in_flight_bytes += queued.size + OVERHEAD
        self._host.counters.published += 1
        self._host.backplane.publish(queued.request, partial(self._on_done, queued))

    def _on_done(self, queued: Queued, result: Position | Exception | None) -> None:
        if self._in_flight.pop(queued.number, None) is None:
            return
        full = self._in_flight_bytes > self._bound
        self._in_flight_bytes -= queued.size + OVERHEAD
        counters = self._host.counters
        if not isinstance(result, Exception):
            counters.confirmed += 1
        elif isinstance(result, Unconfirmed):
            counters.unconfirmed += 1
        elif self._host.is_away(queued.request.topic):
            if queued.request.keep.count:
                self._requeue(queued)
                return
            counters.dropped += 1  # for other processes; in this one it was delivered
        else:
            counters.refused += 1
            if queued.done is None:
                topic = short_repr(queued.request.topic)
                logger.error("topic %s: a message was refused: %s", topic, one_line(result))
        queued.finish(result)
        if not self._in_flight:
            self.on_answered()
        if full:
            self.pump_soon()

    def _requeue(self, queued: Queued) -> None:
        """Let a message wait that the backplane could not take, because it is away."""
        self._host.counters.published -= 1
        self._failed.append(queued)
        self.pump_soon()

    def _drop(self, queued: Queued) -> None:
        self._host.counters.dropped += 1
        if queued.done is not None:
            error = BackplaneError("too many messages wait: see Hub(max_buffer=)")
            self._host.post(partial(queued.finish, error))


def _take_all(queue: BoundedQueue[Queued]) -> list[Queued]:
    return [queue.pop() for _ in range(len(queue))]
