"""Values as numbers, to be drawn as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from .labels import kind_of
from .model import Mark

__all__ = ["numbers_of"]


def numbers_of(values: Sequence[Mark]) -> list[float] | None:
    """Return the values as numbers, or None if one of them is not a number."""
    numbers: list[float] = []
    for mark in values:
        data = mark.data
        kind = kind_of(data)
        if kind is not float:
            if kind is not int and not _is_number(data):
                return None
            try:
                data = float(data)
            except OverflowError:
                data = math.inf if data > 0 else -math.inf
            except (TypeError, ValueError):
                return None
        numbers.append(data)
    return numbers


def _is_number(data: Any) -> bool:
    """Whether a value is a number, such as a `Decimal` or one of NumPy's; a bool is not."""
    kind = kind_of(data)
    return hasattr(kind, "__float__") and kind is not bool and not getattr(data, "shape", ())
