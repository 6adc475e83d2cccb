"""What a user holds: the connection as a frozen value, and the types of a handler around it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.subject import Subject

from .close_codes import NAMES

__all__ = [
    "Address",
    "Close",
    "Composed",
    "Connection",
    "Ender",
    "Flow",
    "Handler",
    "Handshake",
    "Pausable",
    "Stats",
    "without_secrets",
]

if TYPE_CHECKING:  # for annotations only: nothing down here runs aiohttp
    from aiohttp import web
    from yarl import URL


Ender = Literal["local", "peer", "network"]
"""Who ended a connection."""

Address = tuple[str, int] | tuple[str, int, int, int] | str | None
"""A socket's address: host and port, IPv6's four values, a Unix socket's path, or unknown."""

# RFC 6455, section 5.5: a control frame carries at most 125 bytes, of which the code takes two.
_MAX_REASON = 123


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection ended, or, sent on `outgoing`, how it shall end.

    Args:
        code: The close code, 1000 to 4999 (RFC 6455, section 7.4). Not every code may be sent.
        reason: Text for humans, at most 123 bytes of UTF-8.
        by: Who ended it: `"local"`, `"peer"` (its close frame did) or `"network"` (TCP or the
            heartbeat was lost). Takes no part in equality.

    Raises:
        ValueError: The code is out of range, or the reason too long or not encodable.
        TypeError: The code is no `int`, or the reason no `str`.

    Examples:
        >>> Close(4001, "why") == Close(4001, "why", by="peer")
        True
    """

    code: int = 1000
    reason: str = ""
    by: Ender = field(default="local", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.code, int) or isinstance(self.code, bool):
            raise TypeError(f"a close code is an int from 1000 to 4999, not {self.code!r}")
        if not isinstance(self.reason, str):
            raise TypeError(f"a close reason is a str, not {self.reason!r}")
        if not 1000 <= self.code <= 4999:
            raise ValueError(
                f"close code {self.code} is not in 1000..4999; use 4000..4999 for your own"
            )
        if not self.reason:
            return
        try:
            length = len(self.reason.encode())
        except UnicodeEncodeError as exc:
            raise ValueError(f"close reason {self.reason!r} cannot be sent as UTF-8") from exc
        if length > _MAX_REASON:
            raise ValueError(
                f"close reason of {length} bytes: at most {_MAX_REASON} bytes of UTF-8 fit, "
                f"shorten {self.reason!r}"
            )

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Say in a notebook what the code means, too; not within a list, which goes on behind."""
        name = NAMES.get(self.code) if len(printer.stack) == 1 else None
        printer.text(f"{self!r}  # {name}" if name else repr(self))


@dataclass(frozen=True, slots=True)
class Handshake:
    """What was agreed before the first frame.

    Args:
        url: The address that was asked for, as a `yarl.URL`.
        headers: The other side's: the request's on the server, the response's on the client.
        subprotocol: The subprotocol both agreed upon, if any (RFC 6455, section 1.9).
        remote: The peer's socket address, where known.
        request: On the server the aiohttp request, with all that middlewares put on it.
    """

    url: URL
    headers: Mapping[str, str]
    subprotocol: str | None = None
    remote: Address = None
    request: web.Request | None = None


def without_secrets(url: URL) -> URL:
    """Return an address without its user and query, which often carry a password or a token."""
    return url.with_user(None).with_query(None)


if sys.version_info >= (3, 13):  # pragma: no cover # either is taken on one Python only
    from typing import TypeVar
else:  # for `default=`; reactivex itself depends on it
    from typing_extensions import TypeVar


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
