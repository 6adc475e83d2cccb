"""The keyword arguments of `connections` and `WebSocketSubject`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias

from reactivex.abc import SchedulerBase
from yarl import URL

from rxws._aiohttp.client import DialOptions
from rxws._core.connection import Connection
from rxws.backoff import Backoff

from .offline_queue import QueueOverflow

__all__ = ["Headers", "ReconnectOptions", "SubjectOptions", "Url"]

Url: TypeAlias = str | URL | Callable[[], str | URL | Awaitable[str | URL]]
"""An address, or what tells it for each attempt."""

_Headers: TypeAlias = Mapping[str, str] | None

Headers: TypeAlias = _Headers | Callable[[], _Headers | Awaitable[_Headers]]
"""Headers of the request, or what tells them for each attempt."""


class ReconnectOptions(DialOptions, total=False):
    """The keyword arguments of `connections` besides its own: those of `connect`.

    `headers`: as with `connect`, or a function, also a coroutine function, that returns them.
    `open_timeout`: seconds for the whole handshake, and as many for what such functions take.
    """

    headers: Headers


class SubjectOptions(ReconnectOptions, total=False):
    """The keyword arguments of `WebSocketSubject`: its own, and those of `connections`.

    `backoff`, `retryable`, `stable_after`: when to dial again, as with `connections`.
    `queue`: bytes of messages that may wait, each counting 128 more than its payload.
    `queue_overflow`: what happens above that: `"drop_oldest"`, `"drop_newest"`, or an
    `overflow.latest(key)`, by which a newer message takes the place of the one that waits.
    `ttl`: seconds that a message may wait; what has waited longer is never sent. None: any time.
    `opening`: is given each new connection, and returns what to send first on it.
    `scheduler`: the time; that of the running event loop if not given.
    """

    backoff: Backoff
    retryable: Callable[[Exception], bool]
    stable_after: float
    queue: int
    queue_overflow: QueueOverflow
    ttl: float | None
    opening: Callable[[Connection[Any, Any]], Iterable[Any]] | None
    scheduler: SchedulerBase | None
