"""Push from the server: sample a fast source four times per second for each connection.

Run it, then connect with `websockets ws://127.0.0.1:8080/ticker`.
"""

import random

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws


def walk(price: float, _: int) -> float:
    return round(price + random.gauss(0, 0.05), 2)


@rxws.websocket(codec=rxws.codecs.json, incoming="discard")  # this handler only sends
def ticker(conn: rxws.Connection[object, object]) -> Observable[object]:
    # No scheduler needed: rxws subscribes with its own, so both timers run on the event loop.
    return rx.interval(0.005).pipe(
        ops.scan(walk, 100.0),
        ops.sample(0.25),
        ops.map(lambda price: {"ACME": price}),
    )


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/ticker", ticker)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
