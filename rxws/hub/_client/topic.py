"""Topics of a client, as users hold them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import RLock
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.async_iteration import AsyncIterableObservable
from rxws._core.checks import check_count
from rxws._core.streams.scheduled import SchedulerCarrier
from rxws.hub._messages import Gap, Message, Position, check_position
from rxws.hub._observable import HubObservable
from rxws.hub._open_subject import OpenSubject, confirmed
from rxws.hub._topic_streams import TopicStreams
from rxws.hub._view import View

from .publishing import Done, Publication
from .subscribed_topic import SubscribedTopic
from .token import TokenSource
from .views import ClientRewindView, ClientSinceView

__all__ = ["ClientTopic"]

T = TypeVar("T")


class TopicOwner(Protocol):
    """The client; see `ClientRegistry`."""

    def attached(self, name: str, tokens: TokenSource) -> SubscribedTopic: ...
    def find(self, name: str) -> SubscribedTopic | None: ...
    def publish(self, publication: Publication) -> None: ...
    def default_scheduler(self) -> SchedulerBase: ...


class ClientTopic(SchedulerCarrier[T], OpenSubject[T]):
    """A topic of a server that speaks Centrifugo's protocol: see `rxws.hub.HubClient.topic`.

    It is a Subject: what you push is published, and subscribers get the values of all publishers.
    All its subscribers share one subscription at the server, which ends when the last of them
    unsubscribes. After a reconnect it continues after the last position that was received.

    `on_completed` and `on_error` leave it open. It fails with `Refused` if the server does not
    allow the subscription, and with the client's error if that gives up.

    Subscribe on the client's event loop only. You may push from any thread.

    A subscriber that pauses its source, such as `map_async` or `async for`, pauses the connection
    of all topics. If that takes longer than the server waits for a pong, the client reconnects and
    continues.

    Examples:
        ```python
        room = client.topic("room:1")
        room.subscribe(print)
        room.on_next("hello")
        ```
    """

    def __init__(self, owner: TopicOwner, name: str, tokens: TokenSource) -> None:
        self.lock = RLock()  # some operators of RxPY need it
        self._owner = owner
        self._name = name
        self._tokens = tokens

    @property
    def observers(self) -> list[ObserverBase[T]]:  # type: ignore[override] # an attribute in Subject
        """The subscribers to the topic itself."""
        topic = self._owner.find(self._name)
        return [] if topic is None else topic.streams.values.observers

    def _attached(self) -> SubscribedTopic:
        return self._owner.attached(self._name, self._tokens)

    def _default_scheduler(self) -> SchedulerBase:
        return self._owner.default_scheduler()

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        return self._attached().streams.values.subscribe(observer)

    def _observable(
        self, subscribe: Callable[[SubscribedTopic, ObserverBase[Any]], DisposableBase]
    ) -> HubObservable[Any]:
        return HubObservable(
            self._owner.default_scheduler, lambda observer: subscribe(self._attached(), observer)
        )

    def _view(
        self, make_view: Callable[[TopicStreams, ObserverBase[Any]], View]
    ) -> HubObservable[Any]:
        return self._observable(
            lambda topic, observer: topic.views.subscribe(make_view(topic.streams, observer))
        )

    @property
    def gaps(self) -> AsyncIterableObservable[Gap]:
        """Emit a `Gap` wherever the topic itself and `rewind` may leave out messages."""
        return self._observable(lambda topic, observer: topic.streams.gaps.subscribe(observer))

    @property
    def presence(self) -> AsyncIterableObservable[frozenset[str]]:
        """Emit the names of all users who are subscribed: now and whenever they change.

        It fails with `Refused` if the server does not allow `"presence"`. A user with several
        connections is one name; users without a name are left out. While there is no connection,
        the names do not change.
        """
        return self._observable(lambda topic, observer: topic.members.subscribe(observer))

    def messages(self, last: int = 0) -> AsyncIterableObservable[Message[T] | Gap]:
        """Emit live messages with their positions, and a `Gap` wherever some may be missing.

        Args:
            last: How many of the newest messages to emit first, as `rewind` does.

        Raises:
            TypeError: `last` is no int.
            ValueError: `last` is negative.
        """
        if last == 0:
            return self._observable(lambda topic, each: topic.streams.events.subscribe(each))
        check_count("last", last, "messages")
        return self._view(partial(ClientRewindView, count=last, as_events=True))

    def rewind(self, count: int) -> AsyncIterableObservable[T]:
        """Emit the newest messages first, then live ones, without a hole in between.

        The server must allow the command `history` for this topic: otherwise it fails with
        `Refused`.

        Args:
            count: The number of messages; there may be fewer, as the server decides.

        Raises:
            TypeError: `count` is no int.
            ValueError: `count` is less than 1.

        Examples:
            ```python
            client.topic("room:1").rewind(20).subscribe(print)
            ```
        """
        check_count("count", count, "messages")
        return self._view(partial(ClientRewindView, count=count))

    def since(self, position: Position) -> AsyncIterableObservable[Message[T] | Gap]:
        """Emit all messages after a position, then live ones.

        A `Gap` comes first if messages after the position may be missing: the server does not keep
        them any more, has lost its state, or does not number the topic.

        The first subscriber of a topic gets its messages with the reply to the subscribe command.
        For later ones the server must also allow the command `history`.

        Args:
            position: `message.position` of the last message that you have handled. If you
                have its `str`, use `Position.parse`.

        Raises:
            TypeError: `position` is no `Position`, such as a text.
            ValueError: Its offset is below 0.

        Examples:
            ```python
            def on(event):
                match event:
                    case Message(value, position):
                        save(value, str(position))
                    case Gap():
                        reload()

            client.topic("news:42").since(Position.parse(load())).subscribe(on)
            ```
        """
        return self._view(partial(ClientSinceView, position=check_position(position)))

    def on_next(self, value: T) -> None:
        """Queue a message to publish, from any thread; messages of this client keep their order.

        It waits while there is no connection, bounded by `queue`, `queue_overflow` and `ttl`. If
        the server refuses it, or the connection is lost before the reply, `HubClient.errors`
        reports that.

        Raises:
            EncodeError: JSON cannot represent it.
        """
        self._owner.publish(Publication(self._name, value))

    async def publish(self, value: T) -> None:  # type: ignore[override] # RxPY's fluent interface
        """Publish a message, and wait until the server has confirmed it.

        It waits while there is no connection. Use `asyncio.timeout` for a limit: a message that is
        still waiting is then not sent. It returns no position, as the protocol has none here.

        Args:
            value: The message: any value that JSON can represent.

        Raises:
            EncodeError: JSON cannot represent it.
            Refused: The server does not allow it.
            Unconfirmed: The connection was lost before the reply: it may have been published.
            NotPublished: It was dropped before it was sent.

        Examples:
            ```python
            await client.topic("room:1").publish({"text": "hello"})
            ```
        """

        def send(done: Done) -> Publication:
            publication = Publication(self._name, value, done)
            self._owner.publish(publication)
            return publication

        await confirmed(send)
