"""Copies of values, so that a later change of a value does not change its record."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from reactivex.abc import DisposableBase, ObservableBase, ObserverBase

from rxws._core.connection import Close, Connection

from .diagram.labels import kind_of

__all__ = ["IMMUTABLE", "Snapshots"]

IMMUTABLE = frozenset({str, bytes, int, float, bool, complex, type(None), Close})
_CONTAINERS = frozenset({dict, list, tuple, set, frozenset})
_NEVER = (BaseException, DisposableBase, ObservableBase, ObserverBase, Connection, type)
_MAX_ITEMS = 2000  # items of a value that is copied: one or two milliseconds
_MAX_BYTES = 1 << 20  # of an array that is copied


class _TooLargeError(Exception):
    """The value has more items than may be copied."""


class Snapshots:
    """Copies data: builtin containers, and objects with an `__eq__` that `copy.deepcopy` copies.

    Other objects stay as they are: those that are compared by identity, exceptions, Observables,
    those that cannot be copied, those that own something (they have a finalizer), and values that
    are too large.

    Args:
        max_items: The largest number of items and attributes to copy; None for any number.
    """

    __slots__ = ("_max_items", "_not_copied")

    def __init__(self, max_items: int | None = _MAX_ITEMS) -> None:
        self._max_items = max_items
        self._not_copied: set[type[Any]] = set()  # types that deepcopy refused

    def of(self, value: Any) -> Any:
        """Return a copy of a value, or the value itself."""
        if value.__class__ in IMMUTABLE:
            return value
        try:
            return self._copy(value, _Memo(self._max_items))
        except (_TooLargeError, RecursionError):
            return value

    def _copy(self, value: Any, memo: _Memo) -> Any:
        kind = kind_of(value)
        if kind in IMMUTABLE:
            return value
        if kind in _CONTAINERS:
            if id(value) in memo:
                return memo[id(value)]
            return self._copy_items(value, kind, memo)
        if kind in self._not_copied or not _is_data(value, kind):
            return value
        if memo.limit is not None and _is_large(value, memo.limit):
            raise _TooLargeError
        try:
            copied = copy.deepcopy(value, memo)
            try:
                return copied if copied == value else value  # a part is compared by identity
            except Exception:  # such as an array, whose == returns an array
                return copied
        except (_TooLargeError, RecursionError):
            raise
        except Exception:  # a lock, or whatever the methods of a user's type raise
            self._not_copied.add(kind)
            return value

    def _copy_items(self, value: Any, kind: type[Any], memo: _Memo) -> Any:
        memo.spend(len(value))
        made: Any
        if kind is dict:
            made = memo[id(value)] = {}
            for key, item in value.items():
                made[key] = item if item.__class__ in IMMUTABLE else self._copy(item, memo)
        elif kind is list:
            made = memo[id(value)] = []
            made.extend(self._items(value, memo))
        elif kind is tuple:
            made = memo[id(value)] = tuple(self._items(value, memo))
        else:  # the items of a set cannot change
            made = memo[id(value)] = kind(value)
        return made

    def _items(self, value: Any, memo: _Memo) -> Iterable[Any]:
        return (item if item.__class__ in IMMUTABLE else self._copy(item, memo) for item in value)


class _Memo(dict[int, Any]):
    """The memo of `copy.deepcopy`: it maps ids to copies, and limits their number."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self.limit = limit
        self._items = 0

    def spend(self, items: int) -> None:
        self._items += items
        if self.limit is not None and self._items > self.limit:
            raise _TooLargeError

    def get(self, key: int, default: Any = None) -> Any:
        """Count an object that is about to be copied."""
        self.spend(1)
        return super().get(key, default)


def _is_data(value: Any, kind: type[Any]) -> bool:
    return (
        getattr(kind, "__eq__", None) is not object.__eq__
        and not isinstance(value, _NEVER)
        and not hasattr(kind, "__del__")
    )


def _is_large(value: Any, max_items: int) -> bool:
    """Whether a value is large, without looking at its items; arrays may have more of them."""
    if hasattr(value, "shape"):  # an array or a table of NumPy, pandas or a similar library
        size: Any = getattr(value, "nbytes", None) or 8 * getattr(value, "size", 0)
        return isinstance(size, int) and size > _MAX_BYTES
    return hasattr(kind_of(value), "__len__") and len(value) > max_items
