"""Messages with positions, and gaps between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

from rxws._core.errors import short_repr

__all__ = ["Gap", "GapReason", "Message", "Position", "check_position"]

_MAX_DIGITS = 20  # of an offset: 64 bits

T_co = TypeVar("T_co", covariant=True)

GapReason = Literal["restarted", "trimmed", "overflow", "unavailable", "undecodable"]
"""Why messages may be missing.

`"restarted"`: the backplane has lost its state or was replaced. `"trimmed"`: they are older than
what the topic keeps. `"overflow"`: too many arrived while others were read. `"unavailable"`: the
backplane did not answer. `"undecodable"`: the codec of this hub cannot decode them; see the log.
"""


class Position(NamedTuple):
    """A place in the order of a topic's messages.

    Args:
        epoch: Identifies the order. Between two epochs, any number of messages may be missing.
        offset: The number of the message, from 1.
    """

    epoch: str
    offset: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse the text that `str` returns, such as one that a client has sent.

        Raises:
            TypeError: `text` is no str.
            ValueError: The text is no position.

        Examples:
            >>> Position.parse("a3f:42")
            Position(epoch='a3f', offset=42)
        """
        if not isinstance(text, str):
            raise TypeError(f"{short_repr(text)} is no str: use str(message.position)")
        epoch, colon, offset = text.rpartition(":")
        is_number = offset.isascii() and offset.isdecimal() and len(offset) <= _MAX_DIGITS
        if not colon or not is_number:
            raise ValueError(f"{text!r:.80} is no position: use str(message.position), 'epoch:12'")
        return cls(epoch, int(offset))


def check_position(position: object) -> Position:
    """Return a position.

    Raises:
        TypeError: It is none, or a field has the wrong type.
        ValueError: The offset is below 0.
    """
    if isinstance(position, str):
        raise TypeError(
            f"{short_repr(position)} is a text: use since(Position.parse(text)), which raises "
            "ValueError if the text is no position"
        )
    if not isinstance(position, Position):
        raise TypeError(f"{short_repr(position)} is no position: use message.position")
    epoch, offset = position
    if not isinstance(epoch, str) or not isinstance(offset, int) or isinstance(offset, bool):
        raise TypeError(f"{short_repr(position)} is no position: use a str and an int")
    if offset < 0:
        raise ValueError(f"{short_repr(position)} is no position: its offset is below 0")
    return position


@dataclass(frozen=True, slots=True)
class Message(Generic[T_co]):
    """A message of a topic.

    Args:
        value: The decoded payload.
        position: Its place in the topic's order; None if the topic keeps nothing.
    """

    value: T_co
    position: Position | None = None


@dataclass(frozen=True, slots=True)
class Gap:
    """A place where messages may be missing.

    Args:
        after: The last position before the gap; None if there was none.
        before: The first position after it; None if it is not known yet.
        reason: `"trimmed"`: the messages are older than what the topic keeps. `"restarted"`: the
            backplane has lost its state, or was replaced. `"unavailable"`: it did not answer.
            `"overflow"`: too many messages arrived while others were read. `"undecodable"`: the
            codec of this hub cannot decode the message; see the log.
    """

    after: Position | None
    before: Position | None
    reason: GapReason
