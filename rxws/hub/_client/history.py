"""Reads the history of a topic from its server, which may send it in several pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from rxws.hub._history import Entry, Kept
from rxws.hub._history_reader import OnKept
from rxws.hub._messages import Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.schema import (
    HistoryRequest,
    HistoryResult,
    Request,
    Result,
    StreamPosition,
)
from rxws.hub._topic_streams import TopicStreams

from .errors import refusal
from .order import entries_of, leading_to
from .replies import Lost, OnReply, is_temporary

__all__ = ["Later", "read_history"]

_MAX_HISTORY = 10_000  # messages that are read at once


class Later(Exception):
    """History cannot be read now."""


class HistoryHost(Protocol):
    """The topic; see `SubscribedTopic`."""

    name: str
    streams: TopicStreams

    def call(self, request: Request, expects: type[Result], on_reply: OnReply) -> None: ...


def read_history(
    topic: HistoryHost, since: Position | None, limit: int | None, on_kept: OnKept
) -> None:
    """Read everything after a position, or the newest `limit` messages.

    The exception is `Later` if the server cannot answer now, otherwise `Refused`.
    """
    ring = topic.streams.ring
    entries: deque[Entry] = deque(maxlen=_MAX_HISTORY)

    def read(after: Position | None) -> None:
        request = HistoryRequest(
            topic.name,
            -1 if limit is None else limit,
            None if after is None else StreamPosition(after.offset, after.epoch),
            reverse=limit is not None,
        )
        topic.call(request, HistoryResult, partial(on_reply, after))

    def on_reply(after: Position | None, reply: HistoryResult | ErrorReply | Lost) -> None:
        if isinstance(reply, HistoryResult):
            page: Sequence[Entry] = entries_of(reply.epoch, reply.publications)
            top = Position(reply.epoch, reply.offset)
            last = page[-1].position if page else None
            entries.extend(page if limit is None else page[::-1])
            progress = last is not None and (after is None or last > after)
            if limit is None and last is not None and progress and last < top:
                read(last)  # servers limit the number of messages in a reply
            else:
                on_kept(Kept(leading_to(top, entries), top))
        elif isinstance(reply, Lost) or is_temporary(reply):
            on_kept(Later())
        elif reply.code == ErrorCode.UNRECOVERABLE_POSITION and ring.position is not None:
            on_kept(Kept((), ring.position))
        else:
            on_kept(refusal("history", topic.name, reply))

    read(since)
