"""The operator `reconnect`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable
from reactivex.abc import ObserverBase, SchedulerBase

from rxws._core.connection import Connection
from rxws._reconnect.reconnector import ReconnectPolicy, factory_for_dial, to_observable
from rxws.backoff import DEFAULT, Backoff, is_retryable
from rxws.status import Status

__all__ = ["reconnect"]

In = TypeVar("In")
Out = TypeVar("Out")


def reconnect(
    backoff: Backoff = DEFAULT,
    retryable: Callable[[Exception], bool] = is_retryable,
    stable_after: float = 10.0,
    status: ObserverBase[Status] | None = None,
    scheduler: SchedulerBase | None = None,
) -> Callable[[Observable[Connection[In, Out]]], Observable[Connection[In, Out]]]:
    """Subscribe to the source again when its connection could not be opened, or has ended.

    For each subscription, the source must try once to open a connection, and emit it or fail. The
    result emits all connections. It completes when one closes with 1000 or without a code. It fails
    with a `ConnectionClosed`, or with the source's error, when that is not `retryable` or `backoff`
    ends; a note on the error has the reason. Disposing it closes the open connection with 1000 and
    stops reconnecting.

    `ops.retry()` has neither a backoff nor these rules. Above the result, it ignores why the result
    failed; if several subscriptions fail in a row, the next one waits as long as `backoff` says.

    ```
    source    --c#   --X         ---c|     three subscriptions; # is 1006, X a ConnectError,
    reconnect --c------------------c|      | is 1000
    ```

    Args:
        backoff: Returns an iterator of waits in seconds before the next attempts. When the iterator
            ends, the stream fails with the last error. See `rxws.backoff`. If the server sends
            `Retry-After`, that time is added.
        retryable: Returns whether to try again after an error.
        stable_after: Seconds that a connection must stay open for `backoff` to start over.
        status: An observer of the status. The first status, `rxws.status.Closed(None)`, is not
            emitted.
        scheduler: Runs the waits; by default the scheduler passed to `subscribe`, or else the
            running event loop.

    Returns:
        An operator. Each subscription to its result opens its own connections.

    Raises:
        TypeError: `backoff` or `retryable` is not callable.
        ValueError: `stable_after` is out of range.
        RuntimeError: Raised by `subscribe` if no event loop is running and no scheduler is given.

    Examples:
        ```python
        attempt = rx.defer(lambda _: rx.from_future(asyncio.ensure_future(open_somehow())))
        attempt.pipe(rxws.operators.reconnect(rxws.backoff.constant(1))).subscribe(use)
        ```
    """
    policy = ReconnectPolicy(backoff, retryable, stable_after)
    return lambda source: to_observable(
        factory_for_dial(source, policy, scheduler), status, scheduler
    )
