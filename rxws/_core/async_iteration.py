"""The bridge from an Observable to `async for`, which holds the flow while the body is busy."""

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
    """Go through an Observable with `async for`.

    While the body of the loop is busy, the connection that the Observable comes from reads no
    further: its flow is found by itself, through whatever operators. What does not come from a
    connection cannot be held back, and waits in memory.

    Args:
        observable: `conn.incoming`, or what was made of it.

    Yields:
        Each value, in order.

    Raises:
        Exception: Whatever `on_error` brings, after the values before it; for `conn.incoming`
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
    wanted: asyncio.Future[None] | None = None

    def wake() -> None:
        if wanted is not None and not wanted.done():
            wanted.set_result(None)

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
            wanted = loop.create_future()
            await wanted
    finally:
        subscription.dispose()
        for hold in holds:
            hold.dispose()
