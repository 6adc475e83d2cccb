"""Find out which values a step passes on, from its input and its output alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from .diagram import Mark, Step, Wait, WaitKind
from .diagram.labels import kind_of

__all__ = ["Passage", "dropped_values"]

_MAX_PENDING = 256  # values that may be inside a step, such as those that `delay` holds
_MAX_WAITS = 2000
_VISIBLE = 0.001  # seconds: a shorter wait is not drawn

_Rule: TypeAlias = Literal["at once", "latest", "in order", "none"]

# These emit something while they get a value, or nothing for it.
_AT_ONCE = frozenset(
    [
        *("as_observable", "default_if_empty", "distinct", "distinct_until_changed", "do_action"),
        *("element_at", "filter", "filter_indexed", "finally_action", "find", "first"),
        *("ignore_elements", "map", "map_indexed", "scan", "skip", "skip_until"),
        *("skip_until_with_time", "skip_while", "skip_while_indexed", "skip_with_time", "take"),
        *("take_until", "take_until_with_time", "take_while", "take_while_indexed"),
        *("take_with_time", "tap", "throttle_first", "time_interval", "timeout", "timestamp"),
        "with_latest_from",
    ]
)
# These keep one value, which the next one replaces.
_LATEST = frozenset(["debounce", "last", "sample", "throttle_with_mapper"])
_RESTARTS = frozenset(["debounce", "throttle_with_mapper"])  # of these: their wait begins again
# These emit the values themselves, later and in order.
_IN_ORDER = frozenset(["delay", "observe_on", "on_loop", "rate_limit", "skip_last"])


class _Entry(Mark, Protocol):
    @property
    def order(self) -> int: ...


class _Lane(Protocol):
    name: str
    dropped: int
    passage: Passage | None

    @property
    def entries(self) -> Sequence[_Entry]: ...


def _rule(step: Step) -> _Rule:
    if not step.operator:  # unknown: compare what comes out with what went in
        return "in order"
    names = step.operator.split(" · ")
    if all(name in _AT_ONCE for name in names):
        return "at once"
    if step.operator in _LATEST:
        return "latest"
    return "in order" if all(_keeps_order(name) for name in names) else "none"


def _keeps_order(name: str) -> bool:
    return name in _AT_ONCE or name in _LATEST or name in _IN_ORDER


class Passage:
    """Which values went through a step. It reads each recorded event of both lanes once.

    What it cannot know, it does not claim: nothing is known about values that an operator such as
    `buffer` or `flat_map` combines, or that come out of an unknown operator changed.

    Attributes:
        step: The step.
        dropped: The positions (`order`) of the input values that the step dropped.
        waits: The latest times that the step spent waiting.
    """

    def __init__(self, step: Step) -> None:
        self.step = step
        self.dropped: set[int] = set()
        self.waits: deque[Wait] = deque(maxlen=_MAX_WAITS)
        self._rule: _Rule = _rule(step)
        self._pending: deque[_Entry] = deque(maxlen=_MAX_PENDING)
        self._read = [0, 0]  # how many events of the input and of the output were read
        self._unmatched_allowed = 0  # outputs whose input may be missing
        self._matched = step.operator != ""
        self._input_ended = False
        self._latest_input = 0.0

    def update(self, above: _Lane, below: _Lane) -> None:
        """Read the new events of the step's input and output."""
        if self._rule == "none":
            return
        inputs, inputs_begin = self._new(0, above)
        outputs, outputs_begin = self._new(1, below)
        begin = max(inputs_begin, outputs_begin)
        if begin:  # events are missing: begin where both lanes are complete
            self._pending.clear()
            self._unmatched_allowed = _MAX_PENDING
        events = [(entry, self._on_input) for entry in inputs]
        events += [(entry, self._on_output) for entry in outputs]
        for entry, read in sorted(events, key=lambda event: event[0].order):
            if entry.order >= begin:
                read(entry)
        if len(self.dropped) > 2 * len(above.entries) + _MAX_PENDING:
            self.dropped &= {entry.order for entry in above.entries}

    def _new(self, index: int, lane: _Lane) -> tuple[Sequence[_Entry], int]:
        """Return the unread events, and the order of the first if events before it are missing."""
        entries, count = lane.entries, self._read[index]
        self._read[index] = lane.dropped + len(entries)
        unread = self._read[index] - count
        if unread <= len(entries):
            return entries[len(entries) - unread :], 0
        return entries, entries[0].order

    def _on_input(self, entry: _Entry) -> None:
        if entry.type != "next":
            self._input_ended = entry.type in ("completed", "error")
            return
        self._input_ended = False
        self._latest_input = entry.t
        if self._rule == "at once":
            self.dropped.add(entry.order)
            self._pending.clear()
        elif self._rule == "latest":
            self._drop_pending(entry.t)
        self._pending.append(entry)

    def _on_output(self, entry: _Entry) -> None:
        if entry.type == "next":
            source = self._source_of(entry)
            if source is not None:
                self._matched = True
                self._unmatched_allowed = 0
                self.dropped.discard(source.order)
            self._add_wait(source, entry)
        elif entry.type in ("completed", "error"):
            if self._matched and self._rule != "at once":
                self._drop_pending(None)
            seconds = self.step.seconds
            if self.step.operator == "timeout" and entry.type == "error" and seconds:
                began = entry.t - seconds
                if began >= self._latest_input - _VISIBLE - seconds / 10:
                    self.waits.append(Wait(max(began, 0.0), entry.t, "silence"))
            self._pending.clear()

    def _source_of(self, output: _Entry) -> _Entry | None:
        """Return the input value that came out, if it is known."""
        if self._rule != "in order":
            if not self._pending:
                return None
            return self._pending[-1] if self._rule == "at once" else self._pending.pop()
        found = next(
            (at for at, entry in enumerate(self._pending) if _same(entry.data, output.data)), None
        )
        if found is None or (self._input_ended and not self._matched):
            # The operator changes values; or it may be one such as `count`, whose result may equal
            # a value by chance.
            self._unmatched_allowed -= 1
            if self._unmatched_allowed < 0:
                self._rule = "none"
                self._pending.clear()
                self.dropped.clear()
                self.waits.clear()
            return None
        for _ in range(found):
            self.dropped.add(self._pending.popleft().order)
        return self._pending.popleft()

    def _drop_pending(self, replaced_at: float | None) -> None:
        for entry in self._pending:
            self.dropped.add(entry.order)
            if replaced_at is not None and self.step.operator in _RESTARTS:
                self.waits.append(Wait(entry.t, replaced_at, "restarted"))
        self._pending.clear()

    def _add_wait(self, source: _Entry | None, output: _Entry) -> None:
        operator, seconds, t = self.step.operator, self.step.seconds, output.t
        if operator == "throttle_first" and seconds:
            self.waits.append(Wait(t, t + seconds, "closed"))
        elif operator == "sample" and seconds:
            self.waits.append(Wait(max(t - seconds, 0.0), t, "window"))
        elif self._rule == "at once":
            return  # a slow function does not hold values
        elif source is not None and operator not in ("delay", "last") and t - source.t >= _VISIBLE:
            kind: WaitKind = "held"
            if operator in _RESTARTS:
                kind = "flushed" if self._input_ended else "silence"
            if self._rule == "latest" or not self.waits or self.waits[-1].stop <= source.t:
                self.waits.append(Wait(source.t, t, kind))


def dropped_values(lanes: Mapping[str, _Lane]) -> dict[str, dict[int, str]]:
    """Read new events, and return `Track.drops` of each lane: what no step below passed on."""
    below: dict[str, list[tuple[str, Passage]]] = {}
    for lane in lanes.values():
        passage = lane.passage
        if passage is not None and passage.step.above in lanes:
            passage.update(lanes[passage.step.above], lane)
            below.setdefault(passage.step.above, []).append((lane.name, passage))
    found: dict[str, dict[int, str]] = {}
    for above, steps in below.items():
        first, *others = (passage.dropped for _, passage in steps)
        dropped = first.intersection(*others)
        names = " and ".join(
            name if name == passage.step.operator else f'"{name}"' for name, passage in steps
        )
        known = all(passage.step.operator for _, passage in steps)
        why = f"that {names} dropped" if known else f"that did not reach {names}"
        found[above] = {id(e): why for e in lanes[above].entries if e.order in dropped}
    return found


def _same(value: Any, other: Any) -> bool:
    if value is other:
        return True
    try:
        return kind_of(value) is kind_of(other) and (value == other) is True
    except Exception:  # the methods of a user's value may raise anything
        return False
