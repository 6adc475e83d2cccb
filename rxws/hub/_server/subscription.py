"""One subscription of a connection to a topic, and the right to it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Protocol, TypeAlias

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.schedulers.timers import Deadline
from rxws.hub._backplane import Member
from rxws.hub._history import Entry, Kept, Ring
from rxws.hub._messages import Gap, Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply, UnsubscribeCode
from rxws.hub._protocol.frames import push, reply_with_publications
from rxws.hub._protocol.schema import (
    Result,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribePush,
)

from .options import Action
from .served import Served
from .topics import ServedTopic

__all__ = ["DENIED", "INTERNAL", "OnRight", "Subscription", "SubscriptionOwner", "ttl_of"]

OnRight: TypeAlias = Callable[[float | ErrorReply], None]
"""Gets for how many seconds something is allowed, or the error to answer."""

DENIED = ErrorReply.of(ErrorCode.PERMISSION_DENIED)
INTERNAL = ErrorReply.of(ErrorCode.INTERNAL)
_FLAG_REJECT_UNRECOVERED = 2
_MAX_TTL = (1 << 32) - 1
_GRACE = 1.0  # seconds in which an expired right must be confirmed


class SubscriptionOwner(Protocol):
    """The connection; see `ClientSession`."""

    @property
    def member(self) -> Member | None:
        """The connection as a member of topics; None if it has no user."""
        ...

    def ask(self, topic: str, action: Action, then: OnRight, seconds: float | None = None) -> None:
        """Ask `allow`, for `subscribe_timeout` or this number of seconds."""
        ...

    def send(self, text: str) -> None: ...

    def finish(self, id_: int, topic: str, answer: str | Result | ErrorReply) -> None:
        """Answer a command, and run the next one on its topic."""
        ...

    def on_ended(self, subscription: Subscription) -> None: ...
    def on_unsendable(self) -> None: ...


class _State(Enum):
    ASKING = auto()  # whether the user may subscribe
    REVOKED = auto()  # meanwhile
    STARTING = auto()  # until the topic is attached, and what was missed is read
    LIVE = auto()
    CHECKING = auto()  # whether the user may still be subscribed; it is live meanwhile
    ENDED = auto()


_LIVE = (_State.LIVE, _State.CHECKING)


class Subscription:
    """Begins with what the client has missed, and goes on live; it sends no position twice."""

    __slots__ = (
        "_expiry",
        "_id",
        "_member",
        "_owner",
        "_position",
        "_present",
        "_refreshes",
        "_request",
        "_seconds",
        "_served",
        "_since",
        "_state",
        "_topic",
        "join_leave",
    )

    def __init__(
        self,
        owner: SubscriptionOwner,
        served: Served,
        scheduler: SchedulerBase,
        id_: int,
        request: SubscribeRequest,
    ) -> None:
        self._owner = owner
        self._served = served
        self._id = id_
        self._request = request
        self._position: Position | None = None  # everything up to here was sent
        # An offset without an epoch says nothing, except that nothing was received.
        self._since = Position(request.epoch, request.offset) if request.recover else None
        self._refreshes = bool(request.token)  # whether the client refreshes its right
        self._state = _State.ASKING
        self._seconds = 0.0  # of the right
        self._present = False  # whether the user becomes a member
        self.join_leave = False
        self._topic: ServedTopic | None = None
        self._member: DisposableBase | None = None
        self._expiry = Deadline(scheduler)  # of the begin, then of the right
        served.starting += 1

    @property
    def channel(self) -> str:
        return self._request.channel

    # --- its life ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Ask for the rights, and begin."""
        self._owner.ask(self.channel, "subscribe", self._on_may_subscribe)

    def _on_may_subscribe(self, right: float | ErrorReply) -> None:
        if self._state is _State.REVOKED or isinstance(right, ErrorReply):
            self._fail(right if isinstance(right, ErrorReply) else DENIED)
            return
        self._seconds = right
        self._owner.ask(self.channel, "presence", self._on_may_be_present)

    def _on_may_be_present(self, right: float | ErrorReply) -> None:
        if self._state is _State.REVOKED:
            self._fail(DENIED)
            return
        self._present = not isinstance(right, ErrorReply) and self._owner.member is not None
        self.join_leave = self._present and self._request.join_leave
        self._state = _State.STARTING
        self._topic = self._served.topics.add(self.channel, self)
        self._expiry.set(self._served.limits.subscribe_timeout, partial(self._fail, INTERNAL))
        self._topic.attached.begin(self)

    def _start(self, result: SubscribeResult, publications: Sequence[str]) -> None:
        """Answer; pushes may follow."""
        flag = self._request.flag & _FLAG_REJECT_UNRECOVERED
        if flag and result.recoverable and result.was_recovering and not result.recovered:
            self._fail(ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
            return
        self._served.starting -= 1
        self._state = _State.LIVE
        ttl = self._set_expiry(self._seconds)
        result = result._replace(expires=ttl is not None, ttl=ttl or 0)
        text = reply_with_publications(self._id, result, publications)
        if self._present and (member := self._owner.member) is not None:
            self._member = self._served.hub.presences.join(self.channel, member)
        self._owner.finish(self._id, self.channel, text)

    def _fail(self, error: ErrorReply) -> None:
        """Answer the command with an error."""
        self.remove()
        self._owner.finish(self._id, self.channel, error)

    def remove(self) -> None:
        """End without a word: the client or its connection has ended it."""
        if self._state is _State.ENDED:
            return
        if self._state not in _LIVE:
            self._served.starting -= 1
        self._state = _State.ENDED
        self._expiry.clear()
        self._owner.on_ended(self)
        if self._member is not None:
            self._member.dispose()
        if self._topic is not None:
            self._served.topics.remove(self._topic, self)

    def _end(self, code: UnsubscribeCode) -> None:
        """End, and tell the client."""
        self.remove()
        self._owner.send(push(self.channel, UnsubscribePush(int(code), code.reason)))

    # --- its right --------------------------------------------------------------------------------

    def _set_expiry(self, seconds: float) -> int | None:
        """Set the timer of the right; return the seconds to tell the client, if any."""
        if seconds == math.inf:
            self._expiry.clear()
            return None
        self._expiry.set(seconds, self._expired)
        return ttl_of(seconds) if self._refreshes else None

    def _expired(self) -> None:
        if self._refreshes:
            self._end(UnsubscribeCode.EXPIRED)
        else:
            self._state = _State.LIVE  # an earlier check has not been answered
            self.check(_GRACE)

    def check(self, seconds: float | None = None) -> None:
        """Ask again whether the user may be subscribed."""
        if self._state is _State.LIVE:
            self._state = _State.CHECKING
            self._owner.ask(self.channel, "subscribe", self._on_checked, seconds)

    def _on_checked(self, right: float | ErrorReply) -> None:
        if self._state is not _State.CHECKING:
            return
        self._state = _State.LIVE
        if not isinstance(right, ErrorReply):
            self._set_expiry(right)
        elif right is DENIED:
            self._end(UnsubscribeCode.SERVER)
        else:
            self._end(UnsubscribeCode.EXPIRED)

    def refresh(self, id_: int) -> None:
        """Ask again, as the client has sent a new token; answer its command."""
        self._owner.ask(self.channel, "subscribe", partial(self._on_refreshed, id_))

    def _on_refreshed(self, id_: int, right: float | ErrorReply) -> None:
        answer: Result | ErrorReply
        if isinstance(right, ErrorReply):
            answer = right
        elif self._state not in _LIVE:
            answer = ErrorReply.of(ErrorCode.EXPIRED)
        else:
            self._refreshes = True
            ttl = self._set_expiry(right)
            answer = SubRefreshResult(ttl is not None, ttl or 0)
        self._owner.finish(id_, self.channel, answer)

    def revoke(self) -> None:
        """End: the right was taken away."""
        match self._state:
            case _State.ASKING:
                self._state = _State.REVOKED
            case _State.STARTING:
                self._fail(DENIED)
            case _State.LIVE | _State.CHECKING:
                self._end(UnsubscribeCode.SERVER)
            case _:
                pass

    # --- Subscriber: called by the served topic -------------------------------------------------

    def on_message(self, position: Position | None, text: str) -> None:
        if self._state not in _LIVE:
            return  # what is delivered meanwhile is in the topic's ring
        last = self._position
        if position is not None:
            if last is not None and position.epoch == last.epoch and position.offset <= last.offset:
                return
            self._position = position
        self._owner.send(text)

    def on_gap(self, gap: Gap) -> None:
        if self._state not in _LIVE or self._has_passed(gap):
            return
        self._end(UnsubscribeCode.INSUFFICIENT_STATE)

    def on_unsendable(self) -> None:
        if self._state in _LIVE:
            self._owner.on_unsendable()

    def on_change(self, texts: list[str]) -> None:
        if self._state in _LIVE and self.join_leave:
            for text in texts:
                self._owner.send(text)

    def _has_passed(self, gap: Gap) -> bool:
        last, before = self._position, gap.before
        return (
            last is not None
            and before is not None
            and before.epoch == last.epoch
            and before.offset <= last.offset + 1
        )

    # --- HistoryView: called by the attached topic -----------------------------------------------

    @property
    def want(self) -> tuple[Position | None, int | None]:
        return self._since, None

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        if self._state is not _State.STARTING:
            return True
        since, top = self._since, ring.position
        if since is not None and top is not None and not since.epoch and not since.offset:
            since = self._since = Position(top.epoch, 0)
        if since is None or top is None or since.epoch != top.epoch:
            self._begin(ring, None)
            return True
        entries = ring.after(since, oldest)
        if entries is None:
            return False
        self._begin(ring, entries)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        if self._state is not _State.STARTING:
            return
        since, top = self._since, ring.position
        assert since is not None
        if isinstance(kept, Exception) or top is None:
            self._fail(INTERNAL)
            return
        entries: list[Entry] | None = None
        if since.epoch == kept.top.epoch == top.epoch:
            ahead = kept.top.offset >= top.offset  # then what is delivered late is left out
            newer = [] if ahead else ring.after(kept.top)
            entries = None if newer is None else [*kept.after(since), *newer]
        self._begin(ring, entries)

    def _begin(self, ring: Ring, entries: Sequence[Entry] | None) -> None:
        """Answer; the entries are None if it is not known what was missed."""
        since, top = self._since, ring.position
        assert self._topic is not None
        limit = self._served.max_reply
        texts = None if entries is None else self._topic.texts_of(since, entries, limit)
        recovered = texts is not None
        self._position = top
        if recovered and entries and since is not None:
            self._position = max(since, *(each.position or since for each in entries))
        elif recovered and since is not None and top is not None and since > top:
            self._position = since  # this process is behind the one that the client was at before
        numbered = top is not None
        offset = 0
        if top is not None:
            offset = since.offset if recovered and since is not None else top.offset
        result = SubscribeResult(
            recoverable=numbered,
            positioned=numbered,
            epoch=top.epoch if top is not None else "",
            offset=offset,
            recovered=recovered,
            was_recovering=self._request.recover,
        )
        self._start(result, texts or ())


def ttl_of(seconds: float) -> int:
    """Return the seconds after which a client refreshes: earlier than the end of its right."""
    return max(1, min(int(seconds - min(seconds / 4, 15.0)), _MAX_TTL))
