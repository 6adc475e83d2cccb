"""A backplane within one process."""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from itertools import islice
from threading import get_ident
from typing import NamedTuple

from reactivex.abc import SchedulerBase

from rxws._core.checks import check_scheduler
from rxws._core.schedulers.timers import seconds_of

from ._backplane import BackplaneReceiver, Done, History, Member, Publication, PublishRequest
from ._keep import Keep
from ._messages import Position

__all__ = ["LocalBackplane"]

_SWEPT_PER_PUBLISH = 2
"""Topics that each publish looks at, to remove those that keep nothing any more."""


class LocalBackplane:
    """Connects the subscribers of one process. It is the default, and loses everything at its end.

    It needs neither a connection nor an event loop, so a hub with it runs in virtual time, too.

    Args:
        scheduler: Gives the time for `Keep(seconds=)`, such as a `rxws.testing.Clock`; by default
            the system's monotonic clock.

    Raises:
        TypeError: `scheduler` is no scheduler.

    Examples:
        ```python
        clock = Clock()
        backplane = LocalBackplane(clock)
        first = Hub(backplane=backplane, scheduler=clock)
        second = Hub(backplane=backplane.peer(), scheduler=clock)  # as in another process
        ```
    """

    def __init__(self, scheduler: SchedulerBase | None = None) -> None:
        check_scheduler(scheduler)
        self._broker = _Broker(time.monotonic if scheduler is None else seconds_of(scheduler))
        self._receiver: BackplaneReceiver | None = None
        self._members: dict[tuple[str, str], Member] = {}

    def peer(self) -> LocalBackplane:
        """Return a backplane for another hub, which shares all topics with this one.

        The hubs must run on the same thread. Tests use it to play several processes.
        """
        peer = LocalBackplane()
        peer._broker = self._broker
        return peer

    def restart(self) -> None:
        """Lose all messages, members stay: as an engine does that restarts without its data.

        Subscribers get a `Gap` with the reason `"restarted"`.
        """
        self._broker.restart()

    def connect(self, receiver: BackplaneReceiver) -> None:
        """Do as `start`, without an event loop.

        Raises:
            RuntimeError: The backplane serves another hub, or its peers run on another thread.
        """
        if self._receiver is not None:
            raise RuntimeError(
                "this LocalBackplane serves a hub already: pass backplane.peer() to the second one"
            )
        self._broker.check_thread()
        self._receiver = receiver
        self._broker.links += 1

    async def start(self, receiver: BackplaneReceiver) -> None:
        """See `Backplane`."""
        self.connect(receiver)

    async def stop(self) -> None:
        """See `Backplane`."""
        receiver, self._receiver = self._receiver, None
        if receiver is None:
            return
        for topic, member in [(topic, each) for (topic, _), each in self._members.items()]:
            self.leave(topic, member)
        self._broker.detach_all(receiver)

    def available(self, topic: str) -> bool:
        """See `Backplane`."""
        del topic
        return True

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        done(self._broker.publish(request))

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        """See `Backplane`."""
        done(self._broker.read(topic, since, limit, oldest=oldest))

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        assert self._receiver is not None
        done(self._broker.attach(topic, keep, self._receiver))

    def detach(self, topic: str) -> None:
        """See `Backplane`."""
        assert self._receiver is not None
        self._broker.detach(topic, self._receiver)

    def join(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._members[topic, member.id] = member
        self._broker.join(topic, member)

    def leave(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        if self._members.pop((topic, member.id), None) is not None:
            self._broker.leave(topic, member)

    def members(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """See `Backplane`."""
        done(self._broker.members(topic))


class _Kept(NamedTuple):
    publication: Publication
    expires: float
    id: str | None


class _Topic:
    """The state of one topic; it exists while it keeps messages, or somebody uses it."""

    __slots__ = ("epoch", "expires", "ids", "kept", "members", "offset", "receivers")

    def __init__(self) -> None:
        self.receivers: tuple[BackplaneReceiver, ...] = ()
        self.members: dict[str, Member] = {}
        self.begin_anew()

    def begin_anew(self) -> None:
        self.epoch = secrets.token_hex(4)
        self.offset = 0
        self.kept: deque[_Kept] = deque()
        self.ids: dict[str, Position] = {}
        self.expires = 0.0

    @property
    def top(self) -> Position:
        return Position(self.epoch, self.offset)

    def append(self, request: PublishRequest, now: float) -> Publication:
        self.offset += 1
        self.expires = now + request.keep.seconds
        publication = Publication(request.payload, self.top)
        self.kept.append(_Kept(publication, self.expires, request.id))
        if request.id is not None:
            self.ids[request.id] = self.top
        while len(self.kept) > request.keep.count:
            self._forget_oldest()
        return publication

    def trim(self, now: float) -> None:
        while self.kept and self.kept[0].expires <= now:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        oldest = self.kept.popleft()
        if oldest.id is not None:
            del self.ids[oldest.id]

    def is_unused(self, now: float) -> bool:
        return self.expires <= now and not self.receivers and not self.members


class _Broker:
    """The topics that several `LocalBackplane`s share."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self.links = 0
        self._seconds = seconds
        self._thread: int | None = None
        self._topics: OrderedDict[str, _Topic] = OrderedDict()

    def check_thread(self) -> None:
        if not self.links:
            self._thread = get_ident()
        elif self._thread != get_ident():
            raise RuntimeError(
                "the hubs of a LocalBackplane and its peers must run on one thread: use a "
                "RedisBackplane to connect several"
            )

    def publish(self, request: PublishRequest) -> Position | None:
        now = self._seconds()
        self._sweep(now)
        if not request.keep.count:
            topic = self._topics.get(request.topic)
            if topic is not None:
                self._deliver(request.topic, topic, Publication(request.payload, None))
            return None
        topic = self._topic(request.topic, now)
        if request.id is not None and (known := topic.ids.get(request.id)) is not None:
            return known
        publication = topic.append(request, now)
        self._deliver(request.topic, topic, publication)
        return publication.position

    def _deliver(self, name: str, topic: _Topic, publication: Publication) -> None:
        for receiver in topic.receivers:
            receiver.on_publication(name, publication)

    def read(
        self, name: str, since: Position | None, limit: int | None, *, oldest: bool = False
    ) -> History:
        topic = self._topic(name, self._seconds())
        first, end = 0, len(topic.kept)
        complete = True
        if since is not None:
            missing = topic.offset - since.offset
            complete = since.epoch == topic.epoch and 0 <= missing <= end
            if complete:
                first = end - missing
        if limit is not None and oldest:
            end = min(end, first + limit)
        elif limit is not None and end - first > limit:
            first = end - limit
            complete = complete and since is None
        publications = [each.publication for each in islice(topic.kept, first, end)]
        self._remove_if_unused(name, topic)
        return History(publications, topic.top, complete)

    def attach(self, name: str, keep: Keep, receiver: BackplaneReceiver) -> Position | None:
        topic = self._topic(name, self._seconds())
        if receiver not in topic.receivers:
            topic.receivers = (*topic.receivers, receiver)
        return topic.top if keep.count else None

    def detach(self, name: str, receiver: BackplaneReceiver) -> None:
        topic = self._topics.get(name)
        if topic is not None:
            topic.receivers = tuple(each for each in topic.receivers if each is not receiver)
            self._remove_if_unused(name, topic)

    def detach_all(self, receiver: BackplaneReceiver) -> None:
        self.links -= 1
        for name in list(self._topics):
            self.detach(name, receiver)

    def join(self, name: str, member: Member) -> None:
        topic = self._topic(name, self._seconds())
        topic.members[member.id] = member
        for receiver in topic.receivers:
            receiver.on_joined(name, member)

    def leave(self, name: str, member: Member) -> None:
        topic = self._topics[name]
        del topic.members[member.id]
        for receiver in topic.receivers:
            receiver.on_left(name, member)
        self._remove_if_unused(name, topic)

    def members(self, name: str) -> Mapping[str, Member]:
        topic = self._topics.get(name)
        return {} if topic is None else dict(topic.members)

    def restart(self) -> None:
        for name, topic in list(self._topics.items()):
            topic.begin_anew()
            for receiver in topic.receivers:
                receiver.on_top(name, topic.top)
            self._remove_if_unused(name, topic)

    def _topic(self, name: str, now: float) -> _Topic:
        """Return a topic without the messages that have expired."""
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = _Topic()
        topic.trim(now)
        return topic

    def _sweep(self, now: float) -> None:
        """Look at the topics that were not looked at for the longest time."""
        for name in list(islice(self._topics, _SWEPT_PER_PUBLISH)):
            topic = self._topics[name]
            topic.trim(now)
            self._topics.move_to_end(name)
            self._remove_if_unused(name, topic)

    def _remove_if_unused(self, name: str, topic: _Topic) -> None:
        if topic.is_unused(self._seconds()):
            del self._topics[name]
