"""One connection, or a client that reconnects, with the same interface."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws._core.close_codes import CLOSE_CODES
from rxws.status import Closed, Open, Status

from ._connection import Target

__all__ = ["Link", "Source", "describe", "open_link"]

_NO_LIMIT = 1 << 40  # bytes; each message is sent before the next one is read
_A_DAY = 86400.0


def describe(close: rxws.Close, peer: str = "the server") -> str:
    """Say how a connection ended."""
    by = {"local": "this side", "peer": peer, "network": "the network"}
    known = CLOSE_CODES.get(close.code)
    name = f" ({known.name})" if known else ""
    reason = f" {close.reason!r}" if close.reason else ""
    return f"closed with {close.code}{name}{reason} by {by[close.by]}"


Source: TypeAlias = rxws.Connection[Any, Any] | rxws.WebSocketSubject[Any, Any]


class Link:
    """Sends to a server, and receives from it.

    Args:
        source: The connection, or the client.

    Attributes:
        incoming: The received messages.
        end: How the last connection ended, once it has.
        closed_here: Whether `close` was called.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.end: rxws.Close | None = None
        self.closed_here = False
        self._sent_at: float | None = None
        self._loop = asyncio.get_running_loop()
        self.incoming: Observable[Any]
        if isinstance(source, rxws.Connection):
            self.incoming, self._outgoing = source.incoming, source.outgoing
            source.closed.subscribe(self._on_closed)
        else:
            self.incoming = self._outgoing = source
            source.status.subscribe(self._on_status)

    def _on_closed(self, close: rxws.Close) -> None:
        self.end = close

    def _on_status(self, status: Status) -> None:
        if isinstance(status, Closed):
            self.end = status.close

    @property
    def connection(self) -> rxws.Connection[Any, Any] | None:
        """The open connection."""
        return self.source if isinstance(self.source, rxws.Connection) else self.source.connection

    @property
    def statuses(self) -> Observable[Status]:
        """The states of a client that reconnects, as they change."""
        if isinstance(self.source, rxws.Connection):
            return rx.empty()
        return self.source.status.pipe(ops.skip(1))

    def send(self, data: str | bytes) -> None:
        """Send a message, or queue it until there is a connection."""
        self._sent_at = self._loop.time()
        self._outgoing.on_next(data)

    async def send_and_drain(self, data: str | bytes) -> None:
        """Wait for a connection, send a message, and wait until the socket has taken it.

        Raises:
            ConnectionClosed: The connection ended, and there will be no other.
        """
        connection = await self._connected()
        self.send(data)
        try:
            await connection.flow.drained()
        except rxws.ConnectionClosed:
            if connection is self.source:
                raise

    def close(self, close: rxws.Close) -> None:
        """Close the connection, and connect no more."""
        self.closed_here = True
        self._outgoing.on_next(close)

    async def ping(self) -> float:
        """Return the round-trip time of a ping, in seconds."""
        return await (await self._connected()).flow.ping()

    def elapsed(self) -> float | None:
        """Return the seconds since the last message was sent, once for each message."""
        sent_at, self._sent_at = self._sent_at, None
        return None if sent_at is None else self._loop.time() - sent_at

    async def _connected(self) -> rxws.Connection[Any, Any]:
        while (connection := self.connection) is None:
            assert isinstance(self.source, rxws.WebSocketSubject)
            await self.source.status.pipe(ops.first(lambda status: isinstance(status, Open)))
        return connection


@asynccontextmanager
async def open_link(
    target: Target, reconnect: bool, opening: Iterable[str | bytes] = ()
) -> AsyncGenerator[Link]:
    """Connect, and close with 1000 at the end.

    Args:
        target: The server.
        reconnect: Whether to connect again after a loss; then the first subscriber connects.
        opening: Messages that a client which reconnects sends first on each connection.
    """
    options: dict[str, Any] = {
        **target.options,
        "max_buffer": _NO_LIMIT,
        "send_timeout": _A_DAY,
    }
    if reconnect:

        def first(_: Any) -> Iterable[str | bytes]:
            return opening

        options.update(queue=_NO_LIMIT, opening=first)
        async with rxws.WebSocketSubject(target.url, **options) as feed:
            yield Link(feed)
    else:
        async with rxws.connect(target.url, **options) as conn:
            yield Link(conn)
