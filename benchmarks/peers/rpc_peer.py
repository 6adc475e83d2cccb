"""`rxws.rpc` with a plain function."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from aiohttp import web

import rxws
from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import Options, run_peer
from benchmarks.peers.rxws_peer import receive, transport

methods = rxws.rpc.Methods()


@methods.add
def add(a: int, b: int) -> int:
    return a + b


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    app = web.Application()
    app.router.add_get("/", rxws.websocket(rxws.rpc.serve(methods), compress=options.compress))
    rxws.setup(app)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, receive, "aiohttp", "reactivex", "rxws", "msgspec", transport=transport())
