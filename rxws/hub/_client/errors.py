"""The exceptions of clients of a hub."""

from __future__ import annotations

from typing import Literal

from rxws._core.errors import RxwsError, short_repr
from rxws.hub._protocol.codes import ErrorCode, ErrorReply

__all__ = ["ClientAction", "NotPublished", "Refused", "refusal"]

ClientAction = Literal["connect", "subscribe", "publish", "presence", "history", "refresh"]
"""The command that a server has refused."""


class Refused(RxwsError):
    """The server of a hub has refused a command, or ended a subscription.

    Args:
        message: What was refused, and the remedy.
        action: The command.
        topic: The topic; empty if the whole connection is meant.
        code: The code of Centrifugo's protocol, such as 103 "permission denied".
        reason: The text of the server.

    Examples:
        ```python
        try:
            await client.topic("news:42").publish(item)
        except rxws.hub.Refused as error:
            print(error.code, error.reason)
        ```
    """

    def __init__(
        self, message: str, action: ClientAction, topic: str, code: int, reason: str
    ) -> None:
        super().__init__(message, action, topic, code, reason)
        self.action = action
        self.topic = topic
        self.code = code
        self.reason = reason


class NotPublished(RxwsError):
    """A message was dropped before it was sent.

    The queue was full, the message waited longer than `ttl`, or the client has ended. If it has
    ended with an error, that is the `__cause__`.
    """


_FRESH = "pass token= a function that returns a fresh token"
_REMEDIES: dict[int, str] = {
    ErrorCode.INTERNAL: "try again later",
    ErrorCode.UNAUTHORIZED: "pass a valid token= to rxws.hub.connect",
    ErrorCode.UNKNOWN_CHANNEL: "check the topic's name, and that the server knows it",
    ErrorCode.PERMISSION_DENIED: "the server must allow it to this user",
    ErrorCode.LIMIT_EXCEEDED: "subscribe to fewer topics, or raise the server's limit",
    ErrorCode.BAD_REQUEST: "check the topic's name and the message",
    ErrorCode.NOT_AVAILABLE: "the server must support it for this topic",
    ErrorCode.TOKEN_EXPIRED: _FRESH,
    ErrorCode.EXPIRED: _FRESH,
    ErrorCode.TOO_MANY_REQUESTS: "publish less often",
}


def refusal(action: ClientAction, topic: str, error: ErrorReply) -> Refused:
    """Return the exception for the error of a reply."""
    what = f"{action} of topic {short_repr(topic)}" if topic else action
    remedy = _REMEDIES.get(error.code, "see the code in the manual of the server")
    message = f"{what} was refused with {error.code} {short_repr(error.message)}: {remedy}"
    return Refused(message, action, topic, error.code, error.message)
