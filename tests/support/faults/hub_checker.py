"""Judges the logs of the fault run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["check"]


def check(logs: Iterable[Path]) -> Counter[str]:
    """Assert the promises, and return what was counted."""
    events = {path.stem: _read(path) for path in logs}
    counts: Counter[str] = Counter()
    confirmed: list[tuple[str, str, str, int]] = []
    values: dict[tuple[str, str, int], str] = {}
    for name, log in events.items():
        for kind, topic, *rest in log:
            counts[f"gap: {rest[2]}" if kind == "gap" else kind] += 1
            if kind in ("confirmed", "message"):
                value, epoch, offset = rest
                at = (topic, epoch, offset)
                assert values.setdefault(at, value) == value, f"{name}: two values at {at}"
                if kind == "confirmed":
                    confirmed.append((topic, value, epoch, offset))
    for name, log in events.items():
        for topic in {event[1] for event in log}:
            view = [event for event in log if event[1] == topic and event[0] in ("message", "gap")]
            _check_order(f"{name}, {topic}", view)
            _check_complete(f"{name}, {topic}", view, [e[1:] for e in confirmed if e[0] == topic])
    return counts


def _read(path: Path) -> list[Any]:
    events = map(json.loads, path.read_text().splitlines())
    return [event for event in events if event[0] != "status"]


def _check_order(where: str, view: list[Any]) -> None:
    """One value once, each publisher's in order, and no hole without a gap."""
    seen: set[str] = set()
    last: dict[str, int] = {}
    position: Any = None  # of the last message
    expected: Any = None  # the next position
    gap = False
    for event in view:
        if event[0] == "gap":
            _, _, after, before, _ = event
            assert gap or after == position, f"{where}: {position}, then a gap after {after}"
            gap, expected = True, before
            continue
        _, _, value, epoch, offset = event
        assert value not in seen, f"{where}: {value} twice"
        seen.add(value)
        publisher, _, number = value.partition(":")
        if number not in ("begin", "end"):
            assert last.get(publisher, -1) < int(number), f"{where}: {value} is late"
            last[publisher] = int(number)
        position = [epoch, offset]
        assert expected in (None, position), f"{where}: {position} instead of {expected}"
        gap, expected = False, [epoch, offset + 1]


def _check_complete(where: str, view: list[Any], confirmed: list[tuple[str, str, int]]) -> None:
    """Every confirmed message was seen, or lies in a gap."""
    seen = {(event[2], event[3], event[4]) for event in view if event[0] == "message"}
    epochs = {event[3] for event in view if event[0] == "message"}
    gaps = [(event[2], event[3]) for event in view if event[0] == "gap"]
    first = next(event for event in view if event[0] == "message")
    for value, epoch, offset in confirmed:
        if (value, epoch, offset) in seen or (epoch == first[3] and offset < first[4]):
            continue
        assert any(_covers(gap, epoch, offset, epochs) for gap in gaps), (
            f"{where}: {value} at {epoch}:{offset} is missing, and in no gap"
        )


def _covers(gap: tuple[Any, Any], epoch: str, offset: int, epochs: set[str]) -> bool:
    after, before = gap
    if epoch not in epochs:  # the whole epoch was missed: a gap leads over it
        return after is None or before is None or after[0] != before[0]
    if after is not None and after[0] == epoch and after[1] >= offset:
        return False
    if before is not None and before[0] == epoch and before[1] <= offset:
        return False
    return (after is not None and after[0] == epoch) or (before is not None and before[0] == epoch)
