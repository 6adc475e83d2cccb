"""One order of a topic's messages, without repeated ones, out of what a server sends."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rxws.hub._history import Entry, Kept
from rxws.hub._messages import Gap, Message, Position
from rxws.hub._protocol.schema import Pub, SubscribeResult

__all__ = ["ReceivedOrder", "entries_of", "leading_to"]


class _Unproven(Kept):
    """Messages from a server that cannot say whether earlier ones are missing."""

    __slots__ = ()

    def after(self, since: Position) -> list[Entry]:
        entries = super().after(since)
        if entries and isinstance(entries[0].event, Gap):
            return entries
        last = Position(self.top.epoch, self.top.offset - len(entries))
        return [Entry.gap(since, last, "unavailable"), *entries]


class ReceivedOrder:
    """The order of one topic's messages, over all its connections. It does no I/O.

    Attributes:
        position: Everything up to here was received; None if the server numbers nothing.
    """

    __slots__ = ("_asked_after", "_recoverable", "position")

    def __init__(self) -> None:
        self.position: Position | None = None
        self._recoverable = False
        self._asked_after: Position | None = None  # the server was asked for what follows it

    def on_subscribed(
        self, since: Position | None, reply: SubscribeResult
    ) -> tuple[Kept | None, list[Entry]]:
        """Continue after a position, as the server was asked to.

        Return what it keeps, None if the topic is not numbered; and what the subscribers of an
        earlier subscription have missed.
        """
        last = self.position
        self._recoverable = reply.recoverable
        if reply.epoch or reply.offset:
            kept = _kept(since or last, reply)
            self.position = kept.top
            return kept, [] if last is None else kept.after(last)
        self.position = None
        missed = [] if last is None else [Entry.gap(last, None, "restarted")]
        return None, [*missed, *(Entry(Message(pub.data), None) for pub in reply.publications)]

    def on_publication(self, pub: Pub, size: int) -> Sequence[Entry] | None:
        """Return what to deliver; None if the server must be asked for what is missing before."""
        last = self.position
        if last is None or not pub.offset:
            return [Entry(Message(pub.data), None)]
        position = Position(last.epoch, pub.offset)
        missing = position.offset - last.offset - 1
        if missing < 0:
            return ()
        if missing and self._recoverable and self._asked_after != last:
            self._asked_after = last
            return None
        self.position = position
        entry = Entry(Message(pub.data, position), position, size)
        if not missing:
            return [entry]
        before = Position(position.epoch, position.offset - 1)
        return [Entry.gap(last, before, "unavailable"), entry]


def entries_of(epoch: str, pubs: Iterable[Pub]) -> list[Entry]:
    """Return publications as entries with positions."""
    positioned = [(pub, Position(epoch, pub.offset)) for pub in pubs]
    return [Entry(Message(pub.data, position), position) for pub, position in positioned]


def leading_to(top: Position, entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries that lead up to a position without a hole."""
    found: list[Entry] = []
    for entry in reversed(entries):
        if entry.position != (top.epoch, top.offset - len(found)):
            break
        found.append(entry)
    return found[::-1]


def _kept(since: Position | None, reply: SubscribeResult) -> Kept:
    """Return what the reply to a subscribe command says about the time after a position."""
    pubs = reply.publications
    top = Position(reply.epoch, pubs[-1].offset if pubs else reply.offset)
    entries = leading_to(top, entries_of(reply.epoch, pubs))
    if reply.recovered or since is None or not (reply.was_recovering or reply.recoverable):
        return Kept(entries, top)
    return _Unproven(entries, top)
