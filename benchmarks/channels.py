"""Measure the time per incoming frame with 10 and 1000 channels, by key and by predicate.

Run `python benchmarks/channels.py` from the root of the repository. The results are in
docs/quality/costs.md.
"""

from __future__ import annotations

import operator
import sys
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.virtual.subject import VirtualSubject

FRAMES = 20_000
ROUNDS = 5


def symbol(value: str) -> str:
    return value


def frame_cost(channels: int, *, keyed: bool) -> float:
    """Return the µs per frame for one of the channels: the best of several rounds."""
    client = VirtualSubject()
    received: list[Any] = []
    for number in range(channels):
        key = f"{number}"
        if keyed:
            channel = client.feed.channel(None, None, symbol, key=key)
        else:
            channel = client.feed.channel(None, None, partial(operator.eq, key))
        channel.subscribe(received.append)
    receive = client.dials[0].transport.receiver.on_message
    frames = FRAMES if keyed else max(FRAMES // channels, 100)
    best = float("inf")
    for _ in range(ROUNDS):
        received.clear()
        start = perf_counter()
        for number in range(frames):
            receive(f"{number % channels}", 1)
        best = min(best, perf_counter() - start)
        assert len(received) == frames
    client.feed.dispose()
    return best / frames * 1e6


def main() -> None:
    print("| channels | key | predicate |\n|---:|---:|---:|")
    for channels in (10, 1000):
        by_key, by_predicate = (frame_cost(channels, keyed=keyed) for keyed in (True, False))
        print(f"| {channels} | {by_key:.2f} µs | {by_predicate:.2f} µs |", flush=True)


if __name__ == "__main__":
    main()
