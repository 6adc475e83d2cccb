"""What a user holds: the connection as a frozen value, and the types of a handler around it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeAlias

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.subject import Subject

from .messages import Close, Handshake, without_secrets

if sys.version_info >= (3, 13):  # pragma: no cover # either is taken on one Python only
    from typing import TypeVar
else:  # for `default=`; reactivex itself depends on it
    from typing_extensions import TypeVar

__all__ = ["Composed", "Connection", "Flow", "Handler", "Pausable", "Stats"]

In = TypeVar("In", default=str | bytes)
Out = TypeVar("Out", default=str | bytes)


@dataclass(frozen=True, slots=True)
class Stats:
    """What went through a connection so far.

    Args:
        received_messages: Messages that came in.
        received_bytes: Their payloads, in bytes.
        sent_messages: Messages that were handed to the wire.
        sent_bytes: Their payloads, in bytes.
        dropped: Messages that were dropped, by reason: `"closed"` (sent after the end, or still
            waiting at the end), `"overflow"`, `"conflated"` (a newer one took its place),
            `"unobserved"` (came in and nobody subscribed).
        paused: Seconds that reading was paused.
    """

    received_messages: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int])
    paused: float = 0.0


class Pausable(Protocol):
    """What can be held: a connection's flow, or whatever stands for one."""

    def pause(self) -> DisposableBase:
        """Hold reading until what is returned is disposed."""
        ...


class Flow(Pausable, Protocol):
    """The flow control of one connection, in both directions."""

    def pause(self) -> DisposableBase:
        """Hold reading until what is returned is disposed; while any hold lives, no frame comes.

        Returns:
            The hold. It may be disposed from any thread, and more than once.

        Examples:
            ```python
            with conn.flow.pause():
                await something_slow()
            ```
        """
        ...

    @property
    def writable(self) -> Observable[bool]:
        """Whether the peer keeps up: False once a message has to wait; replays the present."""
        ...

    @property
    def buffered(self) -> int:
        """Bytes that were sent and not yet taken by the kernel."""
        ...

    def drained(self) -> Awaitable[None]:
        """Wait until the peer keeps up, for `async def` producers.

        Raises:
            ConnectionClosed: The connection is over.
        """
        ...

    @property
    def latency(self) -> Observable[float]:
        """Seconds between each heartbeat's ping and its pong."""
        ...

    @property
    def stats(self) -> Stats:
        """What went through so far."""
        ...


@dataclass(frozen=True, slots=True)
class Connection(Generic[In, Out]):
    """One WebSocket connection as three streams; a value without behaviour, the same on both ends.

    Args:
        incoming: The messages that come in. Completes or fails as the close code says.
        outgoing: Push messages here. A `Close` pushed, completion, or an error end the connection.
        errors: Faults that are not the end. Where nobody subscribes, a fault closes the connection.
        closed: How the connection ended, once; replayed to those who subscribe late, awaitable.
        flow: The flow control.
        handshake: What was agreed before the first frame.
        scheduler: Runs things on the connection's event loop, from any thread.
    """

    incoming: Observable[In]
    outgoing: Subject[Out | Close]
    errors: Observable[Exception]
    closed: Observable[Close]
    flow: Flow
    handshake: Handshake
    scheduler: SchedulerBase

    def __repr__(self) -> str:
        remote = self.handshake.remote
        url = without_secrets(self.handshake.url)
        return f"<Connection {url} remote={remote!r} {self.flow!r}>"


Composed: TypeAlias = Observable[Any] | DisposableBase | None
"""What a handler's work comes down to."""

Handler: TypeAlias = Callable[[Connection[In, Out]], Composed | Awaitable[Composed]]
"""Composes one connection's pipeline.

An Observable that it returns feeds `outgoing`; a Disposable is disposed at the end; None leaves the
connection as it is; a coroutine runs as a task until the end, and its result is treated alike.
"""
