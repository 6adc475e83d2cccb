"""The topics that one hub receives, and what the backplane calls."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum, auto
from typing import Any

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.internal import noop

from rxws._core import instrumentation
from rxws._core.broadcast import Burst
from rxws._core.log import logger, one_line
from rxws._core.schedulers.connection_scheduler import DefaultScheduler
from rxws._core.schedulers.loop_scheduler import running_loop
from rxws._core.schedulers.timers import seconds_of
from rxws._core.streams.stream import Dispatcher, ReplayStream, call_each
from rxws.codecs import Codec

from ._attached import AttachedTopic
from ._backplane import Backplane, Done, Member, Publication, PublishRequest
from ._errors import BackplaneError
from ._keep import Keep, TopicPatterns
from ._local import LocalBackplane
from ._messages import Position
from ._presence import Presences
from ._publisher import Publisher, PublishOverflow, Queued
from ._stats import Counters, HubStats
from ._status import Away, Connected, HubStatus
from ._thread import HubThread
from ._turns import TURN, Turns
from ._users import Users

__all__ = ["TopicRegistry"]

_STOP_TIMEOUT = 2.0  # seconds
_NOT_STARTED = "the hub has not started: call hub.setup(app), or use 'async with hub:'"


class _State(Enum):
    STOPPED = auto()
    STARTING = auto()
    USED = auto()  # it runs without a start, as its backplane needs no connection
    RUNNING = auto()
    STOPPING = auto()  # the backplane disconnects


class TopicRegistry:
    """Attaches topics while they have subscribers, and passes to them what the backplane reports.

    It implements `BackplaneReceiver`. Everything but `publish` runs on the hub's thread.
    """

    def __init__(
        self,
        codec: Codec[Any, Any],
        backplane: Backplane,
        patterns: TopicPatterns,
        max_buffer: int,
        overflow: PublishOverflow,
        scheduler: SchedulerBase | None,
    ) -> None:
        self.codec = codec
        self.backplane = backplane
        self.counters = Counters()
        self.thread = HubThread(scheduler)
        self.dispatcher = Dispatcher(scheduler)
        self.turns = Turns(self)
        self.publisher = Publisher(self, max_buffer, overflow)
        self.status: ReplayStream[HubStatus] = ReplayStream(
            self.dispatcher, self._on_fault, Connected()
        )
        self.presences = Presences(self)
        self.users = Users(self)
        self._state = _State.STOPPED
        self._patterns = patterns
        self._status: HubStatus = Connected()
        self._topics: dict[str, AttachedTopic] = {}
        self._to_deliver: list[AttachedTopic] = []
        instrumentation.add_hub(self)

    # --- life -------------------------------------------------------------------------------

    def bind(self) -> None:
        """Run on the current event loop from now on, unless there is one already.

        Raises:
            RuntimeError: There is none.
        """
        if self.thread.bind():
            self.dispatcher.scheduler = self.thread.scheduler
            self._forget_closed_loop()

    def _forget_closed_loop(self) -> None:
        """Begin anew: the event loop that ran the hub was closed without `stop`."""
        topics, self._topics = self._topics, {}
        self._to_deliver.clear()
        self.turns.clear()
        if isinstance(self.backplane, LocalBackplane):
            if self.started:
                self._state = _State.USED
            for name in topics:
                self.backplane.detach(name)
        else:
            self._state = _State.STOPPED
            self._set_status(Connected())
        self.presences.stop()
        self.users.stop()
        self.publisher.reset()

    async def start(self) -> None:
        """Connect to the backplane.

        Raises:
            BackplaneError: It cannot be reached.
            RuntimeError: The hub runs already.
        """
        self.bind()
        self.thread.check("a hub was started")
        if self._state not in (_State.STOPPED, _State.USED):
            raise RuntimeError("the hub runs already: use hub.setup or 'async with' once")
        if isinstance(self.backplane, LocalBackplane):
            self.start_if_local()
            self._state = _State.RUNNING
            return
        self._state = _State.STARTING
        try:
            await self.backplane.start(self)
        except BaseException:
            self._state = _State.STOPPED
            raise
        self._on_started(_State.RUNNING)

    def start_if_local(self) -> None:
        """Start without a connection if the backplane needs none.

        Raises:
            RuntimeError: It needs one.
        """
        self.bind()
        if self.started:
            return
        if self._state is _State.STOPPING:
            raise RuntimeError("the hub is stopping: use it again after that")
        if not isinstance(self.backplane, LocalBackplane):
            raise RuntimeError(_NOT_STARTED)
        self.backplane.connect(self)
        self._on_started(_State.USED)

    def check_started(self) -> None:
        """Check that the hub runs, or will: otherwise nothing is published for now.

        Raises:
            RuntimeError: It has not started, or has stopped.
        """
        if self._state is _State.STOPPED and not isinstance(self.backplane, LocalBackplane):
            raise RuntimeError(_NOT_STARTED)

    @property
    def started(self) -> bool:
        return self._state in (_State.RUNNING, _State.USED)

    @property
    def is_connected(self) -> bool:
        return isinstance(self._status, Connected)

    def _on_started(self, state: _State) -> None:
        self._state = state
        self.publisher.pump_soon()

    async def stop(self) -> None:
        """Complete all subscribers, and disconnect from the backplane."""
        try:
            self.publisher.flush()
            self._deliver_all()
            self._end_subscribers()
            await self._publish_rest()
        finally:
            self._state = _State.STOPPING
            try:
                self._end_subscribers()  # those that have subscribed again meanwhile
            finally:
                await self._disconnect()

    async def _disconnect(self) -> None:
        try:
            await self.backplane.stop()
        finally:
            self._state = _State.STOPPED
            self.publisher.clear(BackplaneError("the hub has stopped"))
            self.users.stop()
            self._set_status(Connected())

    def _end_subscribers(self) -> None:
        call_each(lambda end: end(), (self._close_topics, self.presences.stop))

    def _close_topics(self) -> None:
        topics, self._topics = self._topics, {}
        self._to_deliver.clear()
        call_each(AttachedTopic.close, topics.values())

    async def _publish_rest(self) -> None:
        """Publish what waits, and wait a little until the backplane has confirmed it."""
        self.publisher.flush()
        if not self.publisher.expects_answers:
            return
        answered = asyncio.Event()
        self.publisher.on_answered = answered.set
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_TIMEOUT):
                    await answered.wait()
        finally:
            self.publisher.on_answered = noop
        if count := self.publisher.in_flight:
            logger.warning("a hub stopped before %d of its messages were confirmed", count)

    # --- topics -----------------------------------------------------------------------------

    def attached(self, name: str) -> AttachedTopic:
        """Return a topic for a new subscriber, and attach it if it is not yet.

        Raises:
            RuntimeError: The caller is not on the hub's thread, or the hub has not started.
        """
        self.prepare(f"topic {name!r:.80} was subscribed")
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = AttachedTopic(self, name, self.keep_of(name))
            topic.attach()
        return topic

    def prepare(self, what: str) -> None:
        """Start a hub that needs no connection, and check that this is its thread.

        Raises:
            RuntimeError: It is not, or the hub has not started.
        """
        self.start_if_local()
        self.thread.check(what)

    def hold(self, topic: str) -> DisposableBase:
        """Keep a topic attached until the result is disposed."""
        return self.attached(topic).hold()

    def is_attached(self, topic: str) -> bool:
        """Return whether the backplane delivers a topic."""
        attached = self._topics.get(topic)
        return attached is not None and attached.live

    def find(self, name: str) -> AttachedTopic | None:
        """Return a topic if it is attached."""
        return self._topics.get(name)

    def keep_of(self, name: str) -> Keep:
        return self._patterns.find(name)

    @property
    def stats(self) -> HubStats:
        # Any thread may ask. Copying a dict is one step for other threads, iterating is not.
        counters = self.counters
        return HubStats(
            published=counters.published,
            confirmed=counters.confirmed,
            unconfirmed=counters.unconfirmed,
            refused=counters.refused,
            dropped=counters.dropped,
            queued=len(self.publisher),
            received=counters.received,
            healed=counters.healed,
            gaps={str(reason): count for reason, count in list(counters.gaps.items())},
            reconnects=counters.reconnects,
            lag=self.publisher.lag,
            topics=len(self._topics) + len(self.users),
            members=self.presences.own_members,
        )

    def publish(
        self, request: PublishRequest, value: object, done: Done[Position | None] | None = None
    ) -> Queued:
        """Queue a message from any thread; see `Publisher.publish`.

        Raises:
            EncodeError: The key function of the overflow policy has failed.
        """
        if not self.started and isinstance(self.backplane, LocalBackplane):
            if self.thread.bound:
                self.run(self.start_if_local)
            elif running_loop() is not None:
                self.start_if_local()
        return self.publisher.publish(request, value, done)

    def publish_unnumbered(
        self, topic: str, payload: str, done: Done[Position | None] | None = None
    ) -> None:
        """Queue what is published as it is, from any thread."""
        self.publish(PublishRequest(topic, payload, Keep.nothing()), payload, done)

    def publish_waiting(self) -> None:
        """Publish what has waited until a topic was attached."""
        self.publisher.pump_soon()

    def default_scheduler(self) -> SchedulerBase:
        """Return the scheduler for chains that begin with an Observable of the hub."""
        self.bind()
        return DefaultScheduler(self.scheduler, self._on_fault)

    # --- for attached topics ----------------------------------------------------------------

    def is_away(self, topic: str) -> bool:
        """Whether the backplane's engine for this topic is known to be away."""
        return isinstance(self._status, Away) and not self.backplane.available(topic)

    @property
    def scheduler(self) -> SchedulerBase:
        return self.thread.scheduler

    def run(self, action: Callable[[], object]) -> None:
        """Call on the hub's thread: now if it is the current one."""
        self.thread.run(action)

    def post(self, action: Callable[[], object]) -> bool:
        """Call on the hub's thread in the next turn; return False if there is none."""
        return self.thread.post(action)

    def deliver_soon(self, topic: AttachedTopic) -> None:
        """Deliver a topic's burst when all messages of this turn have arrived."""
        if not self._to_deliver:
            self.post(self._deliver)
        self._to_deliver.append(topic)

    def _deliver(self) -> None:
        self._deliver_until(self.seconds() + TURN)

    def _deliver_until(self, deadline: float) -> None:
        topics, self._to_deliver = self._to_deliver, []
        if len(topics) == 1 and len(topics[0].burst) == 1:
            topics[0].deliver_burst(deadline)  # connections write a single message at once
        else:
            with Burst():
                call_each(lambda topic: topic.deliver_burst(deadline), topics)

    def _deliver_all(self) -> None:
        """Deliver what has arrived, and the rest of the histories that were read."""
        try:
            while self._to_deliver:
                self._deliver_until(math.inf)
        finally:
            self.turns.finish()

    def on_attached(self, topic: AttachedTopic) -> None:
        """Publish what has waited for this, and read the topic's members if they are observed."""
        self.publisher.pump_soon()
        self.presences.on_attached(topic.name)

    def remove(self, topic: AttachedTopic) -> None:
        if self._topics.get(topic.name) is topic:
            del self._topics[topic.name]
            self.publisher.pump_soon()  # its messages have waited if it was never attached

    # --- for the publisher ------------------------------------------------------------------

    def must_wait(self, request: PublishRequest) -> bool:
        if not self.started or (request.keep.count and self.is_away(request.topic)):
            return True
        topic = self._topics.get(request.topic)
        if topic is None:
            return self.users.is_attaching(request.topic)
        return not topic.live

    def seconds(self) -> float:
        return seconds_of(self.scheduler)() if self.thread.bound else time.monotonic()

    # --- what the backplane calls -----------------------------------------------------------

    def on_publication(self, topic: str, publication: Publication) -> None:
        if (attached := self._topics.get(topic)) is not None:
            attached.on_publication(publication)
        else:
            self.users.on_publication(topic, publication)

    def on_top(self, topic: str, top: Position) -> None:
        if (attached := self._topics.get(topic)) is not None:
            attached.on_top(top)

    def on_joined(self, topic: str, member: Member) -> None:
        self.presences.on_joined(topic, member)

    def on_left(self, topic: str, member: Member) -> None:
        self.presences.on_left(topic, member)

    def on_members_unknown(self, topic: str | None) -> None:
        self.presences.on_members_unknown(topic)
        self.users.on_missed(topic)

    def on_status(self, status: HubStatus) -> None:
        was_away = isinstance(self._status, Away)
        self._set_status(status)
        if was_away:
            self.counters.reconnects += isinstance(status, Connected)
            # One of several engines may be back while another is still away.
            back = [each for each in self._topics.values() if not each.is_away]
            call_each(AttachedTopic.on_connected, back)
            self.publisher.pump_soon()

    def _set_status(self, status: HubStatus) -> None:
        if status != self._status:
            self._status = status
            self.status.emit(status)

    def _on_fault(self, error: Exception) -> None:
        logger.error("a subscriber of a hub raised: %s", one_line(error), exc_info=error)
