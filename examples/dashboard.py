"""Show several channels of one socket as a live table, or as lines if stdout is not a terminal.

Run `price_feed.py`, then `python dashboard.py ws://127.0.0.1:8080/prices ACME INIT HOOL` in another
terminal. Restart the feed to see the client reconnect.
"""

import asyncio
import sys
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws

Feed = rxws.WebSocketSubject[dict[str, Any], object]


def symbol_of(tick: dict[str, Any]) -> object:
    return tick["symbol"]


def price_of(tick: dict[str, Any]) -> float:
    return float(tick["price"])


def prices(feed: Feed, symbol: str) -> Observable[float]:
    # The channel sends {"subscribe": symbol} for its first subscriber and on each new connection.
    # With `key`, rxws finds the channel of a tick by one call of `symbol_of` and one look-up.
    ticks = feed.channel({"subscribe": symbol}, {"unsubscribe": symbol}, symbol_of, key=symbol)
    return ticks.pipe(ops.map(price_of))


def row(feed: Feed, symbol: str) -> Observable[str]:
    """Emit the row of a symbol: first without a price, then again for each price."""

    def append(latest: tuple[float, ...], price: float) -> tuple[float, ...]:
        return (*latest, price)[-32:]

    def draw(latest: tuple[float, ...]) -> str:
        low, high = min(latest), max(latest)
        bars = (round(7 * (price - low) / ((high - low) or 1)) for price in latest)
        return f"{symbol:<6}{latest[-1]:8.2f}  " + "".join("▁▂▃▄▅▆▇█"[bar] for bar in bars)

    start: tuple[float, ...] = ()
    return prices(feed, symbol).pipe(ops.scan(append, start), ops.map(draw), ops.start_with(symbol))


def table(feed: Feed, *symbols: str) -> Observable[str]:
    def draw(lines: tuple[object, ...]) -> str:
        return "\x1b[H\x1b[2J" + "\n".join(f"{line!s:.100}" for line in lines)

    rows = [row(feed, symbol) for symbol in symbols]
    return rx.combine_latest(feed.status, *rows).pipe(ops.sample(0.1), ops.map(draw))


def log(feed: Feed, *symbols: str) -> Observable[str]:
    def lines(symbol: str) -> Observable[str]:
        return prices(feed, symbol).pipe(ops.map(lambda price: f"{symbol:<6}{price:8.2f}"))

    return rx.merge(feed.status.pipe(ops.map(repr)), *map(lines, symbols))


async def show(url: str, *symbols: str, terminal: bool) -> None:
    feed: Feed = rxws.WebSocketSubject(
        url, codec=rxws.codecs.json, backoff=rxws.backoff.exponential(first=0.5, cap=5.0)
    )
    async for text in rxws.iterate((table if terminal else log)(feed, *symbols)):
        print(text, flush=True)


if __name__ == "__main__":
    arguments = sys.argv[1:] or ["ws://127.0.0.1:8080/prices", "ACME", "INIT", "HOOL"]
    try:
        asyncio.run(show(*arguments, terminal=sys.stdout.isatty()))
    except KeyboardInterrupt:
        pass
    except rxws.RxwsError as error:
        sys.exit(f"{type(error).__name__}: {error}")
