"""One connection to a server of the protocol: commands and their replies, pings, and the token."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Protocol

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.connection import Close, Connection
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, call_later_shared, seconds_of
from rxws._reconnect.channels import PendingMessage
from rxws.hub._protocol.codes import Disconnect, ErrorCode, ErrorReply
from rxws.hub._protocol.frames import (
    PING,
    Ping,
    ProtocolViolation,
    Push,
    Reply,
    command,
    parse_replies,
)
from rxws.hub._protocol.schema import (
    ConnectRequest,
    ConnectResult,
    RefreshPush,
    RefreshRequest,
    RefreshResult,
    Request,
    Result,
)

from .errors import refusal
from .renewal import OnRenewed, Renewal
from .replies import Lost, OnReply, is_temporary
from .token import TokenSource

__all__ = ["Session", "SessionHost"]

_REPLY_TIMEOUT = 10.0  # seconds
_PING_TOLERANCE = 10.0  # seconds that a ping may be late, as in centrifuge-js
_NO_REPLY = Close(int(Disconnect.STALE), "no reply")
_NO_PING = Close(int(Disconnect.NO_PONG), "no ping")


class SessionHost(Protocol):
    """The interface of the client to a session; see `ClientRegistry`."""

    tokens: TokenSource

    @property
    def scheduler(self) -> SchedulerBase: ...
    @property
    def paused(self) -> bool:
        """Whether a subscriber has paused the connection."""
        ...

    def send(self, line: str) -> PendingMessage | None: ...
    def on_connected(self) -> None: ...
    def on_push(self, push: Push, size: int) -> None: ...
    def on_violation(self, problem: str) -> None: ...

    def close(self, close: Close) -> None:
        """Close the connection, and open the next one."""
        ...

    def fail(self, error: Exception) -> None:
        """Close the connection, and fail all subscribers."""
        ...


class _Call:
    __slots__ = ("expects", "on_reply", "sent", "timer")

    def __init__(self, expects: type[Result], on_reply: OnReply) -> None:
        self.expects = expects
        self.on_reply = on_reply
        self.sent: PendingMessage | None = None
        self.timer: DisposableBase | None = None

    def finish(self, reply: Result | ErrorReply | Lost) -> None:
        if self.timer is not None:
            self.timer.dispose()
        self.on_reply(reply)


class Session:
    """Sends commands and finds the calls of their replies; it ends with the connection.

    Attributes:
        ready: Whether the server has accepted the connect command.
    """

    def __init__(self, host: SessionHost, connection: Connection[Any, Any]) -> None:
        self.connection = connection
        self.ready = False
        self._host = host
        self._ended = False
        self._calls: dict[int, _Call] = {}
        self._id = 0
        self._size = 0  # of the lines of the current frame, on average
        self._seconds = seconds_of(host.scheduler)
        self._heard = self._seconds()
        self._patience = 0.0
        self._pongs = False
        self._ping_timer = Deadline(host.scheduler)
        self._renewal = Renewal(self, "", host.tokens, host.scheduler, _refresh_delay)

    def connect_line(self) -> str:
        """Return the command that must be sent first."""
        request = ConnectRequest(self._host.tokens.value or "", name="rxws")
        id_, _ = self._add(ConnectResult, self._on_connect_reply, must_reply=True)
        return command(id_, request)

    def call(
        self,
        request: Request | Callable[[int], str],
        expects: type[Result],
        on_reply: OnReply,
        *,
        must_reply: bool = False,
    ) -> None:
        """Send a command.

        Args:
            request: The command, or a function that returns its line for an id.
            expects: The type of its result.
            on_reply: Called once.
            must_reply: Whether the connection is dead if there is no reply in time.
        """
        id_, call = self._add(expects, on_reply, must_reply=must_reply)
        line = request(id_) if callable(request) else command(id_, request)
        call.sent = self._host.send(line)

    def _add(
        self, expects: type[Result], on_reply: OnReply, *, must_reply: bool
    ) -> tuple[int, _Call]:
        self._id += 1
        call = self._calls[self._id] = _Call(expects, on_reply)
        if must_reply:
            self._set_timer(call)
        return self._id, call

    def _set_timer(self, call: _Call) -> None:
        scheduler = self._host.scheduler
        call.timer = call_later_shared(scheduler, _REPLY_TIMEOUT, partial(self._on_late, call))

    def _on_late(self, call: _Call) -> None:
        if self._host.paused:  # the reply may have arrived
            self._set_timer(call)
        else:
            self._host.close(_NO_REPLY)

    def close(self, close: Close) -> None:
        """Close the connection, and ignore what still arrives."""
        self._ended, self.ready = True, False
        self.connection.outgoing.on_next(close)

    def end(self) -> None:
        """Fail the calls without a reply: the connection is closed."""
        self._ended, self.ready = True, False
        self._ping_timer.clear()
        self._renewal.stop()
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.finish(Lost(call.sent is not None and call.sent.written))

    # --- what the server sends ----------------------------------------------------------------

    def on_frame(self, frame: str | bytes) -> None:
        if self._ended:
            return
        self._heard = self._seconds()
        try:
            messages: Iterable[Reply | Push | Ping] = parse_replies(frame)
            self._size = len(frame) // (1 + (frame.count("\n") if isinstance(frame, str) else 0))
            for message in messages:
                if self._ended:
                    return
                self._on_message(message)
        except ProtocolViolation as exc:
            self._violation(one_line(exc))

    def _violation(self, problem: str) -> None:
        self._host.on_violation(problem)
        self._host.close(Close(1002, "protocol error"))

    def _on_message(self, message: Reply | Push | Ping) -> None:
        match message:
            case Ping():
                if self._pongs:
                    self._host.send(PING)
            case Reply():
                self._on_reply(message)
            case Push(body=RefreshPush() as refresh):
                self._renewal.set(refresh.expires, refresh.ttl)
            case Push():
                self._host.on_push(message, self._size)

    def _on_reply(self, reply: Reply) -> None:
        call = self._calls.pop(reply.id, None)
        if call is None:
            self._host.on_violation(f"a reply to command {reply.id}, which has none outstanding")
        elif reply.error is not None:
            call.finish(reply.error)
        elif isinstance(reply.result, call.expects):
            call.finish(reply.result)
        else:
            self._calls[reply.id] = call  # for `end`
            got, expected = type(reply.result).__name__, call.expects.__name__
            self._violation(f"a {got} answers a command that expects a {expected}")

    # --- connecting and pings ------------------------------------------------------------------

    def _on_connect_reply(self, reply: ConnectResult | ErrorReply | Lost) -> None:
        host = self._host
        match reply:
            case ConnectResult():
                self.ready = True
                self._pongs = reply.pong
                if reply.ping:
                    self._patience = reply.ping + _PING_TOLERANCE
                    self._ping_timer.set(self._patience, self._check_pings)
                self._renewal.set(reply.expires, reply.ttl)
                host.on_connected()
            case ErrorReply(code=ErrorCode.TOKEN_EXPIRED) if host.tokens.renewable:
                host.tokens.expire()
                host.close(Close(1000, "token expired"))
            case ErrorReply() if is_temporary(reply):
                logger.debug("the server of a hub cannot connect now: %s", reply)
                host.close(Close(1000, "temporary error"))
            case ErrorReply():
                host.fail(refusal("connect", "", reply))
            case Lost():
                pass

    def _check_pings(self) -> None:
        left = self._heard + self._patience - self._seconds()
        if left > 0 or self._host.paused:
            self._ping_timer.set(max(left, 1.0), self._check_pings)
        else:
            self._host.close(_NO_PING)

    # --- for the renewal of the right ---------------------------------------------------------

    def renew(self, token: str, on_reply: OnRenewed) -> None:
        self.call(RefreshRequest(token), RefreshResult, on_reply, must_reply=True)

    def fail(self, error: Exception) -> None:
        self._host.fail(error)


def _refresh_delay() -> float:
    return 5.0 * (1 + random.random())  # jitter
