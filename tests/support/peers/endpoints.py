"""A connection of rxws with a raw peer at the other end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import reactivex as rx
from aiohttp import web

import rxws
from support.fixtures import Serve
from support.peers.raw import PATIENCE, Peer, RawClient, RawServer
from support.subscriber import Subscriber

AnyConnection = rxws.Connection[Any, Any]
Compose = Callable[[AnyConnection], "rx.Observable[Any] | None"]
EXTENSION = "Sec-WebSocket-Extensions"


class ConnectionSubscriber:
    """Record the notifications of `incoming` and of `closed`."""

    def __init__(self, conn: AnyConnection) -> None:
        self.conn = conn
        self._changed = asyncio.Event()
        self.incoming: Subscriber[Any] = Subscriber(conn.incoming, changed=self._changed)
        self.closed: Subscriber[rxws.Close] = Subscriber(conn.closed, changed=self._changed)

    @property
    def values(self) -> list[Any]:
        """The messages."""
        return self.incoming.values

    @property
    def ends(self) -> list[Exception | None]:
        """What ended `incoming`; None for completion."""
        return self.incoming.ends

    @property
    def closes(self) -> list[rxws.Close]:
        """What `closed` emitted."""
        return self.closed.values

    @property
    def closed_ends(self) -> list[Exception | None]:
        """What ended `closed`."""
        return self.closed.ends

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on the notifications holds."""
        await self.incoming.until(condition)

    async def end(self) -> rxws.Close:
        """Wait until `incoming` and `closed` have ended; return the close."""
        await self.until(lambda: self.ends and self.closed_ends)
        self.check()
        return self.closes[0]

    @property
    def error(self) -> Exception | None:
        """What ended `incoming`; None for completion."""
        return self.ends[0]

    def check(self) -> None:
        """Check that each stream ended once, and that late subscribers get the same end."""
        assert len(self.ends) == 1
        assert len(self.closes) == 1
        assert self.closed_ends == [None]
        late = ConnectionSubscriber(self.conn)
        # Once the socket is gone, late subscribers get a copy of an error that has a traceback.
        assert (late.values, repr(late.ends)) == ([], repr(self.ends))
        assert (late.closes, late.closed_ends) == (self.closes, [None])


@dataclass
class Link:
    """One connection and its raw peer."""

    end: str  # what rxws is: "server" or "client"
    conn: AnyConnection
    peer: Peer
    seen: ConnectionSubscriber = field(repr=False)

    async def ended(
        self, code: int, reason: str | None = None, *, by: str, error: type[Exception] | None
    ) -> None:
        """Wait for the end and check it; `error` None expects completion of `incoming`."""
        close = await self.seen.end()
        assert (close.code, close.by) == (code, by)
        if reason is not None:
            assert close.reason == reason
        assert type(self.seen.error) is (error or type(None))
        if isinstance(self.seen.error, rxws.ConnectionClosed):
            assert self.seen.error.close == close
            assert self.seen.error.close.by == by

    async def wire(self, code: int | None) -> None:
        """Check that the peer received one close frame with this code, as the last frame."""
        await self.peer.closing()
        self.peer.fin()
        await self.peer.until_ended()
        assert [one.code for one in self.peer.closes] == [code]
        assert self.peer.frames[-1] == self.peer.closes[0]

    async def silent_wire(self) -> None:
        """Check that TCP ends without a close frame."""
        self.peer.start_reading()
        await self.peer.until_ended()
        assert not self.peer.closes

    def never_said(self, secret: str) -> bool:
        """Return whether the peer received nothing that contains this text."""
        text = secret.encode()
        return text not in self.peer.received and not any(
            text in one.payload for one in self.peer.frames
        )


class Links:
    """Open connections of rxws at one end, each with a raw peer."""

    def __init__(self, end: str, serve: Serve, stack: AsyncExitStack) -> None:
        self.end = end
        self.links: list[Link] = []
        self._serve = serve
        self._stack = stack

    async def __call__(
        self,
        compose: Compose | None = None,
        *,
        deflate: bool = False,
        receive_buffer: int | None = None,
        **options: Any,
    ) -> Link:
        """Open a connection.

        Args:
            compose: Returns the Observable that feeds `outgoing`.
            deflate: Whether the peer offers permessage-deflate, without context takeover.
            receive_buffer: SO_RCVBUF of the peer, in bytes.
            options: The options of rxws.
        """
        extension = "permessage-deflate" if deflate else None
        if self.end == "server":
            link = await self._at_server(compose, extension, receive_buffer, options)
        else:
            link = await self._at_client(compose, extension, receive_buffer, options)
        self.links.append(link)
        return link

    async def _at_server(
        self,
        compose: Compose | None,
        extension: str | None,
        receive_buffer: int | None,
        options: dict[str, Any],
    ) -> Link:
        ready: asyncio.Future[tuple[AnyConnection, ConnectionSubscriber]] = asyncio.Future()

        def handler(conn: AnyConnection) -> rx.Observable[Any] | None:
            ready.set_result((conn, ConnectionSubscriber(conn)))
            return compose(conn) if compose else None

        app = web.Application()
        app.router.add_get("/", rxws.websocket(handler, **options))
        rxws.setup(app, drain=1.0)
        port = await self._serve(app)
        headers = {EXTENSION: extension}
        peer = await RawClient.connect(port, headers=headers, receive_buffer=receive_buffer)
        async with asyncio.timeout(PATIENCE):
            conn, seen = await ready
        return Link("server", conn, peer, seen)

    async def _at_client(
        self,
        compose: Compose | None,
        extension: str | None,
        receive_buffer: int | None,
        options: dict[str, Any],
    ) -> Link:
        server = await self._stack.enter_async_context(RawServer(receive_buffer))
        accepting = asyncio.create_task(server.accept({EXTENSION: extension}))
        self._stack.callback(accepting.cancel)
        conn = await self._stack.enter_async_context(rxws.connect(server.url, **options))
        link = Link("client", conn, await accepting, ConnectionSubscriber(conn))
        if compose and (source := compose(conn)):
            source.subscribe(conn.outgoing, scheduler=conn.scheduler)
        return link


@asynccontextmanager
async def open_links(end: str, serve: Serve) -> AsyncIterator[Links]:
    """Yield `Links`; close their peers at the end."""
    async with AsyncExitStack() as stack:
        links = Links(end, serve, stack)
        try:
            yield links
        finally:
            for link in links.links:
                await link.peer.rst()
    for link in links.links:  # "nothing after": the teardown emits nothing more
        if link.seen.ends:
            link.seen.check()
