"""One connection of the protocol: executes the commands of a client, and pushes to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from enum import Enum, auto
from functools import partial
from typing import Any, TypeAlias

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws import codecs
from rxws._core.connection import Close, Connection
from rxws._core.errors import DecodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_later, call_later_shared, seconds_of
from rxws.hub._backplane import Member
from rxws.hub._backplane import PublishRequest as PublishedMessage
from rxws.hub._messages import Position
from rxws.hub._names import check_topic, matches
from rxws.hub._protocol.codes import Disconnect, ErrorCode, ErrorReply
from rxws.hub._protocol.frames import (
    PING,
    Command,
    Pong,
    ProtocolViolation,
    Refused,
    error_reply,
    message_push,
    parse_commands,
    reply,
)
from rxws.hub._protocol.schema import (
    ConnectRequest,
    ConnectResult,
    HistoryRequest,
    PingRequest,
    PingResult,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    PublishResult,
    RefreshRequest,
    RefreshResult,
    Request,
    Result,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    UnsubscribeResult,
)
from rxws.hub._user_commands import UserConnection

from .answers import members_answer
from .calls import Calls
from .history import HistoryAnswer
from .lanes import Lanes
from .options import Action, Credentials, TokenExpired, credentials_of, limited, right_of
from .payloads import NotText
from .served import Served
from .subscription import DENIED, INTERNAL, OnRight, Subscription, ttl_of

__all__ = ["ClientSession"]

_SERVER = "rxws"
_WATCH = 1.0  # seconds after the reply to connect, for messages that are still on their way
_PER_TURN = 64  # commands of a connection, so that others have their turn
_PERIOD = 5.0  # seconds in which a connection may subscribe twice as often as it has subscriptions
_GRACE = 1.0  # seconds in which an expired user must be identified
_REFRESH = ""  # the lane of refresh commands; no topic has this name


class _Phase(Enum):
    NEW = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    ENDED = auto()


_Identified: TypeAlias = Credentials | ErrorReply | Close | None
"""The user, None if all are anonymous; or an error to answer, or the close to send."""

_RIGHTS: dict[type[Request], Action] = {
    PublishRequest: "publish",
    PresenceRequest: "presence",
    PresenceStatsRequest: "presence",
    HistoryRequest: "history",
}


class _ClosedUsers(UserConnection):
    """The users that are closed while a connection asks for its own user.

    Args:
        begin: Called when all users that are closed from now on are reported.
        on_closed: Called with each of them.
    """

    __slots__ = ("_begin", "_on_closed")

    def __init__(self, begin: Callable[[], None], on_closed: Callable[[str, Close], None]) -> None:
        self._begin = begin
        self._on_closed = on_closed

    def on_registered(self) -> None:
        self._begin()

    def on_user_closed(self, user: str, close: Close) -> None:
        self._on_closed(user, close)


class ClientSession(UserConnection):
    """Executes the commands of one client in their order.

    Commands on one topic run one after the other, those on different topics at the same time. If
    `max_pending` commands are not answered, the connection is paused. It is also paused until the
    next turn of the event loop after 64 commands.
    """

    __slots__ = (
        "_calls",
        "_client",
        "_connect_id",
        "_connection",
        "_credentials",
        "_draining",
        "_expiry",
        "_frames",
        "_hold",
        "_lanes",
        "_pending",
        "_period",
        "_phase",
        "_ping",
        "_refreshes",
        "_registration",
        "_scheduler",
        "_served",
        "_subscribed",
        "_subscriptions",
        "_taken",
        "_watch",
    )

    def __init__(self, served: Served, connection: Connection[Any, Any]) -> None:
        self._served = served
        self._connection = connection
        self._scheduler = connection.scheduler
        self._phase = _Phase.NEW
        self._client = served.hub.presences.new_id()
        self._credentials: Credentials | None = None
        self._connect_id = 0
        self._refreshes = False  # whether the client refreshes its credentials, with a new token
        self._frames: list[Iterator[Command | Refused | Pong]] = []  # parsed when it is their turn
        self._draining = False
        self._taken = 0  # commands in this turn
        self._hold: DisposableBase | None = None
        self._pending = 0
        self._calls = Calls(self._on_fault)
        self._lanes: Lanes[Command] = Lanes(self._start)
        self._subscriptions: dict[str, Subscription] = {}
        self._period = 0.0  # when it began
        self._subscribed = 0  # how often the client has subscribed in this period
        self._registration: DisposableBase | None = None
        self._watch: DisposableBase | None = None  # of the users that are closed while connecting
        self._expiry = Deadline(self._scheduler)  # of the connect command and reply, then the user
        self._ping: DisposableBase | None = None

    def start(self) -> DisposableBase:
        """Begin; the result ends the session, when the connection has ended."""
        self._close_later(Disconnect.STALE.close("there was no connect command"))
        self._connection.incoming.subscribe(self._on_frame, lambda _: None)
        return Disposable(self.dispose)

    def dispose(self) -> None:
        """Release everything: the connection has ended."""
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDED
        self._frames.clear()
        self._lanes.clear()
        self._expiry.clear()
        for subscription in list(self._subscriptions.values()):
            subscription.remove()
        for disposable in (self._ping, self._registration, self._watch, self._hold):
            if disposable is not None:
                disposable.dispose()
        self._ping = self._registration = self._watch = self._hold = None
        self._calls.cancel()

    # --- sending --------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        self._connection.outgoing.on_next(text)

    def _close(self, close: Close) -> None:
        self.dispose()
        self._connection.outgoing.on_next(close)

    def _close_later(self, close: Close) -> None:
        self._expiry.set(self._served.limits.connect_timeout, partial(self._close, close))

    def _on_fault(self, error: Exception) -> None:
        """Close after a fault of this server, such as a key function of the hub that raises."""
        logger.error("hub.serve failed: %s", one_line(error), exc_info=error)
        self._close(Disconnect.SERVER_ERROR.close())

    def _answer(self, id_: int, answer: str | Result | ErrorReply) -> None:
        """Answer a command, with a line or what it is made of, unless the connection has ended."""
        if self._phase is _Phase.ENDED:
            return
        if isinstance(answer, ErrorReply):
            answer = error_reply(id_, answer)
        self._pending -= 1
        self.send(answer if isinstance(answer, str) else reply(id_, answer))
        self._drain()

    def finish(self, id_: int, topic: str, answer: str | Result | ErrorReply) -> None:
        """See `SubscriptionOwner`."""
        self._answer(id_, answer)
        self._lanes.release(topic)

    # --- receiving ------------------------------------------------------------------------------

    def _on_frame(self, frame: str | bytes) -> None:
        if self._phase is _Phase.ENDED:
            return
        self._frames.append(parse_commands(frame, self._served.limits.max_commands))
        self._drain()

    def _drain(self) -> None:
        """Take commands, unless too many are running; then the connection is paused."""
        if self._draining:
            return
        self._draining = True
        limit = self._served.limits.max_pending
        try:
            while (
                self._frames
                and self._taken < _PER_TURN
                and self._pending < limit
                and self._phase is not _Phase.CONNECTING
            ):
                if (command := self._next()) is not None:
                    self._count()
                    self._take(command)
        except Exception as exc:
            self._on_fault(exc)
        finally:
            self._draining = False
        if self._frames:
            self._hold = self._hold or self._connection.flow.pause()
        elif self._hold is not None:
            hold, self._hold = self._hold, None
            hold.dispose()

    def _count(self) -> None:
        """Count a command of this turn; most connections never need the timer."""
        self._taken += 1
        if self._taken == _PER_TURN // 4:
            call_later(self._scheduler, 0, self._on_next_turn)

    def _on_next_turn(self) -> None:
        self._taken = 0
        self._drain()

    def _next(self) -> Command | Refused | Pong | Close | None:
        """Parse the next command, or the close if it is wrong; None at the end of a frame."""
        try:
            command = next(self._frames[0], None)
        except ProtocolViolation as violation:
            return violation.close
        if command is None:
            del self._frames[0]
        return command

    def _take(self, item: Command | Refused | Pong | Close) -> None:
        if isinstance(item, Close):
            self._close(item)
        elif self._phase is _Phase.NEW:
            self._take_first(item)
        elif isinstance(item, Command):
            self._pending += 1
            self._run(item)
        elif isinstance(item, Refused):
            self._pending += 1
            self._answer(item.id, item.error)

    def _take_first(self, item: Command | Refused | Pong) -> None:
        if isinstance(item, Command) and isinstance(item.request, ConnectRequest):
            self._pending += 1
            self._phase = _Phase.CONNECTING
            self._connect(item.id, item.request)
        elif isinstance(item, Refused):
            self._close(Disconnect.BAD_REQUEST.close(item.error.message))
        else:
            self._close(Disconnect.BAD_REQUEST.close("the first command must be connect"))

    def _run(self, command: Command) -> None:
        request = command.request
        if isinstance(request, PingRequest):
            self._answer(command.id, PingResult())
        elif isinstance(request, ConnectRequest):
            self._close(Disconnect.BAD_REQUEST.close("the connection is connected already"))
        elif isinstance(request, RefreshRequest):
            self._lanes.add(_REFRESH, command)
        elif (problem := self._problem_of(request.channel)) is not None:
            self._answer(command.id, problem)
        else:
            self._lanes.add(request.channel, command)

    def _problem_of(self, topic: str) -> ErrorReply | None:
        limit = self._served.limits.max_topic_length
        if len(topic) > limit:
            return ErrorReply.of(ErrorCode.BAD_REQUEST, f"channel is longer than {limit}")
        try:
            check_topic(topic)
        except ValueError:
            return ErrorReply.of(ErrorCode.UNKNOWN_CHANNEL, short_repr(topic))
        return None

    def _start(self, command: Command) -> None:
        """Start the next command of a lane."""
        id_, request = command
        try:
            match request:
                case RefreshRequest():
                    self._refresh(id_, request)
                case SubscribeRequest():
                    self._subscribe(id_, request)
                case UnsubscribeRequest():
                    if (subscription := self._subscriptions.get(request.channel)) is not None:
                        subscription.remove()
                    self.finish(id_, request.channel, UnsubscribeResult())
                case SubRefreshRequest():
                    self._sub_refresh(id_, request)
                case _:
                    self._ask_first(id_, request)
        except Exception as exc:
            self._on_fault(exc)

    # --- rights -----------------------------------------------------------------------------------

    @property
    def _user(self) -> str:
        """The name of the user; empty if there is none."""
        return "" if self._credentials is None else self._credentials.user

    @property
    def member(self) -> Member | None:
        """See `SubscriptionOwner`."""
        if self._credentials is None:
            return None
        user, info = self._credentials.user, self._credentials.info
        return Member(self._client, user, "" if info is None else str(codecs.json.encode(info)))

    def ask(self, topic: str, action: Action, then: OnRight, seconds: float | None = None) -> None:
        """See `SubscriptionOwner`."""

        def on_right(right: float | Exception | None) -> None:
            if self._phase is not _Phase.ENDED:
                then(INTERNAL if isinstance(right, Exception) else right or DENIED)

        allow = partial(self._served.allow, self._user, topic, action)
        self._calls.call(
            allow, right_of, on_right, seconds or self._served.limits.subscribe_timeout
        )

    def _identify(
        self, token: str, then: Callable[[_Identified], None], seconds: float | None = None
    ) -> None:
        """Ask `user`, for `connect_timeout` or this number of seconds."""
        identify = self._served.user
        if identify is None:
            then(None)
            return

        def on_credentials(found: Credentials | Exception | None) -> None:
            if self._phase is _Phase.ENDED:
                return
            if isinstance(found, TokenExpired):
                then(ErrorReply.of(ErrorCode.TOKEN_EXPIRED))
            elif isinstance(found, Exception):
                then(Disconnect.SERVER_ERROR.close())
            else:
                then(found or Disconnect.INVALID_TOKEN.close())

        request: Any = self._connection.handshake.request
        identify = partial(identify, request, token)
        seconds = seconds or self._served.limits.connect_timeout
        self._calls.call(identify, credentials_of, on_credentials, seconds)

    # --- connect and refresh ----------------------------------------------------------------------

    def _connect(self, id_: int, request: ConnectRequest) -> None:
        def on_identified(found: _Identified) -> None:
            if isinstance(found, Close):
                self._close(found)
            elif isinstance(found, ErrorReply):
                self.send(error_reply(id_, found))
                self._close(Disconnect.FORCE_RECONNECT.close(found.message))
            else:
                self._credentials = found
                self._refreshes = bool(request.token)
                self._connect_id = id_
                self._register(closed)

        # The client is in time; now it must not wait forever.
        self._close_later(Disconnect.SERVER_ERROR.close("no answer in time"))
        identify = partial(self._identify, request.token, on_identified)
        closed: dict[str, Close] = {}
        if self._served.user is None:
            identify()
        else:
            # `user` may see a right that is taken away before this process receives the messages
            # to the user: so it watches all users that are closed, a little longer than that.
            watcher = _ClosedUsers(identify, partial(self._on_user_closed, closed))
            self._watch = self._served.hub.users.watch(watcher)

    def _on_user_closed(self, closed: dict[str, Close], user: str, close: Close) -> None:
        if self._credentials is None:
            closed[user] = close
        elif user == self._user:
            self._close(close)

    def _register(self, closed: Mapping[str, Close]) -> None:
        if not self._user:
            self.on_registered()
        elif (close := closed.get(self._user)) is not None:
            self._close(close)
        else:
            self._registration = self._served.hub.users.register(self._user, self)

    def _set_expiry(self) -> int | None:
        """Set the timer of the user's right; return the seconds to tell the client, if any."""
        seconds = None if self._credentials is None else self._credentials.seconds
        if seconds is None or limited(seconds) != seconds:
            self._expiry.clear()
            return None
        self._expiry.set(seconds, self._expired)
        return ttl_of(seconds) if self._refreshes else None

    def _expired(self) -> None:
        if self._refreshes:
            self._close(Disconnect.EXPIRED.close())
            return

        def on_identified(found: _Identified) -> None:
            if self._credentials is not expired:  # the client has refreshed it
                return
            if isinstance(found, Credentials) and found.user == self._user:
                self._credentials = found
                self._set_expiry()
            else:
                self._close(Disconnect.EXPIRED.close())

        expired = self._credentials
        self._identify("", on_identified, _GRACE)

    def _refresh(self, id_: int, request: RefreshRequest) -> None:
        def on_identified(found: _Identified) -> None:
            if isinstance(found, Close):
                self._close(found)
                return
            answer: Result | ErrorReply
            if isinstance(found, ErrorReply):
                answer = found
            elif found is not None and found.user != self._user:
                self._close(Disconnect.INVALID_TOKEN.close("the token is of another user"))
                return
            else:
                self._credentials = found
                self._refreshes = True
                ttl = self._set_expiry()
                answer = RefreshResult(self._client, _SERVER, ttl is not None, ttl or 0)
            self.finish(id_, _REFRESH, answer)

        if request.token:
            self._identify(request.token, on_identified)
        else:
            error = ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing")
            self.finish(id_, _REFRESH, error)

    def _send_ping(self) -> None:
        self.send(PING)
        self._ping_later()

    def _ping_later(self) -> None:
        ping = self._served.limits.ping
        self._ping = call_later_shared(self._scheduler, ping, self._send_ping)

    # --- UserConnection ---------------------------------------------------------------------------

    def on_registered(self) -> None:
        if self._phase is not _Phase.CONNECTING:
            return
        ttl = self._set_expiry()
        self._phase = _Phase.CONNECTED
        if self._watch is not None:
            call_later_shared(self._scheduler, _WATCH, self._watch.dispose)
        self._ping_later()
        expires, ping = ttl is not None, self._served.limits.ping
        result = ConnectResult(self._client, _SERVER, expires=expires, ttl=ttl or 0, ping=ping)
        self._answer(self._connect_id, result)

    def on_value(self, value: Any) -> None:
        if self._phase is _Phase.CONNECTED:
            try:
                self.send(message_push(self._served.topics.payloads.of_value(value)))
            except NotText:
                self.on_unsendable()

    def on_close(self, close: Close) -> None:
        self._close(close)

    def on_revoke(self, pattern: str) -> None:
        for topic, subscription in list(self._subscriptions.items()):
            if matches(pattern, topic):
                subscription.revoke()

    def on_missed(self) -> None:
        for subscription in list(self._subscriptions.values()):
            subscription.check()

    # --- subscriptions ----------------------------------------------------------------------------

    def _subscribe(self, id_: int, request: SubscribeRequest) -> None:
        if (problem := self._problem_of_subscribe(request)) is not None:
            self.finish(id_, request.channel, problem)
            return
        subscription = Subscription(self, self._served, self._scheduler, id_, request)
        self._subscriptions[request.channel] = subscription
        subscription.start()

    def _problem_of_subscribe(self, request: SubscribeRequest) -> ErrorReply | None:
        limits = self._served.limits
        if request.type or request.tf is not None:
            what = "map subscriptions" if request.type else "filters"
            return ErrorReply.of(ErrorCode.NOT_AVAILABLE, f"{what} are not supported")
        if request.delta not in ("", "fossil"):
            return ErrorReply.of(ErrorCode.BAD_REQUEST, "delta is unknown")
        if request.channel in self._subscriptions:
            return ErrorReply.of(ErrorCode.ALREADY_SUBSCRIBED)
        if len(self._subscriptions) >= limits.max_subscriptions:
            detail = f"{limits.max_subscriptions} subscriptions"
            return ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)
        if self._served.starting >= limits.max_starting:
            return ErrorReply.of(ErrorCode.INTERNAL, "too many subscribe at once")
        if self._subscribes_too_often():
            return ErrorReply.of(ErrorCode.TOO_MANY_REQUESTS)
        return None

    def _subscribes_too_often(self) -> bool:
        """Count a subscribe command; a topic stays attached for 5 s after the last one has left."""
        now = seconds_of(self._scheduler)()
        if not self._subscribed or now - self._period >= _PERIOD:
            self._period, self._subscribed = now, 0
        self._subscribed += 1
        return self._subscribed > 2 * self._served.limits.max_subscriptions

    def on_ended(self, subscription: Subscription) -> None:
        """See `SubscriptionOwner`."""
        del self._subscriptions[subscription.channel]

    def on_unsendable(self) -> None:
        """See `SubscriptionOwner`."""
        self._close(Disconnect.INAPPROPRIATE_PROTOCOL.close("a message is binary"))

    def _sub_refresh(self, id_: int, request: SubRefreshRequest) -> None:
        subscription = self._subscriptions.get(request.channel)
        if request.type:
            self.finish(id_, request.channel, ErrorReply.of(ErrorCode.NOT_AVAILABLE))
        elif subscription is None:
            self.finish(id_, request.channel, DENIED)
        elif not request.token:
            error = ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing")
            self.finish(id_, request.channel, error)
        else:
            subscription.refresh(id_)

    # --- other commands ---------------------------------------------------------------------------

    def _ask_first(self, id_: int, request: Any) -> None:
        """Execute a command if the user may do that."""

        def on_right(right: float | ErrorReply) -> None:
            if isinstance(right, ErrorReply):
                self.finish(id_, request.channel, right)
                return
            match request:
                case PublishRequest():
                    self._publish(id_, request)
                case HistoryRequest():
                    self._history(id_, request)
                case _:
                    self._members(id_, request)

        self.ask(request.channel, _RIGHTS[type(request)], on_right)

    def _publish(self, id_: int, request: PublishRequest) -> None:
        def on_published(result: Position | Exception | None) -> None:
            failed = isinstance(result, Exception)
            error = ErrorReply.of(ErrorCode.INTERNAL, "not confirmed")
            self._answer(id_, error if failed else PublishResult())

        topic = request.channel
        if request.type:
            detail = "map publications are not supported"
            self.finish(id_, topic, ErrorReply.of(ErrorCode.NOT_AVAILABLE, detail))
            return
        try:
            payload, value = self._served.topics.payloads.parse(request.data)
        except DecodeError as exc:
            self.finish(id_, topic, ErrorReply.of(ErrorCode.BAD_REQUEST, one_line(exc)))
            return
        hub = self._served.hub
        hub.publish(PublishedMessage(topic, payload, hub.keep_of(topic)), value, on_published)
        self._lanes.release(topic)  # the publisher keeps the order

    def _members(self, id_: int, request: PresenceRequest | PresenceStatsRequest) -> None:
        def on_members(members: Mapping[str, Member] | Exception) -> None:
            answer: str | Result | ErrorReply = INTERNAL
            if not isinstance(members, Exception):
                answer = members_answer(id_, request, members, self._served.max_reply)
            self.finish(id_, request.channel, answer)

        self._served.hub.presences.read(request.channel, on_members)

    def _history(self, id_: int, request: HistoryRequest) -> None:
        topic, served = request.channel, self._served

        def on_answer(answer: str | ErrorReply | NotText) -> None:
            if isinstance(answer, NotText):
                self.on_unsendable()
            else:
                self.finish(id_, topic, answer)

        if served.hub.keep_of(topic).count:
            HistoryAnswer(served.topics, self._scheduler, id_, request, served.max_reply, on_answer)
        else:
            detail = "the channel keeps no messages"
            self.finish(id_, topic, ErrorReply.of(ErrorCode.NOT_AVAILABLE, detail))
