"""`Connection`, the types of its attributes, and the type of a handler."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.subject import Subject

from .async_iteration import AsyncIterableObservable
from .close_codes import CLOSE_CODES
from .hints import CONNECTION, with_hints
from .upstream import Pausable

if sys.version_info >= (3, 13):  # pragma: no cover # each Python takes one of the two
    from typing import TypeVar
else:  # for `default=`; reactivex requires typing_extensions anyway
    from typing_extensions import TypeVar

if TYPE_CHECKING:  # for annotations only: this layer must not import aiohttp
    from aiohttp import web
    from yarl import URL

__all__ = [
    "Address",
    "Close",
    "Connection",
    "EndedBy",
    "Flow",
    "Handler",
    "HandlerResult",
    "Handshake",
    "Stats",
    "without_secrets",
]

In = TypeVar("In", default=str | bytes)
Out = TypeVar("Out", default=str | bytes)

EndedBy = Literal["local", "peer", "network"]
"""Who ended a connection."""

Address = tuple[str, int] | tuple[str, int, int, int] | str | None
"""A socket's address: host and port, the four values of IPv6, a Unix socket's path, or unknown."""

# RFC 6455, section 5.5: a control frame carries at most 125 bytes. The code takes two of them.
_MAX_REASON = 123


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection ended. Push one to `conn.outgoing` to close with this code and reason.

    Args:
        code: The close code, 1000 to 4999 (RFC 6455, section 7.4). You cannot send 1005, 1006 and
            1015: they only report how a connection ended.
        reason: Text for humans, at most 123 bytes of UTF-8.
        by: Who ended the connection: `"local"` (this side), `"peer"` (by its close frame) or
            `"network"` (TCP was lost, or a heartbeat was not answered). Ignored by `==`.

    Raises:
        ValueError: The code is out of range, or the reason is too long or not valid Unicode.
        TypeError: The code is not an `int`, or the reason is not a `str`.

    Examples:
        >>> Close(4001, "why") == Close(4001, "why", by="peer")
        True

        ```python
        conn.outgoing.on_next(rxws.Close(4001, "session expired"))
        ```
    """

    code: int = 1000
    reason: str = ""
    by: EndedBy = field(default="local", compare=False)

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
        """Add the code's name as a comment in a notebook, unless this is an item of a list."""
        known = CLOSE_CODES.get(self.code) if len(printer.stack) == 1 else None
        printer.text(f"{self!r}  # {known.name}" if known else repr(self))


@dataclass(frozen=True, slots=True)
class Handshake:
    """What both sides agreed on before the first frame.

    Args:
        url: The requested address, as a `yarl.URL`.
        headers: The other side's headers: the request's on the server, the response's on the
            client.
        subprotocol: The agreed subprotocol, or None (RFC 6455, section 1.9).
        remote: The peer's socket address, or None if unknown.
        request: On the server, the `aiohttp.web.Request` with everything that middlewares stored
            in it. None on the client.

    Examples:
        ```python
        def handler(conn):
            user = conn.handshake.request["user"]  # stored by a middleware
            room = conn.handshake.url.query.get("room", "lobby")
        ```
    """

    url: URL
    headers: Mapping[str, str] = field(hash=False)  # not hashable, but compared, as is the request
    subprotocol: str | None = None
    remote: Address = None
    request: web.Request | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Stats:
    """A snapshot of one connection's counters.

    Args:
        received_messages: Number of messages received, including those that wait for your code.
        received_bytes: Bytes of their payloads.
        sent_messages: Number of messages handed to the socket.
        sent_bytes: Bytes of their payloads.
        dropped: Number of dropped messages by reason: `"closed"` (sent after the end, or still
            buffered at the end), `"overflow"` (dropped by the overflow policy), `"conflated"`
            (replaced by a newer one), `"fault"` (a shared value that could not be encoded, see
            `EncodeError`), `"rate_limit"` (dropped by `rxws.operators.rate_limit`), `"map_async"`
            (dropped by `rxws.operators.map_async`, or their call was cancelled for a newer message)
            and `"unobserved"` (received while nobody subscribed).
        paused: Seconds for which delivery was held: by a pause, without a subscriber, or because
            too much was unsent.
    """

    received_messages: int = 0
    received_bytes: int = 0
    sent_messages: int = 0
    sent_bytes: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    paused: float = 0.0


