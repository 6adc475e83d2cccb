"""The names and arguments of operators, as diagrams show them.

RxPY's operators are closures. Names and arguments are read from the function's name and from its
closure. RxPY does not guarantee either, so anything unexpected is left out.
"""

from __future__ import annotations

import functools
import inspect
import linecache
import math
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import timedelta
from types import CodeType, FunctionType
from typing import Any, cast

from rxws._core.streams.rxpy_operators import closure_of, is_composed, is_curried
from rxws._recording.diagram import Step
from rxws._recording.diagram.labels import cut

__all__ = ["is_from", "label", "name_of", "source_of", "step_of"]

MAX_DETAIL = 18  # columns
MAX_NAME = 22  # columns: the longest name in RxPY is distinct_until_changed

_LOCALS = ".<locals>"

# A function with such a name is an operator that another function returned: use that one's name.
_INNER = {"operator", "_operator", "op", "inner", "wrapper", "wrapped", "apply", "tapped"}

# RxPY's names of arguments that are seconds.
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
    """Return the name of an operator, by default `step {number}`, and its arguments, if any.

    It never raises, and never calls the user's code.

    Examples:
        >>> from reactivex import operators as ops
        >>> label(ops.take(3), 1)
        ('take', '3')
    """
    with suppress(Exception):
        name, arguments = _inspect(operator)
        detail = ", ".join(filter(None, (_detail(key, value) for key, value in arguments)))
        return cut(name or f"step {number}", MAX_NAME), cut(detail, MAX_DETAIL)
    return f"step {number}", ""


def name_of(operator: Any) -> str:
    """Return the name of an operator, or an empty string."""
    with suppress(Exception):
        return _inspect(operator)[0]
    return ""


def step_of(operator: Callable[..., Any], above: str) -> Step:
    """Return what is known about an operator whose input is the lane `above`. It never raises."""
    with suppress(Exception):
        if is_from(operator, "reactivex") or is_from(operator, "rxws"):
            name, arguments = _inspect(operator)
            times = (_seconds(value) for key, value in arguments if key.strip("_") in _SECONDS)
            return Step(above, name, next((time for time in times if time is not None), None))
    return Step(above)


def _inspect(operator: Any) -> tuple[str, Iterable[tuple[str, Any]]]:
    """Return the name of an operator, or an empty string, and its arguments."""
    if isinstance(operator, functools.partial):
        return _inspect(cast(Any, operator).func)
    if not isinstance(operator, FunctionType):
        return getattr(operator, "__name__", type(operator).__name__), ()
    closure = closure_of(operator)
    if is_curried(operator):
        fun = closure["fun"]
        return _public_name(fun.__name__), _arguments(fun, closure["args"], closure["kwargs"])
    if is_composed(operator):
        return " · ".join(_inspect(each)[0] for each in closure["operators"]), ()
    outer = operator.__qualname__.split(_LOCALS)[0].rpartition(".")[2]
    if is_from(operator, "reactivex"):
        return _public_name(outer), closure.items()
    if is_from(operator, "rxws"):
        return outer, [("fn", closure["fn"])] if "fn" in closure else ()
    if operator.__name__ == "<lambda>":
        return "", [("", operator)]
    factory = operator.__qualname__.rpartition(_LOCALS)[0].rpartition(".")[2]
    return factory if operator.__name__ in _INNER and factory else operator.__name__, ()


def _arguments(
    fun: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterable[tuple[str, Any]]:
    bound = inspect.signature(fun).bind(None, *args, **kwargs).arguments
    return list(bound.items())[1:]  # without the source


def is_from(function: Any, package: str) -> bool:
    """Whether a function or class is defined in a package."""
    return str(getattr(function, "__module__", "")).partition(".")[0] == package


def _public_name(name: str) -> str:
    """Return the public name of one of RxPY's operators."""
    name = name.strip("_").removesuffix("_async").removesuffix("_or_default")
    return {"find_value": "find"}.get(name, name)


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and math.isfinite(value) else None


def _detail(name: str, value: Any) -> str:
    """Return an argument as text, or an empty string if users would not recognise it."""
    if isinstance(value, bool) or is_from(value, "reactivex") or is_from(type(value), "reactivex"):
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
    """Return the source code of a lambda's body, or "lambda" if it is unknown."""
    spans = [
        ((line, column), (last, end))
        for line, last, column, end in code.co_positions()
        if line is not None and last is not None and column is not None and end
    ]
    if not spans:
        return "lambda"
    (first, left), (last, right) = min(s[0] for s in spans), max(s[1] for s in spans)
    # Columns count UTF-8 bytes.
    lines = [line.encode() for line in linecache.getlines(code.co_filename)[first - 1 : last]]
    if len(lines) <= last - first:
        return "lambda"
    lines[-1] = lines[-1][:right]
    lines[0] = lines[0][left:]
    return " ".join(b" ".join(lines).decode().split())
