"""Two timelines as two marble lines, one above the other, with the place where they part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from string import ascii_letters
from typing import Any

from reactivex.notification import OnCompleted, OnError, OnNext

from rxws.messages import Close

from .timeline import Timeline

__all__ = ["difference"]

_LONG_WAIT = 24  # columns without a mark from which on a number stands for them
_SHORT = 8  # characters that a value may have to be drawn as itself


def difference(seen: Timeline, expected: Timeline) -> list[str]:
    """Tell how two timelines differ, for people.

    Returns:
        Lines: what differs first, both as marbles in the same columns, and what names stand for.
    """
    place = expected.first_difference(seen)
    if place is None:
        return ["the timelines are the same"]
    step = expected.step
    names = _Names({**seen.names, **expected.names})
    cells = {"expected": _cells(expected, step, names), "seen": _cells(seen, step, names)}
    first = min(_column(line, place, step) for line in (expected, seen))
    lines = _lines(cells, first)
    at = min(line[place].time for line in (expected, seen) if place < len(line))
    told = [_what(line, place) for line in (expected, seen)]
    return [
        f"differs at {at:g} s: expected {told[0]}, seen {told[1]}",
        *lines,
        f"{'':10}a character is {step:g} s",
        *(f"{'':10}{name} = {value!r:.200}" for name, value in names.given()),
    ]


def _what(line: Timeline, place: int) -> str:
    if place >= len(line):
        return "nothing more" if line else "nothing"
    event = line[place]
    value = event.value
    match value:
        case OnNext():
            text = f"{value.value!r:.120}"
        case OnCompleted():
            text = "the completion"
        case OnError():
            text = f"the failure {value.exception!r:.200}"
        case _:
            text = f"{value}"
    return f"{text} at {event.time:g} s"


def _column(line: Timeline, place: int, step: float) -> int:
    return round(line[place].time / step) if place < len(line) else 1 << 62


class _Names:
    """What values are called: their own text if that is short, else a letter."""

    def __init__(self, known: Mapping[str, Any]) -> None:
        self._names = list(known.items())
        self._letters = iter(letter for letter in ascii_letters if letter not in known)

    def of(self, value: Any) -> str:
        for name, known in self._names:
            if type(known) is type(value) and known == value:
                return name
        text = str(value)
        if len(text) <= _SHORT and text.isalnum():
            return text
        name = next(self._letters, "?")
        self._names.append((name, value))
        return name

    def given(self) -> Iterator[tuple[str, Any]]:
        return iter(self._names)


def _cells(line: Timeline, step: float, names: _Names) -> dict[int, str]:
    marks: dict[int, list[str]] = {}
    for event in line:
        marks.setdefault(round(event.time / step), []).append(_mark(event.value, names))
    return {
        column: found[0] if len(found) == 1 else f"({','.join(found)})"
        for column, found in marks.items()
    }


def _mark(notification: Any, names: _Names) -> str:
    value = getattr(notification, "value", None)
    close = getattr(getattr(notification, "exception", None), "close", value)
    if isinstance(close, Close):
        return f"{{{close.code}}}"
    kind = getattr(notification, "kind", "?")  # RxPY's predicates have none
    return names.of(value) if kind == "N" else {"C": "|", "E": "#"}.get(kind, "?")


def _lines(cells: Mapping[str, Mapping[int, str]], first: int) -> list[str]:
    """Draw in columns that are as wide as the widest mark in them."""
    columns = sorted({column for marks in cells.values() for column in marks})
    texts = {name: f"{name:10}" for name in cells}
    caret = 10
    before = -1
    for column in columns:
        empty = column - before - 1
        gap = "-" * empty if empty < _LONG_WAIT else f"-- {empty} --"
        width = max(len(marks.get(column, "")) for marks in cells.values())
        if column == first:
            caret = len(texts["seen"]) + len(gap)
        for name, marks in cells.items():
            over = all(column > other for other in marks)
            texts[name] += (" " * len(gap) if over and _ended(marks, column) else gap) + (
                marks.get(column, "").ljust(width, " " if over else "-")
            )
        before = column
    return [*(text.rstrip() for text in texts.values()), " " * caret + "^"]


def _ended(marks: Mapping[int, str], column: int) -> bool:
    last = marks[max(marks)] if marks else ""
    return column > max(marks, default=-1) and last[-1:] in ("|", "#", "}")
