"""Tokens, which a function may renew."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.errors import short_repr

__all__ = ["Token", "TokenSource"]

Token: TypeAlias = str | Callable[[], str | Awaitable[str]] | None
"""A token, or a function or coroutine function that returns a fresh one."""


TIMEOUT = 30.0
"""Seconds in which a function must return a token."""


class TokenSource:
    """Keeps a token until it has expired.

    Raises:
        TypeError: The token is neither text nor a function.
    """

    def __init__(self, token: Token) -> None:
        if token is not None and not isinstance(token, str) and not callable(token):
            raise TypeError(f"token={short_repr(token)}: use a str, or a function that returns one")
        self._function = token if callable(token) else None
        self.value: str | None = None if callable(token) else token or ""

    @property
    def renewable(self) -> bool:
        """Whether a function returns fresh tokens."""
        return self._function is not None

    def expire(self) -> None:
        """Get a fresh token next time."""
        if self.renewable:
            self.value = None

    async def get(self) -> str:
        """Return the token; get a fresh one if it has expired."""
        if self.value is None:
            result = self._call()
            self.value = _checked(await _awaited(result) if inspect.isawaitable(result) else result)
        return self.value

    def fetch(self, done: Callable[[str | Exception], object]) -> DisposableBase:
        """Call back with the token or an exception, unless the result is disposed: now if possible.

        A coroutine function needs a running event loop.
        """
        if self.value is None:
            try:
                result = self._call()
                if inspect.isawaitable(result):
                    return self._await(result, done)
                self.value = _checked(result)
            except Exception as exc:
                done(exc)
                return Disposable()
        done(self.value)
        return Disposable()

    def _await(
        self, result: Awaitable[Any], done: Callable[[str | Exception], object]
    ) -> DisposableBase:
        async def wait() -> None:
            try:
                self.value = _checked(await _awaited(result))
            except Exception as exc:
                done(exc)
            else:
                done(self.value)

        task = asyncio.get_running_loop().create_task(wait())
        return Disposable(cast(Callable[[], None], task.cancel))

    def _call(self) -> Any:
        assert self._function is not None
        return self._function()


async def _awaited(result: Awaitable[Any]) -> Any:
    """Await a token, but not for ever, nor together with a task that somebody else has cancelled.

    Raises:
        TimeoutError: There is no token within 30 s.
    """
    try:
        async with asyncio.timeout(TIMEOUT):
            return await result
    except asyncio.CancelledError as exc:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise TimeoutError("the function of token= has awaited a task that was cancelled") from exc
    except TimeoutError as exc:
        raise TimeoutError(str(exc) or f"the function of token= took over {TIMEOUT} s") from exc


def _checked(token: Any) -> str:
    if not isinstance(token, str):
        raise TypeError(f"token= returned {short_repr(token)}: return a str")
    return token
