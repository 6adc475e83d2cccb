"""Renews the right of a connection or a subscription with a fresh token, before it ends."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeAlias

from reactivex.abc import DisposableBase, SchedulerBase

from rxws._core.errors import short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline
from rxws.backoff import is_retryable
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.schema import RefreshResult, SubRefreshResult

from .errors import refusal
from .replies import Lost, is_temporary
from .token import TokenSource

__all__ = ["OnRenewed", "Renewal", "RenewalHost"]

OnRenewed: TypeAlias = Callable[[RefreshResult | SubRefreshResult | ErrorReply | Lost], None]


class RenewalHost(Protocol):
    """The owner of the right: a `Session` or a `Subscription`."""

    def renew(self, token: str, on_reply: OnRenewed) -> None:
        """Send a fresh token."""
        ...

    def fail(self, error: Exception) -> None:
        """End: there is no fresh token, or the server has refused it."""
        ...


class Renewal:
    """The timer of a right, and the attempts to renew it.

    Args:
        topic: Of a subscription; empty for a connection.
        retry_delay: Returns the seconds before the next attempt, after a temporary failure.
    """

    __slots__ = ("_fetching", "_host", "_number", "_retry_delay", "_timer", "_tokens", "_topic")

    def __init__(
        self,
        host: RenewalHost,
        topic: str,
        tokens: TokenSource,
        scheduler: SchedulerBase,
        retry_delay: Callable[[], float],
    ) -> None:
        self._host = host
        self._topic = topic
        self._tokens = tokens
        self._retry_delay = retry_delay
        self._timer = Deadline(scheduler)
        self._fetching: DisposableBase | None = None
        self._number = 0  # of the right

    def set(self, expires: bool, ttl: int) -> None:
        """Renew a right after `ttl` seconds."""
        if expires and self._tokens.renewable:
            self._timer.set(max(ttl, 1), self._renew)
        else:
            self._timer.clear()

    def stop(self) -> None:
        """Do nothing more: the right has ended."""
        self._number += 1
        self._timer.clear()
        if self._fetching is not None:
            self._fetching.dispose()
            self._fetching = None

    def _renew(self) -> None:
        self._tokens.expire()
        self._fetching = self._tokens.fetch(partial(self._on_token, self._number))

    def _on_token(self, number: int, token: str | Exception) -> None:
        if number != self._number:
            return
        if isinstance(token, str):
            self._host.renew(token, partial(self._on_reply, number))
        elif is_retryable(token):
            what = f"topic {short_repr(self._topic)}" if self._topic else "a hub's client"
            logger.warning("cannot renew the token of %s now: %s", what, one_line(token))
            self._retry_later()
        else:
            self._host.fail(token)

    def _on_reply(
        self, number: int, reply: RefreshResult | SubRefreshResult | ErrorReply | Lost
    ) -> None:
        if number != self._number or isinstance(reply, Lost):
            return
        if not isinstance(reply, ErrorReply):
            self.set(reply.expires, reply.ttl)
        elif is_temporary(reply) or reply.code == ErrorCode.TOKEN_EXPIRED:
            self._retry_later()
        else:
            self._host.fail(refusal("refresh", self._topic, reply))

    def _retry_later(self) -> None:
        self._timer.set(self._retry_delay(), self._renew)
