"""The topics that connections of this process are subscribed to: each message is built once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from reactivex.disposable import Disposable, SerialDisposable

from rxws import codecs
from rxws._core.errors import short_repr
from rxws._core.log import logger
from rxws.codecs import Codec
from rxws.hub._backplane import Backplane, Done, Member, Publication, PublishRequest
from rxws.hub._keep import Keep
from rxws.hub._messages import Gap, Position
from rxws.hub._protocol.frames import publication, publication_push, push
from rxws.hub._protocol.schema import ClientInfo, JoinPush, LeavePush

from .payloads import NotText, Payloads

if TYPE_CHECKING:
    from rxws.hub._attached import AttachedTopic
    from rxws.hub._history import Entry
    from rxws.hub._presence import PresenceChange, Presences
    from rxws.hub._users import Users

__all__ = ["ServedHub", "ServedTopic", "ServedTopics", "Subscriber", "info_of"]


class ServedHub(Protocol):
    """The interface of the hub to the server; see `TopicRegistry`."""

    backplane: Backplane
    codec: Codec[Any, Any]

    @property
    def presences(self) -> Presences: ...
    @property
    def users(self) -> Users: ...
    def start_if_local(self) -> None: ...
    def attached(self, name: str) -> AttachedTopic:
        """Return a topic for a new subscriber."""
        ...

    def publish(
        self, request: PublishRequest, value: object, done: Done[Position | None] | None = None
    ) -> object:
        """Publish a payload, and what it decodes to."""
        ...

    def keep_of(self, name: str) -> Keep: ...


class Subscriber(Protocol):
    """A subscription of a connection to a topic."""

    join_leave: bool

    def on_message(self, position: Position | None, text: str) -> None:
        """Send the text of a push."""
        ...

    def on_gap(self, gap: Gap) -> None:
        """Messages are missing."""
        ...

    def on_unsendable(self) -> None:
        """The protocol cannot carry a message."""
        ...

    def on_stopped(self) -> None:
        """The hub has stopped."""
        ...

    def on_change(self, texts: list[str]) -> None:
        """Members have joined or left: send the texts of these pushes."""
        ...


class ServedTopic:
    """Receives a topic once, and passes the same text to all subscribers."""

    __slots__ = (
        "_changes",
        "_joins",
        "_payloads",
        "_presences",
        "_recovery",
        "_subscribers",
        "_subscription",
        "attached",
        "name",
    )

    def __init__(self, hub: ServedHub, payloads: Payloads, name: str) -> None:
        self.name = name
        self.attached = hub.attached(name)
        self._payloads = payloads
        self._presences = hub.presences
        self._subscribers: dict[Subscriber, None] = {}
        self._recovery: tuple[object, Sequence[str]] = (None, ())  # the latest one
        self._joins = 0  # subscribers that want to know who joins and leaves
        self._changes = SerialDisposable()
        self._subscription = self.attached.streams.entries.subscribe(
            self._on_entry, on_completed=self._on_stopped
        )

    def __len__(self) -> int:
        return len(self._subscribers)

    def add(self, subscriber: Subscriber) -> None:
        self._subscribers[subscriber] = None
        if subscriber.join_leave:
            self._joins += 1
            if self._joins == 1:
                self._changes.disposable = self._presences.changes(self.name).subscribe(
                    self._on_change
                )

    def remove(self, subscriber: Subscriber) -> None:
        del self._subscribers[subscriber]
        if subscriber.join_leave:
            self._joins -= 1
            if not self._joins:
                self._changes.disposable = Disposable()

    def dispose(self) -> None:
        self._subscription.dispose()
        self._changes.dispose()

    def text_of(self, entry: Entry) -> str:
        """Return the JSON of a message.

        Raises:
            NotText: The protocol cannot carry it.
        """
        position = entry.position
        json = self._payloads.of_payload(entry.payload)
        return publication(json, 0 if position is None else position.offset)

    def texts_of(
        self, since: Position | None, entries: Sequence[Entry], max_size: int
    ) -> Sequence[str] | None:
        """Return the JSON of the publications after a position.

        The result is None if there is a gap, a binary message, or more than `max_size` bytes. In a
        storm of clients that continue after the same position, it is built once.
        """
        key = (since, entries[-1].position, max_size) if entries else None
        if key is not None and key == self._recovery[0]:
            return self._recovery[1]
        texts = self._build(entries, max_size)
        if texts is not None:
            self._recovery = key, texts
        return texts

    def _build(self, entries: Sequence[Entry], max_size: int) -> Sequence[str] | None:
        texts: list[str] = []
        size = 0
        for entry in entries:
            if isinstance(entry.event, Gap):
                return None
            try:
                text = self.text_of(entry)
            except NotText:
                return None
            size += len(text) * (1 if text.isascii() else 4)
            if size > max_size:
                return None
            texts.append(text)
        return texts

    def _on_entry(self, entry: Entry) -> None:
        event = entry.event
        if isinstance(event, Gap):
            self._each(lambda subscriber: subscriber.on_gap(event))
            return
        try:
            text = publication_push(self.name, self.text_of(entry))
        except NotText:
            logger.error(
                "topic %s: hub.serve cannot send a binary message, as its protocol is JSON: use "
                "codec=rxws.codecs.json for the hub",
                short_repr(self.name),
            )
            self._each(lambda subscriber: subscriber.on_unsendable())
            return
        position = entry.position
        for subscriber in tuple(self._subscribers):
            subscriber.on_message(position, text)

    def _on_stopped(self) -> None:
        self._each(lambda subscriber: subscriber.on_stopped())

    def _on_change(self, change: PresenceChange) -> None:
        texts = [push(self.name, LeavePush(info_of(member))) for member in change.left]
        texts += [push(self.name, JoinPush(info_of(member))) for member in change.joined]
        self._each(lambda subscriber: subscriber.on_change(texts))

    def _each(self, call: Callable[[Subscriber], None]) -> None:
        for subscriber in tuple(self._subscribers):
            call(subscriber)


class ServedTopics:
    """The served topics of a hub by name; one exists while it has subscribers."""

    def __init__(self, hub: ServedHub) -> None:
        self.hub = hub
        self.payloads = Payloads(hub.codec)
        self._topics: dict[str, ServedTopic] = {}

    def __len__(self) -> int:
        return len(self._topics)

    def add(self, name: str, subscriber: Subscriber) -> ServedTopic:
        topic = self._topics.get(name)
        if topic is None:
            topic = self._topics[name] = ServedTopic(self.hub, self.payloads, name)
        topic.add(subscriber)
        return topic

    def text_of(self, published: Publication) -> str:
        """Return the JSON of what the backplane keeps.

        Raises:
            NotText: The protocol cannot carry it.
        """
        position = published.position
        offset = 0 if position is None else position.offset
        return publication(self.payloads.of_payload(published.payload), offset)

    def remove(self, topic: ServedTopic, subscriber: Subscriber) -> None:
        topic.remove(subscriber)
        if not len(topic) and self._topics.get(topic.name) is topic:
            del self._topics[topic.name]
            topic.dispose()


def info_of(member: Member) -> ClientInfo:
    """Return a member as the protocol has it."""
    info = codecs.json.decode(member.info) if member.info else None
    return ClientInfo(member.id, member.name, info)
