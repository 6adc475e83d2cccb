"""A topic that has subscribers in this client: one subscription at the server for all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.connection import Close
from rxws._core.errors import short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_later, seconds_of
from rxws._core.streams.stream import Dispatcher, Fault, RestartableStream, call_each
from rxws._core.upstream import Upstream
from rxws.backoff import Backoff, is_retryable
from rxws.hub._history import Entry, Event, Kept, Ring
from rxws.hub._history_reader import HistoryReader, OnKept
from rxws.hub._messages import Gap, Message, Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply, UnsubscribeCode, resubscribes
from rxws.hub._protocol.schema import (
    HistoryRequest,
    HistoryResult,
    JoinPush,
    LeavePush,
    Pub,
    PushBody,
    Request,
    Result,
    StreamPosition,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribePush,
    UnsubscribeRequest,
    UnsubscribeResult,
)
from rxws.hub._stats import Counters
from rxws.hub._view import View

from .errors import Refused, refusal
from .members import Members
from .session import Lost, OnReply, is_temporary
from .token import TokenSource
from .views import ClientRewindView, ClientSinceView

__all__ = ["TopicSubscription"]

T = TypeVar("T")

_RETRY = 1.0  # seconds, for histories and tokens
_STABLE_AFTER = 10.0  # seconds after which the backoff starts over
_MAX_HISTORY = 10_000  # messages that are read at once
_MAX_RING = 1000  # messages, which bridge the time in which a view reads history
_MAX_RING_BYTES = 1 << 18


class SubscriptionHost(Protocol):
    """The interface of the client to its subscriptions; see `ClientRegistry`."""

    dispatcher: Dispatcher
    counters: Counters
    backoff: Backoff

    @property
    def scheduler(self) -> SchedulerBase: ...
    @property
    def pauses(self) -> Upstream: ...
    @property
    def ready(self) -> bool:
        """Whether commands can be sent."""
        ...

    def call(
        self,
        request: Request,
        expects: type[Result],
        on_reply: OnReply,
        *,
        must_reply: bool = False,
    ) -> None: ...
    def close(self, close: Close) -> None:
        """Close the connection, and open the next one."""
        ...

    def on_subscribers_changed(self, subscription: TopicSubscription) -> None: ...
    def on_refused(self, topic: str, error: Exception) -> None: ...
    def on_accepted(self, topic: str) -> None: ...


class _State(Enum):
    IDLE = auto()  # there is no connection
    FETCHING = auto()  # the token of the topic
    SUBSCRIBING = auto()
    LIVE = auto()
    WAITING = auto()  # before the next attempt
    CLOSED = auto()


class _Unproven(Kept):
    """What a server sends that cannot tell whether more is missing."""

    __slots__ = ()

    def after(self, since: Position) -> list[Entry]:
        entries = super().after(since)
        if entries and isinstance(entries[0].event, Gap):
            return entries
        last = Position(self.top.epoch, self.top.offset - len(entries))
        return [Entry.gap(since, last, "unavailable"), *entries]


class _TopicStream(RestartableStream[T]):
    """A stream of a topic: operators behind it can pause the connection, as those of a channel."""

    def __init__(
        self, host: SubscriptionHost, fault: Fault, on_changed: Callable[[], object]
    ) -> None:
        super().__init__(host.dispatcher, fault, on_changed)
        self._pauses = host.pauses

    @property
    def observers(self) -> list[ObserverBase[T]]:
        return list(self._observers)

    @property
    def _pausable(self) -> Upstream:
        return self._pauses


class TopicSubscription:
    """Subscribes at the server, again on each connection, and delivers in the topic's order.

    Attributes:
        values: The payloads.
        events: Messages with positions, and gaps, in one order.
        gaps: The gaps.
        members: Who is present.
        ring: The latest messages.
    """

    def __init__(self, host: SubscriptionHost, name: str, tokens: TokenSource) -> None:
        self.name = name
        self._host = host
        streams = (host, self._on_fault, self.on_subscribers_changed)
        self.values: _TopicStream[Any] = _TopicStream(*streams)
        self.events: _TopicStream[Event] = _TopicStream(*streams)
        self.gaps: _TopicStream[Gap] = _TopicStream(*streams)
        self.members = Members(self, self._on_fault)
        self.ring = Ring(_MAX_RING, _MAX_RING_BYTES)
        self._tokens = tokens
        self._state = _State.IDLE
        self._position: Position | None = None  # everything up to here was received
        self._recoverable = False
        self._joins = False  # whether the server pushes joins and leaves
        self._attempt = 0  # the number of the current subscribe command
        self._delays: Iterator[float] | None = None
        self._timer = Deadline(host.scheduler)  # of the next attempt
        self._expiry = Deadline(host.scheduler)
        self._fetching: DisposableBase | None = None
        self._seconds = seconds_of(host.scheduler)
        self._live_since = 0.0
        self._hole_after: Position | None = None  # the server was asked to fill it
        self._reader = HistoryReader(self, self._read)
        self._views: list[View] = []  # they want to begin
        self._has_failed = False  # whether a subscriber has raised
        self._has_warned = False  # that history is refused

    @property
    def observers(self) -> list[ObserverBase[Any]]:
        """The subscribers to the payloads."""
        return self.values.observers

    @property
    def observed(self) -> bool:
        return any(each.observed for each in self._streams)

    @property
    def live(self) -> bool:
        return self._state is _State.LIVE

    @property
    def scheduler(self) -> SchedulerBase:
        return self._host.scheduler

    @property
    def dispatcher(self) -> Dispatcher:
        return self._host.dispatcher

    @property
    def _streams(self) -> tuple[RestartableStream[Any], ...]:
        return self.values, self.events, self.gaps, self.members.stream

    def on_subscribers_changed(self) -> None:
        self._host.on_subscribers_changed(self)

    def on_members_wanted(self) -> None:
        """Read who is present once the topic is subscribed, with joins and leaves."""
        if not self.live:
            return
        if self._joins:
            self.members.read()
        else:
            self._resubscribe()

    def call(self, request: Request, expects: type[Result], on_reply: OnReply) -> None:
        """Send a command about this topic; a reply after the end is dropped."""

        def on_reply_unless_closed(reply: Any) -> None:
            if self._state is not _State.CLOSED:
                on_reply(reply)

        self._host.call(request, expects, on_reply_unless_closed)

    # --- subscribing --------------------------------------------------------------------------

    def start(self, delay: float) -> None:
        """Subscribe at the server, after a delay if earlier attempts were refused."""
        if delay:
            self._state = _State.WAITING
            self._timer.set(delay, self._retry)
        elif self._host.ready:
            self._subscribe()

    def on_connected(self) -> None:
        if self._state is _State.IDLE:
            self._subscribe()

    def on_lost(self) -> None:
        """The connection is closed; the reply to a subscribe command comes as `Lost`."""
        if self._state is not _State.WAITING:
            self._stop(_State.IDLE)

    def _stop(self, state: _State) -> None:
        self._state = state
        self._attempt += 1
        self._timer.clear()
        self._expiry.clear()
        if self._fetching is not None:
            self._fetching.dispose()
            self._fetching = None

    def _retry(self) -> None:
        self._state = _State.IDLE
        if self._host.ready:
            self._subscribe()

    def _subscribe(self, recover: bool = True) -> None:
        self._state = _State.FETCHING
        self._fetching = self._tokens.fetch(partial(self._on_token, recover))

    def _on_token(self, recover: bool, token: str | Exception) -> None:
        if self._state is not _State.FETCHING:
            return
        if isinstance(token, Exception):
            if is_retryable(token):
                logger.warning("cannot get the token of %s now: %s", self, one_line(token))
                self._retry_later()
            else:
                self.fail(token)
            return
        self._state = _State.SUBSCRIBING
        self._attempt += 1
        since = (self._position or self._first_wanted()) if recover else None
        self._joins = self.members.stream.observed
        epoch, offset = since or ("", 0)
        request = SubscribeRequest(
            self.name, token, recover=since is not None, epoch=epoch, offset=offset,
            positioned=True, recoverable=True, join_leave=self._joins,
        )  # fmt: skip
        on_reply = partial(self._on_subscribed, self._attempt, since)
        self._host.call(request, SubscribeResult, on_reply, must_reply=True)

    def _first_wanted(self) -> Position | None:
        """Return the earliest position after which a view wants to begin."""
        wanted = [view.since for view in self._views if isinstance(view, ClientSinceView)]
        epochs = {position.epoch for position in wanted[:1]}
        return min((each for each in wanted if each.epoch in epochs), default=None)

    def _on_subscribed(
        self, attempt: int, since: Position | None, reply: SubscribeResult | ErrorReply | Lost
    ) -> None:
        if attempt != self._attempt or isinstance(reply, Lost):
            return
        if isinstance(reply, ErrorReply):
            self._on_error(since, reply)
            return
        self._state = _State.LIVE
        self._live_since = self._seconds()
        self._host.on_accepted(self.name)
        self._recoverable = reply.recoverable
        self._set_expiry(reply.expires, reply.ttl)
        self._begin(since, reply)
        if self.members.stream.observed:
            self.on_members_wanted()

    def _on_error(self, since: Position | None, error: ErrorReply) -> None:
        if error.code == ErrorCode.TOKEN_EXPIRED and self._tokens.renewable:
            self._tokens.expire()
            self._retry_later()
        elif error.code == ErrorCode.UNRECOVERABLE_POSITION and since is not None:
            self._subscribe(recover=False)
        elif is_temporary(error):
            self._retry_later()
        else:
            self._refuse(refusal("subscribe", self.name, error))

    def _retry_later(self) -> None:
        if self._delays is None:
            self._delays = iter(self._host.backoff())
        delay = next(self._delays, None)
        if delay is None:  # the backoff has given up: begin anew
            self._delays = iter(self._host.backoff())
            delay = next(self._delays, _RETRY)
        self._stop(_State.WAITING)
        self._timer.set(delay, self._retry)

    def _resubscribe(self) -> None:
        """Subscribe again on the same connection, and continue after the last position."""
        self._unsubscribe_at_server()
        self._stop(_State.IDLE)
        self._subscribe()

    def _subscribe_again(self) -> None:
        """Subscribe after the server has unsubscribed; later if it did so a moment ago."""
        if self._seconds() - self._live_since > _STABLE_AFTER:
            self._delays = None
        if self._delays is None:
            self._delays = iter(self._host.backoff())
            self._stop(_State.IDLE)
            self._subscribe()
        else:
            self._retry_later()

    def _unsubscribe_at_server(self) -> None:
        self._host.call(UnsubscribeRequest(self.name), UnsubscribeResult, self._on_unsubscribed)

    def _on_unsubscribed(self, reply: UnsubscribeResult | ErrorReply | Lost) -> None:
        if isinstance(reply, ErrorReply):  # then only a new connection is without the subscription
            self._host.close(Close(1000, "unsubscribe error"))

    def close(self) -> None:
        """Unsubscribe at the server: the last subscriber has left."""
        subscribed = self._state in (_State.LIVE, _State.SUBSCRIBING)
        self._stop(_State.CLOSED)
        self._views.clear()
        self._reader.clear()
        if subscribed and self._host.ready:
            self._unsubscribe_at_server()

    def _refuse(self, error: Refused) -> None:
        """Fail all subscribers: the server has ended the subscription, or not begun it."""
        self._stop(_State.IDLE)
        self._host.on_refused(self.name, error)
        self.fail(error)

    def detach_all(self) -> None:
        """Remove all subscribers without notifying them."""
        for stream in self._streams:
            stream.detach_all()
        self._host.on_subscribers_changed(self)

    def fail(self, error: Exception | None) -> None:
        """Complete or fail all subscribers."""
        self.close()
        finish = [each.finish_subscribers() for each in self._streams]
        self._host.on_subscribers_changed(self)
        self.dispatcher.post(self._finish, finish, error)

    def _finish(
        self, finish: list[Callable[[Exception | None], bool]], error: Exception | None
    ) -> None:
        if any(call_each(lambda each: each(error), finish)) and error is not None:
            text = "%s failed, and no on_error handles it: %s"
            logger.error(text, self, one_line(error), exc_info=error)

    def __str__(self) -> str:
        return f"topic {short_repr(self.name)}"

    # --- its right ----------------------------------------------------------------------------

    def _set_expiry(self, expires: bool, ttl: int) -> None:
        if expires and self._tokens.renewable:
            self._expiry.set(max(ttl, 1), self._refresh)
        else:
            self._expiry.clear()

    def _refresh(self) -> None:
        self._tokens.expire()
        self._fetching = self._tokens.fetch(self._on_fresh_token)

    def _on_fresh_token(self, token: str | Exception) -> None:
        if not self.live:
            return
        if isinstance(token, str):
            request = SubRefreshRequest(self.name, token)
            self.call(request, SubRefreshResult, partial(self._on_refreshed, self._attempt))
        elif is_retryable(token):
            logger.warning("cannot renew the token of %s now: %s", self, one_line(token))
            self._expiry.set(_RETRY, self._refresh)
        else:
            self.fail(token)

    def _on_refreshed(self, attempt: int, reply: SubRefreshResult | ErrorReply | Lost) -> None:
        if attempt != self._attempt or isinstance(reply, Lost):
            return
        if isinstance(reply, SubRefreshResult):
            self._set_expiry(reply.expires, reply.ttl)
        elif is_temporary(reply) or reply.code == ErrorCode.TOKEN_EXPIRED:
            self._expiry.set(_RETRY, self._refresh)
        else:
            self._unsubscribe_at_server()
            self._refuse(refusal("refresh", self.name, reply))

    # --- what the server sends ----------------------------------------------------------------

    def on_push(self, body: PushBody | None, size: int) -> None:
        if not self.live:  # of an earlier subscription on this connection
            return
        match body:
            case Pub():
                self._on_publication(body, size)
            case JoinPush(info):
                self.members.on_joined(info)
            case LeavePush(info):
                self.members.on_left(info)
            case UnsubscribePush(code, reason):
                if code == UnsubscribeCode.EXPIRED:
                    self._tokens.expire()
                if resubscribes(code):
                    self._subscribe_again()
                else:
                    self._refuse(refusal("subscribe", self.name, ErrorReply(code, reason)))
            case _:
                pass  # newer than this client

    def _on_publication(self, pub: Pub, size: int) -> None:
        last = self._position
        if last is None or not pub.offset:
            self._emit(Entry(Message(pub.data), None))
            return
        position = Position(last.epoch, pub.offset)
        if position.offset <= last.offset:
            return
        if position.offset > last.offset + 1:
            if self._recoverable and self._hole_after != last:
                self._hole_after = last
                self._resubscribe()
                return
            previous = Position(position.epoch, position.offset - 1)
            self._emit(Entry.gap(last, previous, "unavailable"))
        self._position = position
        self._emit(Entry(Message(pub.data, position), position, size))

    def _emit(self, entry: Entry) -> None:
        self.dispatcher.post(self._deliver, entry)

    def _deliver(self, entry: Entry) -> None:
        event = entry.event
        self.ring.append(entry)
        if isinstance(event, Gap):
            self.on_gap(event)
        else:
            self._host.counters.received += 1
            self.values.deliver(event.value)
        self.events.deliver(event)

    def on_gap(self, gap: Gap) -> None:
        """Count and report a gap, within a notification of the dispatcher."""
        self.count_gap(gap)
        self.gaps.deliver(gap)

    def count_gap(self, gap: Gap) -> None:
        self._host.counters.count_gap(gap.reason)

    def notify(self, on_next: Callable[[Any], None], value: Any) -> None:
        """Call one subscriber; report what it raises."""
        try:
            on_next(value)
        except Exception as exc:
            self._on_fault(exc)

    def _on_fault(self, error: Exception) -> None:
        if self._has_failed:
            logger.debug("a subscriber of %s raised again: %r", self, error)
            return
        self._has_failed = True
        logger.error("a subscriber of %s raised: %s", self, one_line(error), exc_info=error)

    # --- where subscribers begin --------------------------------------------------------------

    def _begin(self, since: Position | None, reply: SubscribeResult) -> None:
        """Deliver what was missed, and begin the views that have waited."""
        last = self._position
        if reply.epoch or reply.offset:
            kept = _kept(since or last, reply)
            self._position = kept.top
            if last is None:
                self.dispatcher.post(self._begin_first, since, kept)
            else:
                for entry in kept.after(last):
                    self._emit(entry)
        else:  # the topic is not numbered
            self._position = None
            if last is not None:
                self._emit(Entry.gap(last, None, "restarted"))
                self.dispatcher.post(self.ring.clear)
            for pub in reply.publications:
                self._emit(Entry(Message(pub.data), None))
        self._begin_views()

    def _begin_first(self, since: Position | None, kept: Kept) -> None:
        """Begin the views that want to continue after the position that was asked for."""
        for entry in kept.entries:
            self.ring.append(entry)
        self.ring.position = kept.top
        views, self._views = self._views, []
        for view in views:
            known = isinstance(view, ClientSinceView) and view.continues(since)
            if known:
                view.on_kept(self.ring, kept)
            else:
                self._views.append(view)

    def add_view(self, view: View) -> DisposableBase:
        """Subscribe a view, which begins when the topic is live."""
        if not self.live:
            self._views.append(view)
        subscription = self.events.subscribe(view)
        if self.live:
            self.dispatcher.post(self._begin_view, view)

        def dispose() -> None:
            view.end()
            if view in self._views:
                self._views.remove(view)
            subscription.dispose()

        return Disposable(dispose)

    def _begin_views(self) -> None:
        self.dispatcher.post(self._begin_waiting)

    def _begin_waiting(self) -> None:
        if self.live:
            views, self._views = self._views, []
            for view in views:
                self._begin_view(view)

    def _begin_view(self, view: View) -> None:
        if not self.live:
            self._views.append(view)
        elif not view.begin_with(self.ring, 0.0):
            since, limit = view.want
            self._reader.want(since, limit, partial(self._begin_read, view))

    def _begin_read(self, view: View, kept: Kept | Exception) -> None:
        if self._state is _State.CLOSED:
            return
        if isinstance(kept, _Later):
            self._views.append(view)
            if self.live:
                call_later(self.scheduler, _RETRY, self._begin_views)
            return
        if isinstance(kept, Exception):
            if isinstance(view, ClientRewindView):
                self.dispatcher.post(view.on_error, kept)
                return
            if not self._has_warned:
                self._has_warned = True
                text = "%s: messages after a position may be missing: %s"
                logger.warning(text, self, one_line(kept))
        self.dispatcher.post(view.on_kept, self.ring, kept)

    # --- history ------------------------------------------------------------------------------

    def post(self, action: Callable[[], object]) -> object:
        return call_later(self.scheduler, 0, action)

    def _read(self, since: Position | None, limit: int | None, on_kept: OnKept) -> None:
        if not self.live:
            on_kept(_Later())
            return
        entries: deque[Entry] = deque(maxlen=_MAX_HISTORY)

        def read(after: Position | None) -> None:
            request = HistoryRequest(
                self.name,
                -1 if limit is None else limit,
                None if after is None else StreamPosition(after.offset, after.epoch),
                reverse=limit is not None,
            )
            self.call(request, HistoryResult, partial(on_reply, after))

        def on_reply(after: Position | None, reply: HistoryResult | ErrorReply | Lost) -> None:
            if isinstance(reply, HistoryResult):
                page = _entries(reply.epoch, reply.publications)
                top = Position(reply.epoch, reply.offset)
                last = page[-1].position if page else None
                entries.extend(page if limit is None else page[::-1])
                progress = last is not None and (after is None or last > after)
                if limit is None and last is not None and progress and last < top:
                    read(last)  # servers limit the number of messages in a reply
                else:
                    on_kept(Kept(_newest(entries, top), top))
            elif isinstance(reply, Lost) or is_temporary(reply):
                on_kept(_Later())
            elif reply.code == ErrorCode.UNRECOVERABLE_POSITION and self.ring.position is not None:
                on_kept(Kept((), self.ring.position))
            else:
                on_kept(refusal("history", self.name, reply))

        read(since)


class _Later(Exception):
    """History cannot be read now."""


def _entries(epoch: str, pubs: tuple[Pub, ...]) -> list[Entry]:
    positions = [Position(epoch, pub.offset) for pub in pubs]
    return [
        Entry(Message(pub.data, position), position)
        for pub, position in zip(pubs, positions, strict=True)
    ]


def _newest(entries: Sequence[Entry], top: Position) -> list[Entry]:
    """Return the entries that lead up to a position without a hole."""
    found: list[Entry] = []
    for entry in reversed(entries):
        if entry.position != (top.epoch, top.offset - len(found)):
            break
        found.append(entry)
    return found[::-1]


def _kept(since: Position | None, reply: SubscribeResult) -> Kept:
    """Return what the reply to a subscribe command says about the time after a position."""
    pubs = reply.publications
    top = Position(reply.epoch, pubs[-1].offset if pubs else reply.offset)
    entries = _newest(_entries(reply.epoch, pubs), top)
    if reply.recovered or since is None or not (reply.was_recovering or reply.recoverable):
        return Kept(entries, top)
    return _Unproven(entries, top)
