"""rxws with its default options."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws
from benchmarks.peers.aiohttp_peer import serve_app
from benchmarks.peers.runner import ACK, Options, identity, run_peer

Message = str | bytes


def with_maps(source: Observable[Message], maps: int) -> Observable[Message]:
    return source.pipe(*(ops.map(identity) for _ in range(maps)))


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    def echo(conn: rxws.Connection) -> Observable[Message]:
        return with_maps(conn.incoming, options.maps)

    app = web.Application()
    app.router.add_get("/", rxws.websocket(echo, compress=options.compress))
    rxws.setup(app)
    async with serve_app(app) as port:
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

        with_maps(conn.incoming, options.maps).subscribe(take)
        await conn.closed


def transport() -> str | None:
    """Return the read path and the parser, or None if this version of rxws does not report them."""
    transport_info = cast("Callable[[], object] | None", getattr(rxws, "transport_info", None))
    if transport_info is None:
        return None
    info = transport_info()
    path, parser = (getattr(info, name, "unknown") for name in ("path", "parser"))
    return f"{path} path, {parser} aiohttp parser"


def install_metrics() -> None:
    """Report metrics, if the environment asks for it; see `benchmarks/metrics_cost.py`."""
    if os.environ.get("RXWS_METRICS"):
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        rxws.metrics.install(MeterProvider([InMemoryMetricReader()]))


if __name__ == "__main__":
    install_metrics()
    run_peer(serve, receive, "aiohttp", "reactivex", "rxws", transport=transport())
