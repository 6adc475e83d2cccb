"""Topics, as users hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from threading import RLock
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, OnCompleted, OnError, OnNext, SchedulerBase

from rxws._core.checks import check_count
from rxws._core.errors import short_repr
from rxws._core.frames import Opcode
from rxws._core.streams.scheduled import SchedulerCarrier
from rxws._core.streams.stream import RestartableStream
from rxws._session.encoding import encode

from ._backplane import Done, PublishRequest
from ._messages import Gap, Message, Position, check_position
from ._observable import HubObservable
from ._open_subject import OpenSubject, confirmed
from ._publisher import Queued
from ._registry import TopicRegistry
from ._topic_streams import TopicStreams
from ._view import RewindView, SinceView, View

__all__ = ["Topic"]

T = TypeVar("T")


class _TopicStream(SchedulerCarrier[T]):
    """One of the streams of a topic, which is attached while there is a subscriber."""

    __slots__ = ("_choose", "_name", "_registry")

    is_shared = True

    def __init__(
        self,
        registry: TopicRegistry,
        name: str,
        choose: Callable[[TopicStreams], RestartableStream[T]],
    ) -> None:
        self.lock = RLock()  # some operators of RxPY need it
        self._registry = registry
        self._name = name
        self._choose = choose

    def _default_scheduler(self) -> SchedulerBase:
        return self._registry.default_scheduler()

    def subscribe(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """See RxPY."""
        stream = self._choose(self._registry.attached(self._name).streams)
        return stream.subscribe(on_next, on_error, on_completed, scheduler=scheduler)

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        stream = self._choose(self._registry.attached(self._name).streams)
        return stream.subscribe(observer, scheduler=scheduler)


class Topic(_TopicStream[T], OpenSubject[T]):
    """A named stream that many connections, processes and machines share: see `Hub.topic`.

    It is a Subject: what you push is published, and all subscribers get it in the same order, those
    of this hub as well. They get what the hub's codec has decoded, also in the publishing process.
    In each process all of them get the same object, and `rewind` emits it again: do not change it.

    `on_completed` and `on_error` leave it open, as others may publish, too. It has no end until its
    hub stops.

    Subscribe on the hub's event loop only. You may push from any thread.

    Examples:
        ```python
        def room(conn):
            topic = hub.topic("room:1")
            conn.incoming.subscribe(topic)
            return topic.rewind(20)
        ```
    """

    def __init__(self, registry: TopicRegistry, name: str) -> None:
        super().__init__(registry, name, attrgetter("values"))
        self._keep = registry.keep_of(name)

    @property
    def observers(self) -> list[ObserverBase[T]]:  # type: ignore[override] # an attribute in Subject
        """The subscribers to the topic itself, in this process."""
        topic = self._registry.find(self._name)
        return [] if topic is None else topic.streams.values.observers

    @property
    def gaps(self) -> Observable[Gap]:
        """Emit a `Gap` wherever the topic itself and `rewind` may leave out messages."""
        return _TopicStream(self._registry, self._name, attrgetter("gaps"))

    @property
    def presence(self) -> Observable[frozenset[str]]:
        """Emit the names of all members: now and whenever they change.

        Members are those who are subscribed to `joined`, in any process, and the clients of
        `Hub.serve` that are subscribed with presence. A user with several connections is one name.
        Changes of one turn of the event loop are emitted together.

        A member leaves with its connection, or some seconds after its process has died; see the
        backplane. While the backplane is away, members of other processes stay as they were last
        known.

        Examples:
            ```python
            topic.presence.pipe(ops.map(lambda here: {"here": sorted(here)}))
            ```
        """
        return self._registry.presences.names(self._name)

    def joined(self, name: str, info: Any = None) -> Observable[Any]:
        """Return an Observable whose subscribers are members: it emits nothing and never ends.

        Merge it into the result of a handler. Each subscription is a member of its own, until it is
        disposed, as the end of the connection does.

        Args:
            name: The user.
            info: JSON for clients of the Centrifugo protocol, such as `{"colour": "red"}`; or None.

        Raises:
            TypeError: `name` is no str.
            ValueError: `name` is empty, or no valid Unicode.
            EncodeError: `info` cannot be encoded as JSON.

        Examples:
            ```python
            def room(conn):
                topic = hub.topic("room:1")
                return rx.merge(topic, topic.joined(conn.handshake.request["user"]))
            ```
        """
        return self._registry.presences.joined(self._name, name, info)

    def messages(self, last: int = 0) -> Observable[Message[T] | Gap]:
        """Emit live messages with their positions, and a `Gap` wherever some may be missing.

        Args:
            last: How many of the newest messages to emit first, as `rewind` does; there may be
                less, as the topic's `Keep` decides.

        Raises:
            TypeError: `last` is no int.
            ValueError: `last` is negative, or the topic keeps nothing.
        """
        if last == 0:
            return _TopicStream(self._registry, self._name, attrgetter("events"))
        check_count("last", last, "messages")
        self._check_keeps(f"messages(last={last})")
        count = min(last, self._keep.count)
        return self._view(partial(RewindView, count=count, as_events=True))

    def rewind(self, count: int) -> Observable[T]:
        """Emit the newest messages first, then live ones, without a hole in between.

        Args:
            count: The number of messages; there may be fewer, as the topic's `Keep` decides.

        Raises:
            TypeError: `count` is no int.
            ValueError: `count` is less than 1, or the topic keeps nothing.
        """
        check_count("count", count, "messages")
        self._check_keeps(f"rewind({count})")
        return self._view(partial(RewindView, count=min(count, self._keep.count)))

    def since(self, position: Position) -> Observable[Message[T] | Gap]:
        """Emit all messages after a position, then live ones.

        A `Gap` comes first if messages after the position may be missing: they are older than what
        the topic keeps, or the backplane has lost its state.

        Args:
            position: `message.position` of the last message that you have handled. If you
                have its `str`, use `Position.parse`.

        Raises:
            TypeError: `position` is no `Position`, such as a text.
            ValueError: Its offset is below 0, or the topic keeps nothing.

        Examples:
            ```python
            def on(event):
                match event:
                    case Message(value, position):
                        save(value, str(position))
                    case Gap():
                        reload()

            hub.topic("news:42").since(Position.parse(load())).subscribe(on)
            ```
        """
        check_position(position)
        self._check_keeps("since(...)")
        return self._view(partial(SinceView, position=position))

    def _view(
        self, make_view: Callable[[TopicStreams, ObserverBase[Any]], View]
    ) -> Observable[Any]:
        def subscribe(observer: ObserverBase[Any]) -> DisposableBase:
            topic = self._registry.attached(self._name)
            return topic.subscribe_view(make_view(topic.streams, observer))

        return HubObservable(self._registry.default_scheduler, subscribe)

    def on_next(self, value: T) -> None:
        """Queue a message to publish, from any thread; messages of this process keep their order.

        It waits while the backplane is away, bounded by `Hub(max_buffer=, overflow=)`.

        Raises:
            EncodeError: The hub's codec cannot encode it.
        """
        self._publish(value, None, None)

    async def publish(  # type: ignore[override] # the method of RxPY's fluent interface
        self,
        value: T,
        id: str | None = None,  # noqa: A002
    ) -> Position | None:
        """Publish a message, and wait until the backplane has confirmed it.

        Args:
            value: The message.
            id: If a message with this id was published before, nothing is published. So you may
                try again after `Unconfirmed`. Ids are remembered as long as the topic keeps their
                messages; with Redis no longer than `RedisBackplane(remember_ids=)`.

        Returns:
            The position of the message, or of the earlier one with this id; None if the topic keeps
            nothing.

        Raises:
            EncodeError: The hub's codec cannot encode it.
            Unconfirmed: The connection to the backplane was lost: it may have been published.
            BackplaneError: It was not published.
            RuntimeError: The hub has not started, or has stopped.
            TypeError: `id` is no str.
            ValueError: `id` is empty, or the topic keeps nothing and can recognize no id.
        """
        if id is not None:
            if not isinstance(id, str):
                raise TypeError(f"id={short_repr(id)} is no str: use str(...)")
            if not id:
                raise ValueError("id='' is empty: use an id that is unique in the topic, or None")
            self._check_keeps(f"publish(..., id={short_repr(id)})")
        self._registry.check_started()  # otherwise it could wait for ever
        try:
            return await confirmed(partial(self._publish, value, id))
        except asyncio.CancelledError:
            self._registry.publish_waiting()  # it makes room if it is still waiting
            raise

    def _publish(
        self, value: T, message_id: str | None, done: Done[Position | None] | None
    ) -> Queued:
        opcode, payload = encode(self._registry.codec, value)
        request = PublishRequest(
            self._name,
            payload.decode() if opcode is Opcode.TEXT else payload,
            self._keep,
            message_id,
        )
        return self._registry.publish(request, value, done)

    def _check_keeps(self, call: str) -> None:
        if not self._keep.count:
            raise ValueError(
                f"topic {short_repr(self._name)} keeps no messages, so {call} is not possible: "
                f"name it in Hub(topics={{{short_repr(self._name)}: rxws.Keep(100)}})"
            )
