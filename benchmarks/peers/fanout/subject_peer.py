"""rxws with a Subject of reactivex that all connections share."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web
from reactivex import Observable, Subject

import rxws
from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import Options, run_peer
from benchmarks.peers.rxws_peer import Message, transport


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    room = Subject[Message]()

    def member(conn: rxws.Connection) -> Observable[Message]:
        def publish(message: Message) -> None:
            for _ in range(options.burst):
                room.on_next(message)

        conn.incoming.subscribe(publish)
        return room

    app = web.Application()
    app.router.add_get("/", rxws.websocket(member, compress=False))
    rxws.setup(app)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, None, "aiohttp", "reactivex", "rxws", transport=transport())
