"""Any value as a short label or a longer text, bounded in length and safe in a page."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import time
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from types import WrapperDescriptorType
from typing import Any, cast
from weakref import WeakKeyDictionary

from reactivex import GroupedObservable
from reactivex.abc import ObservableBase
from reactivex.notification import OnCompleted, OnError, OnNext

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed

__all__ = [
    "CONTROL",
    "FROM",
    "MAX_ITEMS",
    "RecordedObservable",
    "array_label",
    "brackets",
    "cells",
    "cut",
    "escape",
    "fields_of",
    "key_label",
    "kind_of",
    "number",
    "own_repr",
    "parsed_json",
    "plain",
    "short",
    "with_codes",
]

FROM = "from "  # the start of the label of an Observable that a function made from a value
MAX_ITEMS = 8  # items of a container that are shown
_MAX_TEXT = 300  # characters of a repr
_MAX_DEPTH = 3
_MAX_SIZED = 1000  # items of a value of a type written in C, whose repr would list all of them
_SLOW = 0.003  # seconds of CPU time that a repr may take
_TRIES = 2  # a garbage collection may slow down one repr, but hardly two
_MAX_JSON = 2048  # characters: longer text is not parsed as JSON
_TIMES = "\N{MULTIPLICATION SIGN}"
_DIGITS = 6  # digits of whole numbers that are shown in full

# Characters that XML forbids, or that hide or reorder the text around them.
_CONTROL = (
    "\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ud800-\udfff\ufeff\ufffe\uffff"
)
CONTROL = re.compile(f"[{_CONTROL}]")
_INVISIBLE = re.compile(f"[{_CONTROL}\u200c]")
_ENTITIES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;"}
_SIGNS = {**{chr(code): chr(0x2400 + code) for code in range(0x20)}, "\n": "↵", "\x7f": "␡"}
_LABEL_SIGNS = {**_SIGNS, "\r": "", "\t": "→"}


class RecordedObservable(str):
    """The label of a value that was an Observable, such as the key of a group."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def short(value: object, limit: int = 24) -> str:
    r"""Return the label of a value: one line of at most `limit` columns.

    Examples:
        >>> short({"i": 0, "price": 99.1234}), short([1, 2]), short(2 / 3), short("a\nb")
        ('i:0 price:99.12', '[1, 2]', '0.6667', 'a↵b')
    """
    try:
        return cut(plain(_short(value, 0, limit)), limit)
    except Exception:  # the methods of a user's value may raise anything
        return cut(type(value).__name__, limit)


def plain(text: str) -> str:
    r"""Replace control characters, and characters that hide or reorder text, by visible signs.

    Examples:
        >>> plain("a\tb\x00\u202e")
        'a→b␀�'
    """
    return CONTROL.sub(lambda found: _LABEL_SIGNS.get(found[0], "�"), text)


def with_codes(text: str, keep: str = "") -> str:
    r"""Like `plain`, but with a distinct sign or escape code for each character not in `keep`.

    Examples:
        >>> with_codes("a\tb\x85\u202e")
        'a␉b\\x85\\u202e'
    """

    def code(found: re.Match[str]) -> str:
        character = found[0]
        if character in keep:
            return character
        point = ord(character)
        escaped = f"\\x{point:02x}" if point < 0x100 else f"\\u{point:04x}"
        return _SIGNS.get(character, escaped)

    return text if text.isprintable() else _INVISIBLE.sub(code, text)


def escape(text: str) -> str:
    """Escape text for XML and HTML, for elements and quoted attributes.

    Examples:
        >>> escape('<b>"')
        '&lt;b&gt;&quot;'
    """
    return plain(text).translate(_ENTITIES)


def cells(text: str) -> int:
    """Count the columns that a text takes in a monospaced font.

    Examples:
        >>> cells("ab"), cells("日本"), cells("🙂")
        (2, 4, 2)
    """
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def cut(text: str, limit: int) -> str:
    """Cut a text to at most `limit` columns.

    Examples:
        >>> cut("abcdef", 4), cut("abcd", 4)
        ('abc…', 'abcd')
    """
    # Combining marks take no column, so their number needs a bound, too.
    if cells(text) <= limit and len(text) <= 3 * limit:
        return text
    kept, taken = 0, 1
    for character in text[: 3 * limit]:
        taken += _cells(character)
        if taken > limit:
            break
        kept += 1
    return text[:kept].rstrip() + "…"


def kind_of(value: object) -> type[Any]:
    """Return the type of a value, without narrowing it for type checkers."""
    return type(value)


def number(value: float) -> str:
    """Return a number with four significant digits; a whole number of up to six digits in full.

    Examples:
        >>> number(99.71234), number(1234567), number(100.0), number(-0.00001234)
        ('99.71', '1.235e6', '100', '-1.234e-5')
    """
    if isinstance(value, int):
        if abs(value) < 10**_DIGITS:
            return str(value)
        if value.bit_length() > 1000:  # too large for a float
            return f"{'-' if value < 0 else ''}~2^{value.bit_length()}"
    if not math.isfinite(value):
        return {math.inf: "∞", -math.inf: "-∞"}.get(value, "nan")
    if value == int(value) and abs(value) < 10**_DIGITS:
        return str(int(value))
    text = f"{value:.4g}"
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", text)


# --- labels ---------------------------------------------------------------------------------------


