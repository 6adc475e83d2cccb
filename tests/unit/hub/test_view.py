"""Views that begin with history which is newer than what was delivered live."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex.observer import Observer

from rxws.hub import Gap, Message, Position
from rxws.hub._history import Entry, Event, Kept, Ring
from rxws.hub._turns import Turns
from rxws.hub._view import RewindView, SinceView, View
from support.virtual.hub_host import VirtualHubHost

TURNS = Turns(VirtualHubHost())


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def message(offset: int, epoch: str = "e") -> Message[int]:
    return Message(offset, at(offset, epoch))


def kept(last: int) -> Kept:
    return Kept([Entry(message(n), at(n)) for n in range(1, last + 1)], at(last))


def begin(view: View, ring: Ring, kept: Kept | Exception) -> None:
    """Let a view begin, and emit all of its history."""
    view.on_kept(ring, kept)
    while view.emit_more(TURNS):
        pass


class Topic:
    """The part of a topic that views use."""

    def __init__(self) -> None:
        self.gaps: list[Gap] = []

    def notify(self, on_next: Any, value: Any) -> None:
        on_next(value)

    def count_gap(self, gap: Gap) -> None:
        """Count nothing."""

    def on_gap(self, gap: Gap) -> None:
        self.gaps.append(gap)


def ring_at(position: Position) -> Ring:
    ring = Ring(10, 10)
    ring.position = position
    return ring


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        ([message(2), message(3), message(4)], [4]),
        ([Gap(at(1), at(4), "trimmed"), message(4)], [4]),
        ([Gap(at(1), at(6), "trimmed"), message(6)], [Gap(at(3), at(6), "trimmed"), 6]),
        ([Gap(at(1), None, "unavailable")], [Gap(at(3), None, "unavailable")]),
        (
            [Gap(at(1), at(1, "n"), "restarted"), message(1, "n")],
            [Gap(at(3), at(1, "n"), "restarted"), 1],
        ),
    ],
)
def test_live_events_that_the_history_contains_are_skipped(
    live: list[Event], expected: list[Any]
) -> None:
    """History that was read ahead of the live messages is emitted once."""
    got: list[Any] = []
    topic: Any = Topic()
    view = SinceView(topic, Observer(got.append), at(1))
    view.on_next(message(1))  # before it has begun: the ring has it
    begin(view, ring_at(at(1)), kept(3))
    for event in live:
        view.on_next(event)
    assert [e if isinstance(e, Gap) else e.value for e in got] == [2, 3, *expected]


def test_history_of_another_epoch_is_left_to_the_log() -> None:
    """If the backplane has restarted meanwhile, the view says so and goes on live."""
    got: list[Any] = []
    topic: Any = Topic()
    since = SinceView(topic, Observer(got.append), at(1))
    begin(since, ring_at(at(5, "old")), kept(3))
    assert got == [Gap(at(1), at(6, "old"), "restarted")]
    values: list[Any] = []
    rewind = RewindView(topic, Observer(values.append), 5)
    begin(rewind, ring_at(at(5, "old")), kept(3))
    for view in (since, rewind):
        view.on_next(message(6, "old"))
    assert got[1:] == [message(6, "old")]
    assert values == [6]


def test_a_rewind_that_cannot_be_read_is_a_gap_of_the_topic() -> None:
    """`rewind` emits payloads only, so its gap goes to `topic.gaps`."""
    topic: Any = Topic()
    values: list[Any] = []
    view = RewindView(topic, Observer(values.append), 5)
    begin(view, ring_at(at(5)), OSError())
    view.on_next(message(6))
    assert topic.gaps == [Gap(None, at(6), "unavailable")]
    assert values == [6]


def test_a_rewind_of_events_emits_positions_and_gaps() -> None:
    """`messages(last=5)` emits a gap where its history cannot be read."""
    topic: Any = Topic()
    events: list[Any] = []
    view = RewindView(topic, Observer(events.append), 5, as_events=True)
    begin(view, ring_at(at(5)), OSError())
    view.on_next(message(6))
    assert events == [Gap(None, at(6), "unavailable"), message(6)]
    assert topic.gaps == []


def test_a_view_ends_once() -> None:
    """After its end or its disposal, a view emits nothing."""
    topic: Any = Topic()
    got: list[Any] = []
    view = SinceView(topic, Observer(got.append, got.append, lambda: got.append("end")), at(1))
    view.on_completed()
    begin(view, ring_at(at(1)), kept(3))
    view.on_next(message(4))
    assert got == ["end"]
    error = ValueError()
    view = SinceView(topic, Observer(got.append, got.append), at(1))
    view.on_error(error)
    view.on_next(message(4))
    assert got == ["end", error]


def test_a_position_of_an_earlier_epoch_that_the_ring_has() -> None:
    """The view gets what followed it then, the gap, and the messages of the new epoch."""
    got: list[Any] = []
    topic: Any = Topic()
    gap = Gap(at(2), at(1, "n"), "restarted")
    ring = Ring(10, 10)
    for event, position in (
        (message(1), at(1)), (message(2), at(2)), (gap, at(0, "n")), (message(1, "n"), at(1, "n")),
    ):  # fmt: skip
        ring.append(Entry(event, position))
    view = SinceView(topic, Observer(got.append), at(1))
    assert view.begin_with(ring, 0.0)
    assert not view.emit_more(TURNS)
    view.on_next(message(2, "n"))
    assert got == [message(2), gap, message(1, "n"), message(2, "n")]
