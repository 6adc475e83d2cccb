"""Scenes for reference pictures: diagrams that are the same on every machine."""

from __future__ import annotations

import json
import math
import operator
import random
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, NamedTuple

import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import Close, ConnectionClosed, DecodeError, viz
from rxws._recording.diagram import Diagram, Track
from rxws._recording.diagram.statuses import RecordedStatus, recorded
from rxws.status import Closed, Connecting
from rxws.testing import Clock


class Event(NamedTuple):
    """An event of a track."""

    t: float
    type: str
    data: Any = None


def nexts(pairs: Iterable[tuple[float, Any]]) -> list[Event]:
    """Return events with these times and values."""
    return [Event(t, "next", value) for t, value in pairs]


def few() -> Diagram:
    """Seven messages, a map and a debounce, and a clean close."""
    times = [0.009, 0.04, 0.07, 0.1, 0.13, 0.16, 0.612]
    end = [Event(0.676, "completed")]
    frames = [json.dumps({"i": i, "p": 99.5 + i / 8}) for i in range(7)]
    return Diagram(
        "ws://127.0.0.1:8765/ticks — 7 messages",
        (
            Track("incoming", "text frames", "in", nexts(zip(times, frames, strict=True)) + end),
            Track("map", "json()['i']", None, nexts(zip(times, range(7), strict=True)) + end),
            Track("debounce", "0.15 s", None, nexts([(0.312, 5), (0.64, 6)]) + end),
            Track("outgoing", "send()", "out", nexts([(0.312, "ack 5"), (0.64, "ack 6")]) + end),
        ),
        Close(1000, "", by="peer"),
        0.676,
    )


def bursts() -> Diagram:
    """300 messages, their means in batches, and an abnormal close."""
    chance = random.Random(7)
    times = [0.01 * i + 0.004 * chance.random() for i in range(300)]
    prices = [100 + chance.gauss(0, 2.6) for _ in times]
    frames = [json.dumps({"i": i, "p": round(p, 2)}) for i, p in enumerate(prices)]
    failed = [Event(3.33, "error", ConnectionClosed(Close(1011, "Unexpected Error", by="peer")))]
    batches = [prices[i : i + 25] for i in range(0, 300, 25)]
    at = [0.25 * (i + 1) for i in range(12)]
    # Not with sum(), which rounds less from Python 3.12 on.
    means = [reduce(operator.add, batch) / len(batch) for batch in batches]
    return Diagram(
        "ws://127.0.0.1:8765/ticks — 300 messages, bursts, abnormal close",
        (
            Track("incoming", "text frames", "in", nexts(zip(times, frames, strict=True)) + failed),
            Track("map", "json()['p']", None, nexts(zip(times, prices, strict=True)) + failed),
            Track("buffer", "0.25 s", None, nexts(zip(at, batches, strict=True)) + failed),
            Track("mean", "mean(batch)", None, nexts(zip(at, means, strict=True)) + failed),
            Track(
                "outgoing",
                "throttle 0.6 s",
                "out",
                nexts(list(zip(at, means, strict=True))[::3]) + failed,
            ),
        ),
        Close(1011, "Unexpected Error", by="peer"),
        3.33,
    )


def dense() -> Diagram:
    """2000 kept of 5000 messages, in waves; numbers with gaps; still running."""
    chance = random.Random(3)
    times: list[float] = []
    t = 20.0
    for _ in range(2000):
        t += chance.expovariate(60 * (1.2 + math.sin(t / 2.5)))
        times.append(t)
    walk = [50.0]
    for _ in times[1:]:
        walk.append(walk[-1] + chance.gauss(0, 1))
    gaps = [math.nan if 400 < i < 520 else value for i, value in enumerate(walk)]
    halves = times[::2]
    return Diagram(
        "wss://example.org/market?symbols=ABC,DEF",
        (
            Track(
                "incoming",
                "binary frames",
                "in",
                nexts((t, i.to_bytes(8, "big")) for i, t in enumerate(times)),
                3000,
            ),
            Track("price", "decode", None, nexts(zip(times, gaps, strict=True)), 3000),
            Track(
                "symbols",
                "distinct_until_changed",
                None,
                nexts((t, chance.choice(["ABC", "DEF", "GHI"])) for t in halves),
            ),
            Track(
                "outgoing",
                "sample 5 s",
                "out",
                nexts((t, walk[i * 400]) for i, t in enumerate(times[::400])),
            ),
        ),
        until=times[-1] + 0.4,
    )


