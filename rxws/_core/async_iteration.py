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
    loop_thread = threading.get_ident()
    values: deque[T] = deque()
    holds: list[DisposableBase] = []  # pauses of the connections, while values are buffered
    ended = False
    error: Exception | None = None
    wakeup: asyncio.Future[None] | None = None

    def wake_on_loop() -> None:
        if wakeup is not None and not wakeup.done():
            wakeup.set_result(None)

    def wake() -> None:
        if threading.get_ident() == loop_thread:
            wake_on_loop()
        else:
            loop.call_soon_threadsafe(wake_on_loop)

    def on_next(value: T) -> None:
        nonlocal holds
        if not holds:
            holds = [flow.pause() for flow in flows]
        values.append(value)
        wake()

    def end(exc: Exception | None = None) -> None:
        nonlocal ended, error
        ended, error = True, exc
        wake()

    with collect_upstreams() as flows:
        subscription = observable.subscribe(on_next, end, end, scheduler=LoopScheduler.running())
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
