"""What hubs publish to the connections of users: plain JSON, whatever the hub's codec."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any, TypeAlias

from rxws._core.connection import Close
from rxws._core.frames import Opcode
from rxws._session.encoding import decode_error, encode
from rxws.closing import check_sendable
from rxws.codecs import Codec

from ._names import RESERVED, check_pattern, check_user

__all__ = [
    "CLOSED_USERS",
    "USER_TOPICS",
    "Command",
    "UserConnection",
    "close_commands",
    "parse_command",
    "revoke_command",
    "value_command",
]

USER_TOPICS = f"{RESERVED}user:"
"""The prefix of the topics of users, which are not numbered."""

CLOSED_USERS = f"{RESERVED}closed"
"""The topic of all closed users, for connections whose user is not known yet."""

_VERSION = 1

Command: TypeAlias = tuple[str, str]
"""A topic, and what to publish to it."""


class UserConnection:
    """A connection of a user. All calls happen on the hub's thread, in a later turn."""

    __slots__ = ()

    def on_registered(self) -> None:
        """Messages to the user arrive from now on; check rights after this.

        If the backplane is away, this is called nevertheless, and `on_missed` when it is back.
        """

    def on_value(self, value: Any) -> None:
        """A value was sent to the user."""

    def on_close(self, close: Close) -> None:
        """The connection must close."""

    def on_user_closed(self, user: str, close: Close) -> None:
        """A user was closed: this is for those that are registered by `Users.watch`."""

    def on_revoke(self, pattern: str) -> None:
        """The user's subscriptions to the topics that `_names.matches` this must end."""

    def on_missed(self) -> None:
        """Messages may be lost, also `on_revoke`: check all rights again."""


def value_command(user: str, codec: Codec[Any, Any], value: Any) -> Command:
    """Send a value to a user.

    Raises:
        EncodeError: The codec cannot encode it.
    """
    opcode, payload = encode(codec, value)
    if opcode is Opcode.TEXT:
        return _command(USER_TOPICS + user, "value", text=payload.decode())
    return _command(USER_TOPICS + user, "value", base64=b64encode(payload).decode())


def close_commands(user: str, close: Close) -> tuple[Command, Command]:
    """Close a user, also on the connections that do not know yet that it is theirs."""
    fields = {"code": close.code, "reason": close.reason}
    return (
        _command(USER_TOPICS + user, "close", **fields),
        _command(CLOSED_USERS, "closed", user=user, **fields),
    )


def revoke_command(user: str, pattern: str) -> Command:
    return _command(USER_TOPICS + user, "revoke", topic=pattern)


def _command(topic: str, type_: str, /, **fields: Any) -> Command:
    return topic, json.dumps({"v": _VERSION, "type": type_, **fields}, separators=(",", ":"))


def parse_command(payload: str | bytes, codec: Codec[Any, Any]) -> Callable[[UserConnection], None]:
    """Return the call for each connection.

    Raises:
        Exception: The payload is no command that this version knows.
    """
    command: Any = json.loads(payload)
    if command["v"] != _VERSION:
        raise ValueError(f"version {command['v']!r:.80}: this hub knows version {_VERSION}")
    match command["type"]:
        case "value":
            text = command.get("text")
            data = b64decode(command["base64"]) if text is None else text
            try:
                value = codec.decode(data)
            except Exception as exc:
                raise decode_error(exc, data) from exc
            return lambda connection: connection.on_value(value)
        case "close":
            close = _close(command)
            return lambda connection: connection.on_close(close)
        case "closed":
            close, user = _close(command), check_user(command["user"])
            return lambda connection: connection.on_user_closed(user, close)
        case "revoke":
            pattern = check_pattern(command["topic"])
            return lambda connection: connection.on_revoke(pattern)
        case unknown:
            raise ValueError(f"type {unknown!r:.80} is unknown")


def _close(command: Any) -> Close:
    return check_sendable(Close(command["code"], command["reason"]))
