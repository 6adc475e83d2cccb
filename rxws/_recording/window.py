"""Load a part of a recording, with memory for that part only."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Iterator

from .diagram.visible import Window
from .jsonl import ABOUT, Direction, Event

__all__ = ["within"]


def within(events: Iterable[Event], window: Window) -> Iterator[Event]:
    """Return the events that a diagram of a window needs, and the number of the others.

    These are the events in the window and, of each lane, those next to it: they say what the stream
    does at both edges, such as which inner Observable is running.

    Args:
        events: All events, in the order of their times.
        window: How many of the latest seconds to load, or two times to load between; None for
            everything.

    Returns:
        The events, and for each lane one of the type `"omitted"`, whose data is the number of
        values that were left out.
    """
    if window is None:
        yield from events
        return
    start, stop = window if isinstance(window, tuple) else (-math.inf, math.inf)
    lanes: dict[str, Direction] = {}
    inside: deque[Event] = deque()
    before: dict[tuple[str, bool], Event] = {}  # the last value and the last other event of a lane
    after: dict[tuple[str, bool], Event] = {}  # the first value and the first other event
    last: dict[str, Event] = {}  # the last other event after that
    omitted: Counter[str] = Counter()
    for event in events:
        is_value = event.type == "next"
        key = event.lane, is_value
        if event.type == "step" and not event.data.operator:
            continue  # what an unknown step does is found out from all of its values
        if event.type in ABOUT:
            yield event
            continue
        if event.lane not in lanes:
            lanes[event.lane] = event.dir
            yield Event(0.0, event.lane, event.dir, "empty", None)  # keeps the order of the lanes
        if event.t <= stop:
            inside.append(event)
            if not isinstance(window, tuple):
                start = max(start, event.t - window)
        elif key not in after:
            after[key] = event
        elif is_value:
            omitted[event.lane] += 1
        else:
            last[event.lane] = event
        while inside and inside[0].t < start:
            early = inside.popleft()
            key = early.lane, early.type == "next"
            omitted[early.lane] += key in before and key[1]
            before[key] = early
    yield from sorted(before.values(), key=_time)
    yield from inside
    yield from sorted([*after.values(), *last.values()], key=_time)
    for lane, count in omitted.items():
        if count:
            yield Event(0.0, lane, lanes[lane], "omitted", count)


def _time(event: Event) -> float:
    return event.t
