"""A loop over aiohttp's WebSockets that encodes each message once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import Options, run_peer


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    members: set[web.WebSocketResponse] = set()

    async def member(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        members.add(ws)
        async for message in ws:
            for _ in range(options.burst):
                payload = message.data.encode()
                for each in members:
                    await each.send_frame(payload, WSMsgType.TEXT)
        members.discard(ws)
        return ws

    app = web.Application()
    app.router.add_get("/", member)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, None, "aiohttp")
