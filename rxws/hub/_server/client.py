"""One connection of the protocol: executes the commands of a client, and pushes to it."""

from __future__ import annotations

from enum import Enum, auto
from functools import partial
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.connection import Close, Connection
from rxws._core.errors import DecodeError, short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import call_later_shared
from rxws.hub._backplane import PublishRequest as PublishedMessage
from rxws.hub._messages import Position
from rxws.hub._names import check_topic
from rxws.hub._protocol.codes import Disconnect, ErrorCode, ErrorReply
from rxws.hub._protocol.frames import PING, Command, Pong, Refused, error_reply, message_push, reply
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
    Request,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
    UnsubscribeResult,
)
from rxws.hub._user_commands import UserConnection

from .command_flow import CommandFlow
from .history import HistoryAnswer
from .identity import Identity
from .lanes import Lanes
from .options import Action
from .owner import SERVER, Answer, Item
from .payloads import NotText
from .presence import read_members
from .served import Served
from .subscriptions import Subscriptions

__all__ = ["ClientSession"]

_REFRESH = ""  # the lane of refresh commands; no topic has this name

_RIGHTS: dict[type[Request], Action] = {
    PublishRequest: "publish",
    PresenceRequest: "presence",
    PresenceStatsRequest: "presence",
    HistoryRequest: "history",
}


class _Phase(Enum):
    NEW = auto()
    CONNECTING = auto()
    CONNECTED = auto()
    ENDED = auto()


