"""Record what an operator of RxPY subscribes to besides its source.

RxPY's operators are closures that hold their arguments. An operator is copied with arguments that
are recorded. RxPY does not guarantee how it stores them: where that differs, nothing is recorded.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from itertools import count
from operator import is_
from types import CellType, FunctionType
from typing import Any, TypeAlias

from reactivex import Observable

from rxws._core.streams.rxpy_operators import is_composed
from rxws._recording.diagram.labels import kind_of
from rxws._recording.inner import InnerLanes

from .operator_names import is_from, name_of

__all__ = ["follow_inputs"]

_Operator: TypeAlias = Callable[[Observable[Any]], Observable[Any]]

# Operators that use a Subject among their arguments to publish their source. `do` does not
# subscribe to it either, so it needs no exception.
_PUBLISH = {"multicast", "publish", "publish_value", "replay"}
# Operators that subscribe to the Observables that their function returns.
_MAP = {"catch", "expand", "flat_map", "flat_map_indexed", "flat_map_latest"}
_CONTAINERS: tuple[Any, ...] = (tuple, list, dict)  # in which RxPY keeps arguments
# The first steps of `concat_map` and `switch_map`, which consist of two operators.
_MAP_WITHIN = {"map", "map_indexed"}


def follow_inputs(operator: _Operator, inner: InnerLanes) -> _Operator:
    """Return an operator like `operator`; what it subscribes to is recorded in inner lanes."""
    made: _Operator
    try:
        made = _followed(operator, inner, count(2), within=False)
    except Exception:  # RxPY stores the arguments in another way
        made = operator
    return made


def _followed(operator: _Operator, inner: InnerLanes, numbers: Iterator[int], within: bool) -> Any:
    if not isinstance(operator, FunctionType) or not is_from(operator, "reactivex"):
        return operator
    name = name_of(operator)
    maps = name in _MAP or (within and name in _MAP_WITHIN)

    def replaced(value: Any) -> Any:
        """Return a value with all Observables that the operator subscribes to replaced."""
        kind = kind_of(value)
        if issubclass(kind, Observable):
            return inner.follow_source(value, next(numbers)) if name not in _PUBLISH else value
        if kind not in _CONTAINERS:
            return value
        is_dict = kind is dict
        old = list(value.values()) if is_dict else value
        new = [argument(each) for each in old]
        if all(map(is_, new, old)):
            return value
        return kind(zip(value, new, strict=True) if is_dict else new)

    def argument(value: Any) -> Any:
        if isinstance(value, FunctionType) and is_composed(operator):
            return _followed(value, inner, numbers, within=True)
        return _following(value, inner) if maps and callable(value) else replaced(value)

    def variable(value: Any) -> Any:
        # Some versions of RxPY keep the user's function in a variable, beside RxPY's own.
        is_users = callable(value) and not is_from(value, "reactivex")
        return argument(value) if is_users else replaced(value)

    cells = operator.__closure__ or ()
    values = [cell.cell_contents for cell in cells]
    made = [variable(value) for value in values]
    if all(map(is_, made, values)):
        return operator
    # An operator may keep its state in a variable, so cells that need no change are shared.
    closure = tuple(
        cell if new is old else CellType(new)
        for cell, new, old in zip(cells, made, values, strict=True)
    )
    copy = FunctionType(
        operator.__code__, operator.__globals__, operator.__name__, operator.__defaults__, closure
    )
    copy.__kwdefaults__ = operator.__kwdefaults__
    return functools.update_wrapper(copy, operator)


def _following(mapper: Callable[..., Any], inner: InnerLanes) -> Callable[..., Any]:
    """Return a function like `mapper`; if it returns an Observable, that is recorded."""

    @functools.wraps(mapper)
    def mapped(*args: Any) -> Any:
        made: Any = mapper(*args)
        is_stream = issubclass(kind_of(made), Observable)
        return inner.follow(made, args[:1] or None) if is_stream else made

    return mapped
