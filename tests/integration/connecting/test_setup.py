"""`rxws.setup`: what it refuses, and requests that arrive during a shutdown."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.raw import PATIENCE, RawClient


def test_a_second_setup_is_refused() -> None:
    """A second `setup` of an application is refused."""
    app = web.Application()
    rxws.setup(app)
    with pytest.raises(RuntimeError, match="already"):
        rxws.setup(app, drain=5.0)


@pytest.mark.parametrize("drain", [-1.0, float("nan")])
def test_an_invalid_drain(drain: float) -> None:
    """An invalid `drain` is refused and leaves the application unchanged."""
    app = web.Application()
    with pytest.raises(ValueError, match="drain"):
        rxws.setup(app, drain=drain)
    rxws.setup(app)


async def test_setup_of_a_running_application_is_refused() -> None:
    """`setup` refuses an application that is running."""
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        with pytest.raises(RuntimeError):
            rxws.setup(app)
    finally:
        await runner.cleanup()


async def test_a_request_during_shutdown_gets_503(raw_client: Dial) -> None:
    """A request on an open TCP connection during the shutdown gets a 503."""
    shutting_down, may_go = asyncio.Event(), asyncio.Event()
    arrived = asyncio.Event()
    ran: list[AnyConnection] = []
    route = rxws.websocket(ran.append)

    async def late(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await may_go.wait()
        return await route(request)

    async def after_setup(_: web.Application) -> None:
        shutting_down.set()

    app = web.Application()
    app.router.add_get("/", late)
    rxws.setup(app)
    app.on_shutdown.append(after_setup)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=PATIENCE)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    asking: asyncio.Task[RawClient] = asyncio.create_task(
        as_task(raw_client, runner.addresses[0][1])
    )
    async with asyncio.timeout(PATIENCE):
        await arrived.wait()
        ending = asyncio.create_task(runner.cleanup())
        await shutting_down.wait()
        may_go.set()
        client = await asking
        await ending
    assert client.head.status == 503
    assert not ran


async def as_task(dial: Dial, port: int) -> RawClient:
    return await dial(port)


async def test_a_handler_that_ignores_cancellation(
    raw_client: Dial,
) -> None:
    """A handler that ignores cancellation delays a shutdown by `drain` seconds at most."""
    may_end, running = asyncio.Event(), asyncio.Event()
    seen: list[ConnectionSubscriber] = []

    async def handler(conn: AnyConnection) -> None:
        seen.append(ConnectionSubscriber(conn))
        running.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    async def after_setup(_: web.Application) -> None:
        may_end.set()

    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler))
    rxws.setup(app, drain=0.1)
    app.on_shutdown.append(after_setup)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=600.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = await raw_client(runner.addresses[0][1])
    async with asyncio.timeout(PATIENCE):
        await running.wait()
        await runner.cleanup()
    assert (await seen[0].end()).code == 1001
    await client.until_ended()
    assert [one.code for one in client.closes] == [1001]