class Flow(Pausable, Protocol):
    """Flow control of one connection, in both directions. `conn.flow` is one."""

    def pause(self) -> DisposableBase:
        """Deliver no message until you dispose the returned pause.

        There may be several pauses. Delivery resumes when all are disposed. During a pause, pings
        are answered, and a close waits behind the messages. If more than `high_water` bytes of
        messages are waiting, reading pauses, too.

        Returns:
            The pause, also a context manager. You may dispose it from any thread, and repeatedly.

        Examples:
            ```python
            with conn.flow.pause():
                await something_slow()
            ```
        """
        ...

    @property
    def writable(self) -> Observable[bool]:
        """Emits False while messages have to be buffered, else True; first the current value."""
        ...

    @property
    def buffered(self) -> int:
        """Unsent bytes: those that the kernel has not accepted yet."""
        ...

    def drained(self) -> Awaitable[None]:
        """Wait until `writable` is True; for coroutines that send many messages.

        Raises:
            ConnectionClosed: The connection has ended.

        Examples:
            ```python
            for line in lines:
                conn.outgoing.on_next(line)
                await conn.flow.drained()
            ```
        """
        ...

    async def ping(self) -> float:
        """Send a ping, and wait for its pong.

        The pong may wait behind messages. To limit the time, use `asyncio.timeout`.

        Returns:
            The round-trip time in seconds.

        Raises:
            ConnectionClosed: The connection has ended, or ends before the pong.

        Examples:
            ```python
            async with asyncio.timeout(5):
                print(await conn.flow.ping())
            ```
        """
        ...

    @property
    def latency(self) -> Observable[float]:
        """Seconds between a heartbeat's ping and its pong, one value per heartbeat."""
        ...

    @property
    def stats(self) -> Stats:
        """The counters so far."""
        ...


@with_hints(CONNECTION)
@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Connection(Generic[In, Out]):
    """One WebSocket connection as three streams; the same on the server and the client.

    Connections are compared and hashed by identity, and may be weakly referenced. So you can keep
    them in a `set`, a `WeakSet` or as keys of a `dict`.

    Args:
        incoming: The received messages. The close code decides whether it completes or fails with
            `ConnectionClosed`. You may also loop over it: `async for message in conn.incoming`.
        outgoing: The messages to send. Push values to it; push a `Close`, complete it or fail it
            to close the connection.
        errors: Exceptions that need not end the connection, such as one raised by a subscriber. If
            nobody subscribes to `errors`, such an exception is logged and closes the connection.
        closed: Emits one `Close` when the connection has ended, also to late subscribers. You may
            `await` it.
        flow: Flow control: pause reading, watch the send buffer, read the counters.
        handshake: The URL, the headers and the original request.
        scheduler: Runs actions on the connection's event loop. You may use it from any thread.

    Examples:
        ```python
        def shout(conn: rxws.Connection[str, str]):
            conn.closed.subscribe(print)
            return conn.incoming.pipe(ops.map(str.upper))
        ```
    """

    incoming: AsyncIterableObservable[In]
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


HandlerResult: TypeAlias = Observable[Any] | AsyncIterator[Any] | DisposableBase | None
"""The result of a handler, or of its coroutine."""

Handler: TypeAlias = Callable[[Connection[In, Out]], HandlerResult | Awaitable[HandlerResult]]
"""Composes the pipeline of one connection; called once per connection.

A handler may return

- an Observable: its values are sent on `outgoing`, and its end closes the connection;
- an async generator, as an `async def` with `yield` does: its values are sent, and its end closes
  the connection. It runs as a task, and is not resumed while the peer is behind. When the
  connection ends, the task is cancelled, so that the generator's `finally` blocks run;
- a Disposable: it is disposed when the connection ends;
- None: the connection stays open;
- a coroutine: it runs as a task, which is cancelled when the connection ends. It may return any of
  the above.
"""


def without_secrets(url: URL) -> URL:
    """Return a URL without its user info and query, which often carry a password or a token."""
    return url.with_user(None).with_query(None)
