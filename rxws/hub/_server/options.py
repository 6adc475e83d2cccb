"""Who may do what, and the bounds of what a client may ask for."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from rxws import codecs
from rxws._core.checks import check_count, check_seconds
from rxws._core.errors import RxwsError, short_repr
from rxws._session.encoding import encode
from rxws._session.options import ConnectionOptions

if TYPE_CHECKING:
    from aiohttp import web

__all__ = [
    "ACTIONS",
    "Action",
    "Allow",
    "Credentials",
    "Identify",
    "Limits",
    "ServeOptions",
    "TokenExpired",
    "credentials_of",
    "limited",
    "right_of",
]

Action = Literal["subscribe", "publish", "presence", "history"]
"""What a client wants to do with a topic.

`"presence"` is asked at each subscription, too: a user who may see the members is one.
"""

ACTIONS: tuple[Action, ...] = get_args(Action)

_CENTURY = 100 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """The user of a connection, and for how long.

    Args:
        user: The name.
        seconds: The time after which the user must be identified again; None for no limit.
        info: What other members see of this connection: any value that JSON can represent.

    Raises:
        TypeError: The name is no `str`, or `seconds` is no number.
        ValueError: The name is empty, or `seconds` is not above 0.
        EncodeError: JSON cannot represent `info`.
    """

    user: str
    seconds: float | None = None
    info: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.user, str):
            raise TypeError(f"user={short_repr(self.user)} is no str: use str(...)")
        if not self.user:
            raise ValueError("user='' is empty: return None to refuse a connection")
        encode(codecs.text, self.user)
        if self.seconds is not None:
            check_seconds("seconds", self.seconds)
        encode(codecs.json, self.info)


class TokenExpired(RxwsError):
    """Raise it in `user` if the token was valid once: the client then gets a new one."""


Identify: TypeAlias = Callable[
    ["web.Request", str],
    Credentials | str | Awaitable[Credentials | str | None] | None,
]
"""Returns the user of a connection, or None to refuse it."""

Allow: TypeAlias = Callable[[str, str, Action], bool | float | Awaitable[bool | float]]
"""Returns whether a user may do something with a topic, or for how many seconds."""


def credentials_of(result: Any) -> Credentials | None:
    """Return what a `user` function has returned.

    Raises:
        TypeError: It is none of what it may return.
        ValueError: The same.
    """
    if result is None or isinstance(result, Credentials):
        return result
    if isinstance(result, str):
        return Credentials(result)
    raise TypeError(
        f"user= returned {short_repr(result)}: return the user's name, rxws.hub.Credentials, or "
        "None to refuse the connection"
    )


def right_of(result: Any) -> float | None:
    """Return for how many seconds something is allowed: infinite, or None if it is not.

    Raises:
        TypeError: It is none of what an `allow` function may return.
    """
    if result is True:
        return math.inf
    if result is False or result is None:
        return None
    if isinstance(result, int | float) and result == result:  # not NaN
        return limited(result) if result > 0 else None
    raise TypeError(
        f"allow= returned {short_repr(result)}: return True, False, or a number of seconds"
    )


def limited(seconds: float) -> float:
    """Return infinity for a time that no timer needs, and that may be too long for one."""
    return seconds if seconds < _CENTURY else math.inf


class ServeOptions(ConnectionOptions, total=False):
    """The options of `hub.serve`, in addition to those of `rxws.ConnectionOptions`.

    `max_subscriptions`: how many topics one connection may be subscribed to.
    `max_topic_length`: the number of characters in the longest topic that a client may name.
    `max_pending`: how many commands of a connection may run at the same time; above that the
        connection is paused.
    `max_commands`: how many commands one frame may hold.
    `max_starting`: how many subscriptions of all connections may wait for their reply; above that a
        client gets a temporary error, and tries again after a random time.
    `ping`: seconds between the server's pings, by which clients notice a dead connection; a whole
        number.
    `connect_timeout`: seconds that a client has for its connect command, and then the server for
        its reply; also the time that a call of `user` may take.
    `subscribe_timeout`: seconds after which a subscription that cannot begin, because the
        backplane is away, gets a temporary error; also the time that a call of `allow` may take.

    `max_message_size` is 64 KiB by default. `overflow`, `incoming` and `protocols` are not options:
    a slow client is disconnected, and continues after its position.
    """

    max_subscriptions: int
    max_topic_length: int
    max_pending: int
    max_commands: int
    max_starting: int
    ping: int
    connect_timeout: float
    subscribe_timeout: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of what a client may ask for.

    Raises:
        TypeError: A value is of the wrong type.
        ValueError: A value is out of range.
    """

    max_subscriptions: int = 128
    max_topic_length: int = 255
    max_pending: int = 64
    max_commands: int = 1000
    max_starting: int = 10_000
    ping: int = 25
    connect_timeout: float = 10.0
    subscribe_timeout: float = 4.0

    def __post_init__(self) -> None:
        check_count("max_subscriptions", self.max_subscriptions, "subscriptions")
        check_count("max_topic_length", self.max_topic_length, "characters")
        check_count("max_pending", self.max_pending, "commands")
        check_count("max_commands", self.max_commands, "commands")
        check_count("max_starting", self.max_starting, "subscriptions")
        check_count("ping", self.ping, "seconds")
        check_seconds("connect_timeout", self.connect_timeout)
        check_seconds("subscribe_timeout", self.subscribe_timeout)
