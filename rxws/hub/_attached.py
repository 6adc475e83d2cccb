"""A topic that has subscribers in this process, and is attached to the backplane for them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Protocol

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.broadcast import Broadcast
from rxws._core.errors import short_repr
from rxws._core.log import logger, one_line
from rxws._core.schedulers.timers import Deadline, seconds_of
from rxws._core.streams.stream import Dispatcher, RestartableStream, call_each
from rxws._session.encoding import decode_error, size
from rxws.codecs import Codec

from ._backplane import Backplane, History, Publication
from ._history import Entry, Event, Kept, Ring
from ._history_reader import HistoryReader, OnKept
from ._keep import Keep
from ._messages import Gap, Message, Position
from ._stats import Counters
from ._topic_log import TopicLog

__all__ = ["AttachedTopic", "AttachedTopicHost", "HistoryView"]

DETACH_DELAY = 5.0
"""Seconds without subscribers after which a topic is detached."""

_RETRY = 1.0  # seconds
_MIN_RING = 64  # messages; they bridge the time in which a view reads what is kept
_MAX_RING = 1000
_MAX_RING_BYTES = 1 << 20


class HistoryView(Protocol):
    """A subscriber that begins with history; see `rxws.hub._view`."""

    @property
    def want(self) -> tuple[Position | None, int | None]:
        """The arguments `since` and `limit` of `Backplane.read`."""
        ...

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        """Begin if the ring knows enough; return False if the backplane must be asked."""
        ...

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        """Begin with what the backplane keeps."""
        ...


class AttachedTopicHost(Protocol):
    """The interface of the hub to its attached topics; see `TopicRegistry`."""

    backplane: Backplane
    codec: Codec[Any, Any]
    counters: Counters
    dispatcher: Dispatcher

    def is_away(self, topic: str) -> bool: ...
    @property
    def scheduler(self) -> SchedulerBase: ...
    def run(self, action: Any) -> None: ...
    def post(self, action: Any) -> object: ...
    def deliver_soon(self, topic: AttachedTopic) -> None: ...
    def on_attached(self, topic: AttachedTopic) -> None: ...
    def remove(self, topic: AttachedTopic) -> None: ...


class _ValueStream(RestartableStream[Any]):
    @property
    def observers(self) -> list[ObserverBase[Any]]:
        return list(self._observers)


class AttachedTopic:
    """Receives a topic from the backplane, orders it, and delivers it to all subscribers.

    It is attached from the first subscriber on, and until 5 s after the last one has left.

    Attributes:
        values: The payloads, for those who subscribe to the topic itself.
        events: Messages with positions, and gaps, in one order.
        entries: The same, with the payloads of the messages.
        gaps: The gaps.
        ring: The latest messages.
        burst: What is to be delivered in this turn.
    """

    def __init__(self, host: AttachedTopicHost, name: str, keep: Keep) -> None:
        self.name = name
        self.keep = keep
        streams = (host.dispatcher, self._on_fault, self._on_subscribers_changed)
        self.values: _ValueStream = _ValueStream(*streams)
        self.events: RestartableStream[Event] = RestartableStream(*streams)
        self.entries: RestartableStream[Entry] = RestartableStream(*streams)
        self.gaps: RestartableStream[Gap] = RestartableStream(*streams)
        self.ring = Ring(min(max(keep.count, _MIN_RING), _MAX_RING), _MAX_RING_BYTES)
        self._host = host
        self._seconds = seconds_of(host.scheduler)
        self._log = TopicLog(self)
        self._reader = HistoryReader(host, self._read)
        self._holds = 0
        self._detach_timer = Deadline(host.scheduler)
        self._retry_timer = Deadline(host.scheduler)
        self._closed = False
        self.burst: list[Entry] = []
        self._views: list[HistoryView] = []  # they want to begin
        self._has_failed = False  # whether a subscriber has raised
        self._has_undecodable = False
        self._has_dropped = False

    @property
    def attached(self) -> bool:
        """Whether the backplane delivers the topic already."""
        return self._log.attached

    @property
    def subscriptions(self) -> int:
        return sum(stream.subscriptions for stream in self._streams)

    @property
    def _streams(self) -> tuple[RestartableStream[Any], ...]:
        return self.values, self.events, self.entries, self.gaps

    @property
    def observers(self) -> list[ObserverBase[Any]]:
        """The subscribers to the payloads."""
        return self.values.observers

    def hold(self) -> DisposableBase:
        """Keep the topic attached without a subscriber, until the result is disposed."""
        self._holds += 1
        self._reconcile()

        def release() -> None:
            self._holds -= 1
            self._reconcile()

        return Disposable(lambda: self._host.run(release))

    # --- delivery ---------------------------------------------------------------------------

    def on_publication(self, publication: Publication) -> None:
        self._log.on_message(self._decode(publication))

    def on_top(self, top: Position) -> None:
        self._log.on_top(top)

    def on_connected(self) -> None:
        """The backplane is back."""
        if not self.attached:
            self.attach()
            return
        self._log.on_connected()
        self._host.post(self._begin_views)

    def emit(self, entry: Entry) -> None:
        """Deliver an entry with all others of this turn; see `LogHost`."""
        if not self.burst:
            self._host.deliver_soon(self)
        self.burst.append(entry)

    def deliver_burst(self) -> None:
        """Deliver the entries of this turn to all subscribers, one entry after the other."""
        burst, self.burst = self.burst, []
        self._host.dispatcher.post(self._deliver, burst)

    def _deliver(self, burst: Sequence[Entry]) -> None:
        call_each(self._deliver_entry, burst)

    def _deliver_entry(self, entry: Entry) -> None:
        self.ring.append(entry)
        event = entry.event
        with Broadcast(event if isinstance(event, Gap) else event.value):
            try:  # if a subscriber raises a KeyboardInterrupt, the others still get the entry
                if isinstance(event, Gap):
                    self.on_gap(event)
                else:
                    self._host.counters.received += 1
                    self.values.deliver(event.value)
            finally:
                try:
                    self.events.deliver(event)
                finally:
                    self.entries.deliver(entry)

    def on_gap(self, gap: Gap) -> None:
        """Count and report a gap, within a notification of the dispatcher."""
        self.count_gap(gap)
        self.gaps.deliver(gap)

    def count_gap(self, gap: Gap) -> None:
        self._host.counters.count_gap(gap.reason)

    def notify(self, on_next: Callable[[Any], None], value: Any) -> None:
        """Call one subscriber; report what it raises."""
        try:
            on_next(value)
        except Exception as exc:
            self._on_fault(exc)

    # --- views that begin with history ------------------------------------------------------

    def begin(self, view: HistoryView) -> None:
        """Call `view.on_history` in a later turn, with what comes before its first live event."""
        self._views.append(view)
        if self.attached and len(self._views) == 1:
            self._host.post(self._begin_views)

    def _begin_views(self) -> None:
        views, self._views = self._views, []
        call_each(partial(self._host.dispatcher.post, self._begin_view), views)

    def _begin_view(self, view: HistoryView) -> None:
        oldest = self._seconds() - self.keep.seconds
        if view.begin_with(self.ring, oldest):
            return
        since, limit = view.want
        kept = self._reader.latest(since, limit)
        if kept is not None and self.ring.after(kept.top) is not None:
            view.on_kept(self.ring, kept)
        else:
            self._reader.want(since, limit, partial(self._begin_read, view))

    def _begin_read(self, view: HistoryView, kept: Kept | Exception) -> None:
        if isinstance(kept, Exception) and self.is_away:
            self._views.append(view)  # until it is back: nothing can be missed before that
            return
        if isinstance(kept, Kept):
            self._log.on_top(kept.top)
        self._host.dispatcher.post(view.on_kept, self.ring, kept)

    # --- for the log ------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        return self._host.is_away(self.name)

    def count_healed(self, count: int) -> None:
        self._host.counters.healed += count

    def count_dropped(self) -> None:
        self._host.counters.dropped += 1
        level = logging.DEBUG if self._has_dropped else logging.WARNING
        self._has_dropped = True
        text = (
            "topic %s: dropped a message without a position: more than 1000 messages or 1 MiB "
            "arrived before the topic was attached; hub.stats.dropped counts them"
        )
        logger.log(level, text, short_repr(self.name))

    def read_after(self, since: Position) -> None:
        self._reader.want(since, None, self._log.on_kept)

    def retry_later(self) -> None:
        self._retry_timer.set(_RETRY, self._log.on_retry)

    def _read(self, since: Position | None, limit: int | None, on_kept: OnKept) -> None:
        def done(history: History | Exception) -> None:
            if self._closed:
                return
            if isinstance(history, Exception):
                on_kept(history)
                return
            entries = [self._decode(each) for each in history.publications]
            on_kept(Kept(entries, history.top, history.began))

        self._host.backplane.read(self.name, since, limit, done)

    def _decode(self, publication: Publication) -> Entry:
        payload, position = publication
        now, bytes_ = self._seconds(), size(payload)
        try:
            value = self._host.codec.decode(payload)
        except Exception as exc:
            level = logging.DEBUG if self._has_undecodable else logging.WARNING
            self._has_undecodable = True
            error = one_line(decode_error(exc, payload))
            logger.log(level, "topic %s: %s", short_repr(self.name), error)
            after = None if position is None else Position(position.epoch, position.offset - 1)
            return Entry(Entry.gap(after, position, "undecodable").event, position, 0, now)
        return Entry(Message(value, position), position, bytes_, now, payload)

    # --- attaching --------------------------------------------------------------------------

    def attach(self) -> None:
        """Begin to receive the topic."""
        self._host.backplane.attach(self.name, self.keep, self._on_attached)

    def _on_attached(self, top: Position | Exception | None) -> None:
        if self._closed or self.attached:
            return
        if isinstance(top, Exception):
            if not self.is_away:
                logger.warning("cannot attach topic %s: %s", short_repr(self.name), one_line(top))
                self._retry_timer.set(_RETRY, self.attach)
            return
        self.ring.position = top
        self._log.on_attached(top)
        if self._views:
            self._host.post(self._begin_views)
        self._host.on_attached(self)

    def _on_subscribers_changed(self) -> None:
        self._host.run(self._reconcile)

    def _reconcile(self) -> None:
        if self._holds or self.subscriptions:
            self._detach_timer.clear()
        elif not self._closed:
            self._detach_timer.set(DETACH_DELAY, self._detach)

    def _detach(self) -> None:
        self.close()
        self._host.backplane.detach(self.name)
        self._host.remove(self)

    def close(self) -> None:
        """Complete all subscribers, and ignore what the backplane still reports."""
        self._closed = True
        self._detach_timer.clear()
        self._retry_timer.clear()
        self._views.clear()
        self._reader.clear()
        finish = [each.finish_subscribers() for each in self._streams]
        for complete in finish:
            self._host.dispatcher.post(self._complete, complete)

    def _complete(self, complete: Callable[[Exception | None], bool]) -> None:
        complete(None)

    def _on_fault(self, error: Exception) -> None:
        if self._has_failed:
            logger.debug("a subscriber of topic %s raised again: %r", short_repr(self.name), error)
            return
        self._has_failed = True
        text = "a subscriber of topic %s raised: %s"
        logger.error(text, short_repr(self.name), one_line(error), exc_info=error)
