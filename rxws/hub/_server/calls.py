"""The calls of `user` and `allow`, which may be coroutine functions."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from rxws._core.log import logger, one_line
from rxws._core.streams.coroutines import never_used

from .options import TokenExpired

__all__ = ["Calls"]

T = TypeVar("T")


class Calls:
    """The calls of the application's functions for one connection.

    Args:
        on_fault: Called with an exception of the code that gets a result.
    """

    __slots__ = ("_cancelled", "_has_failed", "_on_fault", "_tasks")

    def __init__(self, on_fault: Callable[[Exception], object]) -> None:
        self._on_fault = on_fault
        self._cancelled = False
        self._has_failed = False
        self._tasks: set[asyncio.Task[None]] = set()

    def call(
        self,
        function: Callable[[], Any],
        convert: Callable[[Any], T],
        then: Callable[[T | Exception], None],
        seconds: float,
    ) -> None:
        """Call a function, and pass on what it returns: now, or when it was awaited.

        An exception is logged, and passed on. So is a `TimeoutError` if awaiting takes too long.
        """
        result: Any = None
        converted: T | Exception
        try:
            result = function()
            if inspect.isawaitable(result):
                self._spawn(result, convert, then, seconds)
                return
            converted = convert(result)
        except Exception as exc:
            converted = self._failed(exc)
        if not self._cancelled:
            then(converted)

    def cancel(self) -> None:
        """Cancel all, and pass on no more results."""
        self._cancelled = True
        for task in tuple(self._tasks):
            task.cancel()

    def _spawn(
        self,
        result: Any,
        convert: Callable[[Any], T],
        then: Callable[[T | Exception], None],
        seconds: float,
    ) -> None:
        def on_done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            never_used(result)  # closes a coroutine whose task was cancelled before it began

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # in virtual time
            never_used(result)  # closes a coroutine
            raise
        task = loop.create_task(self._await(result, convert, then, seconds))
        self._tasks.add(task)
        task.add_done_callback(on_done)

    async def _await(
        self,
        result: Awaitable[Any],
        convert: Callable[[Any], T],
        then: Callable[[T | Exception], None],
        seconds: float,
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        converted: T | Exception
        try:
            async with asyncio.timeout(seconds):
                converted = convert(await result)
        except Exception as exc:
            converted = self._failed(exc)
        except asyncio.CancelledError as exc:
            if task.cancelling():  # otherwise the function has awaited a task that was cancelled
                raise
            converted = self._failed(RuntimeError(f"it was cancelled: {exc!r}"))
        if self._cancelled:  # and the function has ignored that
            return
        try:
            then(converted)
        except Exception as exc:
            self._on_fault(exc)

    def _failed(self, error: Exception) -> Exception:
        """Log an exception or a wrong result; a client could repeat it, so only the first one."""
        if not isinstance(error, TokenExpired):
            level = logging.DEBUG if self._has_failed else logging.ERROR
            self._has_failed = True
            text = "user= or allow= of hub.serve failed: %s"
            logger.log(level, text, one_line(error), exc_info=error)
        return error
