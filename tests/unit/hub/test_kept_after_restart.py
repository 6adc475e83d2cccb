"""What subscribers get of messages that the engine has kept over a restart."""

from __future__ import annotations

import pytest

from rxws.hub import Gap, Message, Position
from rxws.hub._history import Entry, Kept


def kept(began: Position | None) -> Kept:
    positions = [Position("new", offset) for offset in range(3, 8)]
    entries = [Entry(Message(each.offset, each), each) for each in positions]
    return Kept(entries, positions[-1], began)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (Position("old", 9), [6, 7]),  # it has seen what the engine has lost
        (Position("old", 4), [5, 6, 7]),  # it has not seen all that the engine has kept
        (Position("older", 4), [6, 7]),
        (Position("new", 5), [6, 7]),
    ],
)
def test_messages_from_before_a_restart(since: Position, expected: list[int]) -> None:
    """Behind the gap of a restart comes what was not seen, and nothing that may have been."""
    entries = kept(Position("old", 5)).after(since)
    if since.epoch != "new":
        gap, *entries = entries
        assert gap.event == Gap(since, Position("new", expected[0]), "restarted")
    assert [entry.position and entry.position.offset for entry in entries] == expected


def test_engine_that_keeps_nothing_over_a_restart() -> None:
    """Everything that it has was published after it."""
    gap, *entries = kept(None).after(Position("old", 9))
    assert gap.event == Gap(Position("old", 9), Position("new", 3), "restarted")
    assert len(entries) == 5
