"""Draw a diagram as text, for terminals: a line per lane, time in columns."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from itertools import pairwise

from .axis import ticks
from .explanations import explanations
from .labels import cells, cut, number, plain
from .model import Diagram
from .numbers import numbers_of
from .visible import End, TimeSpan, VisibleTrack, Window, time_span, visible_tracks

__all__ = ["text", "to_ascii"]

_MIN_COLS = 24  # next to the names
_NAME = 20  # columns at most
_LABEL = 12  # columns of a value
_MIN_COLUMNS = 12  # for the time
_MIN_NUMBERS = 12  # fewer numbers are shown without their range
_DENSE = 0.6  # values per column: more of them are drawn as blocks
_WAITS = {"restarted": "┄"}  # other waits are ░
_STATES = {"connecting": "╍", "open": "━", "waiting": "┄", "closed": "·"}
_LEVELS = "▁▂▃▄▅▆▇█"
_LINES = {"runs": "─", "open": "─", "disposed": "╌", "lost": "┈"}
_BRANCHES: dict[str, str] = {"inner": "└ ", "input": "┌ "}
_BEGIN = "├"  # of an inner Observable
_ASCII = str.maketrans(
    "─━╍╌┄┈→↓↑•○▁▂▃▄▅▆▇█░✗┤├└┌╎╵…·µ↵∞\N{MULTIPLICATION SIGN}",
    "-==~..><^*o_.,:;i!#:X|{`,:'~.u/8x",
)
_ENDS = {"completed": "┤", "error": "✗", "disposed": "╎"}


def text(
    diagram: Diagram, cols: int = 48, window: Window = None, *, width: int | None = None
) -> str:
    """Draw a diagram, or its part within a window, in `cols` columns next to the names.

    With `width`, the names and the columns next to them have that width together.

    Examples:
        >>> from rxws._recording.diagram import Diagram, Track
        >>> print(text(Diagram("", (Track("ticks"),)), 24))
        ticks ──────────────────→ 0 ev
              ╵0 s     ╵0.5 s
    """
    if cols < _MIN_COLS:
        raise ValueError(f"cols={cols!r} leaves no room to draw: use {_MIN_COLS} or more")
    time = time_span(diagram, window)
    lanes = visible_tracks(diagram, time)
    names = [cut(_branch(lane) + plain(lane.title), _NAME) for lane in lanes]
    notes = [_note(lane) for lane in lanes]
    left = max(map(cells, names), default=0) + 1
    if width is not None:
        cols = max(width - left, _MIN_COLS)
    right = max(map(cells, notes), default=0) + 1
    if cols - right < 2 * _MIN_COLUMNS:
        notes = [f"{lane.total} ev" for lane in lanes]
        right = min(max(map(cells, notes), default=0) + 1, cols - _MIN_COLUMNS)
    width = cols - right
    end_label = max((cells(end.label) for lane in lanes for end in lane.ends), default=0)
    at = _Columns(time, width, min(end_label + 1, width // 3))
    lines = [cut(plain(diagram.title), left + cols)] if diagram.title else []
    for lane, name, note in zip(lanes, names, notes, strict=True):
        drawn = "".join(_lane(lane, at))
        lines.append(f"{name}{' ' * (left - cells(name))}{drawn} {cut(note, right - 1)}".rstrip())
    if lanes:
        lines.append((" " * left + _axis(at)).rstrip())
    if any(lane.statuses for lane in lanes):
        lines.append("  ".join(f"{sign} {state}" for state, sign in _STATES.items()))
    for kind, said, _ in explanations([lane.track for lane in lanes]):
        sign = "○" if kind == "dropped" else _WAITS.get(kind, "░") * 3
        rows = textwrap.wrap(plain(said), left + cols - 4)
        lines += [f"{sign if row is rows[0] else '':3} {row}" for row in rows]
    return "\n".join(lines)


def to_ascii(drawn: str) -> str:
    """Return a text diagram in ASCII, with the same columns.

    Examples:
        >>> to_ascii("ticks ──•─→ é日")
        'ticks --*-> ???'
    """
    return "".join(
        character if character.isascii() else "?" * cells(character)
        for character in drawn.translate(_ASCII)
    )


def _branch(lane: VisibleTrack) -> str:
    """Return the start of an inner lane's name: it points to the line of its stream."""
    nesting = lane.track.nesting
    return "" if nesting is None else _BRANCHES[nesting.role]


class _Columns:
    """Maps times to columns; `at(t)` is the column of a time."""

    def __init__(self, time: TimeSpan, width: int, room: int) -> None:
        self.time = time
        self.width = width
        self.last = width - 1 - room  # leaves room for the label of an end

    def __call__(self, t: float) -> int:
        part = (t - self.time.start) / (self.time.stop - self.time.start)
        return min(max(int(part * self.last + 0.5), 0), self.last)


def _note(lane: VisibleTrack) -> str:
    few = lane.only_errors or len(lane.values) < _MIN_NUMBERS
    numbers = None if few else numbers_of(lane.values)
    finite = [value for value in numbers or () if math.isfinite(value)]
    between = f" {number(min(finite))}…{number(max(finite))}" if finite else ""
    return lane.count if lane.statuses or lane.track.omitted else f"{lane.total} ev{between}"


