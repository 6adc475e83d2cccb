"""The naive binding: a Subject for incoming messages, a Queue and a task for outgoing ones.

It has neither back-pressure nor error handling. It shows what the queue and the task cost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import WSMsgType, web
from reactivex import Observable, Subject
from reactivex import operators as ops

from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import ACK, Options, identity, run_peer

Socket = web.WebSocketResponse | aiohttp.ClientWebSocketResponse[bool]


def with_maps(source: Observable[str], maps: int) -> Observable[str]:
    return source.pipe(*(ops.map(identity) for _ in range(maps)))


async def bind(ws: Socket, incoming: Subject[str], outgoing: asyncio.Queue[str]) -> None:
    async def send() -> None:
        while True:
            await ws.send_str(await outgoing.get())

    sender = asyncio.create_task(send())
    try:
        async for message in ws:
            if message.type is WSMsgType.TEXT:
                incoming.on_next(message.data)
    finally:
        sender.cancel()


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    async def echo(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=options.compress)
        await ws.prepare(request)
        incoming = Subject[str]()
        outgoing = asyncio.Queue[str]()
        with_maps(incoming, options.maps).subscribe(outgoing.put_nowait)
        await bind(ws, incoming, outgoing)
        return ws

    app = web.Application()
    app.router.add_get("/", echo)
    async with serve_app(app) as port:
        yield port


async def receive(options: Options) -> None:
    incoming = Subject[str]()
    outgoing = asyncio.Queue[str]()
    count = 0

    def take(_: str) -> None:
        nonlocal count
        count += 1
        if count % ACK == 0:
            outgoing.put_nowait("more")

    with_maps(incoming, options.maps).subscribe(take)
    url = f"ws://127.0.0.1:{options.port}/"
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
        await bind(ws, incoming, outgoing)


if __name__ == "__main__":
    run_peer(serve, receive, "aiohttp", "reactivex")
