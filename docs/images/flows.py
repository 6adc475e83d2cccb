"""Draw the marble diagrams of the documentation: run `python docs/images/flows.py`.

Each function runs a pipeline of one page in virtual time.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from reactivex import Observable
from reactivex import operators as ops
from yarl import URL

import rxws
from rxws import viz
from rxws._recording.diagram.statuses import recorded
from rxws.status import Closed, Connecting, Open, Waiting
from rxws.testing import Clock, simulate

HERE = Path(__file__).parent
WIDTHS = {"": 760, "-narrow": 360}  # pixels
TYPED = {"a": "r", "b": "re", "c": "rea", "d": "react", "e": "reacti", "f": "reactive"}


def landing() -> rxws.Recording:
    """Record the handler of docs/index.md, with a tap after each step."""
    recordings: list[rxws.Recording] = []

    def search(conn: rxws.Connection[str, str]) -> Observable[str]:
        recording = rxws.Recording.of(conn)
        recording.title = "ws://localhost:8080/search"
        recording.lane("incoming").detail = "text frames"
        recordings.append(recording)
        return conn.incoming.pipe(
            ops.debounce(0.3),
            recording.tap("debounce", "0.3 s"),
            ops.map(str.upper),
            recording.tap("map", "str.upper"),
        )

    simulate(search, "a-b-c------d-e-f-------|", step=0.1, values=TYPED, codec=rxws.codecs.text)
    return recordings[0]


def chain() -> rxws.Recording:
    """Record the chain of docs/howto/jupyter.md."""
    found: list[viz.View] = []

    def look(conn: rxws.Connection[Any, Any]) -> None:
        view = viz.watch(
            conn.incoming,
            ops.map(lambda tick: tick["n"]),
            ("even", ops.filter(lambda n: n % 2 == 0)),
        )
        found.append(view)
        conn.incoming.subscribe()

    ticks = {letter: {"n": n} for n, letter in enumerate("abcdefgh")}
    flow = "--a-b-c-d-e-f-g-(h,|)"
    simulate(look, flow, step=0.01, values=ticks, codec=rxws.codecs.json)
    return found[0].recording


def groups() -> rxws.Recording:
    """Record the groups of docs/howto/jupyter.md."""
    found: list[viz.View] = []

    def look(conn: rxws.Connection[Any, Any]) -> None:
        view = viz.watch(
            conn.incoming,
            ops.group_by(lambda tick: "even" if tick["n"] % 2 == 0 else "odd"),
            ops.flat_map(sums),
            ops.merge(conn.incoming.pipe(ops.count())),
        )
        found.append(view)
        conn.incoming.subscribe()

    def sums(group: Any) -> Observable[int]:
        numbers: Observable[int] = group.pipe(ops.map(operator.itemgetter("n")))
        return numbers.pipe(ops.scan(int.__add__))

    ticks = {letter: {"n": n} for n, letter in enumerate("abcdefgh")}
    flow = "--a-b-c-d-e-f-g-(h,|)"
    simulate(look, flow, step=0.01, values=ticks, codec=rxws.codecs.json)
    return found[0].recording


def typing() -> rxws.Recording:
    """Record the words of docs/howto/jupyter.md, which come too fast for debounce."""
    found: list[viz.View] = []

    def look(conn: rxws.Connection[Any, Any]) -> None:
        view = viz.watch(conn.incoming, ops.debounce(0.3), scheduler=conn.scheduler)
        found.append(view)
        conn.incoming.subscribe()

    words = {**TYPED, "d": "reac", "e": "react", "f": "reacti"}
    flow = "--a-b-c-----------d-e-------------f---------|"
    simulate(look, flow, step=0.05, values=words, codec=rxws.codecs.text)
    return found[0].recording


def prices() -> rxws.Recording:
    """Record the prices of docs/howto/jupyter.md."""
    found: list[viz.View] = []

    def look(conn: rxws.Connection[Any, Any]) -> None:
        symbol = operator.itemgetter("symbol")
        view = viz.watch(
            conn.incoming,
            ("only ACME", ops.filter(lambda tick: symbol(tick) == "ACME")),
            scheduler=conn.scheduler,
        )
        found.append(view)
        conn.incoming.subscribe()

    ticks = [("ACME", 10.5), ("INIT", 7.25), ("ACME", 10.75), ("ACME", 11.0), ("INIT", 7.5)]
    values = {
        letter: {"type": "price", "symbol": symbol, "price": price}
        for letter, (symbol, price) in zip("abcde", ticks, strict=True)
    }
    simulate(look, "-a-b-c-d-e-|", step=0.1, values=values, codec=rxws.codecs.json)
    return found[0].recording


def client() -> rxws.Recording:
    """Record states of a client, as `viz.watch` does, for docs/howto/jupyter.md."""
    clock = Clock()
    recording = rxws.Recording(scheduler=clock)
    close = rxws.Close(1006, by="peer")
    handshake = rxws.Handshake(URL("wss://example.com/prices"), {})
    refused, lost = OSError("connection refused"), rxws.ConnectionClosed(close)
    for seconds, status in (
        (0.3, Closed(None)),
        (0.2, Connecting(1)),
        (1.0, Waiting(1.0, refused)),
        (0.3, Connecting(2)),
        (3.2, Open(handshake)),
        (0.0, Closed(close)),
        (1.0, Waiting(1.0, lost)),
        (0.4, Connecting(1)),
        (1.5, Open(handshake)),
    ):
        recording.lane("status").record("next", recorded(status))
        for price in (10.5, 10.75) if isinstance(status, Open) else ():
            clock.run(seconds / 3)
            recording.lane("incoming").record("next", {"price": price})
            seconds -= seconds / 3
        clock.run(seconds)
    recording.lane("incoming").record("disposed")
    return recording


def settled() -> rxws.Recording:
    """Record the search of docs/tutorial.md."""
    recording = rxws.Recording(title="a search")
    watched = rxws.pipeline(
        recording.tap("typed"),
        ops.debounce(0.3),
        recording.tap("debounce"),
        ops.distinct_until_changed(),
        recording.tap("distinct"),
    )
    simulate(watched, "r-e-a-----a-----|", step=0.1)
    return recording


def pictures() -> dict[str, str]:
    """Return the text of each SVG file, by file name."""
    return {
        f"{flow.__name__}{kind}.svg": flow().svg(width=width)
        for flow in (landing, chain, typing, prices, groups, client, settled)
        for kind, width in WIDTHS.items()
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (HERE / name).write_text(text, encoding="utf-8")