def _short(value: Any, depth: int, limit: int) -> str:
    kind = kind_of(value)
    if issubclass(kind, str) and kind.__repr__ is str.__repr__:
        return _text(value, depth, limit)
    text = _scalar(value)
    if text is not None:
        return text
    if depth >= _MAX_DEPTH:
        return "…"
    fields = fields_of(value)
    if fields is not None:
        inside = " ".join(
            f"{_short(key, depth + 1, limit)}:{_short(item, depth + 1, limit)}"
            for key, item in islice(fields, MAX_ITEMS)
        )
        return f"{{{inside}}}" if depth or not inside else inside
    if issubclass(kind, (list, tuple, set, frozenset)):
        around = brackets(value)
        if len(value) <= MAX_ITEMS:
            inside = ", ".join(_short(item, depth + 1, limit) for item in value)
            # The items of a tuple are fields without names; of a list the length says more.
            if issubclass(kind, tuple) or cells(inside) + 2 <= limit:
                return f"{around[0]}{inside}{around[1]}"
        return f"{around[0]}{len(value)}{around[1]}"
    return own_repr(value, _MAX_TEXT)


def _text(value: str, depth: int, limit: int) -> str:
    if not depth and value[:1] in ("{", "["):
        parsed = parsed_json(value)
        if parsed is not None:
            return _short(parsed, 1 if value[0] == "[" else 0, limit)
    return value[: 3 * limit + 1] or "''"


def parsed_json(text: str) -> Any:
    """Parse a short JSON text; return None for other texts."""
    if len(text) > _MAX_JSON:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _scalar(value: Any) -> str | None:
    """Return the label of a value without items, or None if it has items."""
    kind = kind_of(value)
    if value is None or issubclass(kind, bool):
        return str(value)
    if isinstance(value, enum.Enum):
        return str(value.name)
    if issubclass(kind, (int, float)):
        return number(value)
    if issubclass(kind, (bytes, bytearray, memoryview)):
        return _binary(bytes(value[:MAX_ITEMS]), len(value))
    if issubclass(kind, Close):
        return str(value.code)
    if issubclass(kind, ConnectionClosed):
        return str(value.close.code)
    if issubclass(kind, BaseException):
        return kind.__name__
    if issubclass(kind, type):
        return str(value.__name__)
    if issubclass(kind, ObservableBase):
        return key_label(value) or kind.__name__
    return _notification(value) or array_label(value)


def key_label(value: Any) -> str | None:
    """Return the label of an Observable's key, such as that of a group; None without a key."""
    key = getattr(value, "key", None) if issubclass(kind_of(value), ObservableBase) else None
    is_key = isinstance(value, GroupedObservable) or isinstance(key, str | int)
    return short(key) if is_key else None


def _binary(start: bytes, length: int) -> str:
    if start and all(0x20 <= byte < 0x7F for byte in start):
        return start.decode() + ("…" if length > len(start) else "")
    return (start.hex(" ") if length <= 2 else f"{length} B") or "0 B"


def _notification(value: Any) -> str | None:
    kind = kind_of(value)
    if issubclass(kind, OnNext):
        return f"next {_short(value.value, 1, 24)}"
    if issubclass(kind, OnError):
        return f"error {_short(value.exception, 1, 24)}"
    return "completed" if issubclass(kind, OnCompleted) else None


def array_label(value: Any) -> str | None:
    """Return the label of an array, number or table of NumPy, pandas or such, or None."""
    kind = kind_of(value)
    if not hasattr(kind, "shape") or not (hasattr(kind, "dtype") or hasattr(kind, "columns")):
        return None
    shape: tuple[int, ...] = value.shape
    if not shape:
        return _scalar(value.item()) or str(value)
    dtype = value.dtype if hasattr(kind, "dtype") else kind.__name__
    return f"{_TIMES.join(map(str, shape))} {dtype}"


def fields_of(value: Any) -> Iterable[tuple[Any, Any]] | None:
    """Return the names and values of a mapping's or record's fields, or None."""
    kind = kind_of(value)
    if issubclass(kind, Mapping):
        return cast("Mapping[Any, Any]", value).items()
    names: Iterable[str] | None
    if dataclasses.is_dataclass(kind):
        names = [each.name for each in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [each.name for each in cast(Any, kind).__attrs_attrs__]
    else:  # named tuples, msgspec's structs, pydantic's models
        found = (getattr(kind, each, None) for each in _FIELD_LISTS)
        names = next((each for each in found if each), None)
    return None if names is None else ((name, getattr(value, name)) for name in names)


_FIELD_LISTS = ("_fields", "__struct_fields__", "__pydantic_fields__")


def own_repr(value: Any, limit: int, form: Callable[[Any], str] = repr) -> str:
    """Return the start of the `repr` or `str` that a type defines, unless that takes long.

    A call cannot be interrupted, so the values of a type that was slow twice get a short text.
    """
    kind = kind_of(value)
    if form is repr and isinstance(kind.__repr__, WrapperDescriptorType):
        length = len(value) if hasattr(kind, "__len__") else 0
        if length > _MAX_SIZED and kind is not range:  # such as array.array or a view of a dict
            return f"<{kind.__name__} of {length} items>"
    if _slow.get(kind, 0) >= _TRIES:
        return f"<{kind.__name__}: its {form.__name__} is slow>"
    began = time.thread_time()
    text = form(value)
    if time.thread_time() - began > _SLOW and kind.__module__ != "builtins":
        _slow[kind] = _slow.get(kind, 0) + 1
    return text[: limit + 1]


_slow: WeakKeyDictionary[type[Any], int] = WeakKeyDictionary()


def brackets(value: Any) -> str:
    kind = kind_of(value)
    return "[]" if issubclass(kind, list) else "()" if issubclass(kind, tuple) else "{}"


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
