"""The whole text of any value, bounded in length and time."""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice, takewhile
from types import SimpleNamespace, WrapperDescriptorType
from typing import Any, Protocol

from .labels import array_label, brackets, cells, cut, fields_of, kind_of, number, own_repr, plain
from .records import Labels

__all__ = ["Texts", "full", "message", "safe_repr"]

_MAX_TOOLTIP = 300  # characters
_MAX_MADE = 4096  # texts that are kept for a lane


def full(value: object) -> str:
    """Return the text of a value's tooltip: one line, bounded in length.

    Examples:
        >>> full({"i": 0, "name": "a"}), full(range(1000))
        ("{'i': 0, 'name': 'a'}", 'range(0, 1000)')
    """
    try:
        own: Any = kind_of(value).__repr__
        if isinstance(value, str) and own is str.__repr__:
            return cut(plain(value[: _MAX_TOOLTIP + 1]), _MAX_TOOLTIP) or "''"
        return cut(plain(_Repr(_MAX_TOOLTIP, items=8, depth=3).of(value)), _MAX_TOOLTIP)
    except Exception:  # the methods of a user's value may raise anything
        return f"<{type(value).__name__}>"


def safe_repr(value: object, limit: int = 10_000) -> str:
    """Return the `repr` of a value, cut after about `limit` characters; or a substitute."""
    try:
        return _Repr(limit, items=limit, depth=20).of(value)
    except Exception as exc:  # the methods of a user's value may raise anything
        return f"<{type(value).__name__}: its repr raised {type(exc).__name__}>"


def message(error: object, limit: int = 10_000) -> str:
    """Return the `str` of an exception, cut after about `limit` characters; or a substitute."""
    try:
        return _message(error, _Repr(limit, items=limit, depth=20))
    except Exception as exc:
        return f"<{type(error).__name__}: its str raised {type(exc).__name__}>"


class _Mark(Protocol):
    @property
    def data(self) -> Any: ...


class Texts:
    """The texts of a lane's marks. Each is made once, as a live diagram is drawn often."""

    __slots__ = ("_labels", "_latest", "_made", "_version")

    def __init__(self) -> None:
        self._made: dict[tuple[int, int], tuple[_Mark, str]] = {}
        self._labels = Labels()
        self._latest: _Mark | None = None
        self._version = 0

    def use(self, labels: Labels) -> None:
        """Use labels that several lanes share."""
        if labels is not self._labels:
            self._made.clear()
            self._labels = labels
            self._latest = None

    def learn(self, marks: Sequence[_Mark]) -> None:
        """Compare the values of marks that are new since the last call, before labels are made."""
        new = list(takewhile(lambda mark: mark is not self._latest, reversed(marks)))
        if new:
            self._latest = new[0]
        for mark in reversed(new):
            self._labels.learn(mark.data)
        if self._version != self._labels.version:
            self._version = self._labels.version
            self._made.clear()

    def short(self, marks: Sequence[_Mark], limit: int) -> list[str]:
        """Return the labels of marks; all with the names of fields, if they fit, or all without."""
        named = [self._get(mark, limit) for mark in marks]
        if all(cells(text) <= limit for text in named):
            return named
        return [self._get(mark, -limit) for mark in marks]

    def full(self, mark: _Mark) -> str:
        """See `full`."""
        return self._get(mark, 0)

    def _get(self, mark: _Mark, limit: int) -> str:
        """Return a text: the label with names, or without them for a negative limit; or all."""
        key = id(mark), limit
        made = self._made.get(key)
        if made is None or made[0] is not mark:
            if len(self._made) >= _MAX_MADE:  # most are of marks that the lane no longer keeps
                self._made.clear()
            data = mark.data
            text = self._labels.of(data, abs(limit), named=limit > 0) if limit else full(data)
            self._made[key] = made = mark, text
        return made[1]


class _Repr:
    """Makes a `repr` that stops when it is long enough, and does not descend too far."""

    def __init__(self, limit: int, items: int, depth: int) -> None:
        self.limit = limit
        self._left = limit
        self._items = items
        self._max_depth = depth
        self._depth = 0

    def of(self, value: Any) -> str:
        kind = kind_of(value)
        own: Any = kind.__repr__
        if own in (str.__repr__, bytes.__repr__):
            text = self._sequence(value)
        elif issubclass(kind, int) and not issubclass(kind, (bool, enum.Enum)):
            text = repr(value) if value.bit_length() < 256 else number(value)
        elif kind is bytearray:
            text = self._sequence(bytes(value[: self.limit + 1]), len(value))
        elif issubclass(kind, BaseException):
            said = plain(_message(value, self))
            return f"{kind.__name__}: {said}" if said else kind.__name__
        else:
            parts = _parts(value)
            if parts is not None:
                return self._joined(*parts)
            text = _array(value, self) or own_repr(value, self.limit)
        self._left -= len(text)
        return text

    def _sequence(self, value: Any, length: int | None = None) -> str:
        """Return the repr of text or bytes."""
        length = len(value) if length is None else length
        if isinstance(value, bytes):
            shown = 64 if self.limit <= _MAX_TOOLTIP else self.limit
            return f"{value[:shown]!r}{f'… {length} bytes' if length > shown else ''}"
        return repr(value[: self.limit])

    def _joined(self, around: tuple[str, str], items: Iterable[Any], length: int) -> str:
        """Return a container's or record's items between brackets."""
        if self._depth >= self._max_depth:
            return "…"
        self._depth += 1
        texts: list[str] = []
        for item in islice(items, self._items):
            if self._left < 0:
                break
            if isinstance(item, _Pair):
                key = item.key if item.sign == "=" else self.of(item.key)
                texts.append(f"{key}{item.sign}{self.of(item.value)}")
            else:
                texts.append(self.of(item))
            self._left -= 2
        self._depth -= 1
        if len(texts) < length:
            texts.append(f"… {length} items")
        comma = "," if around == ("(", ")") and length == 1 else ""
        return f"{around[0]}{', '.join(texts)}{comma}{around[1]}"


