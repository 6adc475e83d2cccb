"""asyncio's lower limit: `transport.write` of a frame that is built once, without any checks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import WSMsgType, web

from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import Options, run_peer


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    members: set[asyncio.Transport] = set()

    async def member(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=False)
        await ws.prepare(request)
        transport = request.transport
        assert transport is not None
        members.add(transport)
        async for message in ws:
            payload = message.data.encode()
            frame = bytes((0x80 | WSMsgType.TEXT, len(payload))) + payload
            for _ in range(options.burst):
                for each in members:
                    each.write(frame)
        members.discard(transport)
        return ws

    app = web.Application()
    app.router.add_get("/", member)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, None, "aiohttp")
