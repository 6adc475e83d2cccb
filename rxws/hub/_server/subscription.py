"""One subscription of a connection to a topic, and the right to it."""

from __future__ import annotations

from enum import Enum, auto
from functools import partial

from reactivex.abc import DisposableBase, SchedulerBase

from rxws.hub._messages import Gap, Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply, UnsubscribeCode
from rxws.hub._protocol.frames import push, reply_with_publications
from rxws.hub._protocol.schema import SubRefreshResult, SubscribeRequest, UnsubscribePush

from .owner import DENIED, INTERNAL, Owner
from .recovery import Recovered, Recovery
from .right import GRACE, Expiry, RightTimer
from .served import Served
from .topics import ServedTopic

__all__ = ["Subscription"]

_FLAG_REJECT_UNRECOVERED = 2


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
        "_id",
        "_member",
        "_owner",
        "_position",
        "_present",
        "_request",
        "_seconds",
        "_served",
        "_state",
        "_timer",
        "_topic",
        "join_leave",
    )

    def __init__(
        self,
        owner: Owner,
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
        self._state = _State.ASKING
        self._seconds = 0.0  # of the right
        self._present = False  # whether the user becomes a member
        self.join_leave = False
        self._topic: ServedTopic | None = None
        self._member: DisposableBase | None = None
        # Of the begin, then of the right.
        self._timer = RightTimer(scheduler, refreshes=bool(request.token))
        served.starting += 1

    @property
    def channel(self) -> str:
        return self._request.channel

    # --- begin and end ----------------------------------------------------------------------------

    def start(self) -> None:
        """Ask for the rights, and begin."""
        self._owner.identity.ask(self.channel, "subscribe", self._on_may_subscribe)

    def _on_may_subscribe(self, right: float | ErrorReply) -> None:
        if self._state is _State.REVOKED or isinstance(right, ErrorReply):
            self._fail(right if isinstance(right, ErrorReply) else DENIED)
            return
        self._seconds = right
        self._owner.identity.ask(self.channel, "presence", self._on_may_be_present)

    def _on_may_be_present(self, right: float | ErrorReply) -> None:
        if self._state is _State.REVOKED:
            self._fail(DENIED)
            return
        member = self._owner.identity.member
        self._present = not isinstance(right, ErrorReply) and member is not None
        self.join_leave = self._present and self._request.join_leave
        self._state = _State.STARTING
        topic = self._topic = self._served.topics.add(self.channel, self)
        self._timer.set(self._served.limits.subscribe_timeout, self.on_unrecoverable)
        topic.attached.begin(Recovery(self, topic, self._request, self._served.max_reply))

    @property
    def starting(self) -> bool:
        return self._state is _State.STARTING

    def on_unrecoverable(self) -> None:
        self._fail(INTERNAL)

    def on_recovered(self, recovered: Recovered) -> None:
        """Answer; pushes may follow."""
        result = recovered.result
        flag = self._request.flag & _FLAG_REJECT_UNRECOVERED
        if flag and result.recoverable and result.was_recovering and not result.recovered:
            self._fail(ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
            return
        self._served.starting -= 1
        self._state = _State.LIVE
        self._position = recovered.position
        expires, ttl = self._grant(self._seconds)
        result = result._replace(expires=expires, ttl=ttl)
        if self._present and (member := self._owner.identity.member) is not None:
            self._member = self._served.hub.presences.join(self.channel, member)
        text = reply_with_publications(self._id, result, recovered.publications)
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
        self._timer.clear()
        self._owner.on_ended(self.channel)
        if self._member is not None:
            self._member.dispose()
        if self._topic is not None:
            self._served.topics.remove(self._topic, self)

    def _end(self, code: UnsubscribeCode) -> None:
        """End, and tell the client."""
        self.remove()
        self._owner.send(push(self.channel, UnsubscribePush(int(code), code.reason)))

    # --- its right --------------------------------------------------------------------------------

    def _grant(self, seconds: float) -> Expiry:
        return self._timer.grant(seconds, self._expired)

    def _expired(self) -> None:
        if self._timer.refreshes:
            self._end(UnsubscribeCode.EXPIRED)
        else:
            self._state = _State.LIVE  # an earlier check has not been answered
            self.check(GRACE)

    def check(self, seconds: float | None = None) -> None:
        """Ask again whether the user may be subscribed."""
        if self._state is _State.LIVE:
            self._state = _State.CHECKING
            self._owner.identity.ask(self.channel, "subscribe", self._on_checked, seconds)

    def _on_checked(self, right: float | ErrorReply) -> None:
        if self._state is not _State.CHECKING:
            return
        self._state = _State.LIVE
        if not isinstance(right, ErrorReply):
            self._grant(right)
        elif right is DENIED:
            self._end(UnsubscribeCode.SERVER)
        else:
            self._end(UnsubscribeCode.EXPIRED)

    def refresh(self, id_: int) -> None:
        """Ask again, as the client has sent a new token; answer its command."""
        ask = self._owner.identity.ask
        ask(self.channel, "subscribe", partial(self._on_refreshed, id_))

    def _on_refreshed(self, id_: int, right: float | ErrorReply) -> None:
        answer: SubRefreshResult | ErrorReply
        if isinstance(right, ErrorReply):
            answer = right
        elif self._state not in _LIVE:
            answer = ErrorReply.of(ErrorCode.EXPIRED)
        else:
            self._timer.refreshes = True
            answer = SubRefreshResult(*self._grant(right))
        self._owner.finish(id_, self.channel, answer)

    def revoke(self) -> None:
        """End: the right was taken away."""
        if self._state is _State.ASKING:
            self._state = _State.REVOKED
        elif self._state is _State.STARTING:
            self._fail(DENIED)
        elif self._state in _LIVE:
            self._end(UnsubscribeCode.SERVER)

    # --- Subscriber: called by the served topic ---------------------------------------------------

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
        if self._state in _LIVE and not self._has_passed(gap):
            self._end(UnsubscribeCode.INSUFFICIENT_STATE)

    def on_unsendable(self) -> None:
        if self._state in _LIVE:
            self._owner.on_unsendable()

    def on_stopped(self) -> None:
        """Let the client subscribe again: it learns then whether it has missed anything."""
        if self.starting:
            self._fail(INTERNAL)
        else:
            self._end(UnsubscribeCode.INSUFFICIENT_STATE)

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
