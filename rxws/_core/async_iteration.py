"""Iterate over an Observable with `async for`, pausing its connection while the body runs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from typing import TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase

from .loop_scheduler import LoopScheduler
from .upstream import collect_upstreams

__all__ = ["iterate"]

T = TypeVar("T")


async def iterate(observable: Observable[T]) -> AsyncGenerator[T, None]:
    """Iterate over an Observable with `async for`.

    While the body of the loop runs, rxws does not read from the connection that the values come
    from, so a slow body slows down the peer. This works through any chain of operators. Values of
    an Observable that has no connection behind it are buffered in memory without limit.

    Args:
        observable: `conn.incoming`, or an Observable derived from it.

    Yields:
        Each value, in order.

    Raises:
        Exception: The Observable's error, after the values before it. For `conn.incoming` it is a
            `ConnectionClosed`.

    Examples:
        ```python
        async for message in rxws.iterate(conn.incoming):
            await save(message)
        ```
    """
    loop = asyncio.get_running_loop()
    thread = threading.get_ident()
    values: deque[T] = deque()
    holds: list[DisposableBase] = []
    ended = False
    error: Exception | None = None
    wakeup: asyncio.Future[None] | None = None

    def wake() -> None:
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    def notify() -> None:
        if threading.get_ident() == thread:
            wake()
        else:
            loop.call_soon_threadsafe(wake)

    def on_next(value: T) -> None:
        nonlocal holds
        if not holds:
            holds = [flow.pause() for flow in flows]
        values.append(value)
        notify()

    def on_error(exc: Exception) -> None:
        nonlocal ended, error
        ended, error = True, exc
        notify()

    def on_completed() -> None:
        nonlocal ended
        ended = True
        notify()

    with collect_upstreams() as flows:
        subscription = observable.subscribe(
            on_next, on_error, on_completed, scheduler=LoopScheduler.running()
        )
    try:
        while True:
            while values:
                yield values.popleft()
            released, holds = holds, []
            for hold in released:
                hold.dispose()
            if ended:
                if error is not None:
                    raise error
                return
            wakeup = loop.create_future()
            await wakeup
    finally:
        subscription.dispose()
        for hold in holds:
            hold.dispose()
