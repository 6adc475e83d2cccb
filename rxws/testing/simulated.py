"""What a handler did in virtual time: the value that a simulation comes to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from rxws.connection import Stats
from rxws.messages import Close

from .fake import Sent
from .timeline import Timeline

__all__ = ["Simulation"]

In = TypeVar("In")
Out = TypeVar("Out")


class Simulation(Generic[In, Out]):
    """What a handler did in virtual time, as `simulate` returns it.

    Attributes:
        incoming: What the connection's `incoming` told; values from the moment that somebody was
            subscribed.
        outgoing: What was sent through `outgoing`; a `Close` that was pushed is its end.
        errors: The faults, as values; empty where there was none.
        closed: How the connection ended; None if it had not by then.
        wire: Every frame that was written, pings and the close included, with its time.
        failure: The exception that closed the connection: what the handler or its pipeline raised,
            or a fault that nobody observed.
        stats: What went through, and what was dropped.
        open_subscriptions: How many subscriptions and timers of the handler's are left: to the
            connection's streams, and, when the connection has ended, to time.
        time: The seconds that passed.
    """

    incoming: Timeline
    outgoing: Timeline
    errors: Timeline
    closed: Close | None
    failure: Exception | None
    stats: Stats
    open_subscriptions: int
    time: float

    def __init__(self, step: float, names: Mapping[str, Any]) -> None:
        self.incoming = Timeline((), step, names)
        self.outgoing = Timeline((), step, names)
        self.errors = Timeline((), step, names)
        self.wire: list[Sent] = []
        self.closed = self.failure = None

    def __repr__(self) -> str:
        ended = self.closed or "open"
        return f"<Simulation of {self.time:g} s: {ended}, outgoing={self.outgoing!r}>"
