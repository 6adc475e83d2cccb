"""Drop outdated messages for a slow client: buffer only the latest price of each symbol.

Run it, then connect with `websockets ws://127.0.0.1:8080/latest`.
"""

import random

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

SYMBOLS = ("ACME", "INIT", "HOOL")
# Without `overflow`, rxws closes a connection with 1013 once 1 MiB is buffered.
newest = rxws.overflow.latest(lambda message: message["symbol"])


def tick(number: int) -> dict[str, object]:
    price = round(100 + random.gauss(0, 5), 2)
    return {"symbol": SYMBOLS[number % 3], "number": number, "price": price}


@rxws.websocket(codec=rxws.codecs.json, overflow=newest, incoming="discard")  # only sends
def latest(conn: rxws.Connection[object, object]) -> Observable[object]:
    return rx.interval(0.001).pipe(ops.map(tick))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/latest", latest)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
