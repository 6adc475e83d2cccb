"""Messages to all connections of one user, in every process."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from enum import Enum, auto
from functools import partial
from operator import methodcaller
from typing import Any, Protocol, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.connection import Close, Connection
from rxws._core.errors import short_repr
from rxws._core.frames import Opcode
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_and_report, call_later
from rxws._session.encoding import decode_error, encode
from rxws.closing import check_sendable
from rxws.codecs import Codec

from ._backplane import Backplane, Done, Publication
from ._keep import Keep
from ._messages import Position
from ._names import RESERVED, check_pattern, check_user
from ._observable import HubObservable

__all__ = ["USER_TOPICS", "ClosedUsers", "User", "UserConnection", "Users", "UsersHost"]

T = TypeVar("T")

USER_TOPICS = f"{RESERVED}user:"
"""The prefix of the topics of users, which are not numbered."""

_CLOSED = f"{RESERVED}closed"
"""The topic of all closed users, for connections whose user is not known yet."""

_VERSION = 1
_NOTHING = Keep.nothing()
_RETRY = 1.0  # seconds
_MAX_UNCONFIRMED = 1000


class UsersHost(Protocol):
    """What `Users` needs of its hub; see `TopicRegistry`."""

    codec: Codec[Any, Any]

    @property
    def backplane(self) -> Backplane:
        """The hub's backplane."""
        ...

    @property
    def scheduler(self) -> SchedulerBase:
        """The hub's scheduler."""
        ...

    def default_scheduler(self) -> SchedulerBase:
        """Return the scheduler for chains that begin with an Observable of the hub."""
        ...

    def prepare(self, what: str) -> None:
        """Start a hub that needs no connection, and check that this is its thread.

        Raises:
            RuntimeError: It is not, or the hub has not started.
        """
        ...

    def run(self, action: Callable[[], object]) -> None:
        """Call on the hub's thread: now if it is the current one."""
        ...

    def publish_unnumbered(
        self, topic: str, payload: str, done: Done[Position | None] | None = None
    ) -> None:
        """Publish from any thread and in order; `done` gets the result on the hub's thread.

        Messages wait while `Users.is_attaching`.
        """
        ...

    def publish_waiting(self) -> None:
        """Publish what has waited until a topic was attached."""
        ...


class UserConnection(Protocol):
    """A connection of a user. All calls happen on the hub's thread, in a later turn."""

    def on_registered(self) -> None:
        """Messages to the user arrive from now on; check rights after this.

        If the backplane is away, this is called nevertheless, and `on_missed` when it is back.
        """
        ...

    def on_value(self, value: Any) -> None:
        """A value was sent to the user."""
        ...

    def on_close(self, close: Close) -> None:
        """The connection must close."""
        ...

    def on_revoke(self, pattern: str) -> None:
        """The user's subscriptions to the topics that `_names.matches` this must end."""
        ...

    def on_missed(self) -> None:
        """Messages may be lost, also `on_revoke`: check all rights again."""
        ...


_ON_REGISTERED = methodcaller("on_registered")
_ON_MISSED = methodcaller("on_missed")


class _State(Enum):
    ATTACHING = auto()
    FAILED = auto()  # and trying again
    ATTACHED = auto()


class _Registered:
    """The connections of one user in this process."""

    __slots__ = ("connections", "retry", "state")

    def __init__(self, scheduler: SchedulerBase) -> None:
        self.connections: dict[UserConnection, None] = {}
        self.state = _State.ATTACHING
        self.retry = Deadline(scheduler)


