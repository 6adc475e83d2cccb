"""Labels of values: by default the fields of records that change."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from rxws._core.connection import Close
from rxws._core.streams.coroutines import is_async

from .labels import MAX_ITEMS, cut, fields_of, kind_of, parsed_json, plain, short

__all__ = ["Label", "Labels", "check_label"]

Label: TypeAlias = str | Callable[[Any], object]
"""The field of a record that is its label, or a function that returns the label of a value."""

_MAX_FIELDS = 16  # of a record
_MAX_DEPTH = 3  # of records in records, or of tuples in tuples
_MAX_SHAPES = 16  # of a diagram's records

_Fields: TypeAlias = dict[tuple[Any, ...], Any]
"""The fields of a record by their path."""


def check_label(label: object) -> None:
    """Raise if a label is neither a field nor a function, or a coroutine function."""
    if label is None or isinstance(label, str):
        return
    if not callable(label):
        raise TypeError(
            f"label={label!r} must be the name of a field, or a function that returns the label of "
            "a value"
        )
    if is_async(label):
        raise TypeError(
            f"label={label!r} is a coroutine function: use a function that returns the label"
        )


class Labels:
    """Makes the labels of the values of a diagram.

    Records with the same fields are compared with each other. A field that never changes between
    them is omitted, unless no field does.

    Attributes:
        label: The field or the function for the label of each value, if it has one.
        version: It changes when labels do.
    """

    def __init__(self, label: Label | None = None) -> None:
        self.label = label
        self.version = 0
        self._shapes: dict[object, _Shape] = {}

    def learn(self, value: Any) -> None:
        """Compare a new value, or the records of a tuple, with the earlier ones."""
        self._learn(value, 0)

    def _learn(self, value: Any, depth: int) -> None:
        if depth < _MAX_DEPTH and _is_tuple(value):
            for item in value:
                self._learn(item, depth + 1)
            return
        record = _record(value)
        if record is None:
            return
        key = _key(record)
        shape = self._shapes.get(key)
        if shape is not None:
            self.version += shape.learn(record)
        elif len(self._shapes) < _MAX_SHAPES:
            self._shapes[key] = _Shape(record)

    def of(self, value: Any, limit: int, named: bool) -> str:
        """Return the label of a value, in at most `limit` columns.

        Args:
            value: The value.
            limit: The largest number of columns. A label with names may have more of them.
            named: Whether the names of a record's fields are part of the label.
        """
        chosen = self._chosen(value)
        if chosen is not None:
            text = chosen if isinstance(chosen, str) else short(chosen, limit)
            return cut(plain(text), limit) or "''"
        text = self._text(value, limit, named, 0)
        return text if named else cut(text, limit)

    def _text(self, value: Any, limit: int, named: bool, depth: int) -> str:
        if depth < _MAX_DEPTH and _is_tuple(value):
            items = (self._text(item, limit, named, depth + 1) for item in value)
            return f"({', '.join(items)})"
        record = _record(value)
        if not record:
            return short(value, limit)
        shape = self._shapes.get(_key(record))
        changed = shape.changed if shape is not None else ()
        parts = [
            f"{path[-1]}:{short(item, limit)}" if named else short(item, limit)
            for path, item in record.items()
            if not changed or path in changed
        ]
        return plain(" ".join(parts))

    def _chosen(self, value: Any) -> Any:
        """Return what the user chose as label; None if the value has none."""
        label = self.label
        if label is None or isinstance(value, BaseException | Close):
            return None
        try:
            if not isinstance(label, str):
                return label(value)
            value = parsed_json(value) if isinstance(value, str) else value
            fields = fields_of(value)
            return None if fields is None else dict(fields).get(label)
        except Exception:  # a value of another kind, such as a greeting
            return None


class _Shape:
    """The latest record of a shape, and the paths of the fields that have changed."""

    def __init__(self, record: _Fields) -> None:
        self.changed: set[tuple[Any, ...]] = set()
        self._latest = record

    def learn(self, record: _Fields) -> bool:
        """Return whether another field has changed."""
        count = len(self.changed)
        for path, item in record.items():
            if path not in self.changed and _differs(item, self._latest[path]):
                self.changed.add(path)
        self._latest = record
        return len(self.changed) > count


def _differs(item: Any, other: Any) -> bool:
    if item is other:
        return False
    try:
        return (item == other) is not True
    except Exception:  # the methods of a user's value may raise anything
        return True


def _is_tuple(value: Any) -> bool:
    """Whether a value is a short plain tuple, such as `combine_latest` makes."""
    return kind_of(value) is tuple and len(value) <= MAX_ITEMS


def _key(record: _Fields) -> tuple[Any, ...]:
    return tuple(record)


def _record(value: Any) -> _Fields | None:
    """Return the fields of a record, or of a record in JSON; None for other values."""
    if isinstance(value, str) and value[:1] == "{":
        value = parsed_json(value)
    try:
        found = dict(_flat((), value, 0))
    except Exception:  # the properties of a user's value may raise anything
        return None
    return found if found and () not in found else None


def _flat(path: tuple[Any, ...], value: Any, depth: int) -> Iterable[tuple[tuple[Any, ...], Any]]:
    fields = fields_of(value) if depth < _MAX_DEPTH else None
    if fields is None or (depth and not value):
        yield path, value
        return
    for count, (name, item) in enumerate(fields):
        if count == _MAX_FIELDS:
            return
        yield from _flat((*path, name), item, depth + 1)
