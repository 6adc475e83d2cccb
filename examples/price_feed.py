"""A server that sends the prices of chosen symbols, and a client that reconnects to it.

Run it, then `python price_feed.py ws://127.0.0.1:8080/prices ACME INIT` in another terminal. Stop
the server with Ctrl+C, or kill it, and start it again.
"""

import asyncio
import logging
import random
import sys

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

PERIOD = 0.4  # seconds


def walk(price: float, _: int) -> float:
    return round(price + random.gauss(0, 0.2), 2)


@rxws.websocket(codec=rxws.codecs.json)
def prices(conn: rxws.Connection[object, object]) -> Observable[object]:
    def answer(message: object) -> Observable[object]:
        match message:
            case {"subscribe": str(symbol)}:
                left = conn.incoming.pipe(ops.filter(lambda m: m == {"unsubscribe": symbol}))
                return rx.interval(PERIOD).pipe(
                    ops.scan(walk, 100.0),
                    ops.map(lambda price: {"symbol": symbol, "price": price}),
                    ops.take_until(left),
                )
            case _:
                return rx.empty()

    return conn.incoming.pipe(ops.flat_map(answer))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/prices", prices)])
    rxws.setup(app)  # closes connections with 1001 at shutdown; the client then reconnects
    return app


async def watch(url: str, *symbols: str) -> None:
    feed = rxws.WebSocketSubject(
        url,
        codec=rxws.codecs.json,
        # Subscribe again on each new connection.
        opening=lambda conn: [{"subscribe": symbol} for symbol in symbols],
        backoff=rxws.backoff.exponential(first=0.5, cap=5.0),
    )
    feed.status.subscribe(lambda status: logging.info("%r", status))
    async for tick in feed:
        print(f"{tick['symbol']:<6}{tick['price']:8.2f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        web.run_app(make_app(), host="127.0.0.1", port=8080)
    else:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
        try:
            asyncio.run(watch(*sys.argv[1:]))
        except KeyboardInterrupt:
            pass
        except rxws.RxwsError as error:
            sys.exit(f"{type(error).__name__}: {error}")
