"""Subscribers of a topic that begin with history, and continue live without a hole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from reactivex.abc import ObserverBase

from rxws._core.streams.stream import call_each

from ._history import Entry, Event, Kept, Ring, next_position
from ._messages import Gap, Position

__all__ = ["RewindView", "SinceView", "View", "ViewedTopic"]


class ViewedTopic(Protocol):
    """The interface of a topic to its views; see `AttachedTopic`."""

    def notify(self, on_next: Callable[[Any], None], value: Any) -> None:
        """Call one subscriber; report what it raises."""
        ...

    def on_gap(self, gap: Gap) -> None:
        """Count and report a gap."""
        ...

    def count_gap(self, gap: Gap) -> None: ...


class _Phase(Enum):
    WAITING = auto()  # for history; what is delivered meanwhile is in the topic's ring
    SKIPPING = auto()  # live events that were in the history already
    LIVE = auto()
    OVER = auto()


class View(ObserverBase[Event]):
    """An observer of a topic's events, which emits no position twice."""

    __slots__ = ("_last", "_observer", "_phase", "_topic")

    def __init__(self, topic: ViewedTopic, observer: ObserverBase[Any]) -> None:
        self._topic = topic
        self._observer = observer
        self._phase = _Phase.WAITING
        self._last: Position | None = None  # the last position of the history

    @property
    def want(self) -> tuple[Position | None, int | None]:
        """See `HistoryView`."""
        raise NotImplementedError

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        """See `HistoryView`."""
        raise NotImplementedError

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        """See `HistoryView`."""
        raise NotImplementedError

    def on_next(self, value: Event) -> None:
        if self._phase is _Phase.LIVE:
            self._emit(value)
        elif self._phase is _Phase.SKIPPING and (event := self._unless_known(value)) is not None:
            self._phase = _Phase.LIVE
            self._emit(event)

    def on_error(self, error: Exception) -> None:
        self._phase = _Phase.OVER
        self._observer.on_error(error)

    def on_completed(self) -> None:
        self._phase = _Phase.OVER
        self._observer.on_completed()

    def end(self) -> None:
        """Emit nothing more: the subscription was disposed."""
        self._phase = _Phase.OVER

    def _emit(self, event: Event) -> None:
        self._observer.on_next(event)

    def _unless_known(self, event: Event) -> Event | None:
        """Return a live event, or None if the history contains it."""
        last = self._last
        assert last is not None
        if isinstance(event, Gap):
            if event.before is not None and _is_known(event.before, next_position(last)):
                return None
            return Gap(last, event.before, event.reason)
        known = event.position is not None and _is_known(event.position, last)
        return None if known else event

    def _begin(self, ring: Ring, entries: Sequence[Entry], last: Position) -> None:
        """Emit history up to `last`, then what the ring has after it, then live events."""
        if self._phase is not _Phase.WAITING:
            return
        assert ring.position is not None
        newer = ring.after(last)
        if newer is None and not _is_known(last, ring.position):
            newer = []  # the read was faster than the live messages
        elif newer is None:  # it has overflowed
            newer = [Entry.gap(last, ring.position, "overflow")]
        self._last = last if not newer else ring.position
        self._phase = _Phase.LIVE if self._last == ring.position else _Phase.SKIPPING
        self._emit_all((*entries, *newer))

    def _begin_unnumbered(self, entries: Sequence[Entry]) -> None:
        """Emit gaps, then live events."""
        if self._phase is _Phase.WAITING:
            self._phase = _Phase.LIVE
            self._emit_all(entries)

    def _emit_all(self, entries: Sequence[Entry]) -> None:
        emit = partial(self._topic.notify, self._emit_history)
        call_each(emit, [entry.event for entry in entries])

    def _emit_history(self, event: Event) -> None:
        if self._phase is _Phase.OVER:
            return
        if isinstance(event, Gap):
            self._topic.count_gap(event)
        self._emit(event)


class SinceView(View):
    """Everything after a position; a gap comes first if that is not known."""

    __slots__ = ("_since",)

    def __init__(self, topic: ViewedTopic, observer: ObserverBase[Any], position: Position) -> None:
        super().__init__(topic, observer)
        self._since = position

    @property
    def want(self) -> tuple[Position, None]:
        return self._since, None

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        since = self._since
        if ring.after(since, oldest) is None:
            return False
        self._begin(ring, (), since)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        since, last = self._since, ring.position
        assert last is not None
        if isinstance(kept, Exception):
            self._begin(ring, [Entry.gap(since, last, "unavailable")], last)
        elif kept.top.epoch != last.epoch:  # the log is about to find out
            self._begin(ring, [Entry.gap(since, last, "restarted")], last)
        else:
            self._begin(ring, kept.after(since), kept.top)


class RewindView(View):
    """The newest messages, then live ones: as events, or as values only."""

    __slots__ = ("_as_events", "_count")

    def __init__(
        self,
        topic: ViewedTopic,
        observer: ObserverBase[Any],
        count: int,
        *,
        as_events: bool = False,
    ) -> None:
        super().__init__(topic, observer)
        self._count = count
        self._as_events = as_events

    @property
    def want(self) -> tuple[None, int]:
        return None, self._count

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        entries = ring.newest(self._count, oldest)
        if entries is None or ring.position is None:
            return False
        self._begin(ring, entries, ring.position)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        last = ring.position
        assert last is not None
        if isinstance(kept, Exception):
            self._begin(ring, [Entry.gap(None, last, "unavailable")], last)
        elif kept.top.epoch != last.epoch:
            self._begin(ring, (), last)
        else:
            self._begin(ring, kept.entries[-self._count :], kept.top)

    def _emit(self, event: Event) -> None:
        if self._as_events:
            self._observer.on_next(event)
        elif not isinstance(event, Gap):
            self._observer.on_next(event.value)

    def _emit_history(self, event: Event) -> None:
        if self._as_events or not isinstance(event, Gap):
            super()._emit_history(event)
        elif self._phase is not _Phase.OVER:
            self._topic.on_gap(event)


def _is_known(position: Position, last: Position) -> bool:
    return position.epoch == last.epoch and position.offset <= last.offset
