"""A `WebSocketSubject` in virtual time, and the servers it dials."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import rxws
from rxws import backoff
from rxws._core.connection import Connection
from rxws._core.frames import Opcode
from rxws._session.options import Options
from rxws._session.session import Session
from support.subscriber import StatusSubscriber, Subscriber
from support.virtual.servers import Dial, OnDial, VirtualServers
from support.virtual.session import HANDSHAKE


def open_at_once(*, begun: bool = True, **options: Any) -> OnDial:
    """Open at once; with `begun=False` the transport sends nothing until it is attached."""

    def meet(dial: Dial) -> None:
        options.setdefault("heartbeat", None)
        session: Session[Any, Any] = Session(
            dial.transport, dial.clock, Options(**options), HANDSHAKE
        )
        dial.session = session
        if begun:
            dial.transport.attach(session)
        dial.observer.on_next(session.connection)

    return meet


def never_open(dial: Dial) -> None:
    """Neither open nor fail."""


def received_by(dial: Dial) -> list[str | bytes]:
    """Return the messages that a server received."""
    return [sent.message for sent in dial.transport.sent if sent.kind < Opcode.CLOSE]


def close_code_of(dial: Dial) -> int | None:
    """Return the code of the close frame that a server received."""
    [sent] = [sent for sent in dial.transport.sent if sent.kind is Opcode.CLOSE]
    return sent.code


class VirtualSubject:
    """A subject, and the servers that it dials.

    Args:
        meets: Called with one dial each, in order; the last with all further dials.
        options: The subject's.
    """

    def __init__(self, *meets: OnDial, **options: Any) -> None:
        self.servers = VirtualServers(*meets or (open_at_once(),))
        self.clock = self.servers.clock
        options.setdefault("backoff", backoff.constant(1.0))
        options.setdefault("scheduler", self.clock)
        self.feed: rxws.WebSocketSubject[Any, Any] = rxws.WebSocketSubject(
            self.servers.source, **options
        )
        self.statuses = StatusSubscriber(self.feed.status, self.clock, before=None)
        self.dropped: list[tuple[Any, str]] = []

    def watch_drops(self) -> None:
        """Record drops, so that they are not logged."""
        self.feed.drops.subscribe(lambda drop: self.dropped.append((drop.value, drop.reason)))

    def subscribe(self, stream: Any = None) -> Subscriber[Any]:
        """Subscribe the subject, or one of its channels."""
        return Subscriber(self.feed if stream is None else stream, self.clock)

    @property
    def dials(self) -> list[Dial]:
        return self.servers.dials

    @property
    def conn(self) -> Connection[Any, Any]:
        assert self.feed.connection is not None
        return self.feed.connection

    def run(self, seconds: float = 0.0) -> None:
        self.clock.run(seconds)

    def queue_behind_full_wire(self, message: str) -> None:
        """Stop the first server from reading, push "fills" for the wire, then push a message."""
        self.dials[0].peer.stop()
        self.feed.on_next("fills")
        self.feed.on_next(message)

    def answer_close(self, dial: Dial) -> None:
        """Answer the client's close frame."""
        dial.peer.close(close_code_of(dial))
        self.run()

    @property
    def names(self) -> list[str]:
        """The names of the statuses."""
        return self.statuses.names

    def check_nothing_left(self, at_once: Callable[[], object] | None = None) -> None:
        """Check that no connection, dial or timer is left."""
        if at_once is not None:
            at_once()
        self.servers.check_nothing_left()
        assert self.feed.connection is None
        assert self.names[-1] == "Closed"
