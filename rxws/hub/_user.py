"""A user, as applications hold it."""

from __future__ import annotations

from typing import TypeVar

from reactivex.abc import ObserverBase

from rxws._core.connection import Close
from rxws._core.errors import short_repr
from rxws.closing import check_sendable

from ._names import check_pattern, check_user
from ._users import Users

__all__ = ["User"]

T = TypeVar("T")


class User(ObserverBase[T]):
    """All connections of one user, in every process of the hub.

    They are the connections of `hub.serve` whose user has this name, and those whose handler merges
    `hub.attach(conn, name)`. You may call all methods from any thread; calls of one process arrive
    in their order.
    """

    __slots__ = ("_name", "_users")

    def __init__(self, users: Users, name: str) -> None:
        self._users = users
        self._name = check_user(name)

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
