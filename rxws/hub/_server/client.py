"""One connection of the protocol: executes the commands of a client, and pushes to it."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, TypeVar, cast

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws import codecs
from rxws._core.connection import Close, Connection
from rxws._core.errors import DecodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_later_shared
from rxws._core.streams.coroutines import never_used
from rxws.hub._backplane import History, Member
from rxws.hub._backplane import PublishRequest as PublishedMessage
from rxws.hub._messages import Position
from rxws.hub._names import check_topic, matches
from rxws.hub._protocol import (
    PING,
    Command,
    ConnectRequest,
    ConnectResult,
    Disconnect,
    ErrorCode,
    ErrorReply,
    HistoryRequest,
    HistoryResult,
    PingRequest,
    PingResult,
    Pong,
    PresenceRequest,
    PresenceResult,
    PresenceStatsRequest,
    PresenceStatsResult,
    ProtocolViolation,
    PublishRequest,
    PublishResult,
    RefreshRequest,
    RefreshResult,
    Refused,
    Result,
    SubRefreshRequest,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeCode,
    UnsubscribePush,
    UnsubscribeRequest,
    UnsubscribeResult,
    error_reply,
    message_push,
    parse_commands,
    push,
    reply,
    reply_with_publications,
)
from rxws.hub._users import ClosedUsers

from .options import (
    Action,
    Allow,
    Credentials,
    Identify,
    Limits,
    TokenExpired,
    credentials_of,
    right_of,
)
from .payloads import NotText
from .subscription import Subscription, SubscriptionState
from .topics import ServedTopics, info_of

__all__ = ["ClientSession", "Served"]

T = TypeVar("T")

_FLAG_REJECT_UNRECOVERED = 2
_SERVER = "rxws"
_MAX_TTL = (1 << 32) - 1
_WATCH = 1.0  # seconds after the reply to connect, for messages that are still on their way


class Served:
    """What the connections of one `hub.serve` share."""

    def __init__(
        self,
        topics: ServedTopics,
        user: Identify | None,
        allow: Allow,
        limits: Limits,
        max_recovered: int,
    ) -> None:
        self.hub = topics.hub
        self.payloads = topics.payloads
        self.topics = topics
        self.user = user
        self.allow = allow
        self.limits = limits
        self.max_recovered = max_recovered
        self.starting = 0  # subscriptions that are not answered


class _Phase(Enum):
    NEW = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    ENDED = auto()


_Item = Command | Refused | Pong | Close
_TopicRequest = (
    PublishRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | SubRefreshRequest
)
_Identified = Credentials | ErrorReply | Close | None
"""The user, None if all are anonymous; or an error to answer, or the close to send."""

_OnRight = Callable[[float | ErrorReply], None]
"""Gets for how many seconds something is allowed, or the error to answer."""

_DENIED = ErrorReply.of(ErrorCode.PERMISSION_DENIED)
_INTERNAL = ErrorReply.of(ErrorCode.INTERNAL)
_STORM = ErrorReply.of(ErrorCode.INTERNAL, "too many subscribe at once")


class _Lane:
    """The commands on one topic, which run one after the other."""

    __slots__ = ("busy", "looping", "waiting")

    def __init__(self) -> None:
        self.waiting: list[tuple[int, _TopicRequest]] = []
        self.busy = False  # whether one is running
        self.looping = False  # whether `_run_lane` is on the stack


class ClientSession:
    """Executes the commands of one client in their order.

    Commands on one topic run one after the other, those on different topics at the same time. If
    `max_pending` commands are not answered, the connection is paused.
    """

    __slots__ = (
        "_client",
        "_connect_id",
        "_connection",
        "_credentials",
        "_draining",
        "_expiry",
        "_hold",
        "_lanes",
        "_pending",
        "_phase",
        "_ping",
        "_queue",
        "_refreshes",
        "_registration",
        "_scheduler",
        "_served",
        "_subscriptions",
        "_tasks",
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
        self._queue: list[_Item] = []
        self._draining = False
        self._hold: DisposableBase | None = None
        self._pending = 0
        self._lanes: dict[str, _Lane] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._registration: DisposableBase | None = None
        self._watch: DisposableBase | None = None  # of the users that are closed while connecting
        self._expiry = Deadline(self._scheduler)  # of the connect timeout, then of the user
        self._ping: DisposableBase | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> DisposableBase:
        """Begin; the result ends the session, when the connection has ended."""
        stale = partial(self._close, Disconnect.STALE.close("there was no connect command"))
        self._expiry.set(self._served.limits.connect_timeout, stale)
        self._connection.incoming.subscribe(self._on_frame, lambda _: None)
        return Disposable(self.dispose)

    def dispose(self) -> None:
        """Release everything: the connection has ended."""
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDED
        self._queue.clear()
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._lanes.clear()
        self._expiry.clear()
        for subscription in list(self._subscriptions.values()):
            self._remove(subscription)
        for disposable in (self._ping, self._registration, self._watch, self._hold):
            if disposable is not None:
                disposable.dispose()
        self._ping = self._registration = self._watch = self._hold = None
        for task in tuple(self._tasks):
            task.cancel()

    # --- sending --------------------------------------------------------------------------------

    @property
    def max_recovered(self) -> int:
        return self._served.max_recovered

    def send(self, text: str) -> None:
        self._connection.outgoing.on_next(text)

    def _close(self, close: Close) -> None:
        self.dispose()
        self._connection.outgoing.on_next(close)

    def _on_fault(self, error: Exception) -> None:
        """Close after a fault of this server, such as a key function of the hub that raises."""
        logger.error("hub.serve failed: %s", one_line(error), exc_info=error)
        self._close(Disconnect.SERVER_ERROR.close())

    def _answer(self, id_: int, result: Result) -> None:
        self._answer_text(reply(id_, result))

    def _answer_error(self, id_: int, error: ErrorReply) -> None:
        self._answer_text(error_reply(id_, error))

    def _answer_text(self, text: str) -> None:
        self._pending -= 1
        self.send(text)
        self._drain()

    # --- receiving ------------------------------------------------------------------------------

    def _on_frame(self, frame: str | bytes) -> None:
        if self._phase is _Phase.ENDED:
            return
        try:
            self._queue.extend(self._parse(frame))
        except ProtocolViolation as violation:
            self._queue.append(violation.close)
        self._drain()

    def _parse(self, frame: str | bytes) -> Any:
        return parse_commands(frame, self._served.limits.max_commands)

    def _drain(self) -> None:
        """Take commands, unless too many are running; then the connection is paused."""
        if self._draining:
            return
        self._draining = True
        try:
            limit = self._served.limits.max_pending
            while self._queue and self._phase is not _Phase.CONNECTING and self._pending < limit:
                self._take(self._queue.pop(0))
        except Exception as exc:
            self._on_fault(exc)
        finally:
            self._draining = False
        if self._queue:
            self._hold = self._hold or self._connection.flow.pause()
        elif self._hold is not None:
            hold, self._hold = self._hold, None
            hold.dispose()

    def _take(self, item: _Item) -> None:
        if isinstance(item, Close):
            self._close(item)
        elif self._phase is _Phase.NEW:
            self._take_first(item)
        elif isinstance(item, Command):
            self._pending += 1
            self._run(item)
        elif isinstance(item, Refused):
            self._pending += 1
            self._answer_error(item.id, item.error)

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
            self._refresh(command.id, request)
        else:
            self._run_in_lane(command.id, request)

    def _run_in_lane(self, id_: int, request: _TopicRequest) -> None:
        topic = request.channel
        if (problem := self._problem_of(topic)) is not None:
            self._answer_error(id_, problem)
        else:
            lane = self._lanes.setdefault(topic, _Lane())
            lane.waiting.append((id_, request))
            self._run_lane(topic, lane)

    def _run_lane(self, topic: str, lane: _Lane) -> None:
        """Run commands until one has to wait; this does not recurse, as there may be many."""
        if lane.looping:
            return
        lane.looping = True
        try:
            while lane.waiting and not lane.busy:
                lane.busy = True
                self._run_on_topic(*lane.waiting.pop(0))
        except Exception as exc:
            self._on_fault(exc)
        lane.looping = False
        if not lane.busy:
            self._lanes.pop(topic, None)

    def _problem_of(self, topic: str) -> ErrorReply | None:
        limit = self._served.limits.max_topic_length
        if len(topic) > limit:
            return ErrorReply.of(ErrorCode.BAD_REQUEST, f"channel is longer than {limit}")
        try:
            check_topic(topic)
        except ValueError:
            return ErrorReply.of(ErrorCode.UNKNOWN_CHANNEL, short_repr(topic))
        return None

    def _run_on_topic(self, id_: int, request: _TopicRequest) -> None:
        match request:
            case PublishRequest():
                self._publish(id_, request)
            case SubscribeRequest():
                self._subscribe(id_, request)
            case UnsubscribeRequest():
                self._unsubscribe(id_, request)
            case PresenceRequest():
                self._presence(id_, request)
            case PresenceStatsRequest():
                self._presence_stats(id_, request)
            case HistoryRequest():
                self._history(id_, request)
            case SubRefreshRequest():
                self._sub_refresh(id_, request)

    def _release(self, topic: str) -> None:
        """The next command on this topic may run."""
        lane = self._lanes.get(topic)
        if lane is not None:  # otherwise the connection has ended
            lane.busy = False
            self._run_lane(topic, lane)

    def _finish(self, id_: int, topic: str, answer: Result | ErrorReply) -> None:
        """Answer, and run the next command on this topic."""
        if isinstance(answer, ErrorReply):
            self._answer_error(id_, answer)
        else:
            self._answer(id_, answer)
        self._release(topic)

    # --- rights -----------------------------------------------------------------------------------

    @property
    def user(self) -> str:
        """The name of the user; empty if there is none."""
        return "" if self._credentials is None else self._credentials.user

    def _ask(self, topic: str, action: Action, then: _OnRight) -> None:
        def on_right(right: float | Exception | None) -> None:
            then(_INTERNAL if isinstance(right, Exception) else right or _DENIED)

        self._call(partial(self._served.allow, self.user, topic, action), right_of, on_right)

    def _call(
        self,
        call: Callable[[], Any],
        convert: Callable[[Any], T],
        then: Callable[[T | Exception], None],
    ) -> None:
        """Call a function of the application, and await what it returns; exceptions are logged."""
        result: Any = None
        try:
            result = call()
            if inspect.isawaitable(result):
                self._spawn(result, partial(self._await, result, convert, then))
                return
            converted = convert(result)
        except Exception as exc:
            then(_failed(exc))
        else:
            then(converted)

    async def _await(
        self,
        result: Awaitable[Any],
        convert: Callable[[Any], T],
        then: Callable[[T | Exception], None],
    ) -> None:
        converted: T | Exception
        try:
            converted = convert(await result)
        except Exception as exc:
            converted = _failed(exc)
        if self._phase is not _Phase.ENDED:
            try:
                then(converted)
            except Exception as exc:
                self._on_fault(exc)

    def _spawn(self, result: Any, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # in virtual time
            never_used(result)  # closes a coroutine
            raise

        def on_done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            never_used(result)  # closes a coroutine whose task was cancelled before it began

        task = loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(on_done)

    # --- connect and refresh ----------------------------------------------------------------------

    def _identify(self, token: str, then: Callable[[_Identified], None]) -> None:
        identify = self._served.user
        if identify is None:
            then(None)
            return

        def on_credentials(found: Credentials | Exception | None) -> None:
            if isinstance(found, TokenExpired):
                then(ErrorReply.of(ErrorCode.TOKEN_EXPIRED))
            elif isinstance(found, Exception):
                then(Disconnect.SERVER_ERROR.close())
            else:
                then(found or Disconnect.INVALID_TOKEN.close())

        request: Any = self._connection.handshake.request
        self._call(partial(identify, request, token), credentials_of, on_credentials)

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

        identify = partial(self._identify, request.token, on_identified)
        closed: dict[str, Close] = {}
        if self._served.user is None:
            identify()
        else:
            # `user` may see a right that is taken away before this process receives the messages
            # to the user: so it watches all users that are closed, a little longer than that.
            watcher = ClosedUsers(identify, partial(self._on_user_closed, closed))
            self._watch = self._served.hub.users.watch(watcher)

    def _on_user_closed(self, closed: dict[str, Close], user: str, close: Close) -> None:
        if self._credentials is None:
            closed[user] = close
        elif user == self.user:
            self._close(close)

    def _register(self, closed: Mapping[str, Close]) -> None:
        if not self.user:
            self.on_registered()
        elif (close := closed.get(self.user)) is not None:
            self._close(close)
        else:
            self._registration = self._served.hub.users.register(self.user, self)

    def _connected(self) -> None:
        ping = self._served.limits.ping
        ttl = self._set_expiry()
        self._phase = _Phase.CONNECTED
        if self._watch is not None:
            call_later_shared(self._scheduler, _WATCH, self._watch.dispose)
        self._ping = call_later_shared(self._scheduler, ping, self._send_ping)
        self._answer(
            self._connect_id,
            ConnectResult(
                client=self._client,
                version=_SERVER,
                expires=ttl is not None,
                ttl=ttl or 0,
                ping=ping,
            ),
        )

    def _send_ping(self) -> None:
        self.send(PING)
        ping = self._served.limits.ping
        self._ping = call_later_shared(self._scheduler, ping, self._send_ping)

    def _set_expiry(self) -> int | None:
        """Set the timer of the user's right; return the seconds to tell the client, if any."""
        seconds = None if self._credentials is None else self._credentials.seconds
        if seconds is None:
            self._expiry.clear()
            return None
        self._expiry.set(seconds, self._expired)
        return _ttl(seconds) if self._refreshes else None

    def _expired(self) -> None:
        if self._refreshes:
            self._close(Disconnect.EXPIRED.close())
            return

        def on_identified(found: _Identified) -> None:
            if isinstance(found, Credentials) and found.user == self.user:
                self._credentials = found
                self._set_expiry()
            else:
                self._close(Disconnect.EXPIRED.close())

        self._identify("", on_identified)

    def _refresh(self, id_: int, request: RefreshRequest) -> None:
        if not request.token:
            self._answer_error(id_, ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing"))
            return

        def on_identified(found: _Identified) -> None:
            if isinstance(found, ErrorReply):
                self._answer_error(id_, found)
            elif isinstance(found, Close):
                self._close(found)
            elif found is not None and found.user != self.user:
                self._close(Disconnect.INVALID_TOKEN.close("the token is of another user"))
            else:
                self._credentials = found
                ttl = self._set_expiry()
                self._answer(id_, RefreshResult(self._client, _SERVER, ttl is not None, ttl or 0))

        self._identify(request.token, on_identified)

    # --- UserConnection ---------------------------------------------------------------------------

    def on_registered(self) -> None:
        if self._phase is _Phase.CONNECTING:
            self._connected()

    def on_value(self, value: Any) -> None:
        if self._phase is _Phase.CONNECTED:
            try:
                self.send(message_push(self._served.payloads.of_value(value)))
            except NotText:
                self.on_unsendable()

    def on_close(self, close: Close) -> None:
        self._close(close)

    def on_revoke(self, pattern: str) -> None:
        for topic, subscription in list(self._subscriptions.items()):
            if matches(pattern, topic):
                if subscription.state is SubscriptionState.ASKING:
                    subscription.revoked = True
                elif subscription.state is SubscriptionState.STARTING:
                    self._fail(subscription, _DENIED)
                else:
                    self.end(subscription, UnsubscribeCode.SERVER)

    def on_missed(self) -> None:
        for subscription in list(self._subscriptions.values()):
            if subscription.state is SubscriptionState.LIVE:
                self._check(subscription)

    # --- subscriptions ----------------------------------------------------------------------------

    def _subscribe(self, id_: int, request: SubscribeRequest) -> None:
        topic, limits = request.channel, self._served.limits
        problem: ErrorReply | None = None
        if request.type or request.tf is not None:
            what = "map subscriptions" if request.type else "filters"
            problem = ErrorReply.of(ErrorCode.NOT_AVAILABLE, f"{what} are not supported")
        elif request.delta not in ("", "fossil"):
            problem = ErrorReply.of(ErrorCode.BAD_REQUEST, "delta is unknown")
        elif topic in self._subscriptions:
            problem = ErrorReply.of(ErrorCode.ALREADY_SUBSCRIBED)
        elif len(self._subscriptions) >= limits.max_subscriptions:
            detail = f"{limits.max_subscriptions} subscriptions"
            problem = ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail)
        elif self._served.starting >= limits.max_starting:
            problem = _STORM
        if problem is not None:
            self._finish(id_, topic, problem)
            return
        subscription = Subscription(self, self._scheduler, id_, request)
        self._subscriptions[topic] = subscription
        self._served.starting += 1
        self._ask(topic, "subscribe", partial(self._on_may_subscribe, subscription))

    def _on_may_subscribe(self, subscription: Subscription, right: float | ErrorReply) -> None:
        if isinstance(right, ErrorReply) or subscription.revoked:
            self._fail(subscription, _DENIED if subscription.revoked else cast(ErrorReply, right))
            return
        subscription.seconds = right
        self._ask(subscription.channel, "presence", partial(self._on_may_be_present, subscription))

    def _on_may_be_present(self, subscription: Subscription, right: float | ErrorReply) -> None:
        if subscription.revoked:
            self._fail(subscription, _DENIED)
            return
        present = not isinstance(right, ErrorReply) and bool(self.user)
        subscription.present = present
        subscription.join_leave = present and subscription.request.join_leave
        subscription.state = SubscriptionState.STARTING
        subscription.topic = self._served.topics.add(subscription.channel, subscription)
        timeout = self._served.limits.subscribe_timeout
        subscription.expiry.set(timeout, partial(self.on_not_started, subscription))
        subscription.topic.attached.begin(subscription)

    def on_started(
        self, subscription: Subscription, result: SubscribeResult, publications: Sequence[str]
    ) -> None:
        flag = subscription.request.flag & _FLAG_REJECT_UNRECOVERED
        if flag and result.recoverable and result.was_recovering and not result.recovered:
            self._fail(subscription, ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
            return
        self._served.starting -= 1
        subscription.state = SubscriptionState.LIVE
        ttl = self._set_subscription_expiry(subscription, subscription.seconds)
        result = result._replace(expires=ttl is not None, ttl=ttl or 0)
        self._answer_text(reply_with_publications(subscription.id, result, publications))
        if subscription.present and subscription.state is SubscriptionState.LIVE:
            member = Member(self._client, self.user, self._info())
            subscription.member = self._served.hub.presences.join(subscription.channel, member)
        self._release(subscription.channel)

    def _info(self) -> str:
        info = None if self._credentials is None else self._credentials.info
        return "" if info is None else str(codecs.json.encode(info))

    def on_not_started(self, subscription: Subscription) -> None:
        self._fail(subscription, _INTERNAL)

    def _fail(self, subscription: Subscription, error: ErrorReply) -> None:
        """Answer a subscribe command with an error."""
        self._remove(subscription)
        self._finish(subscription.id, subscription.channel, error)

    def _remove(self, subscription: Subscription) -> None:
        if subscription.state in (SubscriptionState.ASKING, SubscriptionState.STARTING):
            self._served.starting -= 1
        subscription.state = SubscriptionState.ENDED
        subscription.expiry.clear()
        del self._subscriptions[subscription.channel]
        if subscription.member is not None:
            subscription.member.dispose()
        if subscription.topic is not None:
            self._served.topics.remove(subscription.topic, subscription)

    def end(self, subscription: Subscription, code: UnsubscribeCode) -> None:
        self._remove(subscription)
        self.send(push(subscription.channel, UnsubscribePush(int(code), code.reason)))

    def on_unsendable(self) -> None:
        self._close(Disconnect.INAPPROPRIATE_PROTOCOL.close("a message is binary"))

    def _set_subscription_expiry(self, subscription: Subscription, seconds: float) -> int | None:
        if seconds == math.inf:
            subscription.expiry.clear()
            return None
        subscription.expiry.set(seconds, partial(self._subscription_expired, subscription))
        return _ttl(seconds) if subscription.refreshes else None

    def _subscription_expired(self, subscription: Subscription) -> None:
        if subscription.refreshes:
            self.end(subscription, UnsubscribeCode.EXPIRED)
        else:
            self._check(subscription)

    def _check(self, subscription: Subscription) -> None:
        """Ask again whether the user may be subscribed."""
        if subscription.checking:
            return
        subscription.checking = True

        def on_right(right: float | ErrorReply) -> None:
            subscription.checking = False
            if subscription.state is not SubscriptionState.LIVE:
                return
            if not isinstance(right, ErrorReply):
                self._set_subscription_expiry(subscription, right)
            elif right is _DENIED:
                self.end(subscription, UnsubscribeCode.SERVER)
            else:
                self.end(subscription, UnsubscribeCode.EXPIRED)

        self._ask(subscription.channel, "subscribe", on_right)

    def _sub_refresh(self, id_: int, request: SubRefreshRequest) -> None:
        topic = request.channel
        subscription = self._subscriptions.get(topic)
        if subscription is None or request.type:
            code = ErrorCode.NOT_AVAILABLE if request.type else ErrorCode.PERMISSION_DENIED
            self._finish(id_, topic, ErrorReply.of(code))
            return
        if not request.token:
            self._finish(id_, topic, ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing"))
            return

        def on_right(right: float | ErrorReply) -> None:
            answer: Result | ErrorReply
            if isinstance(right, ErrorReply):
                answer = right
            elif subscription.state is not SubscriptionState.LIVE:
                answer = ErrorReply.of(ErrorCode.EXPIRED)
            else:
                subscription.refreshes = True
                ttl = self._set_subscription_expiry(subscription, right)
                answer = SubRefreshResult(ttl is not None, ttl or 0)
            self._finish(id_, topic, answer)

        self._ask(topic, "subscribe", on_right)

    def _unsubscribe(self, id_: int, request: UnsubscribeRequest) -> None:
        subscription = self._subscriptions.get(request.channel)
        if subscription is not None:
            self._remove(subscription)
        self._finish(id_, request.channel, UnsubscribeResult())

    # --- other commands ---------------------------------------------------------------------------

    def _publish(self, id_: int, request: PublishRequest) -> None:
        topic = request.channel

        def on_right(right: float | ErrorReply) -> None:
            if isinstance(right, ErrorReply):
                self._finish(id_, topic, right)
                return
            if request.type:
                detail = "map publications are not supported"
                self._finish(id_, topic, ErrorReply.of(ErrorCode.NOT_AVAILABLE, detail))
                return
            try:
                payload, value = self._served.payloads.parse(request.data)
            except DecodeError as exc:
                self._finish(id_, topic, ErrorReply.of(ErrorCode.BAD_REQUEST, one_line(exc)))
                return
            hub = self._served.hub
            published = PublishedMessage(topic, payload, hub.keep_of(topic))
            hub.publish(published, value, partial(self._on_published, id_))
            self._release(topic)  # the publisher keeps the order

        self._ask(topic, "publish", on_right)

    def _on_published(self, id_: int, result: Position | Exception | None) -> None:
        if self._phase is _Phase.ENDED:
            return
        if isinstance(result, Exception):
            self._answer_error(id_, ErrorReply.of(ErrorCode.INTERNAL, "not confirmed"))
        else:
            self._answer(id_, PublishResult())

    def _presence(self, id_: int, request: PresenceRequest) -> None:
        def result_of(members: Mapping[str, Member]) -> Result:
            return PresenceResult({key: info_of(each) for key, each in members.items()})

        self._read_members(id_, request.channel, result_of)

    def _presence_stats(self, id_: int, request: PresenceStatsRequest) -> None:
        def result_of(members: Mapping[str, Member]) -> Result:
            return PresenceStatsResult(len(members), len({each.name for each in members.values()}))

        self._read_members(id_, request.channel, result_of)

    def _read_members(
        self, id_: int, topic: str, result_of: Callable[[Mapping[str, Member]], Result]
    ) -> None:
        def on_members(members: Mapping[str, Member] | Exception) -> None:
            if self._phase is not _Phase.ENDED:
                failed = isinstance(members, Exception)
                self._finish(id_, topic, _INTERNAL if failed else result_of(cast(Any, members)))

        def on_right(right: float | ErrorReply) -> None:
            if isinstance(right, ErrorReply):
                self._finish(id_, topic, right)
            else:
                self._served.hub.presences.read(topic, on_members)

        self._ask(topic, "presence", on_right)

    def _history(self, id_: int, request: HistoryRequest) -> None:
        topic = request.channel

        def on_history(history: History | Exception) -> None:
            if self._phase is _Phase.ENDED:
                return
            if isinstance(history, Exception):
                self._finish(id_, topic, _INTERNAL)
            else:
                self._answer_history(id_, request, history)

        def on_right(right: float | ErrorReply) -> None:
            if isinstance(right, ErrorReply):
                self._finish(id_, topic, right)
            elif not self._served.hub.keep_of(topic).count:
                detail = "the channel keeps no messages"
                self._finish(id_, topic, ErrorReply.of(ErrorCode.NOT_AVAILABLE, detail))
            else:
                self._served.hub.backplane.read(topic, None, None, on_history)

        self._ask(topic, "history", on_right)

    def _answer_history(self, id_: int, request: HistoryRequest, history: History) -> None:
        topic, since, top = request.channel, request.since, history.top
        kept = [(each.position, each) for each in history.publications if each.position is not None]
        if since is not None:
            first = top.offset - len(kept)
            if since.epoch not in ("", top.epoch) or not (
                request.reverse or first <= since.offset <= top.offset
            ):
                self._finish(id_, topic, ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
                return
            kept = [
                (position, each)
                for position, each in kept
                if (position.offset < since.offset) is request.reverse
                and position.offset != since.offset
            ]
        if request.reverse:
            kept.reverse()
        if request.limit >= 0:
            del kept[request.limit :]
        served = self._served
        try:
            texts = [served.topics.text_of(each) for _, each in kept]
        except NotText:
            self.on_unsendable()
            return
        result = HistoryResult(epoch=top.epoch, offset=top.offset)
        if sum(map(len, texts)) > served.max_recovered:
            detail = "the messages are too large together: use a smaller limit"
            self._finish(id_, topic, ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail))
            return
        self._answer_text(reply_with_publications(id_, result, texts))
        self._release(topic)


def _failed(error: Exception) -> Exception:
    """Log what a function of the application has raised, or a wrong result of it."""
    if not isinstance(error, TokenExpired):
        logger.error("user= or allow= of hub.serve failed: %s", one_line(error), exc_info=error)
    return error


def _ttl(seconds: float) -> int:
    """Return the seconds after which a client refreshes: earlier than the end of its right."""
    return max(1, min(int(seconds - min(seconds / 4, 15.0)), _MAX_TTL))
