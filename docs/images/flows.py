"""Draw the marble diagrams of the documentation: run `python docs/images/flows.py`.

Each function runs a pipeline of one page in virtual time.
"""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import viz
from rxws.testing import simulate

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
            scheduler=conn.scheduler,
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
            scheduler=conn.scheduler,
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
        for flow in (landing, chain, groups, settled)
        for kind, width in WIDTHS.items()
    }


if __name__ == "__main__":
    for name, text in pictures().items():
        (HERE / name).write_text(text, encoding="utf-8")
