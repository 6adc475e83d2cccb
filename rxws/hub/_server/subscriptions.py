"""The subscriptions of one connection, and their limits."""

from __future__ import annotations

from reactivex.abc import SchedulerBase

from rxws._core.schedulers.timers import seconds_of
from rxws.hub._names import matches
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.schema import SubRefreshRequest, SubscribeRequest

from .owner import DENIED, Owner
from .served import Served
from .subscription import Subscription

__all__ = ["Subscriptions"]

_PERIOD = 5.0  # seconds in which a connection may subscribe twice as often as it has subscriptions


class Subscriptions:
    """Begins and ends the subscriptions of one connection."""

    __slots__ = ("_by_channel", "_count", "_owner", "_period", "_scheduler", "_served")

    def __init__(self, owner: Owner, served: Served, scheduler: SchedulerBase) -> None:
        self._owner = owner
        self._served = served
        self._scheduler = scheduler
        self._by_channel: dict[str, Subscription] = {}
        self._period = 0.0  # when it began
        self._count = 0  # how often the client has subscribed in this period

    def add(self, id_: int, request: SubscribeRequest) -> None:
        """Execute a subscribe command."""
        if (problem := self._problem_of(request)) is not None:
            self._owner.finish(id_, request.channel, problem)
            return
        subscription = Subscription(self._owner, self._served, self._scheduler, id_, request)
        self._by_channel[request.channel] = subscription
        subscription.start()

    def _problem_of(self, request: SubscribeRequest) -> ErrorReply | None:
        limits = self._served.limits
        if request.type or request.tf is not None:
            what = "map subscriptions" if request.type else "filters"
            return ErrorReply.of(ErrorCode.NOT_AVAILABLE, f"{what} are not supported")
        if request.delta not in ("", "fossil"):
            return ErrorReply.of(ErrorCode.BAD_REQUEST, "delta is unknown")
        if request.channel in self._by_channel:
            return ErrorReply.of(ErrorCode.ALREADY_SUBSCRIBED)
        if len(self._by_channel) >= limits.max_subscriptions:
            detail = f"{limits.max_subscriptions} subscriptions"
            return ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)
        if self._served.starting >= limits.max_starting:
            return ErrorReply.of(ErrorCode.INTERNAL, "too many subscribe at once")
        if self._is_too_often():
            return ErrorReply.of(ErrorCode.TOO_MANY_REQUESTS)
        return None

    def _is_too_often(self) -> bool:
        """Count a subscribe command; a topic stays attached for 5 s after the last one has left."""
        now = seconds_of(self._scheduler)()
        if not self._count or now - self._period >= _PERIOD:
            self._period, self._count = now, 0
        self._count += 1
        return self._count > 2 * self._served.limits.max_subscriptions

    def remove(self, channel: str) -> None:
        """Execute an unsubscribe command."""
        if (subscription := self._by_channel.get(channel)) is not None:
            subscription.remove()

    def refresh(self, id_: int, request: SubRefreshRequest) -> None:
        """Execute a sub_refresh command."""
        subscription = self._by_channel.get(request.channel)
        if request.type:
            error = ErrorReply.of(ErrorCode.NOT_AVAILABLE)
        elif subscription is None:
            error = DENIED
        elif not request.token:
            error = ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing")
        else:
            subscription.refresh(id_)
            return
        self._owner.finish(id_, request.channel, error)

    def revoke(self, pattern: str) -> None:
        """End those whose topics match."""
        for channel, subscription in list(self._by_channel.items()):
            if matches(pattern, channel):
                subscription.revoke()

    def check(self) -> None:
        """Ask for all rights again."""
        for subscription in list(self._by_channel.values()):
            subscription.check()

    def clear(self) -> None:
        """End all without a word: the connection has ended."""
        for subscription in list(self._by_channel.values()):
            subscription.remove()

    def on_ended(self, channel: str) -> None:
        del self._by_channel[channel]
