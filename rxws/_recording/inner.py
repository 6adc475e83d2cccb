"""Record inner Observables: those that a stream emits, or that an operator subscribes to."""

from __future__ import annotations

import threading
from itertools import count
from typing import Any, Protocol

from reactivex import Observable

from .diagram import Nesting, Role
from .diagram.labels import FROM, key_label, short
from .followed import followed, label_of
from .lane import Lane

__all__ = ["InnerLanes"]

_MAX_LANES = 6  # for the inner Observables of one stream; all others share one more


class _Lanes(Protocol):
    """A recording."""

    lanes: dict[str, Lane]

    def lane(self, name: str) -> Lane: ...


class InnerLanes:
    """The lanes of the inner Observables of one stream.

    Up to `_MAX_LANES` inner Observables have a lane of their own at the same time. Those beyond
    share one lane. An inner Observable that starts may get the lane of one that has ended, first of
    all of one with the same key.

    Args:
        lanes: Where to make the lanes.
        outer: The name of the stream's lane.
        role: Whether the stream emits the Observables, or its operator subscribes to them.
    """

    def __init__(self, lanes: _Lanes, outer: str, role: Role) -> None:
        self._lanes = lanes
        self._outer = outer
        self._role: Role = role
        self._rows: list[_Row] = []
        self._rest: _Row | None = None
        self._count = 0
        self._lock = threading.RLock()  # a signal handler may push while it interrupts a push

    def follow(
        self, source: Observable[Any], origin: tuple[Any, ...] | None = None
    ) -> Observable[Any]:
        """Return an Observable like `source` whose values are recorded.

        Args:
            source: An inner Observable.
            origin: The value from which it was made, in a tuple, if known; an Observable without a
                key gets its label.
        """
        if label_of(source) is not None:
            return source
        self._count += 1
        key = key_label(source) or (key_label(origin[0]) if origin else None)
        label = key or (short(origin[0]) if origin else f"#{self._count}")
        if self._role == "input" and origin:
            label = FROM + label
        current: _Subscription | None = None

        def begin() -> _Subscription | None:
            nonlocal current
            # Other subscribers at the same time get the same values.
            if current is not None and not current.ended:
                return None
            current = self._begin(label, keyed=key is not None)
            return current

        return followed(source, label, begin)

    def follow_source(self, source: Observable[Any], number: int) -> Observable[Any]:
        """Do as `follow`, for a source of an operator with several; `number` is at least 2."""
        if label_of(source) is not None:
            return source
        label = key_label(source) or f"source {number}"
        return followed(source, label, lambda: self._begin(label, keyed=True))

    def _begin(self, label: str, keyed: bool) -> _Subscription:
        with self._lock:
            row = self._choose(label, keyed)
            row.label, row.live = label, row.live + 1
            nesting = row.nesting
            nesting.label = label if nesting.inners == 0 or label == nesting.label else ""
            nesting.inners += 1
            row.lane.record("subscribed", label)
        return _Subscription(row, self._lock)

    def _choose(self, label: str, keyed: bool) -> _Row:
        free = [row for row in self._rows if not row.live]
        same = [row for row in free if row.label == label]
        if same:
            return same[0]
        if free and (not keyed or len(self._rows) >= _MAX_LANES):
            return free[0]
        if len(self._rows) < _MAX_LANES:
            self._rows.append(self._row())
            return self._rows[-1]
        if self._rest is None:
            self._rest = self._row(rest=True)
        return self._rest

    def _row(self, rest: bool = False) -> _Row:
        names = (f"{self._outer} {self._role} {number}" for number in count(1))
        lane = self._lanes.lane(next(name for name in names if name not in self._lanes.lanes))
        lane.nesting = nesting = Nesting(self._outer, self._role, rest)
        return _Row(lane, nesting)


class _Row:
    """A lane, and how many inner Observables are recorded in it at present."""

    __slots__ = ("label", "lane", "live", "nesting")

    def __init__(self, lane: Lane, nesting: Nesting) -> None:
        self.lane = lane
        self.nesting = nesting
        self.label = ""
        self.live = 0


class _Subscription:
    """Records one subscription to an inner Observable."""

    __slots__ = ("_lock", "_row", "ended")

    def __init__(self, row: _Row, lock: threading.RLock) -> None:
        self._row = row
        self._lock = lock
        self.ended = False

    def next(self, value: Any) -> None:
        self._row.nesting.values += 1
        self._row.lane.record("next", value)

    def end(self, kind: str, error: Exception | None = None) -> None:
        with self._lock:
            if self.ended:
                return
            self.ended = True
            self._row.live -= 1
            if not self._row.live:
                self._row.lane.record(kind, error)
