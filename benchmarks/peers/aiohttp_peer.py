"""aiohttp as in its documentation: `async for` over the socket."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import WSMsgType, web

from benchmarks.peers.runner import ACK, Options, identity, run_peer


@asynccontextmanager
async def serve_app(app: web.Application) -> AsyncGenerator[int]:
    """Serve an aiohttp application on a free port and yield the port."""
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=options.compress)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                await ws.send_str(identity(message.data))
        return ws

    app = web.Application()
    app.router.add_get("/", echo)
    async with serve_app(app) as port:
        yield port


async def receive(options: Options) -> None:
    url = f"ws://127.0.0.1:{options.port}/"
    count = 0
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                identity(message.data)
                count += 1
                if count % ACK == 0:
                    await ws.send_str("more")


if __name__ == "__main__":
    run_peer(serve, receive, "aiohttp")