def faults() -> Diagram:
    """Errors that do not end the connection; operators that fail, retry and are disposed."""
    bad = DecodeError("no JSON: Expecting value: line 1 column 1 (char 0)", "<not json>")
    return Diagram(
        "ws://127.0.0.1:8765/orders",
        (
            Track(
                "incoming",
                "json",
                "in",
                [
                    *nexts(
                        (0.4 * i, {"id": i, "side": "buy" if i % 3 else "sell"}) for i in range(16)
                    ),
                    Event(6.6, "completed"),
                ],
            ),
            Track(
                "retry",
                "parse",
                None,
                [
                    *nexts((0.4 * i, i) for i in range(4)),
                    Event(1.6, "error", ValueError("no side")),
                    *nexts((0.4 * i, i) for i in range(6, 9)),
                    Event(3.6, "error", KeyError("id")),
                ],
            ),
            Track(
                "take", "3", None, [*nexts((0.4 * i, i) for i in range(3)), Event(0.8, "completed")]
            ),
            Track(
                "switch", "latest", None, [*nexts([(0.8, "a"), (2.0, "b")]), Event(3.0, "disposed")]
            ),
            Track(
                "errors",
                "decode, encode, subscribers",
                None,
                [*nexts([(1.2, bad), (2.9, bad), (3.0, TypeError("x"))]), Event(6.6, "completed")],
            ),
            Track("outgoing", "", "out", [*nexts([(0.5, "ok"), (3.3, "日本語🙂"), (5.2, "late")])]),
        ),
        Close(4001, "enough <b>of</b> it", by="local"),
        6.6,
    )


def kinds() -> Diagram:
    """Values of many types."""

    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no repr")

    values: list[Any] = [
        "text",
        b"\x00\xff\x10",
        b"plain",
        {"i": 0, "nested": {"a": [1, 2]}},
        [1, 2, 3],
        None,
        True,
        10**9,
        1 / 3,
        "two\nlines\tand\x00",
        "<script>alert(1)</script>",
        "\u202eright to left",
        "العربية",
        Mute(),
        math.inf,
        "x" * 5000,
        Close(4000),
    ]
    return Diagram(
        "values of every kind",
        (
            Track("values", "", None, nexts((i * 1.0, value) for i, value in enumerate(values))),
            Track("half", "", None, nexts((i * 2.0, value) for i, value in enumerate(values[:8]))),
            Track(
                "<b>&amp;", "a very long detail \"quoted\" 'too'", None, nexts([(3.0, values[10])])
            ),
            Track("none", "", None),
        ),
    )


def small() -> Diagram:
    """Numbers whose range takes many characters."""
    return Diagram(
        "small",
        (
            Track(
                "noise",
                "",
                None,
                nexts((i / 10, (i * 37 % 100 - 50) * 1.2345e-7) for i in range(200)),
            ),
        ),
    )


