"""One subscription of a connection to a topic."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, auto
from typing import Protocol

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.schedulers.timers import Deadline
from rxws.hub._history import Entry, Kept, Ring
from rxws.hub._messages import Gap, Position
from rxws.hub._protocol import SubscribeRequest, SubscribeResult, UnsubscribeCode

from .topics import ServedTopic

__all__ = ["Subscription", "SubscriptionOwner", "SubscriptionState"]


class SubscriptionOwner(Protocol):
    """The connection; see `ClientSession`."""

    @property
    def max_recovered(self) -> int:
        """The size of the largest reply in bytes."""
        ...

    def send(self, text: str) -> None: ...
    def on_started(
        self, subscription: Subscription, result: SubscribeResult, publications: Sequence[str]
    ) -> None:
        """Answer the subscribe command; pushes may follow."""
        ...

    def on_not_started(self, subscription: Subscription) -> None:
        """Answer that it cannot begin now."""
        ...

    def end(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        """Tell the client that the server has ended the subscription."""
        ...

    def on_unsendable(self) -> None: ...


class SubscriptionState(Enum):
    ASKING = auto()  # whether the user may subscribe
    STARTING = auto()  # until the topic is attached, and what was missed is read
    LIVE = auto()
    ENDED = auto()


class Subscription:
    """Begins with what the client has missed, and goes on live; it sends no position twice."""

    __slots__ = (
        "_owner",
        "_position",
        "_since",
        "checking",
        "expiry",
        "id",
        "join_leave",
        "member",
        "present",
        "refreshes",
        "request",
        "revoked",
        "seconds",
        "state",
        "topic",
    )

    def __init__(
        self,
        owner: SubscriptionOwner,
        scheduler: SchedulerBase,
        id_: int,
        request: SubscribeRequest,
    ) -> None:
        self._owner = owner
        self._position: Position | None = None  # everything up to here was sent
        # An offset without an epoch says nothing, except that nothing was received.
        self._since = Position(request.epoch, request.offset) if request.recover else None
        self.id = id_
        self.request = request
        self.refreshes = bool(request.token)
        """Whether the client refreshes its right, with `sub_refresh`."""
        self.state = SubscriptionState.ASKING
        self.revoked = False  # while the right is being asked for
        self.checking = False  # whether the right is being asked for again
        self.seconds: float = 0.0
        self.present = False  # whether the user becomes a member
        self.join_leave = False
        self.topic: ServedTopic | None = None
        self.member: DisposableBase | None = None
        self.expiry = Deadline(scheduler)

    @property
    def channel(self) -> str:
        return self.request.channel

    # --- Subscriber: called by the served topic -------------------------------------------------

    def on_message(self, position: Position | None, text: str) -> None:
        if self.state is not SubscriptionState.LIVE:
            return  # what is delivered meanwhile is in the topic's ring
        last = self._position
        if position is not None:
            if last is not None and position.epoch == last.epoch and position.offset <= last.offset:
                return
            self._position = position
        self._owner.send(text)

    def on_gap(self, gap: Gap) -> None:
        if self.state is not SubscriptionState.LIVE or self._has_passed(gap):
            return
        self._owner.end(self, UnsubscribeCode.INSUFFICIENT_STATE)

    def on_unsendable(self) -> None:
        if self.state is SubscriptionState.LIVE:
            self._owner.on_unsendable()

    def on_change(self, texts: list[str]) -> None:
        if self.state is SubscriptionState.LIVE and self.join_leave:
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
        if self.state is not SubscriptionState.STARTING:
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
        if self.state is not SubscriptionState.STARTING:
            return
        since, top = self._since, ring.position
        assert since is not None
        if isinstance(kept, Exception) or top is None:
            self._owner.on_not_started(self)
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
        assert self.topic is not None
        limit = self._owner.max_recovered
        texts = None if entries is None else self.topic.texts_of(since, entries, limit)
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
            was_recovering=self.request.recover,
        )
        self._owner.on_started(self, result, texts or ())
