"""A Subject that no publisher can end, and whose messages can be confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, TypeVar

from reactivex.subject import Subject

from rxws._core.errors import ConnectionClosed, short_repr
from rxws._core.log import logger, one_line

__all__ = ["OpenSubject", "confirmed"]

R = TypeVar("R")
T = TypeVar("T")


class _Queued(Protocol):
    withdrawn: bool


async def confirmed(send: Callable[[Callable[[R | Exception], None]], _Queued]) -> R:
    """Send a message that calls back from any thread, and return the result, or raise it.

    The message is withdrawn if the caller is cancelled.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[R] = loop.create_future()

    def finish(result: R | Exception) -> None:
        if future.done():
            return
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    def done(result: R | Exception) -> None:
        with suppress(RuntimeError):  # the loop is closed, so nobody waits
            loop.call_soon_threadsafe(finish, result)

    queued = send(done)
    try:
        return await future
    finally:
        queued.withdrawn = True


class OpenSubject(Subject[T]):
    """A topic of a hub or of a client: many publish to it, and none of them ends it."""

    is_stopped = False  # RxPY's Subject has these; a topic never stops
    is_disposed = False
    exception: Exception | None = None
    _name: str

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {short_repr(self._name)}>"

    def on_error(self, error: Exception) -> None:
        """Log the error of a pipeline that publishes; the topic stays open."""
        if not isinstance(error, ConnectionClosed):  # the end of a connection is no fault
            text = "a publisher of topic %s failed: %s"
            logger.error(text, short_repr(self._name), one_line(error), exc_info=error)

    def on_completed(self) -> None:
        """Do nothing: others may publish, too."""

    def dispose(self) -> None:
        """Do nothing: others use the topic, too. Dispose your subscriptions instead."""
