"""Server push: a source that is faster than anybody can read, sampled for each connection.

Run it, then watch with `websockets ws://127.0.0.1:8080/ticker`.
"""

import random

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws


def walk(price: float, _: int) -> float:
    return round(price + random.gauss(0, 0.05), 2)


@rxws.websocket(codec=rxws.codecs.json)
def ticker(conn: rxws.Connection[object, object]) -> Observable[object]:
    # No scheduler is named: rxws subscribes on the connection's, so both timers stay on its loop.
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
