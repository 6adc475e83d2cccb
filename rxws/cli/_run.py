"""Run a command's coroutine, and handle Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

__all__ = ["first_of", "run", "unless_stopped"]

T = TypeVar("T")


def run(command: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function in an event loop.

    It gets an event, which the first Ctrl-C or SIGTERM sets: the coroutine then closes its
    connections with code 1000, waits for the close handshake, and returns. A second one cancels it.

    Args:
        command: The coroutine function.

    Returns:
        What the coroutine returns.

    Raises:
        click.Abort: A second Ctrl-C came; the process exits with 130.

    Examples:
        ```python
        async def listen(stop: asyncio.Event) -> None:
            async with rxws.connect(url) as conn:
                conn.incoming.subscribe(print)
                await stop.wait()

        run(listen)
        ```
    """

    async def main() -> T:
        loop, task, stop = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()
        assert task is not None

        def interrupt() -> None:
            if stop.is_set():
                task.cancel()
            stop.set()

        def on_signal(*_: object) -> None:
            loop.call_soon_threadsafe(interrupt)

        # Not `loop.add_signal_handler`, which does not exist on Windows.
        before = {sig: signal.signal(sig, on_signal) for sig in (signal.SIGINT, signal.SIGTERM)}
        try:
            return await command(stop)
        except asyncio.CancelledError:
            raise click.Abort from None
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)

    return asyncio.run(main())


async def unless_stopped(stop: asyncio.Event, awaitable: Coroutine[Any, Any, T]) -> T:
    """Await something that there is nothing to close of yet, such as an attempt to connect.

    Raises:
        click.Abort: The event was set before.
    """
    task, stopping = asyncio.ensure_future(awaitable), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([task, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise click.Abort
        return task.result()
    finally:
        task.cancel()
        stopping.cancel()
        await asyncio.wait([task, stopping])


async def first_of(*coroutines: Coroutine[Any, Any, Any]) -> None:
    """Run coroutines until one of them returns or fails; raise its error."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    for task in done:
        task.result()
