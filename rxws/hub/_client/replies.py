"""How a command may end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from rxws.hub._protocol.codes import ErrorCode, ErrorReply

__all__ = ["Lost", "OnReply", "is_temporary"]


class Lost(NamedTuple):
    """The connection ended before the reply."""

    written: bool
    """Whether the command was written to the socket, so that it may have been executed."""


OnReply: TypeAlias = Callable[[Any], None]
"""Gets a `Result` of the expected type, an `ErrorReply`, or `Lost`."""


def is_temporary(error: ErrorReply) -> bool:
    """Return whether to try again after an error."""
    return error.temporary or error.code <= ErrorCode.INTERNAL
