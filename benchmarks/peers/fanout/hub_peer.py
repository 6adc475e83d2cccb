"""rxws with a topic of a hub."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from reactivex import Observable

import rxws
from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import Options, run_peer
from benchmarks.peers.rxws_peer import Message, transport
from rxws.hub import Hub


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    hub = Hub()
    room = hub.topic("room")

    def member(conn: rxws.Connection) -> Observable[Message]:
        def publish(message: Message) -> None:
            for _ in range(options.burst):
                room.on_next(message)

        conn.incoming.subscribe(publish)
        return room

    app = web.Application()
    app.router.add_get("/", rxws.websocket(member, compress=False))
    rxws.setup(app)
    hub.setup(app)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, None, "aiohttp", "reactivex", "rxws", transport=transport())
