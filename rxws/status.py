"""Where a client that comes back stands: four frozen values, and which may follow which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rxws._core.connection import Close, Handshake, without_secrets

__all__ = ["TRANSITIONS", "Closed", "Connecting", "Open", "Status", "Waiting", "follows", "moved"]

_LONGEST = 120  # characters of an error that are worth a line


@dataclass(frozen=True, slots=True, repr=False)
class Connecting:
    """A connection is being opened.

    Args:
        attempt: Which attempt it is: 1, and one more each time until a connection was stable.
    """

    attempt: int

    def __repr__(self) -> str:
        return f"Connecting, attempt {self.attempt}"


@dataclass(frozen=True, slots=True, repr=False)
class Open:
    """A connection is open.

    Args:
        handshake: What was agreed before its first frame.
    """

    handshake: Handshake

    def __repr__(self) -> str:
        return f"Open {without_secrets(self.handshake.url)}"


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """The time until the next attempt is running.

    Args:
        delay: How long it is, in seconds, from its beginning.
        cause: What happened.
    """

    delay: float
    cause: Exception

    def __repr__(self) -> str:
        places = 1 if self.delay >= 0.1 or not self.delay else 3
        return f"Waiting {self.delay:.{places}f} s: {_brief(self.cause)}"


@dataclass(frozen=True, slots=True, repr=False)
class Closed:
    """Nothing is open.

    Args:
        close: How the connection ended, None if there was none.
        error: What ended it all, if that was an error: nothing is dialled again.
    """

    close: Close | None
    error: Exception | None = None

    def __repr__(self) -> str:
        said = "Closed"
        if self.close is not None:
            reason = f" {self.close.reason!r}" if self.close.reason else ""
            said = f"{said} {self.close.code}{reason} by {self.close.by}"
        return said if self.error is None else f"{said}: {_brief(self.error)}"


Status: TypeAlias = Connecting | Open | Waiting | Closed
"""Where a client that comes back stands."""

TRANSITIONS: Mapping[type[Status], frozenset[type[Status]]] = {
    Closed: frozenset({Connecting, Waiting}),  # Waiting: what was open is dialled again
    Connecting: frozenset({Open, Waiting, Closed}),
    Open: frozenset({Closed}),
    Waiting: frozenset({Connecting, Closed}),
}
"""What may follow each status; it begins with `Closed(None)`."""


def follows(status: Status, after: Status) -> bool:
    """Tell whether a status may come right after another.

    Examples:
        >>> follows(Connecting(1), after=Closed(None)), follows(Connecting(2), after=Connecting(1))
        (True, False)
    """
    return type(status) in TRANSITIONS[type(after)]


def moved(before: Status, status: Status) -> Status:
    """Return the status that comes after another.

    Raises:
        RuntimeError: It may not.
    """
    if not follows(status, before):
        raise RuntimeError(f"{status!r} does not follow {before!r}")
    return status


def _brief(error: Exception) -> str:
    # Not its repr: that of a HandshakeError has the whole answer.
    text = " ".join(str(error).split())
    if len(text) > _LONGEST:
        text = text[: _LONGEST - 1] + "…"
    return f"{type(error).__name__}({text})"
