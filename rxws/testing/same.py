"""Compare values as testing tools do."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import starmap
from numbers import Number
from typing import Any, cast

from rxws._recording.diagram.labels import kind_of

__all__ = ["same"]


def same(one: Any, two: Any) -> bool:
    """Whether two values are equal.

    It differs from `==` where that is of no use in a test: NaN equals NaN, and arrays and tables of
    NumPy, pandas and similar libraries are equal if they have the same shape and all their elements
    are equal. The same holds for such values in lists, dicts and data classes.

    Examples:
        >>> same({"price": [float("nan")]}, {"price": [float("nan")]})
        True
    """
    if one is two:
        return True
    try:
        if _is_array(one) and _is_array(two):
            return _same_arrays(one, two)
        if _is_array(one) or _is_array(two):  # such as unittest.mock.ANY, or a matcher of arrays
            return (one == two) is True or (two == one) is True
        if one == two:
            return True
    except Exception:  # such as "the truth value of an array is ambiguous"
        pass
    try:
        return _both_nan(one, two) or _same_parts(one, two)
    except Exception:  # the methods of a user's value may raise anything
        return False


def _both_nan(one: Any, two: Any) -> bool:
    """Whether both are numbers or times that do not equal themselves, as NaN and NaT."""
    kind = kind_of(one)
    is_scalar = issubclass(kind, Number) or hasattr(kind, "dtype")
    return is_scalar and type(two) is kind and one != one and two != two


def _is_array(value: Any) -> bool:
    return bool(_shape(value)) and not isinstance(value, type)


def _shape(value: Any) -> Any:
    return getattr(value, "shape", None)


def _same_arrays(one: Any, two: Any) -> bool:
    if type(one) is not type(two) or one.shape != two.shape:
        return False
    if hasattr(one, "equals"):  # pandas and polars; NaN equals NaN
        return bool(one.equals(two))
    return bool(((one == two) | ((one != one) & (two != two))).all())


def _same_parts(one: Any, two: Any) -> bool:
    """Whether two values have the same type and the same parts; False if they have no parts."""
    kind = kind_of(one)
    if type(two) is not kind:
        return False
    if issubclass(kind, Mapping):
        return len(one) == len(two) and all(key in two and same(one[key], two[key]) for key in one)
    if issubclass(kind, list | tuple):
        return len(one) == len(two) and all(starmap(same, zip(one, two, strict=True)))
    fields = _fields(kind)
    return bool(fields) and all(same(getattr(one, name), getattr(two, name)) for name in fields)


def _fields(kind: type[Any]) -> list[str]:
    """Return the fields that a generated `__eq__` compares; none if there is no such method."""
    if dataclasses.is_dataclass(kind):
        code = getattr(kind.__eq__, "__code__", None)
        generated = getattr(code, "co_filename", "") == "<string>"
        return [field.name for field in dataclasses.fields(kind) if field.compare] * generated
    names = getattr(kind, "__struct_fields__", ())  # of msgspec
    return list(cast("Iterable[str]", names))
