"""Messages to all connections of one user, in every process."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import partial
from operator import methodcaller
from typing import Any, Protocol, TypeAlias

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.connection import Close, Connection
from rxws._core.errors import short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_and_report, call_later
from rxws.codecs import Codec

from ._backplane import Done, Publication
from ._host import HubHost
from ._keep import Keep
from ._messages import Position
from ._names import check_user
from ._observable import HubObservable
from ._user_commands import (
    CLOSED_USERS,
    USER_TOPICS,
    Command,
    UserConnection,
    close_commands,
    parse_command,
    revoke_command,
    value_command,
)

__all__ = ["Users", "UsersHost"]

_NOTHING = Keep.nothing()
_RETRY = 1.0  # seconds
_MAX_UNCONFIRMED = 1000

_Call: TypeAlias = Callable[[UserConnection], None]
_ON_REGISTERED: _Call = methodcaller("on_registered")
_ON_MISSED: _Call = methodcaller("on_missed")


class UsersHost(HubHost, Protocol):
    """What `Users` needs of its hub; see `TopicRegistry`."""

    codec: Codec[Any, Any]

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
        self._unconfirmed: dict[Command, None] = {}  # in order
        self._retry: DisposableBase | None = None

    def __len__(self) -> int:
        """Return the number of topics that are attached for connections."""
        return len(self._users)

    # --- connections ------------------------------------------------------------------------

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

    def watch(self, watcher: UserConnection) -> DisposableBase:
        """Call `on_user_closed` with all users that are closed, until the result is disposed."""
        return self._register(CLOSED_USERS, watcher, "a connection")

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

    def _unregister(self, topic: str, user: _Registered, connection: UserConnection) -> None:
        user.connections.pop(connection, None)
        if not user.connections and self._users.get(topic) is user:
            del self._users[topic]
            user.retry.clear()
            self._host.backplane.detach(topic)
            self._host.publish_waiting()

    def is_attaching(self, topic: str) -> bool:
        """Return whether messages to a topic must wait, because it is being attached."""
        user = self._users.get(topic)
        return user is not None and user.state is _State.ATTACHING

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
            self._notify(user, user.connections, _ON_REGISTERED)
        elif user.state is _State.ATTACHED:
            self._notify(user, user.connections, _ON_MISSED)

    # --- what arrives -----------------------------------------------------------------------

    def on_publication(self, topic: str, publication: Publication) -> None:
        """Deliver a message to the connections of a user."""
        user = self._users.get(topic)
        if user is None:  # the last connection has just left
            return
        try:
            call = parse_command(publication.payload, self._host.codec)
        except Exception as exc:
            logger.error(
                "dropped a message to a user, which this hub cannot read: %s", one_line(exc)
            )
            return
        self._call(user, tuple(user.connections), call)

    def on_missed(self, topic: str | None = None) -> None:
        """Notify connections that messages may be lost: to one user, or to all of them."""
        for each in list(self._users) if topic is None else [topic]:
            if (user := self._users.get(each)) is not None:
                self._notify(user, user.connections, _ON_MISSED)

    def _notify(
        self, user: _Registered, connections: Iterable[UserConnection], call: _Call
    ) -> None:
        """Call in a later turn, so that nobody is called back while registering."""
        deliver = partial(self._call, user, tuple(connections), call)
        call_later(self._host.scheduler, 0, deliver)

    def _call(
        self, user: _Registered, connections: tuple[UserConnection, ...], call: _Call
    ) -> None:
        for connection in connections:
            if connection in user.connections:  # it may leave while the others are called
                call_and_report(self._host.scheduler, call, connection)

    # --- what is sent -----------------------------------------------------------------------

    def send(self, name: str, value: Any) -> None:
        """Publish a value to a user, from any thread.

        Raises:
            EncodeError: The hub's codec cannot encode it.
        """
        self._host.publish_unnumbered(*value_command(name, self._host.codec, value))

    def close(self, name: str, close: Close) -> None:
        """Publish a close from any thread, and repeat it until it is confirmed."""
        for command in close_commands(name, close):
            self._publish(command)

    def revoke(self, name: str, pattern: str) -> None:
        """Do as `close` with a revoke."""
        self._publish(revoke_command(name, pattern))

    def _publish(self, command: Command) -> None:
        self._host.publish_unnumbered(*command, partial(self._on_published, command))

    def _on_published(self, command: Command, result: object) -> None:
        if not isinstance(result, Exception):
            self._unconfirmed.pop(command, None)
            return
        if not self._unconfirmed:
            self._retry = call_later(self._host.scheduler, _RETRY, self._repeat)
        self._unconfirmed[command] = None
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
        for command in unconfirmed:
            self._publish(command)

    # --- the end ----------------------------------------------------------------------------

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


class _Attached(UserConnection):
    """A connection of `hub.attach`.

    It ignores `on_revoke` and `on_missed`: the handler decides itself what it sends, and values are
    delivered at most once.
    """

    __slots__ = ("_connection", "_observer")

    def __init__(self, connection: Connection[Any, Any], observer: ObserverBase[Any]) -> None:
        self._connection = connection
        self._observer = observer

    def on_value(self, value: Any) -> None:
        self._observer.on_next(value)

    def on_close(self, close: Close) -> None:
        self._connection.outgoing.on_next(close)
