"""The interface of a connection to what runs on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias

from rxws._core.connection import Close
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import Command, Pong, Refused
from rxws.hub._protocol.schema import Result

if TYPE_CHECKING:
    from .identity import Identity
    from .subscription import Subscription

__all__ = ["DENIED", "INTERNAL", "SERVER", "Answer", "Item", "Owner"]

Answer: TypeAlias = str | Result | ErrorReply
"""The line that answers a command, or what it is made of."""

Item: TypeAlias = Command | Refused | Pong | Close
"""A command, one that is refused, a pong, or the close for one that is wrong."""

SERVER = "rxws"
"""The name of this server, in replies."""

DENIED = ErrorReply.of(ErrorCode.PERMISSION_DENIED)
INTERNAL = ErrorReply.of(ErrorCode.INTERNAL)


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
    def identity(self) -> Identity:
        """The user, and what the user may do."""
        ...

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

    def on_ended(self, subscription: Subscription) -> None: ...
