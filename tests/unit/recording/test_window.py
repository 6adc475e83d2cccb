"""Loading the part of a recording that a window shows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import Close, Recording
from rxws._recording.diagram import Step
from rxws._recording.diagram.visible import Window, time_span, visible_tracks
from rxws._recording.jsonl import Event, read
from rxws._recording.passage import Passage
from rxws._recording.window import within
from rxws.testing import Clock


def _modulo(number: int) -> int:
    return number % 7


def _first_two(window: Observable[int]) -> Observable[int]:
    return window.pipe(ops.take(2))


@pytest.fixture
def lines(tmp_path: Path) -> list[bytes]:
    """The lines of a file: two connections, and a chain with groups and windows."""
    clock = Clock()
    recording = Recording(scheduler=clock, title="ws://peer.example/")
    source: Subject[int] = Subject()
    chain: list[Any] = [
        recording.tap("numbers"),
        ops.map(_modulo),
        recording.tap("map"),
        ops.debounce(0.25, clock),
        recording.tap("debounce"),
        ops.window_with_time(2.0, scheduler=clock),
        recording.tap("windows"),
        ops.flat_map(_first_two),
        recording.tap("flat"),
    ]
    source.pipe(*chain).subscribe()
    for number in range(1, 60):
        clock.run(0.1 if number % 4 else 0.6)
        source.on_next(number)
        recording.lane("incoming").record("next", f"m{number}")
        if number % 3 == 0:
            recording.lane("outgoing").record("next", {"n": number})
        if number == 20:
            for lane in ("incoming", "outgoing"):
                recording.lane(lane).record("completed")
            recording.lane("closed").record("next", Close(4002, "again", "peer"))
    for above, name in ("numbers", "map"), ("map", "debounce"):
        recording.lanes[name].passage = Passage(Step(above, name, 0.25))
    for name in ("numbers", "windows", "flat"):
        recording.lanes[name].passage = None
    recording.lane("incoming").record("completed")
    recording.lane("closed").record("next", Close(1000, "", "local"))
    recording.save(tmp_path / "s.jsonl")
    return (tmp_path / "s.jsonl").read_bytes().splitlines(keepends=True)


def load(lines: list[bytes], window: Window) -> Recording:
    recording = Recording(keep=10_000)
    for event in within(read(lines, "s.jsonl"), window):
        recording.add(event)
    return recording


def drawn(recording: Recording, window: Window) -> list[Any]:
    """Return what a diagram shows, except for the counts and the legend."""
    diagram = recording.picture()
    time = time_span(diagram, window)
    return [
        (
            lane.title,
            [(mark.t, mark.data, id(mark) in lane.track.drops) for mark in lane.values],
            lane.ends,
            lane.segments,
            lane.ended_before,
            [
                wait
                for wait in lane.track.waits
                if wait.stop > time.start and wait.start < time.stop
            ],
        )
        for lane in visible_tracks(diagram, time)
    ]


WINDOWS: list[Window] = [(0, 1), (0, 100), (2, 3), (4.05, 4.2), (3, 9), (5.2, 5.25), 0.05, 2, 7, 50]


@pytest.mark.parametrize("window", WINDOWS)
def test_a_part_is_drawn_as_in_the_whole(lines: list[bytes], window: Window) -> None:
    """The picture of a window shows the same if only that part was loaded."""
    whole, part = load(lines, None), load(lines, window)
    assert list(part.lanes) == list(whole.lanes)
    assert drawn(part, window) == drawn(whole, window)


def test_what_is_left_out_is_counted(lines: list[bytes]) -> None:
    """Next to its line, a lane has the number of values in the window, and of all."""
    drawing = load(lines, (2, 3)).text(100, (2, 3))
    counts = re.findall(r"(\w+) +.* (\d+) of (\d+) ev", drawing)
    assert counts[0] == ("incoming", "6", "59")
    assert counts[-1] == ("outgoing", "2", "19")
    assert "59 events, 6 of them in this time" in load(lines, (2, 3)).svg(window=(2, 3))


def test_the_memory_is_that_of_the_window() -> None:
    """Of each lane, at most five events outside the window are kept."""

    def events() -> Iterator[Event]:
        for number in range(100_000):
            kind = "subscribed" if number % 2 else "next"
            yield Event(number / 100, f"lane {number % 3}", None, kind, number)

    kept = [event for event in within(events(), (500.0, 501.0)) if event.type != "omitted"]
    assert len(kept) <= 101 + 3 * 5 + 3
    latest = list(within(events(), 1.0))
    assert sum(event.data for event in latest if event.type == "omitted") == 50_000 - 50 - 3
