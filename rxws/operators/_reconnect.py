"""Reconnect: the operator over any Observable that dials."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable
from reactivex.abc import ObserverBase, SchedulerBase

from rxws._core.connection import Connection
from rxws._reconnect.reconnector import ReconnectPolicy, redial
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
    """Dial again when a connection could not be opened, or is over.

    The source dials once for each subscription: it emits a connection when that is open, or fails.
    How a connection ended is read from its `closed`. A final end by 1000 or by no code completes
    the result, any other final end fails it: with a `ConnectionClosed`, or with the error of the
    dial. A note on the error says why it is final. Disposing closes the present connection with
    1000, and stops dialling and waiting.

    ```
    dial      --c#   --X         ---c|     each time it is subscribed; `#` and `|` end connection c
    reconnect --c------------------c|      # by 1006, X is a ConnectError, | is 1000
    ```

    Args:
        backoff: Begins a series of waits, in seconds; its end means to give up with what happened
            last. See `rxws.backoff`. The wait for a `Retry-After` is added to it.
        retryable: Tells whether to dial again after what happened; else it is final.
        stable_after: Seconds that a connection has to stand for the series to begin anew.
        status: Told of every status that follows the first, which is `rxws.status.Closed(None)`.
        scheduler: The time; by default the one that is subscribed with, or else the running loop.

    Returns:
        An operator. Each subscription of it dials for itself.

    Raises:
        TypeError: `backoff` or `retryable` is not callable.
        ValueError: `stable_after` is out of range.
        RuntimeError: From subscribing, where no event loop runs and no scheduler is passed.

    Examples:
        ```python
        dial = rx.defer(lambda _: rx.from_future(asyncio.ensure_future(open_somehow())))
        dial.pipe(rxws.operators.reconnect(rxws.backoff.constant(1))).subscribe(use)
        ```
    """
    policy = ReconnectPolicy(backoff, retryable, stable_after)
    return lambda source: redial(source, policy, status=status, scheduler=scheduler)
