"""The application shuts down: 1001 for every peer, and all of them gone by the deadline."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial
from support.peers.endpoints import AnyConnection, Seen
from support.peers.raw import PATIENCE, RawClient

GOING_AWAY = rxws.Close(1001, "Going Away")


class Site:
    """An application with one WebSocket route, and when it ends is up to the test."""

    def __init__(self, drain: float | None, *, nested: bool = False, **options: Any) -> None:
        self.app = web.Application()
        inner = web.Application() if nested else self.app
        inner.router.add_get("/ws", rxws.websocket(self._handler, **options))
        if nested:
            self.app.add_subapp("/sub", inner)
        if drain is not None:
            rxws.setup(self.app, drain=drain)
        self.path = "/sub/ws" if nested else "/ws"
        self.port = 0
        self._seen: asyncio.Queue[Seen] = asyncio.Queue()
        # aiohttp's own patience is without end here, so that nothing but `drain` ends a connection.
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=600.0)

    def _handler(self, conn: AnyConnection) -> None:
        self._seen.put_nowait(Seen(conn))

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def seen(self) -> Seen:
        """The next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._seen.get()

    async def end(self) -> None:
        """What a signal does to a running application; over by the deadline."""
        async with asyncio.timeout(PATIENCE):
            await self._runner.cleanup()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    await site.start()
    try:
        yield site
    finally:
        await site.end()


@pytest.mark.promise("shutdown")
@pytest.mark.parametrize("nested", [False, True], ids=["app", "subapp"])
async def test_peers_that_answer(raw_client: Dial, nested: bool) -> None:
    """Every connection of the application and its subapplications gets 1001 and completes."""
    async with running(Site(drain=1.0, nested=nested)) as site:
        clients = [await raw_client(site.port, site.path) for _ in range(5)]
        seen = [await site.seen() for _ in clients]
        for one in seen:
            one.conn.outgoing.on_next("last words")
        answers = [asyncio.create_task(client.answer_close()) for client in clients]
        await site.end()
        for client, answer, one in zip(clients, answers, seen, strict=True):
            got = await answer
            assert [message.payload for message in client.data] == [b"last words"]
            assert (got.code, got.reason) == (1001, "Going Away")
            await client.until_ended()
            assert len(client.closes) == 1
            assert await one.end() == GOING_AWAY
            assert one.closes[0].by == "local"
            assert one.error is None


async def test_peers_that_do_not_answer(raw_client: Dial) -> None:
    """A peer that gets 1001 and does nothing is aborted when `drain` is over."""
    async with running(Site(drain=0.3)) as site:
        client: RawClient = await raw_client(site.port, site.path)
        seen = await site.seen()
        await site.end()
        assert await seen.end() == GOING_AWAY
        assert seen.error is None
        assert (await client.closing()).code == 1001
        await client.until_ended()


@pytest.mark.promise("shutdown")
@pytest.mark.parametrize("queued", [0, 16 << 20], ids=["idle", "stuck"])
async def test_peers_that_do_not_read(raw_client: Dial, queued: int) -> None:
    """A peer that takes nothing holds up no shutdown: it is gone by the deadline."""
    async with running(Site(drain=0.3, max_buffer=64 << 20)) as site:
        client = await raw_client(site.port, site.path, receive_buffer=4096, reads=False)
        seen = await site.seen()
        for _ in range(queued >> 16):
            seen.conn.outgoing.on_next(bytes(1 << 16))
        await site.end()
        assert await seen.end() == GOING_AWAY
        assert seen.error is None
        client.start_reading()
        await client.until_ended()


async def test_one_that_does_not_read_leaves_the_others_alone(raw_client: Dial) -> None:
    """A stuck peer does not cost its neighbours their 1001."""
    async with running(Site(drain=0.5, max_buffer=64 << 20)) as site:
        stuck = await raw_client(site.port, site.path, receive_buffer=4096, reads=False)
        (await site.seen()).conn.outgoing.on_next(bytes(16 << 20))
        polite = await raw_client(site.port, site.path)
        seen = await site.seen()
        answer = asyncio.create_task(polite.answer_close())
        await site.end()
        assert (await answer).code == 1001
        assert await seen.end() == GOING_AWAY
        stuck.start_reading()
        await stuck.until_ended()


async def test_a_peer_that_is_closing_already(raw_client: Dial) -> None:
    """A close that went out before the shutdown keeps its code, and no second one follows."""
    async with running(Site(drain=0.3)) as site:
        client = await raw_client(site.port, site.path)
        seen = await site.seen()
        seen.conn.outgoing.on_next(rxws.Close(4001, "why"))
        await client.closing()
        await site.end()
        assert await seen.end() == rxws.Close(4001, "why")
        await client.until_ended()
        assert [one.code for one in client.closes] == [4001]


async def test_without_setup_one_warning_is_logged(
    raw_client: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections in an application without `setup` are warned of once, by name."""
    with caplog.at_level(logging.WARNING, "rxws"):
        async with running(Site(drain=None)) as site:
            for _ in range(3):
                client = await raw_client(site.port, site.path)
                await client.close(1000)
                await (await site.seen()).end()
                client.fin()
    warned = [one for one in caplog.records if one.name == "rxws"]
    assert len(warned) == 1
    assert "setup" in warned[0].getMessage()
