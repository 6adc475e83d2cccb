"""Subscribers of a topic that begin with history, and continue live without a hole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from reactivex.abc import ObserverBase

from rxws._core.streams.stream import call_each

from ._history import Entry, Event, Kept, Ring, next_position
from ._messages import Gap, Position
from ._turns import STEP, Turns

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


_NOTHING: Iterator[Entry] = iter(())


class _Phase(Enum):
    WAITING = auto()  # for history; what is delivered meanwhile is in the topic's ring
    EMITTING = auto()  # history, in several turns; the same holds
    SKIPPING = auto()  # live events that were in the history already
    LIVE = auto()
    OVER = auto()


class View(ObserverBase[Event]):
    """An observer of a topic's events, which emits no position twice.

    Args:
        since: The position after which to begin; None for the newest messages.
    """

    __slots__ = ("_last", "_observer", "_phase", "_rest", "_ring", "_since", "_topic")

    def __init__(
        self, topic: ViewedTopic, observer: ObserverBase[Any], since: Position | None
    ) -> None:
        self._topic = topic
        self._observer = observer
        self._since = since
        self._phase = _Phase.WAITING
        self._ring: Ring | None = None
        self._rest = _NOTHING  # of the history
        self._last: Position | None = None  # the last position of the history

    @property
    def waits(self) -> bool:
        """Whether it waits for history, perhaps again."""
        return self._phase is _Phase.WAITING

    @property
    def want(self) -> tuple[Position | None, int | None]:
        """See `HistoryView`."""
        return self._since, None

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        """See `HistoryView`."""
        since = self._since
        if self._phase is not _Phase.WAITING:
            return True
        assert since is not None
        if ring.position is None:
            self._begin_unnumbered([Entry.gap(since, None, "unavailable")])
        elif ring.after(since, oldest) is None:
            return False
        else:
            self._begin(ring, (), since)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        """See `HistoryView`."""
        since, last = self._since, ring.position
        assert since is not None
        if last is None:
            self.begin_with(ring, 0.0)
        elif isinstance(kept, Exception):
            self._begin(ring, [Entry.gap(since, last, "unavailable")], last)
        elif kept.top.epoch != last.epoch:  # the log is about to find out
            self._begin(ring, [Entry.gap(since, last, "restarted")], last)
        else:
            self._begin(ring, kept.after(since), kept.top)

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

    def _begin(self, ring: Ring, entries: Iterable[Entry], last: Position) -> None:
        """Emit history up to `last`, then what the ring has after it, then live events."""
        if self._phase is _Phase.WAITING:
            self._phase = _Phase.EMITTING
            self._ring = ring
            self._rest = iter(entries)
            self._last = last

    def _begin_unnumbered(self, entries: Sequence[Entry]) -> None:
        """Emit gaps, then live events."""
        if self._phase is _Phase.WAITING:
            self._phase = _Phase.LIVE
            emit = partial(self._topic.notify, self._emit_history)
            call_each(emit, [entry.event for entry in entries])

    def emit_more(self, turns: Turns) -> bool:
        """Emit a part of the history; return whether there is more."""
        if self._phase is _Phase.EMITTING:
            call_each(partial(self._topic.notify, self._emit_history), self._part(turns))
        return self._phase is _Phase.EMITTING

    def _part(self, turns: Turns) -> Iterator[Event]:
        """Take as much of the history as may be emitted in one step."""
        for _ in range(STEP):
            entry = next(self._rest, None)
            if entry is None:
                yield from self._catch_up()
                return
            yield entry.event
            if turns.count_message() or self._phase is not _Phase.EMITTING:
                return

    def _catch_up(self) -> Iterable[Event]:
        """Return what was delivered since the history was read, to go on live after it.

        If that is too much for one step, it becomes the rest of the history. If the ring has lost
        some of it, it must be read as well.
        """
        ring, last = self._ring, self._last
        assert ring is not None
        assert last is not None
        newer = ring.after(last)
        if newer is None and ring.position is not None and _is_known(ring.position, last):
            self._phase = _Phase.SKIPPING  # the read was faster than the live messages
            return ()
        if newer is None and (ring.position is None or last != self._since):
            self._phase = _Phase.WAITING
            self._since = last
            return ()
        if newer is None:  # reading has brought nothing
            newer = [Entry.gap(last, ring.position, "overflow")]
        self._last = ring.position
        if len(newer) > STEP:
            self._rest = iter(newer)
            return ()
        self._phase = _Phase.LIVE
        return [entry.event for entry in newer]

    def _emit_history(self, event: Event) -> None:
        if self._phase is _Phase.OVER:
            return
        if isinstance(event, Gap):
            self._topic.count_gap(event)
        self._emit(event)


class SinceView(View):
    """Everything after a position; a gap comes first if that is not known."""

    __slots__ = ()

    def __init__(self, topic: ViewedTopic, observer: ObserverBase[Any], position: Position) -> None:
        super().__init__(topic, observer, position)


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
        super().__init__(topic, observer, None)
        self._count = count
        self._as_events = as_events

    @property
    def want(self) -> tuple[Position | None, int | None]:
        return super().want if self._since is not None else (None, self._count)

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        if self._since is not None or not self.waits:  # it has begun, and goes on
            return super().begin_with(ring, oldest)
        entries = ring.newest(self._count, oldest)
        if entries is None or ring.position is None:
            return False
        self._begin(ring, entries, ring.position)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        last = ring.position
        if self._since is not None:
            super().on_kept(ring, kept)
            return
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
