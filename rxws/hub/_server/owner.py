"""The interface of a connection to what runs on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from rxws._core.connection import Close
from rxws.hub._backplane import Member
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import Command, Pong, Refused
from rxws.hub._protocol.schema import Result

from .options import Action

__all__ = ["DENIED", "INTERNAL", "SERVER", "Answer", "Item", "OnRight", "Owner"]

Answer: TypeAlias = str | Result | ErrorReply
"""The line that answers a command, or what it is made of."""

Item: TypeAlias = Command | Refused | Pong | Close
"""A command, one that is refused, a pong, or the close for one that is wrong."""

OnRight: TypeAlias = Callable[[float | ErrorReply], None]
"""Gets for how many seconds something is allowed, or the error to answer."""

SERVER = "rxws"
"""The name of this server, in replies."""

DENIED = ErrorReply.of(ErrorCode.PERMISSION_DENIED)
INTERNAL = ErrorReply.of(ErrorCode.INTERNAL)


class Rights(Protocol):
    """The user of a connection, and what the user may do; see `Identity`."""

    @property
    def member(self) -> Member | None:
        """The connection as a member of topics; None if it has no user."""
        ...

    def ask(self, topic: str, action: Action, then: OnRight, seconds: float | None = None) -> None:
        """Ask `allow`, for `subscribe_timeout` or this number of seconds."""
        ...


class Owner(Protocol):
    """See `ClientSession`."""

    @property
    def accepting(self) -> bool:
        """Whether the next command can be taken."""
        ...

    def take(self, item: Item) -> None:
        """Execute a command; `CommandFlow.on_answered` follows for each `Command` and `Refused`."""
        ...

    @property
    def identity(self) -> Rights: ...

    def send(self, text: str) -> None: ...
    def answer(self, id_: int, answer: Answer) -> None:
        """Answer a command, unless the connection has ended."""
        ...

    def finish(self, id_: int, topic: str, answer: Answer) -> None:
        """Answer a command, and run the next one on its topic."""
        ...

    def close(self, close: Close) -> None: ...
    def on_fault(self, error: Exception) -> None:
        """Close after a fault of this server."""
        ...

    def on_unsendable(self) -> None:
        """The protocol cannot carry a message."""
        ...

    def on_identified(self, user: str) -> None:
        """The user who connects has this name; it is empty if there is none."""
        ...

    def on_unidentified(self, error: ErrorReply) -> None:
        """The client must connect again."""
        ...

    def on_ended(self, channel: str) -> None:
        """The subscription to this topic has ended."""
        ...