def running() -> Diagram:
    """A running flow that does not fill its window of ten seconds yet."""
    return Diagram(
        "live",
        (
            Track("incoming", "text frames", "in", nexts((0.5 * i, i) for i in range(9))),
            Track("sum", "scan", None, nexts((0.5 * i, i * (i + 1) // 2) for i in range(9))),
        ),
        until=4.3,
    )


def sudden() -> Diagram:
    """Flows whose events are all at time zero."""
    end = [Event(0.0, "completed")]
    return Diagram(
        "all at once",
        (
            Track("just", "1", None, [*nexts([(0.0, 1)]), *end]),
            Track("range", "5", None, [*nexts((0.0, i) for i in range(5)), *end]),
            Track("empty", "", None, end),
            Track("never", "", None),
            Track("throw", "", None, [Event(0.0, "error", ValueError("at once"))]),
        ),
    )


def hours() -> Diagram:
    """A flow of ten hours."""
    return Diagram(
        "a long day",
        (
            Track("incoming", "", "in", nexts((600.0 * i, "ping") for i in range(60))),
            Track("hourly", "mean", None, nexts((3600.0 * i, 20 + i / 3) for i in range(1, 11))),
        ),
        until=36000.0,
    )


def groups() -> Diagram:
    """Groups, what is made from them, a second source, and streams that replace each other."""
    clock, source = Clock(), Subject[Any]()
    view = viz.watch(
        source,
        ops.group_by(lambda tick: tick[0]),
        ops.flat_map(lambda group: group.pipe(ops.debounce(0.5))),
        ops.merge(rx.timer(1.0, 1.5).pipe(ops.map(lambda n: f"beat {n}"))),
        ops.map(lambda text: rx.of(text, text.lower()).pipe(ops.delay(0.2))),
        ops.switch_latest(),
        title="prices",
        scheduler=clock,
    )
    clock.run(0)
    chance = random.Random(4)
    for number in range(16):
        source.on_next(f"{chance.choice('ABC')} {90 + number}")
        clock.run(0.33)
    source.on_completed()
    clock.run(0.3)
    view.stop()
    return view.recording.picture()


def turns() -> Diagram:
    """Streams that wait for their turn, more of them than lanes, and one that fails."""
    clock, source = Clock(), Subject[int]()
    view = viz.watch(
        source,
        ("jobs", ops.map(lambda n: rx.timer(0.3).pipe(ops.map(lambda _: n * n)))),
        ("one at a time", ops.merge(max_concurrent=1)),
        ("all at once", ops.flat_map(lambda n: rx.timer(0.5 + n / 10, 1.5))),
        ("division", ops.flat_map(lambda n: rx.timer(0.2).pipe(ops.map(lambda _: 6 // (2 - n))))),
        title="jobs",
        scheduler=clock,
    )
    for number in range(9):
        source.on_next(number)
        clock.run(0.15)
    source.on_completed()
    clock.run(4.0)
    return view.recording.picture()


def played(title: str, items: list[tuple[float, Any]], rest: float, *steps: Any) -> Diagram:
    """A watched chain, with these values at these times."""
    clock, source = Clock(), Subject[Any]()
    view = viz.watch(source, *steps, title=title, scheduler=clock)
    for t, value in items:
        clock.run(t - clock.time)
        source.on_next(value)
    clock.run(rest)
    source.on_completed()
    return view.recording.picture()


def typing() -> Diagram:
    """Words that come too fast for debounce."""
    times = [0.1, 0.2, 0.3, 0.9, 1.0, 1.7]
    words = ["r", "re", "rea", "reac", "react", "reacti"]
    return played("typing", list(zip(times, words, strict=True)), 0.6, ops.debounce(0.3))


def _is_abc(tick: dict[str, Any]) -> bool:
    return bool(tick["symbol"] == "ABC")


def prices() -> Diagram:
    """Records of which two fields change; a filter, a window of time, and a silence."""
    ticks = [("ABC", 10.5), ("DEF", 7.25), ("ABC", 10.75), ("ABC", 11), ("DEF", 7.5), ("ABC", 12)]
    return played(
        "prices",
        [
            (0.3 * (at + 1), {"type": "price", "symbol": symbol, "price": price})
            for at, (symbol, price) in enumerate(ticks)
        ],
        2.0,
        ops.filter(_is_abc),
        ops.throttle_first(0.5),
        ops.timeout(1.5),
    )


def feed() -> Diagram:
    """A client that waits, connects, and loses its connection; it waits again now."""
    refused = RecordedStatus("waiting", "Waiting", "Waiting 1.0 s: OSError(refused)", 1.0)
    lost = RecordedStatus("waiting", "Waiting", "Waiting 2.0 s: ConnectionClosed(1006)", 2.0)
    connecting = [recorded(Connecting(attempt)) for attempt in (1, 2)]
    opened = RecordedStatus("open", "Open", "Open wss://example.org/")
    statuses = [
        *[(0.0, recorded(Closed(None))), (0.3, connecting[0]), (0.5, refused)],
        *[(1.5, connecting[1]), (1.8, opened), (5.0, recorded(Closed(Close(1006))))],
        (5.0, lost),
    ]
    return Diagram(
        "feed",
        (
            Track("status", "", None, nexts(statuses)),
            Track("incoming", "", "in", nexts([(2.2, "a"), (3.1, "b"), (4.6, "c")])),
        ),
        until=5.8,
    )


class Scene(NamedTuple):
    """A diagram, and how to draw it."""

    make: Callable[[], Diagram]
    width: int = 760
    dark: bool = False
    window: float | None = None


# Each has a reference picture in tests/browser/pictures.
SCENES: dict[str, Scene] = {
    "few": Scene(few),
    "bursts": Scene(bursts),
    "dense": Scene(dense, 1200),
    "faults": Scene(faults),
    "few-600-dark": Scene(few, 600, dark=True),
    "bursts-1200": Scene(bursts, 1200),
    "faults-320": Scene(faults, 320),
    "running": Scene(running, 600, window=10.0),
    "kinds-dark": Scene(kinds, 760, dark=True),
    "sudden": Scene(sudden, 600),
    "hours": Scene(hours, 600),
    "small": Scene(small, 600),
    "groups": Scene(groups, 1200),
    "groups-390-dark": Scene(groups, 390, dark=True),
    "turns": Scene(turns),
    "typing": Scene(typing),
    "typing-390-dark": Scene(typing, 390, dark=True),
    "prices": Scene(prices),
    "feed": Scene(feed, window=10.0),
    "feed-390-dark": Scene(feed, 390, dark=True),
}
