"""The connection, the topics and the queue of a client of hubs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, SingleAssignmentDisposable

from rxws._core.connection import Close, Connection
from rxws._core.errors import ConnectionClosed
from rxws._core.log import logger, one_line
from rxws._core.schedulers.connection_scheduler import DefaultScheduler
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import Dispatcher, RestartableStream, call_each
from rxws._core.upstream import no_upstreams
from rxws._reconnect.channels import PendingMessage, pluralize
from rxws._reconnect.diagnostics import DropStream, SubjectDispatcher
from rxws._reconnect.link import SharedPause
from rxws._reconnect.loop_affinity import LoopAffinity
from rxws._reconnect.offline_queue import Dropped
from rxws._reconnect.reconnector import FailurePacing, ReconnectPolicy
from rxws._reconnect.subject import WebSocketSubject, describe_url, lifecycle_of
from rxws._session.options import Options
from rxws.backoff import DEFAULT, is_retryable
from rxws.hub._protocol.codes import Disconnect, close_of, is_terminal
from rxws.hub._protocol.frames import Push
from rxws.hub._protocol.schema import DisconnectPush, MessagePush, Request, Result
from rxws.hub._stats import Counters
from rxws.hub._turns import Turns
from rxws.status import Closed, Open, Status

from .publishing import ClientPublisher, Publication, PublishQueue
from .replies import Lost, OnReply
from .session import Session
from .subscribed_topic import SubscribedTopic
from .token import Token, TokenSource

__all__ = ["ClientRegistry", "ClientStats"]

_MAX_PACED = 1000  # topics
_CLOSE_TIMEOUT = Options().close_timeout
_TOO_BIG = 1009
_REFUSED_OPTIONS = {
    "codec": "the protocol is JSON",
    "opening": "the client sends the first messages itself",
}


@dataclass(frozen=True, slots=True)
class ClientStats:
    """Counts of a `HubClient` since it was created.

    Args:
        published: Messages that were sent to the server.
        confirmed: Those of them that the server has confirmed.
        unconfirmed: Those of them that may have been published; see `Unconfirmed`.
        refused: Those of them that the server has refused.
        dropped: Messages that were never sent, by reason; see `rxws.Dropped`.
        queued: Messages that wait for a connection.
        received: Messages that were delivered to the subscribers of a topic.
        gaps: The number of gaps that were reported, by reason; see `rxws.hub.Gap`.
        reconnects: How often a connection was replaced.
        topics: The topics that are subscribed.
        violations: Frames of the server that broke the protocol.
    """

    published: int = 0
    confirmed: int = 0
    unconfirmed: int = 0
    refused: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    queued: int = 0
    received: int = 0
    gaps: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    reconnects: int = 0
    topics: int = 0
    violations: int = 0


class ClientRegistry:
    """The state of a `HubClient`, as its topics and its session see it."""

    def __init__(self, url: Any, token: Token, options: dict[str, Any]) -> None:
        for name, reason in _REFUSED_OPTIONS.items():
            if name in options:
                raise TypeError(f"rxws.hub.connect takes no {name}=: {reason}")
        affinity = self._affinity = LoopAffinity(options.get("scheduler"))
        self.dispatcher: Dispatcher = SubjectDispatcher(affinity)
        self.turns = Turns(self)
        self.tokens = TokenSource(token)
        self.counters = Counters()
        self.backoff = options.get("backoff", DEFAULT)
        self._url = url
        self._retryable: Callable[[Exception], bool] = options.pop("retryable", _is_retryable)
        self._policy = ReconnectPolicy(self.backoff, self._retryable)
        self._close_timeout: float = options.get("close_timeout", _CLOSE_TIMEOUT)
        queue = PublishQueue(
            options.pop("queue", 1 << 20),
            options.pop("queue_overflow", "drop_oldest"),
            options.pop("ttl", None),
            affinity.seconds,
        )
        self._subject: WebSocketSubject[Any, Any] = WebSocketSubject(
            _with_token(url, self.tokens),
            opening=self._opening,
            retryable=self._may_retry,
            **options,
        )
        self._lifecycle = lifecycle_of(self._subject)
        self._session: Session | None = None
        self._feed: SingleAssignmentDisposable | None = None  # while a connection is wanted
        self._fatal: Exception | None = None  # why the connection is being closed for good
        self._topics: dict[str, SubscribedTopic] = {}
        self._pacing: dict[str, FailurePacing] = {}  # of topics that were refused
        self._connects = 0
        self._violations = 0
        self._has_reported = False
        self.status: Observable[Status] = self._subject.status
        self.errors: Observable[Exception] = self._subject.errors
        drops = DropStream(self.dispatcher, _log_fault, queue, "a client of a hub")
        self.drops: Observable[Dropped[Any]] = drops
        self._publisher = ClientPublisher(self, queue, drops)
        self._messages: RestartableStream[Any] = RestartableStream(
            self.dispatcher, _log_fault, self._on_messages_changed
        )
        self.messages: Observable[Any] = self._messages
        self._subject.status.subscribe(self._on_status)

    @property
    def connection(self) -> Connection[Any, Any] | None:
        """The open connection, or None."""
        return self._subject.connection

    @property
    def stats(self) -> ClientStats:
        """The counts so far."""
        counters = self.counters
        return ClientStats(
            published=counters.published,
            confirmed=counters.confirmed,
            unconfirmed=counters.unconfirmed,
            refused=counters.refused,
            dropped=self._publisher.dropped,
            queued=len(self._publisher),
            received=counters.received,
            gaps={str(reason): count for reason, count in counters.gaps.items()},
            reconnects=max(self._connects - 1, 0),
            topics=len(self._topics),
            violations=self._violations,
        )

    def dispose(self) -> None:
        """Remove all subscribers without notifying them, drop the queue, and close with 1000."""
        for topic in list(self._topics.values()):
            topic.detach_all()
        self._messages.detach_all()
        self._publisher.dispose()
        self._subject.dispose()

    async def enter(self) -> None:
        await self._subject.__aenter__()

    async def exit(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        if exc is None:
            await self._publisher.drain(self._close_timeout)
        self._publisher.stop()
        await self._subject.__aexit__(kind, exc, traceback)
        self.dispose()

    def describe(self) -> str:
        connection = self.connection
        where = describe_url(self._url if connection is None else connection.handshake.url)
        status = type(self._lifecycle.current_status).__name__
        topics = pluralize(len(self._topics), "topic")
        return f"{where} {status}, {topics}, {len(self._publisher)} queued"

    # --- for topics ---------------------------------------------------------------------------

    def default_scheduler(self) -> SchedulerBase:
        return DefaultScheduler(self._affinity, _log_fault)

    def attached(self, name: str, tokens: TokenSource) -> SubscribedTopic:
        """Return the subscription of a topic, which a subscriber will use at once."""
        self._bind()
        self._check_thread()
        if not self._topics:
            self.turns.clear()  # the event loop may be another one now
        found = self._topics.get(name)
        return SubscribedTopic(self, name, tokens) if found is None else found

    def find(self, name: str) -> SubscribedTopic | None:
        """Return the subscription of a topic that has subscribers."""
        return self._topics.get(name)

    def _check_thread(self) -> None:
        if not self._affinity.on_thread:
            raise RuntimeError(
                "a topic was subscribed in another thread than the client's: only on_next may be "
                "called from anywhere; use loop.call_soon_threadsafe"
            )

    @property
    def scheduler(self) -> SchedulerBase:
        return self._affinity

    def post(self, action: Callable[[], object]) -> bool:
        """Call in the next turn."""
        call_later(self._affinity, 0, action)
        return True

    @property
    def pauses(self) -> SharedPause:
        return self._lifecycle.pauses

    @property
    def paused(self) -> bool:
        return self._lifecycle.pauses.paused

    @property
    def ready(self) -> bool:
        return self._session is not None and self._session.ready

    def call(
        self,
        request: Request | Callable[[int], str],
        expects: type[Result],
        on_reply: OnReply,
        *,
        must_reply: bool = False,
    ) -> None:
        if self._session is None or not self._session.ready:
            on_reply(Lost(written=False))
        else:
            self._session.call(request, expects, on_reply, must_reply=must_reply)

    def on_subscribers_changed(self, topic: SubscribedTopic) -> None:
        """Begin or end; subscribers may leave in any thread."""
        self._affinity.run(partial(self._on_subscribers_changed, topic))

    def _on_subscribers_changed(self, topic: SubscribedTopic) -> None:
        name = topic.name
        if topic.streams.observed:
            if name not in self._topics:
                self._topics[name] = topic
                self._start(topic)
        elif self._topics.get(name) is topic:
            del self._topics[name]
            topic.close()
            self.reconcile()

    def _start(self, topic: SubscribedTopic) -> None:
        pacing = self._pacing.get(topic.name)
        waiting = None if pacing is None else pacing.wait(self._affinity.seconds())
        try:
            self.reconcile()
        except BaseException:
            self._topics.pop(topic.name, None)
            raise
        topic.subscription.start(0.0 if waiting is None else waiting.delay)

    def on_refused(self, topic: str, error: Exception) -> None:
        """Let `ops.retry()` wait before it subscribes again and again."""
        if len(self._pacing) >= _MAX_PACED:
            self._pacing.clear()
        pacing = self._pacing.setdefault(topic, FailurePacing(self._policy))
        pacing.failed(error, self._affinity.seconds())

    def on_accepted(self, topic: str) -> None:
        self._pacing.pop(topic, None)

    # --- publishing ---------------------------------------------------------------------------

    def publish(self, publication: Publication) -> None:
        """Queue a message, from any thread."""
        self._publisher.add(publication)
        if self._affinity.scheduler is None or self._affinity.closed:
            try:
                self._bind()
            except RuntimeError:  # it waits for a subscriber, which brings the event loop
                return
        self._affinity.run(self._publisher.pump)

    def report(self, error: Exception) -> None:
        """Report that a message was not published, or perhaps not."""
        repeated, self._has_reported = self._has_reported, True
        if self._lifecycle.faults.observed:
            self._lifecycle.faults.emit(error)
        elif repeated:
            logger.debug("a client of a hub failed again: %s", one_line(error))
        else:
            logger.error("a client of a hub: %s", one_line(error))

    # --- the connection -------------------------------------------------------------------------

    def _bind(self) -> None:
        if self._affinity.closed:  # nothing of the old loop can run any more
            self._session = self._feed = None
            self._topics.clear()
            self._publisher.on_loop_closed()
        if self._feed is None:
            self._affinity.bind()
        else:
            self._affinity.check()

    def _on_messages_changed(self) -> None:
        if self._messages.observed:
            self._bind()
        self._affinity.run(self.reconcile)

    def reconcile(self) -> None:
        """Open the connection if somebody needs it, or close it."""
        wanted = bool(self._topics) or self._messages.observed or self._publisher.active
        if wanted and self._feed is None:
            self._bind()
            feed = self._feed = SingleAssignmentDisposable()
            try:
                with no_upstreams():
                    feed.disposable = self._subject.subscribe(
                        self._on_frame, self._on_end, self._on_end
                    )
            except BaseException:
                self._feed = None
                raise
        elif not wanted and self._feed is not None:
            feed, self._feed = self._feed, None
            feed.dispose()

    def _opening(self, connection: Connection[Any, Any]) -> Iterable[str]:
        self._session = Session(self, connection)
        return [self._session.connect_line()]

    def _on_frame(self, frame: str | bytes) -> None:
        if self._session is not None:
            self._session.on_frame(frame)

    def _on_status(self, status: Status) -> None:
        session = self._session
        if isinstance(status, Open) or session is None:
            return
        self._session = None
        close = status.close if isinstance(status, Closed) else None
        if close is not None and close.code == Disconnect.EXPIRED:
            self.tokens.expire()
        for topic in list(self._topics.values()):
            topic.subscription.on_lost()
        session.end()
        self._publisher.on_lost()

    def _on_end(self, error: Exception | None = None) -> None:
        """The subject has given up."""
        self._feed = None
        fatal, self._fatal = self._fatal, None
        error = fatal or error
        if isinstance(error, ConnectionClosed):
            _add_remedy(error)
        self._publisher.fail(error)
        topics, self._topics = list(self._topics.values()), {}
        finish = self._messages.finish_subscribers()
        call_each(lambda topic: topic.fail(error), topics)
        self.dispatcher.post(finish, error)

    def _may_retry(self, cause: Exception) -> bool:
        return self._fatal is None and self._retryable(cause)

    # --- for the session ------------------------------------------------------------------------

    def send(self, line: str) -> PendingMessage | None:
        return self._lifecycle.send_pinned(line)

    def on_connected(self) -> None:
        self._connects += 1
        for topic in list(self._topics.values()):
            topic.subscription.on_connected()
        self._publisher.pump()

    def on_push(self, push: Push, size: int) -> None:
        body = push.body
        if isinstance(body, MessagePush):
            self._messages.emit(body.data)
        elif isinstance(body, DisconnectPush):
            close = close_of(body.code, body.reason)
            if is_terminal(close.code):
                self.fail(ConnectionClosed(close))
            else:
                self.close(Close(1000))
        elif (topic := self._topics.get(push.channel)) is not None:
            topic.on_push(body, size)

    def on_violation(self, problem: str) -> None:
        self._violations += 1
        log = logger.warning if self._violations == 1 else logger.debug
        log("the server of a hub broke the protocol: %s", problem)

    def close(self, close: Close) -> None:
        if self._session is not None:
            self._session.close(close)

    def fail(self, error: Exception) -> None:
        self._fatal = error
        self.close(Close(1000))


def _is_retryable(cause: Exception) -> bool:
    if isinstance(cause, ConnectionClosed):
        close = cause.close
        terminal = close.by != "local" and is_terminal(close.code)
        return close.code != _TOO_BIG and not terminal
    return is_retryable(cause)


def _with_token(url: Any, tokens: TokenSource) -> Any:
    """Return a URL or a dial that gets a fresh token first, if it must."""
    if not tokens.renewable:
        return url
    if isinstance(url, Observable):
        return Observable(partial(_dial_with_token, url, tokens))

    async def url_with_token() -> Any:
        await tokens.get()
        found = url() if callable(url) else url
        return await found if inspect.isawaitable(found) else found

    return url_with_token


def _dial_with_token(
    dial: Observable[Any],
    tokens: TokenSource,
    observer: ObserverBase[Any],
    scheduler: SchedulerBase | None = None,
) -> DisposableBase:
    dialing = SingleAssignmentDisposable()

    def on_token(token: str | Exception) -> None:
        if isinstance(token, Exception):
            observer.on_error(token)
        else:
            dialing.disposable = dial.subscribe(observer, scheduler=scheduler)

    return CompositeDisposable(tokens.fetch(on_token), dialing)


def _add_remedy(error: ConnectionClosed) -> None:
    code = error.close.code
    if code == _TOO_BIG:
        error.add_note("A message of the server was too big: raise max_message_size=.")
    elif is_terminal(code):
        error.add_note("After this code the protocol of the server forbids to connect again.")


def _log_fault(error: Exception) -> None:
    logger.error("a subscriber of a hub's client raised: %s", one_line(error), exc_info=error)