@dataclasses.dataclass(slots=True)
class _Pair:
    key: Any
    sign: str
    value: Any


def _parts(value: Any) -> tuple[tuple[str, str], Iterable[Any], int] | None:
    """Return brackets, items and their number; None for a value with a repr of its own."""
    kind = kind_of(value)
    pairs: Iterable[_Pair]
    if not _is_generated(kind):
        return None
    if _is(kind, Mapping):  # a subclass of dict may override its methods
        items: Any = _DICT.items(value) if _is(kind, dict) else value.items()
        pairs = (_Pair(key, ": ", item) for key, item in items)
        return _around(kind, "{", "}"), pairs, len(value)
    if hasattr(kind, "_fields") or hasattr(kind, "__struct_fields__"):
        pairs = _named(fields_of(value) or ())
        names: Any = getattr(kind, "_fields", None) or getattr(kind, "__struct_fields__", ())
        return (f"{kind.__name__}(", ")"), pairs, len(names)
    if _is(kind, SimpleNamespace):
        attributes: Any = value.__dict__
        return (f"{kind.__name__}(", ")"), _named(attributes.items()), len(attributes)
    if _is(kind, list, tuple, set, frozenset, collections.deque):
        around = "[]" if _is(kind, collections.deque) else brackets(value)
        return _around(kind, around[0], around[1]), value, len(value)
    if dataclasses.is_dataclass(kind) and not isinstance(kind.__repr__, WrapperDescriptorType):
        shown = [field.name for field in dataclasses.fields(kind) if field.repr]
        pairs = _named((name, getattr(value, name)) for name in shown)
        return (f"{kind.__qualname__}(", ")"), pairs, len(shown)
    return None


def _named(pairs: Iterable[tuple[Any, Any]]) -> Iterable[_Pair]:
    return (_Pair(name, "=", item) for name, item in pairs)


def _is(kind: type[Any], *bases: Any) -> bool:
    """Do as `issubclass`, without narrowing the type for type checkers."""
    return issubclass(kind, bases)


_DICT: Any = dict
_BUILTIN: Any = (dict, list, tuple)
_PLAIN = tuple(each.__repr__ for each in _BUILTIN)  # subclasses without a repr look like these


def _around(kind: type[Any], left: str, right: str) -> tuple[str, str]:
    own: Any = kind.__repr__
    if kind in (set, frozenset) or own in _PLAIN:
        return left, right
    return f"{kind.__name__}({left}", f"{right})"


def _is_generated(kind: type[Any]) -> bool:
    """Whether a type's repr is Python's own: of a builtin, or generated for a record."""
    function: Any = kind.__repr__
    if isinstance(function, WrapperDescriptorType):
        return True
    if hasattr(function, "__wrapped__"):  # of a data class: it guards against recursion
        function = function.__wrapped__
    file = getattr(getattr(function, "__code__", None), "co_filename", "")
    return file in ("<string>", collections.__file__)


def _array(value: Any, text: _Repr) -> str:
    """Return the text of an array or a table; empty for other values and small arrays."""
    kind = kind_of(value)
    label = array_label(value)
    if label is None or (getattr(value, "size", 0) <= 20 and hasattr(kind, "dtype")):
        return ""
    columns: Any = getattr(value, "columns", None)
    first: list[Any] = [] if columns is None else list(islice(columns, 8))
    names = f": {', '.join(map(text.of, first))}" if first else ""
    return f"<{label}{names}>" if kind.__name__ in label else f"<{kind.__name__} {label}{names}>"


def _message(error: Any, text: _Repr) -> str:
    kind = kind_of(error)
    args = error.args if isinstance(error, BaseException) else ()
    own: Any = kind.__str__
    if own in (BaseException.__str__, KeyError.__str__):
        if len(args) == 1 and isinstance(args[0], str) and own is BaseException.__str__:
            return args[0][: text.limit + 1]
        return "" if not args else text.of(args[0] if len(args) == 1 else args)
    return own_repr(error, text.limit, str)
