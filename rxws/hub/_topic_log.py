"""One order of a topic's messages, without holes, out of what the backplane delivers."""

from __future__ import annotations

from collections import deque
from enum import Enum, auto
from typing import Protocol

from ._history import Entry, Kept
from ._messages import Message, Position

__all__ = ["LogHost", "TopicLog"]

_MAX_WAITING = 1000
_MAX_WAITING_BYTES = 1 << 20
_MAX_ATTEMPTS = 3


class LogHost(Protocol):
    """The interface of a topic to its log; see `AttachedTopic`."""

    @property
    def is_away(self) -> bool:
        """Whether the backplane is known to be away: then `on_connected` follows."""
        ...

    def emit(self, entry: Entry) -> None:
        """Deliver the next entry in order."""
        ...

    def count_healed(self, count: int) -> None:
        """Messages that were missing were read, and are emitted."""
        ...

    def count_dropped(self) -> None:
        """A message without a position was dropped: too many waited for the attachment."""
        ...

    def read_after(self, since: Position) -> None:
        """Call `on_kept` later, not within this call."""
        ...

    def retry_later(self) -> None:
        """Call `on_retry` after a while."""
        ...


class _State(Enum):
    ATTACHING = auto()
    LIVE = auto()
    READING = auto()  # what is missing
    STALLED = auto()  # reading has failed; the next attempt comes with `on_retry`


class TopicLog:
    """Orders the messages of one topic: repeated ones are dropped, and missing ones are read.

    If they cannot be read, a `Gap` takes their place. It does no I/O.
    """

    __slots__ = ("_asked", "_attempts", "_bytes", "_host", "_state", "_top", "_waiting", "position")

    def __init__(self, host: LogHost) -> None:
        self.position: Position | None = None
        """Everything up to here was emitted; None if the topic has no numbered messages."""
        self._host = host
        self._state = _State.ATTACHING
        self._waiting: deque[Entry] = deque()  # received while the log is not live
        self._bytes = 0
        self._asked = 0  # how many of them had arrived when reading began
        self._attempts = 0
        self._top: Position | None = None  # known to exist, while the log is not live

    @property
    def attached(self) -> bool:
        return self._state is not _State.ATTACHING

    def on_attached(self, top: Position | None) -> None:
        """Everything after this position is received from now on."""
        if self._state is _State.ATTACHING:
            self.position = top
            self._go_live()

    def on_message(self, entry: Entry) -> None:
        """A message has arrived, perhaps again, or without those before it."""
        if self._state is _State.LIVE:
            if not self._take(entry):
                self._wait(entry)
                self._read()
        elif entry.position is None and self._state is not _State.ATTACHING:
            self._host.emit(entry)
        else:
            self._wait(entry)

    def on_top(self, top: Position) -> None:
        """There is a message with this position, or the order has begun anew."""
        if self._state is not _State.LIVE:
            self._top = top
        elif self.position is not None and _is_newer(top, self.position):
            self._read()

    def on_retry(self) -> None:
        """Read again, after a failure."""
        if self._state is _State.STALLED:
            self._read()

    def on_connected(self) -> None:
        """The backplane is back."""
        self.on_retry()

    def on_kept(self, kept: Kept | Exception) -> None:
        """This is the answer to `read_after`."""
        if self._state is not _State.READING:
            return
        before, asked = self.position, self._asked
        if isinstance(kept, Kept):
            self._take_kept(kept)
        if isinstance(kept, Exception) or (asked and self.position == before and self._has_hole()):
            self._attempts += 1
            if self._host.is_away or self._attempts < _MAX_ATTEMPTS:
                self._state = _State.STALLED
                if not self._host.is_away:
                    self._host.retry_later()
                return
            self._give_up()
        self._go_live()

    def _take_kept(self, kept: Kept) -> None:
        position, top = self.position, kept.top
        assert position is not None
        # Otherwise nothing is missing, or the engine does not know yet what was received.
        if _is_newer(top, position):
            missed = kept.after(position)
            for entry in missed:
                self._emit(entry)
            self.position = top
            self._host.count_healed(sum(isinstance(each.event, Message) for each in missed))
        # A message of another order that arrived before this answer is older than it.
        waiting = list(self._waiting)
        known = [each for each in waiting[: self._asked] if not _is_foreign(each, top)]
        self._waiting = deque(known + waiting[self._asked :])
        self._bytes = sum(entry.size for entry in self._waiting)

    def _has_hole(self) -> bool:
        """Whether messages are missing before the first one that waits."""
        first = self._waiting[0].position if self._waiting else None
        last = self.position
        return first is not None and last is not None and first.offset > last.offset + 1

    def _give_up(self) -> None:
        """Continue behind a gap."""
        first = next((each.position for each in self._waiting if each.position is not None), None)
        last = None if first is None else Position(first.epoch, first.offset - 1)
        self._emit(Entry.gap(self.position, last, "unavailable"))

    def _go_live(self) -> None:
        self._state = _State.LIVE
        while self._waiting:
            if not self._take(self._waiting[0]):
                self._read()
                return
            self._bytes -= self._waiting.popleft().size
        self._attempts = 0
        top, self._top = self._top, None
        if top is not None:
            self.on_top(top)

    def _take(self, entry: Entry) -> bool:
        """Emit a message if it is the next one; return False if others are missing before it."""
        position, last = entry.position, self.position
        if position is not None and last is not None:
            if position.epoch != last.epoch or position.offset > last.offset + 1:
                return False
            if position.offset <= last.offset:  # it is a repeated one
                return True
        self._emit(entry)
        return True

    def _emit(self, entry: Entry) -> None:
        if entry.position is not None:
            self.position = entry.position
        self._host.emit(entry)

    def _wait(self, entry: Entry) -> None:
        full = len(self._waiting) >= _MAX_WAITING or self._bytes + entry.size > _MAX_WAITING_BYTES
        if not full or not self._waiting:
            self._waiting.append(entry)
            self._bytes += entry.size
        elif entry.position is None:
            self._host.count_dropped()
        else:
            self._top = entry.position  # it is read when those before it are delivered

    def _read(self) -> None:
        assert self.position is not None
        self._state = _State.READING
        self._asked = len(self._waiting)
        self._host.read_after(self.position)


def _is_newer(top: Position, position: Position) -> bool:
    return top.epoch != position.epoch or top.offset > position.offset


def _is_foreign(entry: Entry, top: Position) -> bool:
    return entry.position is not None and entry.position.epoch != top.epoch
