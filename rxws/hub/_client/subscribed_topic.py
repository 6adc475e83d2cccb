"""A topic that has subscribers in this client: one subscription at the server for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from reactivex.abc import SchedulerBase

from rxws._core.errors import short_repr
from rxws._core.log import LogOnce, one_line
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import Dispatcher
from rxws._core.upstream import Upstream
from rxws.hub._history import Entry, Kept, Ring
from rxws.hub._history_reader import HistoryReader, OnKept
from rxws.hub._messages import Position
from rxws.hub._protocol.schema import (
    JoinPush,
    LeavePush,
    Pub,
    PushBody,
    Request,
    Result,
    SubscribeResult,
    UnsubscribePush,
)
from rxws.hub._stats import Counters
from rxws.hub._topic_streams import TopicStreams
from rxws.hub._turns import Turns
from rxws.hub._waiting_views import HistoryView, WaitingViews

from .history import Later, read_history
from .members import Members
from .order import ReceivedOrder
from .replies import OnReply
from .subscription import RETRY, Subscription, SubscriptionHost
from .token import TokenSource
from .views import ClientSinceView

__all__ = ["SubscribedTopic", "TopicHost"]

_MAX_RING = 1000  # messages, which bridge the time in which a view reads history
_MAX_RING_BYTES = 1 << 18


class TopicHost(SubscriptionHost, Protocol):
    """The interface of the client to its topics; see `ClientRegistry`."""

    dispatcher: Dispatcher
    turns: Turns
    counters: Counters

    @property
    def pauses(self) -> Upstream: ...
    def on_subscribers_changed(self, topic: SubscribedTopic) -> None: ...


class SubscribedTopic:
    """Delivers what the server sends in the topic's order, to all subscribers.

    Attributes:
        streams: The streams of events for these subscribers.
        members: The members that are present.
        views: Subscribers that begin with history.
        subscription: The one at the server.
    """

    oldest = 0.0  # what the server keeps for how long is not known

    def __init__(self, host: TopicHost, name: str, tokens: TokenSource) -> None:
        self.name = name
        self.dispatcher = host.dispatcher
        self.turns = host.turns
        self.scheduler: SchedulerBase = host.scheduler
        self._host = host
        self.streams = TopicStreams(
            name,
            host.dispatcher,
            host.counters,
            Ring(_MAX_RING, _MAX_RING_BYTES),
            self.on_subscribers_changed,
            host.pauses,
        )
        self.members = Members(self, self.streams.fault)
        self.streams.all.append(self.members.stream)
        self._reader = HistoryReader(self, self._read)
        self.views = WaitingViews(self, self.streams, self._reader)
        self._order = ReceivedOrder()
        self.subscription = Subscription(self, host, name, tokens)
        self._warn = LogOnce(logging.WARNING)

    @property
    def live(self) -> bool:
        return self.subscription.live

    def on_subscribers_changed(self) -> None:
        self._host.on_subscribers_changed(self)

    def close(self) -> None:
        """End the subscription: the last subscriber has left."""
        self.subscription.close()
        self.views.take()
        self._reader.clear()

    def detach_all(self) -> None:
        """Remove all subscribers without notifying them."""
        self.streams.detach_all()
        self.on_subscribers_changed()

    def fail(self, error: Exception | None) -> None:
        """Complete or fail all subscribers."""
        self.close()
        self.streams.finish(error)

    def call(self, request: Request, expects: type[Result], on_reply: OnReply) -> None:
        """Send a command about this topic; a reply after the end is dropped."""

        def on_reply_unless_closed(reply: Any) -> None:
            if not self.subscription.closed:
                on_reply(reply)

        self._host.call(request, expects, on_reply_unless_closed)

    # --- for the subscription -----------------------------------------------------------------

    @property
    def continues_after(self) -> Position | None:
        """The last position; before the first message, the earliest that a view wants."""
        if self._order.position is not None:
            return self._order.position
        wanted = [view.since for view in self.views if isinstance(view, ClientSinceView)]
        epochs = {position.epoch for position in wanted[:1]}
        return min((each for each in wanted if each.epoch in epochs), default=None)

    @property
    def wants_joins(self) -> bool:
        return self.members.stream.observed

    def on_subscribed(self, since: Position | None, reply: SubscribeResult) -> None:
        """Deliver what was missed, and begin the views that have waited."""
        first = self._order.position is None
        kept, missed = self._order.on_subscribed(since, reply)
        if kept is None:
            self.dispatcher.post(self.streams.ring.clear)
        elif first:
            self.dispatcher.post(self._begin_first, since, kept)
        self._deliver(missed)
        self.views.begin()
        if self.wants_joins:
            self.on_members_wanted()

    def _begin_first(self, since: Position | None, kept: Kept) -> None:
        """Begin the views that want to continue after the position that was asked for."""
        ring = self.streams.ring
        for entry in kept.entries:
            ring.append(entry)
        ring.position = kept.top
        for view in self.views.take():
            if isinstance(view, ClientSinceView) and view.continues(since):
                self.views.start(view, kept)
            else:
                self.views.add(view)

    def on_members_wanted(self) -> None:
        """Read who is present once the topic is subscribed, with joins and leaves."""
        if not self.live:
            return
        if self.subscription.has_joins:
            self.members.read()
        else:
            self.subscription.resume()

    # --- what the server pushes ---------------------------------------------------------------

    def on_push(self, body: PushBody | None, size: int) -> None:
        if not self.live:  # of an earlier subscription on this connection
            return
        match body:
            case Pub():
                entries = self._order.on_publication(body, size)
                if entries is None:
                    self.subscription.resume()
                else:
                    self._deliver(entries)
            case JoinPush(info):
                self.members.on_joined(info)
            case LeavePush(info):
                self.members.on_left(info)
            case UnsubscribePush(code, reason):
                self.subscription.on_unsubscribed(code, reason)
            case _:
                pass  # newer than this client

    def _deliver(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self.dispatcher.post(self.streams.deliver, entry)

    # --- for views ----------------------------------------------------------------------------

    def post(self, action: Callable[[], object]) -> object:
        return call_later(self.scheduler, 0, action)

    def _read(self, since: Position | None, limit: int | None, on_kept: OnKept) -> None:
        if self.live:
            read_history(self, since, limit, on_kept)
        else:
            on_kept(Later())

    def on_read(self, view: HistoryView, kept: Kept | Exception) -> bool:
        """See `ViewsHost`."""
        if isinstance(kept, Later):
            if self.live:
                call_later(self.scheduler, RETRY, self.views.begin)
            return False
        if isinstance(kept, Exception) and isinstance(view, ClientSinceView):
            text = "topic %s: messages after a position may be missing: %s"
            self._warn(text, short_repr(self.name), one_line(kept))
        return True
