"""`rxws.setup`: what it refuses, and what an application that is ending does to late comers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial
from support.peers.endpoints import AnyConnection, Seen
from support.peers.raw import PATIENCE, RawClient


def test_setup_twice() -> None:
    """One application has one deadline: a second `setup` is refused."""
    app = web.Application()
    rxws.setup(app)
    with pytest.raises(RuntimeError, match="already"):
        rxws.setup(app, drain=5.0)


@pytest.mark.parametrize("drain", [-1.0, float("nan")])
def test_a_drain_that_is_no_time(drain: float) -> None:
    """What is no number of seconds is refused, and the application stays as it was."""
    app = web.Application()
    with pytest.raises(ValueError, match="drain"):
        rxws.setup(app, drain=drain)
    rxws.setup(app)


async def test_setup_of_an_application_that_runs() -> None:
    """An application that runs takes no `setup` any more."""
    app = web.Application()
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        with pytest.raises(RuntimeError):
            rxws.setup(app)
    finally:
        await runner.cleanup()


async def test_who_comes_while_it_ends(raw_client: Dial) -> None:
    """A request that arrives on an open TCP connection during the shutdown gets a 503."""
    shutting_down, may_go = asyncio.Event(), asyncio.Event()
    arrived = asyncio.Event()
    ran: list[AnyConnection] = []
    route = rxws.websocket(ran.append)

    async def late(request: web.Request) -> web.StreamResponse:
        arrived.set()
        await may_go.wait()
        return await route(request)

    async def after_ours(_: web.Application) -> None:
        shutting_down.set()

    app = web.Application()
    app.router.add_get("/", late)
    rxws.setup(app)
    app.on_shutdown.append(after_ours)
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


async def test_a_coroutine_that_takes_its_time(raw_client: Dial) -> None:
    """A handler's coroutine that will not be cancelled holds a shutdown up for a while only."""
    may_end, running = asyncio.Event(), asyncio.Event()
    seen: list[Seen] = []

    async def handler(conn: AnyConnection) -> None:
        seen.append(Seen(conn))
        running.set()
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):  # the stubbornness that this test is about
                await may_end.wait()

    async def after_ours(_: web.Application) -> None:
        may_end.set()

    app = web.Application()
    app.router.add_get("/", rxws.websocket(handler))
    rxws.setup(app, drain=0.1)
    app.on_shutdown.append(after_ours)
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