def _lane(lane: VisibleTrack, at: _Columns) -> list[str]:
    line = [" "] * at.width
    for segment in lane.segments:
        to_edge = segment.stop >= at.time.stop and segment.kind in ("open", "disposed")
        stop = at.width - 1 if to_edge else at(segment.stop)
        for column in range(at(segment.start), stop + 1):
            line[column] = _LINES[segment.kind]
        if segment.kind == "open":
            line[stop] = "→"
        if segment.began is not None:
            line[at(segment.start)] = _BEGIN
    if lane.ended_before:
        _put(line, 0, cut(lane.ended_before, at.width))
    if len(lane.values) <= at.width * _DENSE:
        _waits(line, lane, at)
    if lane.statuses:
        _states(line, lane, at)
    elif lane.values:
        _values(line, lane, at)
    for end in lane.ends:
        column = at(end.t)
        if lane.track.nesting is not None and end is not lane.last:
            _inner_end(line, end, column)
        elif end.kind != "disposed" or lane.track.nesting is not None:
            _end(line, end, column, lane.last is end)
    return line


def _states(line: list[str], lane: VisibleTrack, at: _Columns) -> None:
    for span in lane.statuses:
        first, stop = at(max(span.start, at.time.start)), at(span.stop)
        for column in range(first, stop + 1):
            line[column] = _STATES[span.status.state]
        label = next((each for each in span.labels if cells(each) <= stop - first), "")
        if label:
            _put(line, first, label)


def _waits(line: list[str], lane: VisibleTrack, at: _Columns) -> None:
    for wait in lane.track.waits:
        if wait.stop > at.time.start and wait.start < at.time.stop:
            for column in range(at(wait.start), at(wait.stop)):
                line[column] = _WAITS.get(wait.kind, "░")


def _values(line: list[str], lane: VisibleTrack, at: _Columns) -> None:
    values = lane.values
    columns = [at(mark.t) for mark in values]
    if len(values) > at.width * _DENSE:
        _blocks(line, lane, columns)
        return
    drops = lane.track.drops
    for column, mark in zip(columns, values, strict=True):
        if id(mark) not in drops:
            line[column] = "✗" if lane.only_errors else "•"
        elif line[column] != "•":
            line[column] = "○"
    if lane.only_errors or lane.is_rest:
        return
    lane.track.texts.learn(lane.track.marks)
    short = zip(values, lane.track.texts.short(values, _LABEL + 1), strict=True)
    labels = [f"○{label}" if id(mark) in drops else label for mark, label in short]
    stops = [(end.t, at(end.t)) for end in lane.ends]
    begun = [(each.start, at(each.start)) for each in lane.segments if each.began is not None]
    room: list[int] = []
    for mark, (left, right) in zip(values, pairwise([*columns, at.width]), strict=True):
        limits = [column for t, column in stops if t >= mark.t]
        limits += [column for t, column in begun if t > mark.t]
        room.append(max(min([right, *limits]) - left, 1))
    sizes = [cells(label) for label in labels]
    # Adjacent labels run together, unless each is a single character.
    single = all(
        size < space or size == space == 1 for size, space in zip(sizes, room, strict=True)
    )
    for column, label, size, space in zip(columns, labels, sizes, room, strict=True):
        if single or size < space:
            _put(line, column, label)


def _put(line: list[str], column: int, label: str) -> None:
    """Write a whole label into its first column, and empty strings into the others."""
    size = cells(label)
    line[column : column + size] = [label, *[""] * (size - 1)]


def _blocks(line: list[str], lane: VisibleTrack, columns: Sequence[int]) -> None:
    """Draw a block for each column: its height is the mean of numbers, else the count."""
    numbers = None if lane.only_errors else numbers_of(lane.values)
    groups: dict[int, list[float]] = {}
    for column, value in zip(columns, numbers or [1.0] * len(columns), strict=True):
        if math.isfinite(value):
            groups.setdefault(column, []).append(value)
    if numbers is None:
        levels = {column: float(len(group)) for column, group in groups.items()}
        low = 0.0
    else:
        levels = {column: math.fsum(group) / len(group) for column, group in groups.items()}
        low = min(levels.values(), default=0.0)
    most = max(levels.values(), default=0.0)
    for column, level in levels.items():
        part = (level - low) / (most - low) if most > low else 0.5
        line[column] = _LEVELS[min(int(part * len(_LEVELS)), len(_LEVELS) - 1)]


def _inner_end(line: list[str], end: End, column: int) -> None:
    """Draw an end before others, next to a value at the same time, unless there is no room."""
    if end.kind != "disposed" and line[column] not in "─ ":
        column += 1
    if column < len(line) and line[column] in "─ ":
        line[column] = _ENDS[end.kind]


def _end(line: list[str], end: End, column: int, last: bool) -> None:
    if last:
        # Move right, past values at the same time.
        while column < len(line) - 1 and line[column] not in "─┈→ ":
            column += 1
    line[column] = _ENDS[end.kind]
    if last:
        room = len(line) - column - 1
        line[column + 1 :] = " " * room
        if end.label and room:
            _put(line, column + 1, cut(end.label, room))


def _axis(at: _Columns) -> str:
    line = [" "] * at.width
    free = 0
    for time, label in ticks(at.time.start, at.time.stop, max(at.last // 8, 2)):
        column = at(time)
        if column >= free and column + len(label) + 1 <= at.width:
            line[column : column + len(label) + 1] = ["╵", *label]
            free = column + len(label) + 2
    return "".join(line)
