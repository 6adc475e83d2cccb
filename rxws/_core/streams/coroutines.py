"""Finds coroutines, async generators and Observables where nothing would use them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable
from types import (
    AsyncGeneratorType,
    BuiltinFunctionType,
    CoroutineType,
    FunctionType,
    MethodType,
)
from typing import Any

from reactivex.abc import ObservableBase

__all__ = ["check_callbacks", "is_async", "never_used"]

_EMIT_ITEMS = "to emit its items for each value, use rxws.operators.map_async(function)"

_ASYNC = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


def is_async(fn: Any) -> bool:
    """Return whether a callable is a coroutine function or an async generator function.

    It may be a method, a partial, or an object whose `__call__` is one.
    """
    kind: Any = fn.__class__
    if kind is MethodType:
        fn = fn.__func__
        kind = fn.__class__
    if kind is FunctionType:
        return bool(fn.__code__.co_flags & _ASYNC)
    if kind is BuiltinFunctionType:
        return False
    if isinstance(fn, functools.partial):
        return is_async(fn.func)
    if inspect.iscoroutinefunction(fn):  # also a mock
        return True
    call = getattr(kind, "__call__", None)  # noqa: B004 # not whether it is callable
    return isinstance(call, FunctionType) and is_async(call)


def check_callbacks(on_next: Any, on_error: Any, on_completed: Any) -> None:
    """Check that the callbacks of a subscriber are plain functions.

    Raises:
        TypeError: One is a coroutine function.
    """
    if (
        (on_next is None or not is_async(on_next))
        and (on_error is None or not is_async(on_error))
        and (on_completed is None or not is_async(on_completed))
    ):
        return
    callbacks = {"on_next": on_next, "on_error": on_error, "on_completed": on_completed}
    name, callback = next(item for item in callbacks.items() if is_async(item[1]))
    if inspect.isasyncgenfunction(callback):
        raise TypeError(
            f"{name}={callback!r:.100} is an async generator function, over whose items subscribe "
            f"would never loop: {_EMIT_ITEMS}"
        )
    raise TypeError(
        f"{name}={callback!r:.100} is a coroutine function, which subscribe would never await: use "
        "a plain function, or call it for each value with "
        "stream.pipe(rxws.operators.map_async(function)).subscribe()"
    )


def never_used(value: Any) -> str | None:
    """Return why a value cannot be a message: an Observable, an awaitable or an async generator.

    A coroutine that has not begun is closed.
    """
    if isinstance(value, CoroutineType):
        state = inspect.getcoroutinestate(value)  # pyright: ignore[reportUnknownArgumentType]
        if state == inspect.CORO_CREATED:
            value.close()  # otherwise Python warns, and names neither the chain nor the remedy
    if isinstance(value, ObservableBase):  # before Awaitable, as it is one, too
        return (
            f"{value!r:.100} is a stream, not a message: to send the messages of such streams, use "
            "ops.flat_map(function) instead of ops.map(function), or add ops.merge_all() after "
            "operators such as group_by and window"
        )
    if isinstance(value, AsyncGeneratorType):
        return f"{value!r:.100} was never looped over: {_EMIT_ITEMS}"
    if not isinstance(value, Awaitable):
        return None
    return (
        f"{value!r:.100} was never awaited: to call a coroutine function for each value, use "
        "rxws.operators.map_async instead of ops.map"
    )