class ClientSession(UserConnection):
    """Executes the commands of one client in their order.

    Commands on one topic run one after the other, those on different topics at the same time.

    Attributes:
        identity: The user.
    """

    __slots__ = (
        "_commands",
        "_connect_id",
        "_connection",
        "_lanes",
        "_phase",
        "_ping",
        "_registration",
        "_served",
        "_subscriptions",
        "identity",
    )

    def __init__(self, served: Served, connection: Connection[Any, Any]) -> None:
        self._served = served
        self._connection = connection
        self._phase = _Phase.NEW
        self._connect_id = 0
        self._commands = CommandFlow(self, connection, served.limits)
        self._lanes: Lanes[Command] = Lanes(self._start)
        self._subscriptions = Subscriptions(self, served, connection.scheduler)
        self._registration: DisposableBase | None = None
        self._ping: DisposableBase | None = None
        self.identity = Identity(self, served, connection)

    def start(self) -> DisposableBase:
        """Begin; the result ends the session, when the connection has ended."""
        self.identity.expect()
        self._connection.incoming.subscribe(self._on_frame, lambda _: None)
        return Disposable(self.dispose)

    def dispose(self) -> None:
        """Release everything: the connection has ended."""
        if self._phase is _Phase.ENDED:
            return
        self._phase = _Phase.ENDED
        self._commands.clear()
        self._lanes.clear()
        self._subscriptions.clear()
        for disposable in (self._ping, self._registration):
            if disposable is not None:
                disposable.dispose()
        self._ping = self._registration = None
        self.identity.dispose()

    # --- sending ----------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        self._connection.outgoing.on_next(text)

    def close(self, close: Close) -> None:
        self.dispose()
        self._connection.outgoing.on_next(close)

    def on_fault(self, error: Exception) -> None:
        """Close after a fault of this server, such as a key function of the hub that raises."""
        logger.error("hub.serve failed: %s", one_line(error), exc_info=error)
        self.close(Disconnect.SERVER_ERROR.close())

    def on_unsendable(self) -> None:
        """See `Owner`."""
        self.close(Disconnect.INAPPROPRIATE_PROTOCOL.close("a message is binary"))

    def answer(self, id_: int, answer: Answer) -> None:
        """See `Owner`."""
        if self._phase is _Phase.ENDED:
            return
        if isinstance(answer, ErrorReply):
            answer = error_reply(id_, answer)
        self.send(answer if isinstance(answer, str) else reply(id_, answer))
        self._commands.on_answered()

    def finish(self, id_: int, topic: str, answer: Answer) -> None:
        """See `Owner`."""
        self.answer(id_, answer)
        self._lanes.release(topic)

    def _send_ping(self) -> None:
        self.send(PING)
        self._ping_later()

    def _ping_later(self) -> None:
        ping = self._served.limits.ping
        self._ping = call_later_shared(self._connection.scheduler, ping, self._send_ping)

    # --- commands ---------------------------------------------------------------------------------

    def _on_frame(self, frame: str | bytes) -> None:
        if self._phase is not _Phase.ENDED:
            self._commands.receive(frame)

    @property
    def accepting(self) -> bool:
        """See `Owner`."""
        return self._phase is not _Phase.CONNECTING

    def take(self, item: Item) -> None:
        """See `Owner`."""
        if isinstance(item, Close):
            self.close(item)
        elif self._phase is _Phase.NEW:
            self._take_first(item)
        elif isinstance(item, Command):
            self._run(item)
        elif isinstance(item, Refused):
            self.answer(item.id, item.error)

    def _take_first(self, item: Command | Refused | Pong) -> None:
        if isinstance(item, Command) and isinstance(item.request, ConnectRequest):
            self._phase = _Phase.CONNECTING
            self._connect_id = item.id
            self.identity.connect(item.request.token)
        elif isinstance(item, Refused):
            self.close(Disconnect.BAD_REQUEST.close(item.error.message))
        else:
            self.close(Disconnect.BAD_REQUEST.close("the first command must be connect"))

    def _run(self, command: Command) -> None:
        request = command.request
        if isinstance(request, PingRequest):
            self.answer(command.id, PingResult())
        elif isinstance(request, ConnectRequest):
            self.close(Disconnect.BAD_REQUEST.close("the connection is connected already"))
        elif isinstance(request, RefreshRequest):
            self._lanes.add(_REFRESH, command)
        elif (problem := self._problem_of(request.channel)) is not None:
            self.answer(command.id, problem)
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
                case RefreshRequest(token):
                    self.identity.refresh(token, partial(self.finish, id_, _REFRESH))
                case SubscribeRequest():
                    self._subscriptions.add(id_, request)
                case UnsubscribeRequest(channel):
                    self._subscriptions.remove(channel)
                    self.finish(id_, channel, UnsubscribeResult())
                case SubRefreshRequest():
                    self._subscriptions.refresh(id_, request)
                case _:
                    self._ask_first(id_, request)
        except Exception as exc:
            self.on_fault(exc)

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
                    HistoryAnswer(self, self._served, self._connection.scheduler, id_, request)
                case _:
                    read_members(self, self._served, id_, request)

        self.identity.ask(request.channel, _RIGHTS[type(request)], on_right)

    def _publish(self, id_: int, request: PublishRequest) -> None:
        def on_published(result: Position | Exception | None) -> None:
            failed = isinstance(result, Exception)
            error = ErrorReply.of(ErrorCode.INTERNAL, "not confirmed")
            self.answer(id_, error if failed else PublishResult())

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

    def on_ended(self, channel: str) -> None:
        """See `Owner`."""
        self._subscriptions.on_ended(channel)

    # --- The user, and UserConnection ----------------------------------------------------------

    def on_unidentified(self, error: ErrorReply) -> None:
        self.send(error_reply(self._connect_id, error))
        self.close(Disconnect.FORCE_RECONNECT.close(error.message))

    def on_identified(self, user: str) -> None:
        if user:
            self._registration = self._served.hub.users.register(user, self)
        else:
            self.on_registered()

    def on_registered(self) -> None:
        if self._phase is not _Phase.CONNECTING:
            return
        expires, ttl = self.identity.on_connected()
        self._phase = _Phase.CONNECTED
        self._ping_later()
        result = ConnectResult(self.identity.client, SERVER, expires, ttl, self._served.limits.ping)
        self.answer(self._connect_id, result)

    def on_value(self, value: Any) -> None:
        if self._phase is _Phase.CONNECTED:
            try:
                self.send(message_push(self._served.topics.payloads.of_value(value)))
            except NotText:
                self.on_unsendable()

    def on_close(self, close: Close) -> None:
        self.close(close)

    def on_revoke(self, pattern: str) -> None:
        self._subscriptions.revoke(pattern)

    def on_missed(self) -> None:
        self._subscriptions.check()
