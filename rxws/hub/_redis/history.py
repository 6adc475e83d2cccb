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

_PAGE = 1000  # messages; Redis does nothing else while it reads them


class HistoryRead:
    """One read of a topic.

    Args:
        since: The position before the first message that is wanted.
        limit: How many of the newest messages are wanted.
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
        expire: int,
        done: Done[History],
    ) -> None:
        self._commands = commands
        self._keys = (keys.head(topic), keys.stream(topic))
        self._nonce = nonce
        self._topic = topic
        self._since = since
        self._limit = limit
        self._expire = expire
        self._done = done
        self._publications: list[Publication] = []
        self._read(since)

    def _read(self, since: Position | None) -> None:
        epoch, offset = since or ("", 0)
        limit = _PAGE if self._limit is None else self._limit
        forward = "1" if self._limit is None else "0"
        arguments = (self._nonce, self._expire, epoch, offset, max(limit, 1), forward)
        call = Call(self._on_page, arguments, script=READ, keys=self._keys, fenced=True)
        self._commands.push(call)

    def _on_page(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            text = f"the messages of {self._topic!r:.80} cannot be read: {reply}"
            self._done(reply if isinstance(reply, BackplaneError) else BackplaneError(text))
            return
        epoch, newest, oldest, before, began, entries = cast(
            "tuple[bytes, int, int, bytes, int, list[Any]]", tuple(reply)
        )
        top = Position(epoch.decode(), newest or 0)
        if self._limit is not None:
            entries = entries[::-1][-self._limit :] if self._limit else []
        page: list[Publication] = []
        for entry_id, (kind, data) in entries:
            offset, _, written = entry_id.partition(b"-")
            if int(written) >= oldest:
                position = Position(top.epoch, int(offset))
                page.append(Publication(wire.payload_of(kind, data), position))
        read = self._publications
        if read and page and not _follow(read[-1], page[0]):
            read.clear()  # trimmed meanwhile, or another epoch
        read += page
        if self._limit is None and len(entries) == _PAGE and page:
            self._read(page[-1].position)
            return
        complete = self._is_complete(top)
        self._done(History(read, top, complete, Position(before.decode(), began)))

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
