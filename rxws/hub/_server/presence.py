"""Executes the commands `presence` and `presence_stats`."""

from __future__ import annotations

from collections.abc import Mapping

from rxws.hub._backplane import Member
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import reply
from rxws.hub._protocol.schema import (
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
)

from .owner import INTERNAL, Answer, Owner
from .served import Served
from .topics import info_of

__all__ = ["read_members"]

_MIN_MEMBER = 40  # bytes of a member in a reply


def read_members(
    owner: Owner, served: Served, id_: int, request: PresenceRequest | PresenceStatsRequest
) -> None:
    """Answer with the members of a topic, or their number."""

    def on_members(members: Mapping[str, Member] | Exception) -> None:
        answer: Answer = INTERNAL
        if not isinstance(members, Exception):
            answer = _members(id_, request, members, served.max_reply)
        owner.finish(id_, request.channel, answer)

    served.hub.presences.read(request.channel, on_members)


def _members(
    id_: int,
    request: PresenceRequest | PresenceStatsRequest,
    members: Mapping[str, Member],
    max_size: int,
) -> Answer:
    if isinstance(request, PresenceStatsRequest):
        return PresenceStatsResult(len(members), len({each.name for each in members.values()}))
    if len(members) * _MIN_MEMBER <= max_size:
        result = PresenceResult({key: info_of(each) for key, each in members.items()})
        text = reply(id_, result)
        if len(text) <= max_size:
            return text
    detail = f"{len(members)} members are too many for a reply: use presence_stats"
    return ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)
