"""What a `WebSocketSubject` is made with: its options, its address, the measure of its queue."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, cast

from reactivex import Observable
from reactivex.abc import SchedulerBase
from yarl import URL

from rxws import codecs
from rxws._core.connection import Connection, without_secrets
from rxws._core.errors import EncodeError
from rxws._session.encoding import encode, size
from rxws.backoff import Backoff
from rxws.codecs import Codec
from rxws.operators import reconnect

from .connections import ConnectionsOptions, connections
from .offline_queue import QueueOverflow

__all__ = ["SubjectOptions", "address", "counted", "dials", "measure"]


class SubjectOptions(ConnectionsOptions, total=False):
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


def dials(
    url: Any,
    options: dict[str, Any],
    *,
    codec: Codec[Any, Any] | None,
    scheduler: SchedulerBase | None,
    **again: Any,
) -> Observable[Connection[Any, Any]]:
    """Return what opens a connection, and another whenever it is lost.

    Args:
        url: An address, or a function that tells it, or an Observable that dials once.
        options: What is left for `connections`.
        codec: The codec of an address.
        scheduler: The time of an Observable.
        **again: When to dial again.

    Raises:
        TypeError: There are options, and an Observable for which they come too late.
    """
    if not isinstance(url, Observable):
        return connections(url, codec=codecs.raw if codec is None else codec, **again, **options)
    if options:
        raise TypeError(f"{', '.join(options)}: not with an Observable, which dials by itself")
    dial: Observable[Connection[Any, Any]] = cast(Any, url)
    return reconnect(scheduler=scheduler, **again)(dial)


def address(url: object, connection: Connection[Any, Any] | None) -> str:
    """Return where a subject goes, after a blank, without what is often secret; empty if unknown.

    Args:
        url: What the subject was made with.
        connection: The connection that is open, if any.
    """
    if connection is not None:
        url = connection.handshake.url
    elif isinstance(url, Observable):
        return ""
    elif callable(url):
        return f" {getattr(url, '__qualname__', '…')}()"
    try:
        return f" {without_secrets(URL(str(url)))}"
    except ValueError:  # none that can be dialled
        return f" {url!r:.40}"


def measure(codec: Codec[Any, Any], value: Any) -> int:
    """Return the bytes of a message's payload, or what is near to that."""
    if isinstance(value, str | bytes):
        return size(value)
    try:
        return len(encode(codec, value)[1])
    except EncodeError:  # a fault when it is sent, if its connection's codec is of that opinion
        return sys.getsizeof(value)


def counted(number: int, what: str) -> str:
    """Return a number of things in words."""
    return f"{number} {what}{'' if number == 1 else 's'}"
