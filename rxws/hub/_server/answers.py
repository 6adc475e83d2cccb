"""The answers to the commands `history`, `presence` and `presence_stats`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rxws.hub._backplane import History, Member, Publication
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import reply, reply_with_publications
from rxws.hub._protocol.schema import (
    HistoryRequest,
    HistoryResult,
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
    Result,
)

from .topics import ServedTopics, info_of

__all__ = ["history_answer", "members_answer"]

_MIN_MEMBER = 40  # bytes of a member in a reply


def members_answer(
    id_: int,
    request: PresenceRequest | PresenceStatsRequest,
    members: Mapping[str, Member],
    max_size: int,
) -> str | Result | ErrorReply:
    """Return the members of a topic or their number; an error if they need more than `max_size`."""
    if isinstance(request, PresenceStatsRequest):
        return PresenceStatsResult(len(members), len({each.name for each in members.values()}))
    if len(members) * _MIN_MEMBER <= max_size:
        result = PresenceResult({key: info_of(each) for key, each in members.items()})
        text = reply(id_, result)
        if len(text) <= max_size:
            return text
    detail = f"{len(members)} members are too many for a reply: use presence_stats"
    return ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)


def history_answer(
    id_: int, request: HistoryRequest, history: History, topics: ServedTopics, max_size: int
) -> str | ErrorReply:
    """Return the messages that a client asks for; an error if they need more than `max_size`.

    Raises:
        NotText: The protocol cannot carry a message.
    """
    kept = _chosen(request, history)
    if kept is None:
        return ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION)
    texts = [topics.text_of(each) for each in kept]
    if sum(map(len, texts)) > max_size:
        detail = "the messages are too large together: use a smaller limit"
        return ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)
    result = HistoryResult(epoch=history.top.epoch, offset=history.top.offset)
    return reply_with_publications(id_, result, texts)


def _chosen(request: HistoryRequest, history: History) -> Sequence[Publication] | None:
    """Return the messages that a client asks for; None if some after its position are missing."""
    since, top, kept = request.since, history.top, list(history.publications)
    if since is not None:
        first = top.offset - len(kept)
        known = since.epoch in ("", top.epoch)
        if not known or not (request.reverse or first <= since.offset <= top.offset):
            return None
        after = max(since.offset - first, 0)
        kept = kept[: max(after - 1, 0)] if request.reverse else kept[after:]
    if request.reverse:
        kept.reverse()
    return kept if request.limit < 0 else kept[: request.limit]
