"""Two timelines as two marble lines, one above the other, with the place where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import takewhile
from string import ascii_letters
from typing import Any, cast

from reactivex.notification import Notification, OnCompleted, OnError

from rxws._core.connection import Close
from rxws._core.errors import ConnectionClosed

from .timeline import AnyError, ClosedWith, Timeline

__all__ = ["difference"]

_LABEL = 10  # columns for "expected" and "seen"
_LONG_WAIT = 24  # columns without a mark from which on their seconds stand for them
_SHORT = 8  # characters that a value may have to be drawn as itself
_WIDTH = 88  # columns of a line; of a longer one the part around the difference is shown
_BEFORE = 60  # and so many before it
_TEXT = 100  # characters of a value's repr
_FINER = (1, 2, 4, 5, 10, 20, 50, 100)  # parts of a step that a character may stand for


def difference(seen: Timeline, expected: Timeline) -> list[str]:
    """Tell how two timelines differ, for people.

    Returns:
        Lines: what differs first, both as marbles in the same columns, and what names stand for.
    """
    place = expected.first_difference(seen)
    if place is None:
        return ["the timelines are the same"]
    step = _step(expected.step, seen.times + expected.times)
    names = _Names({**seen.names, **expected.names}, seen.values + expected.values)
    cells = {"expected": _cells(expected, step, names), "seen": _cells(seen, step, names)}
    at = min(line[place].time for line in (expected, seen) if place < len(line))
    told = [_what(line, place, other) for line, other in ((expected, seen), (seen, expected))]
    return [
        f"differs at {at:g} s: expected {told[0]}, seen {told[1]}",
        *_lines(cells, round(at / step), step),
        f"{'':{_LABEL}}a character is {step:g} s",
        *(f"{'':{_LABEL}}{name} = {_text(value)}" for name, value in names.used()),
        *(f"the handler failed: {line.failure!r:.200}" for line in (seen,) if line.failure),
    ]


def _step(step: float, times: list[float]) -> float:
    """Take a part of the step where things happen between its characters."""
    for parts in _FINER:
        if all(abs(time * parts / step - round(time * parts / step)) < 1e-3 for time in times):
            return step / parts
    return step


# --- in words -----------------------------------------------------------------------------------


def _what(line: Timeline, place: int, other: Timeline) -> str:
    if place >= len(line):
        return "nothing more" if line else "nothing"
    event = line[place]
    against = other[place].value if place < len(other) else None
    return f"{_told(event.value, against)} at {event.time:g} s"


def _told(notification: Any, against: Any) -> str:
    close = _close(notification)
    match notification:
        case _ if close is not None:
            reason = f" {close.reason!r}" if close.reason else ""
            return f"the close {close.code}{reason}"
        case AnyError():
            return "a failure"
        case OnError():
            return f"the failure {_text(notification.exception)}"
        case OnCompleted():
            return "the completion"
        case Notification():
            value: Any = getattr(cast(object, notification), "value", None)
            return _text(value, getattr(against, "value", value))
        case _:
            return f"what {type(notification).__name__} accepts"


def _text(value: Any, against: Any = None) -> str:
    """A value's repr, if need be the part from shortly before it differs from another's."""
    text = repr(value)
    if len(text) <= _TEXT:
        return text
    pairs = zip(text, repr(against), strict=False)
    same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    start = 0 if same == len(text) or same < _TEXT // 2 else same - _TEXT // 4
    part = text[start : start + _TEXT]
    return f"{'…' if start else ''}{part}{'…' if start + _TEXT < len(text) else ''}"


def _close(notification: Any) -> Close | None:
    if isinstance(notification, ClosedWith):
        return notification.close
    if isinstance(notification, OnError):
        exception: object = notification.exception
        return exception.close if isinstance(exception, ConnectionClosed) else None
    value = getattr(notification, "value", None)
    return value if isinstance(value, Close) else None


# --- as marbles ---------------------------------------------------------------------------------


class _Names:
    """What values are called: their own text if that is short, else a letter."""

    def __init__(self, known: Mapping[str, Any], values: list[Any]) -> None:
        self._names = list(known.items())
        self._used: dict[str, Any] = {}
        taken = {*known, *(str(value) for value in values if _is_name(str(value)))}
        self._known = set(known)
        self._letters = iter(letter for letter in ascii_letters if letter not in taken)

    def of(self, value: Any) -> str:
        """Return the name of a value."""
        for name, known in self._names:
            if type(known) is type(value) and known == value:
                self._used[name] = value
                return name
        text = str(value)
        if _is_name(text) and text not in self._known:
            return text
        name = next(self._letters, "?")
        self._names.append((name, value))
        self._used[name] = value
        return name

    def used(self) -> Iterator[tuple[str, Any]]:
        """The names that are not the values' own texts."""
        return iter(self._used.items())


def _is_name(text: str) -> bool:
    return len(text) <= _SHORT and text.isalnum()


def _cells(line: Timeline, step: float, names: _Names) -> dict[int, str]:
    marks: dict[int, list[str]] = {}
    for event in line:
        marks.setdefault(round(event.time / step), []).append(_mark(event.value, names))
    return {
        column: found[0] if len(found) == 1 else f"({','.join(found)})"
        for column, found in marks.items()
    }


def _mark(notification: Any, names: _Names) -> str:
    close = _close(notification)
    if close is not None:
        return f"{{{close.code}{f' {close.reason:.20}' if close.reason else ''}}}"
    kind = getattr(notification, "kind", "?")  # RxPY's predicates have none
    return names.of(notification.value) if kind == "N" else {"C": "|", "E": "#"}.get(kind, "?")


def _lines(cells: Mapping[str, Mapping[int, str]], first: int, step: float) -> list[str]:
    """Draw both, so that what is at the same time is in the same column."""
    texts = dict.fromkeys(cells, "")
    caret = 0
    free = 0  # the first column behind what is drawn so far
    for column in sorted({column for marks in cells.values() for column in marks}):
        gap = _gap(column - free, step)
        width = max(len(marks.get(column, "")) for marks in cells.values())
        if column == first:
            caret = max(map(len, texts.values())) + len(gap)
        for name, marks in cells.items():
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
    return "-" * columns if columns < _LONG_WAIT else f"-- {columns * step:g} s --"


def _end(marks: Mapping[int, str]) -> int:
    """The column of the end; far away if there is none, for then time goes on."""
    last = max(marks, default=0)
    return last if marks.get(last, "").rstrip(")")[-1:] in ("|", "#", "}") else 1 << 62
