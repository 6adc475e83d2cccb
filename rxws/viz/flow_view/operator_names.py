"""What a picture calls an operator, and what it says of what the operator was given.

RxPY's operators are closures: their functions' names and what they close over tell what was asked
for. None of it is promised by RxPY, so all that is not understood is left out.
"""

from __future__ import annotations

import functools
import inspect
import linecache
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from types import CodeType, FunctionType
from typing import Any, cast

__all__ = ["label", "source_of"]

LENGTH = 18  # characters of a detail
NAME = 22  # characters of a name: distinct_until_changed

_LOCALS = ".<locals>"

# How people call what a factory of an operator returns: then the factory has the name.
_INNER = {"operator", "_operator", "op", "inner", "wrapper", "wrapped", "apply", "tapped"}

# Numbers that RxPY takes as seconds, by its names for them.
_SECONDS = {
    "delay_duration",
    "duetime",
    "duration",
    "end_time",
    "period",
    "sampler",
    "start_time",
    "timeshift",
    "timespan",
    "window_duration",
}


def label(operator: Callable[..., Any], number: int) -> tuple[str, str]:
    """Name an operator and what it was given. It never raises, and calls nothing of the user's.

    Args:
        operator: As it is given to `pipe`.
        number: Its place in the chain, which names it where nothing else does.

    Returns:
        Its name, and a detail that may be empty: `("debounce", "0.15 s")`.

    Examples:
        >>> from reactivex import operators as ops
        >>> label(ops.take(3), 1)
        ('take', '3')
    """
    with suppress(Exception):
        name, given = _look(operator)
        detail = ", ".join(filter(None, (_detail(key, value) for key, value in given)))
        return _cut(name or f"step {number}", NAME), _cut(detail, LENGTH)
    return f"step {number}", ""


def _look(operator: Any) -> tuple[str, Iterable[tuple[str, Any]]]:
    """The name of an operator, or "", and what it was given."""
    if isinstance(operator, functools.partial):
        return _look(cast(Any, operator).func)
    if not isinstance(operator, FunctionType):
        return getattr(operator, "__name__", type(operator).__name__), ()
    closed = _closed_over(operator)
    if operator.__module__ == "reactivex.internal.curry":
        fun = closed["fun"]
        return _plain(fun.__name__), _arguments(fun, closed["args"], closed["kwargs"])
    if operator.__module__ == "reactivex.pipe":
        return " · ".join(_look(each)[0] for each in closed["operators"]), ()
    outer = operator.__qualname__.split(_LOCALS)[0].rpartition(".")[2]
    if _is_of(operator, "reactivex"):
        return _plain(outer), closed.items()
    if _is_of(operator, "rxws"):
        return outer, [("fn", closed["fn"])] if "fn" in closed else ()
    if operator.__name__ == "<lambda>":
        return "", [("", operator)]
    factory = operator.__qualname__.rpartition(_LOCALS)[0].rpartition(".")[2]
    return factory if operator.__name__ in _INNER and factory else operator.__name__, ()


def _closed_over(function: FunctionType) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        with suppress(ValueError):  # not set yet, or deleted
            found[name] = cell.cell_contents
    return found


def _arguments(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterable[tuple[str, Any]]:
    bound = inspect.signature(fun).bind(None, *args, **kwargs).arguments
    return list(bound.items())[1:]  # without the source


def _is_of(function: Any, package: str) -> bool:
    return str(getattr(function, "__module__", "")).partition(".")[0] == package


def _plain(name: str) -> str:
    """RxPY's own name of an operator, as its users know it."""
    name = name.strip("_").removesuffix("_async").removesuffix("_or_default")
    return {"find_value": "find"}.get(name, name)


def _detail(name: str, value: Any) -> str:
    """What to say of something that an operator was given: nothing where it is RxPY's own."""
    if isinstance(value, bool) or _is_of(value, "reactivex") or _is_of(type(value), "reactivex"):
        return ""
    seconds = name.strip("_") in _SECONDS
    if isinstance(value, timedelta):
        value, seconds = value.total_seconds(), True
    if isinstance(value, int | float):
        return f"{value:g} s" if seconds else f"{value:g}"
    if isinstance(value, str):
        return repr(value)
    return _function(value) if callable(value) and "scheduler" not in name else ""


def _function(function: Any) -> str:
    if isinstance(function, functools.partial):
        return _function(cast(Any, function).func)
    if not isinstance(function, FunctionType):  # str.upper
        return getattr(function, "__qualname__", type(function).__name__)
    return source_of(function.__code__) if function.__name__ == "<lambda>" else function.__name__


def source_of(code: CodeType) -> str:
    """Return the source text of a lambda's body, or "lambda" where it is not known."""
    spans = [
        ((line, column), (last, end))
        for line, last, column, end in code.co_positions()
        if line is not None and last is not None and column is not None and end
    ]
    if not spans:
        return "lambda"
    (first, left), (last, right) = min(s[0] for s in spans), max(s[1] for s in spans)
    # Positions count bytes, of UTF-8.
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]
    if len(lines) <= last - first:
        return "lambda"
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    return " ".join(b" ".join(lines).decode().split())


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
