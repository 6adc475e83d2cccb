"""Measure the CPU time of drawing a recording, of a table of frames, and of a tap.

Run `python benchmarks/viz_cost.py` from the root of the repository. The results are in
docs/quality/costs.md.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from statistics import median

from reactivex.subject import Subject

import rxws
from rxws.viz.frame_table.rows import Rows
from rxws.viz.frame_table.table import table_html

SIZES = (5, 300, 2000, 20000)
LANES = 3
ROUNDS = 15
TABLE = 200  # rows
EVENTS = 50_000


def new_recording(size: int) -> rxws.Recording:
    """Return a recording with three lanes of `size` events: text frames, numbers and words."""
    recording = rxws.Recording(keep=size, title="ws://127.0.0.1:8765/ticks")
    subject: Subject[int] = Subject()
    for name, make in (("incoming", _frame), ("price", _price), ("word", _word)):
        lane = recording.lane(name)
        for index in range(size):
            lane.record("next", make(index))
    subject.dispose()
    return recording


def _frame(index: int) -> str:
    return json.dumps({"i": index, "p": _price(index)})


def _price(index: int) -> float:
    return 100 + (index * 7919 % 1000) / 100


def _word(index: int) -> str:
    return f"word {index}"


def frame_recording(make: Callable[[int], object]) -> rxws.Recording:
    """Return a recording of a connection with a full table of frames, half of them sent."""
    recording = rxws.Recording(keep=TABLE)
    for index in range(TABLE):
        recording.lane(("incoming", "outgoing")[index % 2]).record("next", make(index))
    return recording


def _nested(index: int) -> str:
    side = [[_price(level), 100 * level] for level in range(index, index + 5)]
    return json.dumps({"i": index, "venue": "XETR", "book": {"bids": side, "asks": side}})


def _bytes(index: int) -> bytes:
    return bytes((index + at) % 256 for at in range(300))


def cpu(work: Callable[[], object]) -> float:
    """Return the median CPU time of a call, in seconds."""
    seconds: list[float] = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return median(seconds)


def event_cost(tapped: bool) -> float:
    """Return the CPU time per event from a Subject to a subscriber, in seconds."""
    subject: Subject[int] = Subject()
    recording = rxws.Recording()
    source = subject.pipe(recording.tap("tapped")) if tapped else subject
    subscription = source.subscribe(lambda _: None)

    def work() -> None:
        for index in range(EVENTS):
            subject.on_next(index)

    seconds = cpu(work) / EVENTS
    subscription.dispose()
    return seconds


def _new_table(recording: rxws.Recording) -> str:
    return _same_table(Rows(recording, TABLE))


def _same_table(rows: Rows) -> str:
    return table_html(rows.content(), "a")


def main() -> None:
    """Print the tables."""
    print(
        f"{'events':>8} {'svg, ms':>9} {'KB':>6} {'text, ms':>9}   events in each of {LANES} lanes"
    )
    for size in SIZES:
        recording = new_recording(size)
        output = recording.svg()
        print(
            f"{size:8} {cpu(recording.svg) * 1e3:9.2f} {len(output.encode()) / 1e3:6.1f} "
            f"{cpu(recording.text) * 1e3:9.2f}"
        )
    print(f"\n{TABLE} frames: {'new, ms':>12} {'same, ms':>9} {'KB':>6}")
    for name, make in (("words", _word), ("JSON", _frame), ("nested", _nested), ("300 B", _bytes)):
        recording = frame_recording(make)
        rows = Rows(recording, TABLE)
        output = table_html(rows.content(), "a")
        new = cpu(partial(_new_table, recording))
        same = cpu(partial(_same_table, rows))
        print(f"{name:>12} {new * 1e3:10.2f} {same * 1e3:9.2f} {len(output.encode()) / 1e3:6.1f}")
    print(f"\na tap: {(event_cost(True) - event_cost(False)) * 1e6:.2f} µs per event")


if __name__ == "__main__":
    main()
