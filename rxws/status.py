"""The states of a reconnecting client, and the transitions between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rxws._core.connection import Close, Handshake, without_secrets

__all__ = ["TRANSITIONS", "Closed", "Connecting", "Open", "Status", "Waiting", "follows", "moved"]

_MAX_ERROR = 120  # characters of an error that a repr shows


@dataclass(frozen=True, slots=True, repr=False)
class Connecting:
    """A connection is being opened.

    Args:
        attempt: The number of the attempt. It restarts at 1 after a connection that was open
            for `stable_after` seconds.
    """

    attempt: int

    def __repr__(self) -> str:
        return f"Connecting, attempt {self.attempt}"


@dataclass(frozen=True, slots=True, repr=False)
class Open:
    """A connection is open.

    Args:
        handshake: The connection's handshake.
    """

    handshake: Handshake

    def __repr__(self) -> str:
        return f"Open {without_secrets(self.handshake.url)}"


@dataclass(frozen=True, slots=True, repr=False)
class Waiting:
    """The client waits for the next attempt.

    Args:
        delay: The whole wait, in seconds.
        cause: The error that the client recovers from.
    """

    delay: float
    cause: Exception

    def __repr__(self) -> str:
        places = 1 if self.delay >= 0.1 or not self.delay else 3
        return f"Waiting {self.delay:.{places}f} s: {_brief(self.cause)}"


@dataclass(frozen=True, slots=True, repr=False)
class Closed:
    """No connection is open.

    Args:
        close: How the last connection ended; None if there was none.
        error: The error after which the client gave up; None if it did not fail.
    """

    close: Close | None
    error: Exception | None = None

    def __repr__(self) -> str:
        text = "Closed"
        if self.close is not None:
            reason = f" {self.close.reason!r}" if self.close.reason else ""
            text = f"Closed {self.close.code}{reason} by {self.close.by}"
        return text if self.error is None else f"{text}: {_brief(self.error)}"


Status: TypeAlias = Connecting | Open | Waiting | Closed
"""The state of a reconnecting client."""

TRANSITIONS: Mapping[type[Status], frozenset[type[Status]]] = {
    Closed: frozenset({Connecting, Waiting}),  # Waiting: an earlier connection has failed
    Connecting: frozenset({Open, Waiting, Closed}),
    Open: frozenset({Closed}),
    Waiting: frozenset({Connecting, Closed}),
}
"""The states that may follow each state. The first state is `Closed(None)`."""


def follows(status: Status, after: Status) -> bool:
    """Return whether a status may directly follow another.

    Examples:
        >>> follows(Connecting(1), after=Closed(None)), follows(Connecting(2), after=Connecting(1))
        (True, False)
    """
    return type(status) in TRANSITIONS[type(after)]


def moved(before: Status, status: Status) -> Status:
    """Return the new status, or raise `RuntimeError` if it may not follow."""
    if not follows(status, before):
        raise RuntimeError(f"{status!r} does not follow {before!r}")
    return status


def _brief(error: Exception) -> str:
    # The repr of a HandshakeError would show the whole response.
    text = " ".join(str(error).split())
    if len(text) > _MAX_ERROR:
        text = text[: _MAX_ERROR - 1] + "…"
    return f"{type(error).__name__}({text})"
