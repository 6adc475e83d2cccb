"""The messages that a topic has delivered or kept, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

from ._messages import Gap, GapReason, Message, Position

__all__ = ["Entry", "Event", "Kept", "Ring", "next_position"]

Event = Message[Any] | Gap


class Entry(NamedTuple):
    """A message or a gap in the order of a topic."""

    event: Event
    position: Position | None
    """Of the message; of the last message that the gap may contain, None if unknown."""
    size: int = 0
    seconds: float = 0.0
    """When it was received, in seconds of the hub's clock."""
    payload: str | bytes = ""
    """Of a message, as it was received."""

    @classmethod
    def gap(cls, after: Position | None, last: Position | None, reason: GapReason) -> Entry:
        """Return a gap from behind one position up to and including another."""
        before = None if last is None else next_position(last)
        return cls(Gap(after, before, reason), last)


def next_position(position: Position) -> Position:
    return Position(position.epoch, position.offset + 1)


class Kept(NamedTuple):
    """The messages that the backplane keeps of a topic: without holes, up to `top`."""

    entries: Sequence[Entry]
    top: Position
    began: Position | None = None
    """See `History`."""

    def after(self, since: Position) -> list[Entry]:
        """Return everything after a position, with a gap first unless nothing is missing."""
        entries, top = self.entries, self.top
        if since.epoch != top.epoch:
            return self._with_gap(since, "restarted", self._new_since(since))
        if since.offset > top.offset:  # the engine has lost its newest messages
            return self._with_gap(since, "unavailable", entries)
        missing = top.offset - since.offset
        if missing > len(entries):
            return self._with_gap(since, "trimmed", entries)
        return list(entries[len(entries) - missing :])

    def _new_since(self, since: Position) -> Sequence[Entry]:
        """Leave out what a subscriber with a position of an earlier order may have seen."""
        if self.began is None:
            return self.entries
        known = self.began.offset
        if since.epoch == self.began.epoch:
            known = min(known, since.offset)
        return [each for each in self.entries if each.position and each.position.offset > known]

    def _with_gap(
        self, since: Position, reason: GapReason, entries: Sequence[Entry]
    ) -> list[Entry]:
        last = Position(self.top.epoch, self.top.offset - len(entries))
        return [Entry.gap(since, last, reason), *entries]


class Ring:
    """The latest entries that a topic has delivered; bounded in their number and bytes."""

    __slots__ = ("_bytes", "_entries", "_max_bytes", "_max_count", "position")

    def __init__(self, max_count: int, max_bytes: int) -> None:
        self._entries: deque[Entry] = deque()
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._bytes = 0
        self.position: Position | None = None
        """Everything up to here was delivered; None if nothing is numbered."""

    def append(self, entry: Entry) -> None:
        if entry.position is None:
            return
        self.position = entry.position
        self._entries.append(entry)
        self._bytes += entry.size
        while len(self._entries) > self._max_count or self._bytes > self._max_bytes:
            self._bytes -= self._entries.popleft().size

    def clear(self) -> None:
        """Forget everything: the topic is not numbered any more."""
        self._entries.clear()
        self._bytes = 0
        self.position = None

    def after(self, since: Position, oldest: float = 0.0) -> list[Entry] | None:
        """Return everything after a position; None if it is not known.

        Args:
            since: The position.
            oldest: Entries that were received before this time are not known any more.
        """
        position = self.position
        if position is None:
            return None
        if since == position:
            return []
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.position == since:
                return found[::-1]
            if entry.seconds < oldest:
                return None
            found.append(entry)
            if _follows(entry, since):
                return found[::-1]
        return None

    def newest(self, count: int, oldest: float) -> list[Entry] | None:
        """Return this number of messages, or all if there are less; None if not known."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.seconds < oldest or len(found) == count or isinstance(entry.event, Gap):
                break
            found.append(entry)
        position = self.position
        first = position.offset == len(found) if position is not None else False
        return found[::-1] if len(found) == count or first else None


def _follows(entry: Entry, since: Position) -> bool:
    event = entry.event
    if isinstance(event, Gap):
        return event.after == since
    return event.position == next_position(since)
