"""Show two timelines as marble diagrams, with the first difference."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from string import ascii_letters
from typing import Any, cast

from reactivex.notification import Notification, OnCompleted, OnError

from .same import same
from .timeline import AnyError, Timeline, close_of

__all__ = ["difference"]

_LABEL = 10  # columns for "expected" and "seen"
_LONG_GAP = 24  # columns; a gap this long is written in seconds
_MAX_NAME = 8  # characters; a longer value is drawn as a letter
_WIDTH = 88  # columns; a longer line is cut around the difference
_BEFORE = 60  # columns shown before the difference
_MAX_REPR = 100  # characters
_FRACTIONS = (1, 2, 4, 5, 10, 20, 50, 100)  # how many columns a step may have


def difference(seen: Timeline, expected: Timeline) -> list[str]:
    """Describe how two timelines differ.

    Args:
        seen: The timeline that happened.
        expected: The timeline that the test expects.

    Returns:
        Lines of text: the first difference, both timelines as marble diagrams in the same columns,
        and the values that the names in them stand for.

    Examples:
        >>> from rxws.testing import marbles
        >>> for line in difference(seen=marbles("a-b|"), expected=marbles("a--b|")):
        ...     print(line)
        differs at 2 s: expected 'b' at 3 s, seen 'b' at 2 s
        expected  a--b|
        seen      a-b|
                    ^
                  a character is 1 s
    """
    index = expected.first_difference(seen)
    if index is None:
        return ["the timelines are the same"]
    step = _column_seconds(expected.step, seen.times + expected.times)
    names = _Names({**seen.names, **expected.names}, seen.values + expected.values)
    marks = {"expected": _marks(expected, step, names), "seen": _marks(seen, step, names)}
    at = min(line[index].time for line in (expected, seen) if index < len(line))
    events = f"expected {_event(expected, index, seen)}, seen {_event(seen, index, expected)}"
    return [
        f"differs at {at:g} s: {events}",
        *_lines(marks, round(at / step), step),
        f"{'':{_LABEL}}a character is {step:g} s",
        *(f"{'':{_LABEL}}{name} = {_repr(value)}" for name, value in names.used.items()),
        *([f"the handler failed: {seen.failure!r:.200}"] if seen.failure else []),
    ]


def _column_seconds(step: float, times: list[float]) -> float:
    """Return the seconds of a column: the largest fraction of the step that fits all times."""
    for parts in _FRACTIONS:
        if all(abs(time * parts / step - round(time * parts / step)) < 1e-3 for time in times):
            return step / parts
    return step


# --- in words -----------------------------------------------------------------------------------


def _event(line: Timeline, index: int, other: Timeline) -> str:
    if index >= len(line):
        return "nothing more" if line else "nothing"
    against = other[index].value if index < len(other) else None
    return f"{_notification(line[index].value, against)} at {line[index].time:g} s"


def _notification(notification: Any, against: Any) -> str:
    close = close_of(notification)
    match notification:
        case _ if close is not None:
            reason = f" {close.reason!r}" if close.reason else ""
            return f"close {close.code}{reason}"
        case AnyError():
            return "any error"
        case OnError():
            return f"the error {_repr(notification.exception)}"
        case OnCompleted():
            return "completion"
        case Notification():
            value: Any = getattr(cast(object, notification), "value", None)
            return _repr(value, getattr(against, "value", value))
        case _:
            return f"a match for {type(notification).__name__}"


def _repr(value: Any, against: Any = None) -> str:
    """Return a value's repr; cut a long one around the difference to another value's repr."""
    text = repr(value)
    if len(text) <= _MAX_REPR:
        return text
    pairs = zip(text, repr(against), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = 0 if same == len(text) or same < _MAX_REPR // 2 else same - _MAX_REPR // 4
    part = text[start : start + _MAX_REPR]
    return f"{'…' if start else ''}{part}{'…' if start + _MAX_REPR < len(text) else ''}"


# --- as marbles ---------------------------------------------------------------------------------


class _Names:
    """Names of values: the value's own text if that is short, else a letter."""

    def __init__(self, known: Mapping[str, Any], values: list[Any]) -> None:
        self.used: dict[str, Any] = {}  # those that need a legend
        self._names = list(known.items())
        taken = {*known, *(str(value) for value in values if _is_name(str(value)))}
        self._known = set(known)
        self._letters = iter(letter for letter in ascii_letters if letter not in taken)

    def of(self, value: Any) -> str:
        for name, known in self._names:
            if type(known) is type(value) and same(known, value):
                self.used[name] = value
                return name
        text = str(value)
        if _is_name(text) and text not in self._known:
            return text
        name = next(self._letters, "?")
        self._names.append((name, value))
        self.used[name] = value
        return name


def _is_name(text: str) -> bool:
    return len(text) <= _MAX_NAME and text.isalnum()


def _marks(line: Timeline, step: float, names: _Names) -> dict[int, str]:
    """Return the text of each column that has an event."""
    marks: dict[int, list[str]] = {}
    for event in line:
        marks.setdefault(round(event.time / step), []).append(_mark(event.value, names))
    return {
        column: group[0] if len(group) == 1 else f"({','.join(group)})"
        for column, group in marks.items()
    }


def _mark(notification: Any, names: _Names) -> str:
    close = close_of(notification)
    if close is not None:
        return f"{{{close.code}{f' {close.reason:.20}' if close.reason else ''}}}"
    kind = getattr(notification, "kind", "?")  # RxPY's predicates have no kind
    return names.of(notification.value) if kind == "N" else {"C": "|", "E": "#"}.get(kind, "?")


def _lines(timelines: Mapping[str, Mapping[int, str]], difference: int, step: float) -> list[str]:
    """Draw both timelines with the same time in the same column, and a caret below."""
    texts = dict.fromkeys(timelines, "")
    caret = 0
    free = 0  # the next column to draw
    for column in sorted({column for marks in timelines.values() for column in marks}):
        gap = _gap(column - free, step)
        width = max(len(marks.get(column, "")) for marks in timelines.values())
        if column == difference:
            caret = max(map(len, texts.values())) + len(gap)
        for name, marks in timelines.items():
            end = _end(marks)
            texts[name] += gap if column <= end else " " * len(gap)
            texts[name] += marks.get(column, "").ljust(width, "-" if column < end else " ")
        free = max(column + width, free)
    start = caret - _BEFORE if caret > _BEFORE + 10 else 0
    cut = "…" if start else ""
    return [
        *(
            f"{name:{_LABEL}}{cut}{text[start : start + _WIDTH].rstrip()}"
            f"{'…' if len(text.rstrip()) > start + _WIDTH else ''}"
            for name, text in texts.items()
        ),
        " " * (_LABEL + len(cut) + caret - start) + "^",
    ]


def _gap(columns: int, step: float) -> str:
    return "-" * columns if columns < _LONG_GAP else f"-- {columns * step:g} s --"


def _end(marks: Mapping[int, str]) -> int:
    """Return the column of the end, or a very large number if the timeline has no end."""
    last = max(marks, default=0)
    return last if marks.get(last, "").rstrip(")")[-1:] in ("|", "#", "}") else 1 << 62