class Users:
    """Registers the connections of users, and delivers what is published to their topics."""

    def __init__(self, host: UsersHost) -> None:
        self._host = host
        self._users: dict[str, _Registered] = {}  # by topic
        self._unconfirmed: dict[tuple[str, str], None] = {}  # commands by topic, in order
        self._retry: DisposableBase | None = None

    def __len__(self) -> int:
        """Return the number of topics that are attached for connections."""
        return len(self._users)

    def user(self, name: str) -> User[Any]:
        """Return what `hub.user` returns."""
        return User(self, check_user(name))

    def attach(self, connection: Connection[Any, Any], name: str) -> Observable[Any]:
        """Return what `hub.attach` returns."""
        check_user(name)
        if not isinstance(connection, Connection):
            raise TypeError(
                f"attach({short_repr(connection)}, ...): pass the connection that the handler got"
            )

        def subscribe(
            observer: ObserverBase[Any], _: SchedulerBase | None = None
        ) -> DisposableBase:
            return self.register(name, _Attached(connection, observer))

        return HubObservable(self._host.default_scheduler, subscribe)

    def register(self, name: str, connection: UserConnection) -> DisposableBase:
        """Deliver a user's messages to a connection until the result is disposed."""
        topic = USER_TOPICS + check_user(name)
        return self._register(topic, connection, f"a connection of user {name!r:.80}")

    def watch(self, watcher: ClosedUsers) -> DisposableBase:
        """Report all users that are closed to a watcher, until the result is disposed."""
        return self._register(_CLOSED, watcher, "a connection")

    def _register(self, topic: str, connection: UserConnection, what: str) -> DisposableBase:
        self._host.prepare(f"{what} was registered")
        user = self._users.get(topic)
        if user is None:
            user = self._users[topic] = _Registered(self._host.scheduler)
            self._attach(topic, user)
        user.connections[connection] = None
        if user.state is not _State.ATTACHING:
            self._notify(user, (connection,), _ON_REGISTERED)
        unregister = partial(self._unregister, topic, user, connection)
        return Disposable(lambda: self._host.run(unregister))

    def is_attaching(self, topic: str) -> bool:
        """Return whether messages to a topic must wait, because it is being attached."""
        user = self._users.get(topic)
        return user is not None and user.state is _State.ATTACHING

    def send(self, name: str, value: Any) -> None:
        """Publish a value to a user, from any thread.

        Raises:
            EncodeError: The hub's codec cannot encode it.
        """
        opcode, payload = encode(self._host.codec, value)
        if opcode is Opcode.TEXT:
            command = _command("value", text=payload.decode())
        else:
            command = _command("value", base64=b64encode(payload).decode())
        self._host.publish_unnumbered(USER_TOPICS + name, command)

    def close(self, name: str, close: Close) -> None:
        """Publish a close from any thread, and repeat it until it is confirmed."""
        fields = {"code": close.code, "reason": close.reason}
        self.command(USER_TOPICS + name, _command("close", **fields))
        self.command(_CLOSED, _command("closed", user=name, **fields))

    def revoke(self, name: str, pattern: str) -> None:
        """Do as `close` with a revoke."""
        self.command(USER_TOPICS + name, _command("revoke", topic=pattern))

    def command(self, topic: str, command: str) -> None:
        self._host.publish_unnumbered(topic, command, partial(self._on_published, topic, command))

    def on_publication(self, topic: str, publication: Publication) -> None:
        """Deliver a message to the connections of a user."""
        user = self._users.get(topic)
        if user is None:  # the last connection has just left
            return
        try:
            deliver = self._parse(publication.payload)
        except Exception as exc:
            logger.error(
                "dropped a message to a user, which this hub cannot read: %s", one_line(exc)
            )
            return
        for connection in tuple(user.connections):
            call_and_report(self._host.scheduler, deliver, connection)

    def on_missed(self, topic: str | None = None) -> None:
        """Notify connections that messages may be lost: to one user, or to all of them."""
        users = [self._users.get(topic)] if topic is not None else list(self._users.values())
        for user in users:
            if user is not None:
                self._notify(user, tuple(user.connections), _ON_MISSED)

    def stop(self) -> None:
        """Forget all connections, after the backplane has stopped."""
        if self._unconfirmed:
            logger.warning(
                "the hub stopped before the backplane confirmed all messages of User.close and "
                "User.revoke: %d left",
                len(self._unconfirmed),
            )
        if self._retry is not None:
            self._retry.dispose()
        for user in self._users.values():
            user.retry.clear()
        self._users.clear()
        self._unconfirmed.clear()

    # --- attaching --------------------------------------------------------------------------

    def _attach(self, topic: str, user: _Registered) -> None:
        self._host.backplane.attach(topic, _NOTHING, partial(self._on_attached, topic, user))

    def _on_attached(
        self, topic: str, user: _Registered, result: Position | Exception | None
    ) -> None:
        if self._users.get(topic) is not user:
            return
        before = user.state
        if isinstance(result, Exception):
            user.state = _State.FAILED
            user.retry.set(_RETRY, partial(self._attach, topic, user))
        else:
            user.state = _State.ATTACHED
        if before is _State.ATTACHING:
            self._host.publish_waiting()
            self._notify(user, tuple(user.connections), _ON_REGISTERED)
        elif user.state is _State.ATTACHED:
            self._notify(user, tuple(user.connections), _ON_MISSED)

    def _unregister(self, topic: str, user: _Registered, connection: UserConnection) -> None:
        user.connections.pop(connection, None)
        if not user.connections and self._users.get(topic) is user:
            del self._users[topic]
            user.retry.clear()
            self._host.backplane.detach(topic)
            self._host.publish_waiting()

    def _notify(
        self,
        user: _Registered,
        connections: tuple[UserConnection, ...],
        notify: Callable[[UserConnection], None],
    ) -> None:
        """Call in a later turn, so that nobody is called back while registering."""

        def call() -> None:
            for connection in connections:
                if connection in user.connections:
                    call_and_report(self._host.scheduler, notify, connection)

        call_later(self._host.scheduler, 0, call)

    # --- commands ---------------------------------------------------------------------------

    def _parse(self, payload: str | bytes) -> Callable[[Any], None]:
        """Return the call for each connection."""
        command: Any = json.loads(payload)
        if command["v"] != _VERSION:
            raise ValueError(f"version {command['v']!r:.80}: this hub knows version {_VERSION}")
        match command["type"]:
            case "value":
                text = command.get("text")
                data = b64decode(command["base64"]) if text is None else text
                try:
                    value = self._host.codec.decode(data)
                except Exception as exc:
                    raise decode_error(exc, data) from exc
                return lambda connection: connection.on_value(value)
            case "close":
                close = check_sendable(Close(command["code"], command["reason"]))
                return lambda connection: connection.on_close(close)
            case "closed":
                close = check_sendable(Close(command["code"], command["reason"]))
                user = check_user(command["user"])
                return lambda watcher: watcher.on_closed(user, close)
            case "revoke":
                pattern = check_pattern(command["topic"])
                return lambda connection: connection.on_revoke(pattern)
            case unknown:
                raise ValueError(f"type {unknown!r:.80} is unknown")

    def _on_published(self, topic: str, command: str, result: object) -> None:
        key = topic, command
        if not isinstance(result, Exception):
            self._unconfirmed.pop(key, None)
            return
        if not self._unconfirmed:
            self._retry = call_later(self._host.scheduler, _RETRY, self._repeat)
        self._unconfirmed[key] = None
        if len(self._unconfirmed) > _MAX_UNCONFIRMED:
            del self._unconfirmed[next(iter(self._unconfirmed))]
            logger.error(
                "dropped the oldest of %d calls of User.close or User.revoke: the backplane is "
                "away (%s)",
                _MAX_UNCONFIRMED + 1,
                one_line(result),
            )

    def _repeat(self) -> None:
        unconfirmed, self._unconfirmed = self._unconfirmed, {}
        for topic, command in unconfirmed:
            self._host.publish_unnumbered(
                topic, command, partial(self._on_published, topic, command)
            )


