"""RxPY's operators: closures whose parts and arguments have no public interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import FunctionType
from typing import Any

__all__ = ["closure_of", "emits_observables", "flatten", "is_composed", "is_curried"]

# RxPY's operators that emit Observables, or tuples with one.
_EMITS_OBSERVABLES = {
    f"reactivex.operators.{name}"
    for name in (
        "_groupby",
        "_groupbyuntil",
        "_groupjoin",
        "_window",
        "_windowwithcount",
        "_windowwithtime",
        "_windowwithtimeorcount",
    )
}


def closure_of(function: FunctionType) -> dict[str, Any]:
    """Return the variables of the enclosing functions that a function uses."""
    found: dict[str, Any] = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:  # not set yet, or deleted
            continue
    return found


def is_composed(operator: Any) -> bool:
    """Whether `reactivex.compose` made an operator: its closure has `operators`."""
    return getattr(operator, "__module__", "") == "reactivex.pipe"


def is_curried(operator: Any) -> bool:
    """Whether RxPY made an operator of a function: its closure has `fun`, `args` and `kwargs`."""
    return getattr(operator, "__module__", "") == "reactivex.internal.curry"


def flatten(operators: Iterable[Any]) -> Iterator[Any]:
    """Yield operators, also those that `reactivex.compose` has combined."""
    for operator in operators:
        if is_composed(operator):
            yield from flatten(closure_of(operator)["operators"])
        else:
            yield operator


def emits_observables(operator: Any) -> bool:
    """Whether an operator emits Observables, or tuples with one."""
    function = closure_of(operator)["fun"] if is_curried(operator) else operator
    return getattr(function, "__module__", "") in _EMITS_OBSERVABLES
