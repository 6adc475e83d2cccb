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
"""A URL, or a function that returns one for each attempt."""

_Headers: TypeAlias = Mapping[str, str] | None

Headers: TypeAlias = _Headers | Callable[[], _Headers | Awaitable[_Headers]]
"""Headers of the request, or a function that returns them for each attempt."""


class ReconnectOptions(DialOptions, total=False):
    """The keyword arguments of `connections`: those of `connect`, and when to reconnect.

    - `headers`: as for `connect`, or a function (or coroutine function) that returns them and is
      called before each attempt.
    - `open_timeout`: seconds for the whole handshake, and again for each function you pass as `url`
      or `headers`.
    - `backoff`: returns an iterator of waits in seconds; see `rxws.backoff`.
    - `retryable`: returns whether to try again after an error; by default
      `rxws.backoff.is_retryable`.
    - `stable_after`: seconds that a connection must stay open for `backoff` to start over; by
      default 10.

    Examples:
        ```python
        options: rxws.ReconnectOptions = {"backoff": rxws.backoff.constant(1), "heartbeat": 5}
        feed = rxws.connections("ws://localhost:8080/prices", **options)
        ```
    """

    headers: Headers
    backoff: Backoff
    retryable: Callable[[Exception], bool]
    stable_after: float


class SubjectOptions(ReconnectOptions, total=False):
    """The keyword arguments of `WebSocketSubject`: those of `connections`, and its queue.

    - `queue`: bytes that may wait in the queue; each message counts 128 bytes more than its
      payload. By default 1 MiB.
    - `queue_overflow`: which message to drop when the queue is full: `"drop_oldest"` (the default)
      or `"drop_newest"`. With `overflow.latest(key)` a newer message also replaces the waiting one
      that has the same key.
    - `ttl`: seconds that a message may wait; after that it is dropped. By default None, no limit.
    - `opening`: a function that is called with each new connection and returns the messages to send
      first on it.
    - `scheduler`: runs the subject; by default the running event loop.

    Examples:
        ```python
        options: rxws.SubjectOptions = {"queue": 100_000, "ttl": 30}
        feed = rxws.WebSocketSubject("ws://localhost:8080/prices", **options)
        ```
    """

    queue: int
    queue_overflow: QueueOverflow
    ttl: float | None
    opening: Callable[[Connection[Any, Any]], Iterable[Any]] | None
    scheduler: SchedulerBase | None