class ClosedUsers:
    """The users that were closed since a connection began to ask for its own user.

    Args:
        begin: Called when `Users.watch` reports all users that are closed from now on.
        on_closed: Called with each of them.
    """

    __slots__ = ("_begin", "on_closed")

    def __init__(self, begin: Callable[[], None], on_closed: Callable[[str, Close], None]) -> None:
        self._begin = begin
        self.on_closed = on_closed

    def on_registered(self) -> None:
        self._begin()

    def on_value(self, value: Any) -> None:
        """Do nothing."""

    def on_close(self, close: Close) -> None:
        """Do nothing."""

    def on_revoke(self, pattern: str) -> None:
        """Do nothing."""

    def on_missed(self) -> None:
        """Do nothing."""


class _Attached:
    """A connection of `hub.attach`."""

    __slots__ = ("_connection", "_observer")

    def __init__(self, connection: Connection[Any, Any], observer: ObserverBase[Any]) -> None:
        self._connection = connection
        self._observer = observer

    def on_registered(self) -> None:
        """Do nothing."""

    def on_value(self, value: Any) -> None:
        self._observer.on_next(value)

    def on_close(self, close: Close) -> None:
        self._connection.outgoing.on_next(close)

    def on_revoke(self, pattern: str) -> None:
        """Do nothing: the handler decides itself what it sends."""

    def on_missed(self) -> None:
        """Do nothing: values are delivered at most once."""


def _command(type_: str, **arguments: Any) -> str:
    return json.dumps({"v": _VERSION, "type": type_, **arguments}, separators=(",", ":"))


class User(ObserverBase[T]):
    """All connections of one user, in every process of the hub.

    They are the connections of `hub.serve` whose user has this name, and those whose handler merges
    `hub.attach(conn, name)`. You may call all methods from any thread; calls of one process arrive
    in their order.
    """

    __slots__ = ("_name", "_users")

    def __init__(self, users: Users, name: str) -> None:
        self._users = users
        self._name = name

    def __repr__(self) -> str:
        return f"<User {short_repr(self._name)}>"

    def on_next(self, value: T) -> None:
        """Send a value to all connections of the user, each at most once.

        Raises:
            EncodeError: The hub's codec cannot encode the value.
        """
        self._users.send(self._name, value)

    def on_error(self, error: Exception) -> None:
        """Do nothing: the end of one source does not concern the user's connections."""

    def on_completed(self) -> None:
        """Do nothing, as `on_error`."""

    def close(self, close: Close) -> None:
        """Close all connections of the user, and repeat this until the backplane has confirmed it.

        Connections of `hub.serve` that are just asking `user` for their user are closed, too: take
        the right away first. Others that begin meanwhile are closed if this has to be repeated.

        Raises:
            TypeError: `close` is no `rxws.Close`.
            ValueError: Its code must not be sent.

        Examples:
            ```python
            hub.user("42").close(rxws.Close(4001, "logged out"))
            ```
        """
        if not isinstance(close, Close):
            raise TypeError(f"close({short_repr(close)}): use a rxws.Close")
        check_sendable(close)
        self._users.close(self._name, close)

    def revoke(self, topic: str) -> None:
        """End the user's subscriptions of `hub.serve` to a topic.

        Args:
            topic: Its name, or a prefix with a trailing `*`; `"*"` stands for all topics. Take the
                right away first, so that `allow` refuses when the client subscribes again.

        Raises:
            TypeError: `topic` is no `str`.
            ValueError: It is empty, or has a `*` elsewhere.

        Examples:
            ```python
            hub.user("42").revoke("news:*")
            ```
        """
        self._users.revoke(self._name, check_pattern(topic))
