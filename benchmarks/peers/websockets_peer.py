"""The websockets package with its asyncio API, as in its documentation."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Literal

from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from benchmarks.peers.runner import ACK, Options, identity, run_peer


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    async def echo(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send(identity(message))

    compression: Literal["deflate"] | None = "deflate" if options.compress else None
    async with websockets_serve(echo, "127.0.0.1", 0, compression=compression) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def receive(options: Options) -> None:
    count = 0
    async with connect(f"ws://127.0.0.1:{options.port}/", compression=None) as ws:
        async for message in ws:
            identity(message)
            count += 1
            if count % ACK == 0:
                await ws.send("more")


if __name__ == "__main__":
    run_peer(serve, receive, "websockets")
