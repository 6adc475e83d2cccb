"""`websockets.broadcast`, as its documentation recommends for many clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from websockets.asyncio.server import ServerConnection, broadcast
from websockets.asyncio.server import serve as websockets_serve

from benchmarks.peers.runner import Options, run_peer


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    members: set[ServerConnection] = set()

    async def member(ws: ServerConnection) -> None:
        members.add(ws)
        async for message in ws:
            for _ in range(options.burst):
                broadcast(members, message)
        members.discard(ws)

    async with websockets_serve(member, "127.0.0.1", 0, compression=None) as server:
        yield next(iter(server.sockets)).getsockname()[1]


if __name__ == "__main__":
    run_peer(serve, None, "websockets")
