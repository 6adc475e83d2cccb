"""When an application shuts down, every peer gets 1001 and is disconnected by the deadline."""

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
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.raw import PATIENCE, RawClient

GOING_AWAY = rxws.Close(1001, "Going Away")


class Site:
    """An application with one WebSocket route that the test shuts down itself."""

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
        self._seen: asyncio.Queue[ConnectionSubscriber] = asyncio.Queue()
        # aiohttp's own timeout is longer than any test, so that only `drain` ends a connection.
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=600.0)

    def _handler(self, conn: AnyConnection) -> None:
        self._seen.put_nowait(ConnectionSubscriber(conn))

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def next_connection(self) -> ConnectionSubscriber:
        """Wait for the next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._seen.get()

    async def shut_down(self) -> None:
        """Shut down as a signal does to a running application."""
        async with asyncio.timeout(PATIENCE):
            await self._runner.cleanup()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[Site]:
    await site.start()
    try:
        yield site
    finally:
        await site.shut_down()


@pytest.mark.promise("shutdown")
@pytest.mark.parametrize("nested", [False, True], ids=["app", "subapp"])
async def test_shutdown_closes_every_connection_with_1001(raw_client: Dial, nested: bool) -> None:
    """Shutdown closes every connection of an application and its subapplications with 1001."""
    async with running(Site(drain=1.0, nested=nested)) as site:
        clients = [await raw_client(site.port, site.path) for _ in range(5)]
        seen = [await site.next_connection() for _ in clients]
        for one in seen:
            one.conn.outgoing.on_next("last words")
        answers = [asyncio.create_task(client.answer_close()) for client in clients]
        await site.shut_down()
        for client, answer, one in zip(clients, answers, seen, strict=True):
            got = await answer
            assert [message.payload for message in client.data] == [b"last words"]
            assert (got.code, got.reason) == (1001, "Going Away")
            await client.until_ended()
            assert len(client.closes) == 1
            assert await one.end() == GOING_AWAY
            assert one.closes[0].by == "local"
            assert one.error is None


async def test_shutdown_aborts_a_peer_that_does_not_answer(raw_client: Dial) -> None:
    """A peer that does not answer the 1001 is aborted after `drain` seconds."""
    async with running(Site(drain=0.3)) as site:
        client: RawClient = await raw_client(site.port, site.path)
        seen = await site.next_connection()
        await site.shut_down()
        assert await seen.end() == GOING_AWAY
        assert seen.error is None
        assert (await client.closing()).code == 1001
        await client.until_ended()


@pytest.mark.promise("shutdown")
@pytest.mark.parametrize("queued", [0, 16 << 20], ids=["idle", "stuck"])
async def test_shutdown_aborts_a_peer_that_does_not_read(raw_client: Dial, queued: int) -> None:
    """A peer that does not read cannot delay a shutdown beyond the deadline."""
    async with running(Site(drain=0.3, max_buffer=64 << 20)) as site:
        client = await raw_client(site.port, site.path, receive_buffer=4096, reads=False)
        seen = await site.next_connection()
        for _ in range(queued >> 16):
            seen.conn.outgoing.on_next(bytes(1 << 16))
        await site.shut_down()
        assert await seen.end() == GOING_AWAY
        assert seen.error is None
        client.start_reading()
        await client.until_ended()


async def test_a_stuck_peer_does_not_affect_other_peers_at_shutdown(raw_client: Dial) -> None:
    """Other peers get their 1001 even if one peer does not read."""
    async with running(Site(drain=0.5, max_buffer=64 << 20)) as site:
        stuck = await raw_client(site.port, site.path, receive_buffer=4096, reads=False)
        (await site.next_connection()).conn.outgoing.on_next(bytes(16 << 20))
        answering = await raw_client(site.port, site.path)
        seen = await site.next_connection()
        answer = asyncio.create_task(answering.answer_close())
        await site.shut_down()
        assert (await answer).code == 1001
        assert await seen.end() == GOING_AWAY
        stuck.start_reading()
        await stuck.until_ended()


async def test_a_close_sent_before_the_shutdown_keeps_its_code(raw_client: Dial) -> None:
    """A close sent before the shutdown keeps its code, and no second one follows."""
    async with running(Site(drain=0.3)) as site:
        client = await raw_client(site.port, site.path)
        seen = await site.next_connection()
        seen.conn.outgoing.on_next(rxws.Close(4001, "why"))
        await client.closing()
        await site.shut_down()
        assert await seen.end() == rxws.Close(4001, "why")
        await client.until_ended()
        assert [one.code for one in client.closes] == [4001]


async def test_without_setup_one_warning_is_logged(
    raw_client: Dial, caplog: pytest.LogCaptureFixture
) -> None:
    """An application without `rxws.setup` logs one warning that names `setup`."""
    with caplog.at_level(logging.WARNING, "rxws"):
        async with running(Site(drain=None)) as site:
            for _ in range(3):
                client = await raw_client(site.port, site.path)
                await client.close(1000)
                await (await site.next_connection()).end()
                client.fin()
    warned = [one for one in caplog.records if one.name == "rxws"]
    assert len(warned) == 1
    assert "setup" in warned[0].getMessage()
