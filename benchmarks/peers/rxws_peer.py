"""rxws: a connection as streams, with every option as it is by default."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws
from benchmarks.peers.aiohttp_peer import serving
from benchmarks.peers.runner import ACK, Options, run, same

Message = str | bytes


def mapped(source: Observable[Message], maps: int) -> Observable[Message]:
    return source.pipe(*(ops.map(same) for _ in range(maps)))


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    def echo(conn: rxws.Connection) -> Observable[Message]:
        return mapped(conn.incoming, options.maps)

    app = web.Application()
    app.router.add_get("/", rxws.websocket(echo, compress=options.compress))
    rxws.setup(app)
    async with serving(app) as port:
        yield port


async def receive(options: Options) -> None:
    url = f"ws://127.0.0.1:{options.port}/"
    async with rxws.connect(url, compress=options.compress) as conn:
        count = 0

        def take(_: Message) -> None:
            nonlocal count
            count += 1
            if count % ACK == 0:
                conn.outgoing.on_next("more")

        mapped(conn.incoming, options.maps).subscribe(take)
        await conn.closed


def transport() -> str | None:
    """Which way the frames take, as far as this version of rxws tells."""
    tell = cast("Callable[[], object] | None", getattr(rxws, "transport_info", None))
    if tell is None:
        return None
    info = tell()
    return ", ".join(f"{name} {getattr(info, name, '?')}" for name in ("path", "parser"))


if __name__ == "__main__":
    run(serve, receive, "aiohttp", "reactivex", "rxws", transport=transport())
