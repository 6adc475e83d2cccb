"""Reading what a topic keeps, page by page."""

from __future__ import annotations

from typing import Any, cast

from rxws.hub._backplane import Done, History, Publication
from rxws.hub._errors import BackplaneError
from rxws.hub._messages import Position

from . import wire
from .commands import Call, Commands
from .keys import Keys
from .scripts import READ

__all__ = ["HistoryRead"]

_PAGE = 250  # messages: Redis, and then the event loop, do nothing else meanwhile
_PAGE_BYTES = 1 << 18


class HistoryRead:
    """One read of a topic.

    Args:
        since: The position before the first message that is wanted.
        limit: How many messages are wanted.
        oldest: Whether the oldest of them are wanted, or the newest.
        expire: Milliseconds until the topic's head expires if nobody used the topic before.
    """

    def __init__(
        self,
        commands: Commands,
        keys: Keys,
        nonce: str,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool,
        expire: int,
    ) -> None:
        self._commands = commands
        self._keys = (keys.head(topic), keys.stream(topic))
        self._nonce = nonce
        self._topic = topic
        self._since = since
        self._limit = limit
        self._oldest = oldest
        self._expire = expire
        self._done = done
        self._publications: list[Publication] = []
        self._goal: Position | None = None  # the newest position when reading began
        self._read(since)

    def _read(self, since: Position | None) -> None:
        epoch, offset = since or ("", 0)
        limit, count = self._limit, _PAGE
        if limit is not None and self._oldest:
            count = max(min(limit - len(self._publications), _PAGE), 1)
        newest = "" if limit is None or self._oldest else limit
        arguments = (self._nonce, self._expire, epoch, offset, newest, count, _PAGE_BYTES)
        call = Call(self._on_page, arguments, script=READ, keys=self._keys, fenced=True)
        self._commands.push(call)

    def _on_page(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            text = f"the messages of {self._topic!r:.80} cannot be read: {reply}"
            self._done(reply if isinstance(reply, BackplaneError) else BackplaneError(text))
            return
        epoch, newest, before, began, is_cut, entries = cast(
            "tuple[bytes, int, bytes, int, int, list[Any]]", tuple(reply)
        )
        top = Position(epoch.decode(), newest or 0)
        page: list[Publication] = []
        for entry_id, (kind, data) in entries:
            position = Position(top.epoch, int(entry_id.partition(b"-")[0]))
            page.append(Publication(wire.payload_of(kind, data), position))
        read = self._publications
        if read and page and not _follow(read[-1], page[0]):
            read.clear()  # trimmed meanwhile, or another epoch
        read += page
        if self._goal is None or self._goal.epoch != top.epoch:
            self._goal = top
        last = page[-1].position if page else None
        if is_cut and last is not None:
            if last < self._goal and not self._has_enough:
                self._read(last)
                return
            if not self._oldest:
                top = last  # newer messages arrive live
        self._done(self._history(top, Position(before.decode(), began)))

    @property
    def _has_enough(self) -> bool:
        limit = self._limit
        return self._oldest and limit is not None and len(self._publications) >= limit

    def _history(self, top: Position, began: Position) -> History:
        complete = self._is_complete(top)
        read, limit = self._publications, self._limit
        if limit is not None and len(read) > limit:
            read = read[:limit] if self._oldest else read[len(read) - limit :]
            complete = complete and (self._oldest or self._since is None)
        return History(read, top, complete, began)

    def _is_complete(self, top: Position) -> bool:
        since = self._since
        first = self._publications[0].position if self._publications else None
        if since is None:
            return True
        if since.epoch != top.epoch or since.offset > top.offset:
            return False
        return (first.offset if first else top.offset + 1) == since.offset + 1


def _follow(before: Publication, after: Publication) -> bool:
    if before.position is None or after.position is None:
        return False
    epoch, offset = before.position
    return after.position == Position(epoch, offset + 1)
