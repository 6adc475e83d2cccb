"""The subscription of a topic at the server: made again on each connection."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import partial
from typing import Protocol

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.connection import Close
from rxws._core.errors import short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, seconds_of
from rxws.backoff import Backoff, is_retryable
from rxws.hub._messages import Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply, UnsubscribeCode, resubscribes
from rxws.hub._protocol.schema import (
    Request,
    Result,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeRequest,
    UnsubscribeResult,
)

from .errors import Refused, refusal
from .renewal import OnRenewed, Renewal
from .replies import Lost, OnReply, is_temporary
from .token import TokenSource

__all__ = ["RETRY", "Subscription", "SubscriptionHost"]

RETRY = 1.0
"""Seconds after which histories, members and tokens are asked for again."""

_STABLE_AFTER = 10.0  # seconds after which the backoff starts over


class SubscriptionHost(Protocol):
    """The interface of the client to its subscriptions; see `ClientRegistry`."""

    backoff: Backoff

    @property
    def scheduler(self) -> SchedulerBase: ...
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

    def on_refused(self, topic: str, error: Exception) -> None: ...
    def on_accepted(self, topic: str) -> None: ...


class SubscriptionOwner(Protocol):
    """The topic; see `SubscribedTopic`."""

    @property
    def continues_after(self) -> Position | None:
        """The position after which the server is asked to continue."""
        ...

    @property
    def wants_joins(self) -> bool:
        """Whether the server is asked to push joins and leaves."""
        ...

    def on_subscribed(self, since: Position | None, reply: SubscribeResult) -> None:
        """The subscription is live, after this position."""
        ...

    def fail(self, error: Exception) -> None:
        """Close the subscription, and fail all subscribers."""
        ...


class _State(Enum):
    IDLE = auto()  # there is no connection
    FETCHING = auto()  # the token of the topic
    SUBSCRIBING = auto()
    LIVE = auto()
    WAITING = auto()  # before the next attempt
    CLOSED = auto()


class Subscription:
    """Subscribes a topic at the server, with a token, and renews its right.

    Attributes:
        has_joins: Whether the server pushes joins and leaves.
    """

    def __init__(
        self, owner: SubscriptionOwner, host: SubscriptionHost, topic: str, tokens: TokenSource
    ) -> None:
        self.has_joins = False
        self._owner = owner
        self._host = host
        self._topic = topic
        self._tokens = tokens
        self._state = _State.IDLE
        self._attempt = 0  # the number of the current subscribe command
        self._delays: Iterator[float] | None = None
        self._timer = Deadline(host.scheduler)  # of the next attempt
        self._fetching: DisposableBase | None = None
        self._renewal = Renewal(self, topic, tokens, host.scheduler, lambda: RETRY)
        self._seconds = seconds_of(host.scheduler)
        self._live_since = 0.0

    @property
    def live(self) -> bool:
        return self._state is _State.LIVE

    @property
    def closed(self) -> bool:
        return self._state is _State.CLOSED

    # --- begin and end ------------------------------------------------------------------------

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

    def resume(self) -> None:
        """Subscribe again on the same connection, and continue after the last position."""
        self._unsubscribe_at_server()
        self._stop(_State.IDLE)
        self._subscribe()

    def on_unsubscribed(self, code: int, reason: str) -> None:
        """The server has ended the subscription."""
        if code == UnsubscribeCode.EXPIRED:
            self._tokens.expire()
        if not resubscribes(code):
            self._refuse(refusal("subscribe", self._topic, ErrorReply(code, reason)))
            return
        if self._seconds() - self._live_since > _STABLE_AFTER:
            self._delays = None
        if self._delays is None:
            self._delays = iter(self._host.backoff())
            self._stop(_State.IDLE)
            self._subscribe()
        else:  # it did so a moment ago
            self._retry_later()

    def close(self) -> None:
        """Unsubscribe at the server."""
        subscribed = self._state in (_State.LIVE, _State.SUBSCRIBING)
        self._stop(_State.CLOSED)
        if subscribed and self._host.ready:
            self._unsubscribe_at_server()

    def _stop(self, state: _State) -> None:
        self._state = state
        self._attempt += 1
        self._timer.clear()
        self._renewal.stop()
        if self._fetching is not None:
            self._fetching.dispose()
            self._fetching = None

    def _unsubscribe_at_server(self) -> None:
        self._host.call(UnsubscribeRequest(self._topic), UnsubscribeResult, self._on_left)

    def _on_left(self, reply: UnsubscribeResult | ErrorReply | Lost) -> None:
        if isinstance(reply, ErrorReply):  # then only a new connection is without the subscription
            self._host.close(Close(1000, "unsubscribe error"))

    def _refuse(self, error: Refused) -> None:
        """Fail all subscribers: the server has ended the subscription, or not begun it."""
        self._stop(_State.IDLE)
        self.fail(error)

    # --- attempts -----------------------------------------------------------------------------

    def _subscribe(self, *, recover: bool = True) -> None:
        self._state = _State.FETCHING
        self._fetching = self._tokens.fetch(partial(self._on_token, recover))

    def _on_token(self, recover: bool, token: str | Exception) -> None:
        if self._state is not _State.FETCHING:
            return
        if isinstance(token, Exception):
            if is_retryable(token):
                text = "cannot get the token of topic %s now: %s"
                logger.warning(text, short_repr(self._topic), one_line(token))
                self._retry_later()
            else:
                self._owner.fail(token)
            return
        self._state = _State.SUBSCRIBING
        self._attempt += 1
        since = self._owner.continues_after if recover else None
        self.has_joins = self._owner.wants_joins
        epoch, offset = since or ("", 0)
        request = SubscribeRequest(
            self._topic, token, recover=since is not None, epoch=epoch, offset=offset,
            positioned=True, recoverable=True, join_leave=self.has_joins,
        )  # fmt: skip
        on_reply = partial(self._on_reply, self._attempt, since)
        self._host.call(request, SubscribeResult, on_reply, must_reply=True)

    def _on_reply(
        self, attempt: int, since: Position | None, reply: SubscribeResult | ErrorReply | Lost
    ) -> None:
        if attempt != self._attempt or isinstance(reply, Lost):
            return
        if isinstance(reply, ErrorReply):
            self._on_error(since, reply)
            return
        self._state = _State.LIVE
        self._live_since = self._seconds()
        self._renewal.set(reply.expires, reply.ttl)
        self._host.on_accepted(self._topic)
        self._owner.on_subscribed(since, reply)

    def _on_error(self, since: Position | None, error: ErrorReply) -> None:
        if error.code == ErrorCode.TOKEN_EXPIRED and self._tokens.renewable:
            self._tokens.expire()
            self._retry_later()
        elif error.code == ErrorCode.UNRECOVERABLE_POSITION and since is not None:
            self._subscribe(recover=False)
        elif is_temporary(error):
            self._retry_later()
        else:
            self._refuse(refusal("subscribe", self._topic, error))

    def _retry_later(self) -> None:
        if self._delays is None:
            self._delays = iter(self._host.backoff())
        delay = next(self._delays, None)
        if delay is None:  # the backoff has given up: begin anew
            self._delays = iter(self._host.backoff())
            delay = next(self._delays, RETRY)
        self._stop(_State.WAITING)
        self._timer.set(delay, self._retry)

    def _retry(self) -> None:
        self._state = _State.IDLE
        if self._host.ready:
            self._subscribe()

    # --- for the renewal of the right ---------------------------------------------------------

    def renew(self, token: str, on_reply: OnRenewed) -> None:
        self._host.call(SubRefreshRequest(self._topic, token), SubRefreshResult, on_reply)

    def fail(self, error: Exception) -> None:
        if isinstance(error, Refused):
            self._host.on_refused(self._topic, error)
        self._owner.fail(error)
