"""The user of one connection, and what the user may do."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from reactivex.abc import DisposableBase

from rxws import codecs
from rxws._core.connection import Close, Connection
from rxws._core.schedulers.timers import call_later_shared
from rxws.hub._backplane import Member
from rxws.hub._protocol.codes import Disconnect, ErrorCode, ErrorReply
from rxws.hub._protocol.schema import RefreshResult
from rxws.hub._user_commands import UserConnection

from .calls import Calls
from .options import Action, Credentials, TokenExpired, credentials_of, limited, right_of
from .owner import DENIED, INTERNAL, SERVER, OnRight, Owner
from .right import GRACE, Expiry, RightTimer
from .served import Served

__all__ = ["Identity"]

_Identified: TypeAlias = Credentials | ErrorReply | Close | None
"""The user, None if all are anonymous; or an error to answer, or the close to send."""

_WATCH = 1.0  # seconds after the reply to connect, for messages that are still on their way


class Identity(UserConnection):
    """Identifies the user when the client connects, and again when that expires.

    `user` may see a right that is taken away before this process receives the messages to the user.
    So meanwhile, and a little longer, it watches all users that are closed.

    Attributes:
        client: The id of the connection.
    """

    __slots__ = (
        "_calls",
        "_closed",
        "_connection",
        "_credentials",
        "_owner",
        "_served",
        "_timer",
        "_token",
        "_watch",
        "client",
    )

    def __init__(self, owner: Owner, served: Served, connection: Connection[Any, Any]) -> None:
        self.client = served.hub.presences.new_id()
        self._owner = owner
        self._served = served
        self._connection = connection
        self._calls = Calls(owner.on_fault)
        self._credentials: Credentials | None = None
        self._closed: dict[str, Close] | None = None  # users, since the client connects
        self._token = ""  # of the connect command
        self._watch: DisposableBase | None = None
        # Of the connect command and its reply, then of the user.
        self._timer = RightTimer(connection.scheduler, refreshes=False)

    def dispose(self) -> None:
        """Release everything: the connection has ended."""
        self._timer.clear()
        if self._watch is not None:
            self._watch.dispose()
        self._calls.cancel()

    @property
    def user(self) -> str:
        """The name of the user; empty if there is none."""
        return "" if self._credentials is None else self._credentials.user

    @property
    def member(self) -> Member | None:
        """See `Rights`."""
        if self._credentials is None:
            return None
        info = self._credentials.info
        text = "" if info is None else str(codecs.json.encode(info))
        return Member(self.client, self._credentials.user, text)

    def ask(self, topic: str, action: Action, then: OnRight, seconds: float | None = None) -> None:
        """See `Rights`."""

        def on_right(right: float | Exception | None) -> None:
            then(INTERNAL if isinstance(right, Exception) else right or DENIED)

        allow = partial(self._served.allow, self.user, topic, action)
        seconds = seconds or self._served.limits.subscribe_timeout
        self._calls.call(allow, right_of, on_right, seconds)

    # --- connecting -------------------------------------------------------------------------------

    def expect(self) -> None:
        """Wait for the connect command."""
        self._close_later(Disconnect.STALE.close("there was no connect command"))

    def connect(self, token: str) -> None:
        """Identify the user; the owner is notified."""
        # The client is in time; now it must not wait forever.
        self._close_later(Disconnect.SERVER_ERROR.close("no answer in time"))
        self._token = token
        if self._served.user is None:
            self._on_connecting(None)
        else:
            self._closed = {}
            self._watch = self._served.hub.users.watch(self)

    def _close_later(self, close: Close) -> None:
        self._timer.set(self._served.limits.connect_timeout, partial(self._owner.close, close))

    def on_registered(self) -> None:
        """All users that are closed from now on are reported."""
        self._identify(self._token, self._on_connecting)

    def on_user_closed(self, user: str, close: Close) -> None:
        if self._credentials is not None:
            if user == self.user:
                self._owner.close(close)
        elif self._closed is not None:
            self._closed[user] = close

    def _on_connecting(self, found: _Identified) -> None:
        closed, self._closed = self._closed, None
        if isinstance(found, Close):
            self._owner.close(found)
        elif isinstance(found, ErrorReply):
            self._owner.on_unidentified(found)
        else:
            self._credentials = found
            self._timer.refreshes = bool(self._token)
            if closed and (close := closed.get(self.user)) is not None:
                self._owner.close(close)
            else:
                self._owner.on_identified(self.user)

    def on_connected(self) -> Expiry:
        """Return when the client must refresh."""
        self._token = ""
        if self._watch is not None:
            call_later_shared(self._connection.scheduler, _WATCH, self._watch.dispose)
        return self._grant()

    # --- expiry and refresh -----------------------------------------------------------------------

    def _grant(self) -> Expiry:
        seconds = None if self._credentials is None else self._credentials.seconds
        return self._timer.grant(math.inf if seconds is None else limited(seconds), self._expired)

    def _expired(self) -> None:
        expired = self._credentials

        def on_identified(found: _Identified) -> None:
            if self._credentials is not expired:  # the client has refreshed it
                return
            if isinstance(found, Credentials) and found.user == self.user:
                self._credentials = found
                self._grant()
            else:
                self._owner.close(Disconnect.EXPIRED.close())

        if self._timer.refreshes:
            self._owner.close(Disconnect.EXPIRED.close())
        else:
            self._identify("", on_identified, GRACE)

    def refresh(self, token: str, answer: Callable[[RefreshResult | ErrorReply], None]) -> None:
        """Identify the user again, as the client has sent a new token."""

        def on_identified(found: _Identified) -> None:
            if isinstance(found, Close):
                self._owner.close(found)
            elif isinstance(found, ErrorReply):
                answer(found)
            elif found is not None and found.user != self.user:
                self._owner.close(Disconnect.INVALID_TOKEN.close("the token is of another user"))
            else:
                self._credentials = found
                self._timer.refreshes = True
                answer(RefreshResult(self.client, SERVER, *self._grant()))

        if token:
            self._identify(token, on_identified)
        else:
            answer(ErrorReply.of(ErrorCode.BAD_REQUEST, "token is missing"))

    def _identify(
        self, token: str, then: Callable[[_Identified], None], seconds: float | None = None
    ) -> None:
        """Ask `user`, for `connect_timeout` or this number of seconds."""
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
        identify = partial(identify, request, token)
        seconds = seconds or self._served.limits.connect_timeout
        self._calls.call(identify, credentials_of, on_credentials, seconds)
