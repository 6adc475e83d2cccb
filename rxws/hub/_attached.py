"""A topic that has subscribers in this process, and is attached to the backplane for them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

from rxws._core.errors import short_repr
from rxws._core.log import LogOnce, logger, one_line
from rxws._core.schedulers.timers import Deadline, seconds_of
from rxws._core.streams.stream import Dispatcher, call_each
from rxws._session.encoding import decode_error, size
from rxws.codecs import Codec

from ._backplane import Backplane, History, Publication
from ._history import Entry, Kept, Ring
from ._history_reader import HistoryReader, OnKept
from ._keep import Keep
from ._messages import Message, Position
from ._stats import Counters
from ._topic_log import TopicLog
from ._topic_streams import TopicStreams
from ._turns import STEP, Turns
from ._view import View
from ._waiting_views import HistoryView, WaitingViews

__all__ = ["AttachedTopic", "AttachedTopicHost"]

DETACH_DELAY = 5.0
"""Seconds without subscribers after which a topic is detached."""

_RETRY = 1.0  # seconds
_MAX_BURST = 1000  # messages in one turn
_MIN_RING = 64  # messages; they bridge the time in which a view reads what is kept
_MAX_RING = 1000
_MAX_RING_BYTES = 1 << 20


class AttachedTopicHost(Protocol):
    """The interface of the hub to its attached topics; see `TopicRegistry`."""

    backplane: Backplane
    codec: Codec[Any, Any]
    counters: Counters
    dispatcher: Dispatcher
    turns: Turns

    def is_away(self, topic: str) -> bool: ...
    @property
    def scheduler(self) -> SchedulerBase: ...
    def run(self, action: Any) -> None: ...
    def post(self, action: Any) -> object: ...
    def deliver_soon(self, topic: AttachedTopic) -> None: ...
    def on_attached(self, topic: AttachedTopic) -> None: ...
    def remove(self, topic: AttachedTopic) -> None: ...


class AttachedTopic:
    """Receives a topic from the backplane, orders it, and delivers it to all subscribers.

    It is attached from the first subscriber on, and until 5 s after the last one has left.

    Attributes:
        streams: The streams of events for its subscribers.
        burst: The events to deliver in this turn, or in later ones if it takes long.
    """

    def __init__(self, host: AttachedTopicHost, name: str, keep: Keep) -> None:
        self.name = name
        self.keep = keep
        self.turns = host.turns
        self._ring = Ring(min(max(keep.count, _MIN_RING), _MAX_RING), _MAX_RING_BYTES)
        self.streams = TopicStreams(
            name, host.dispatcher, host.counters, self._ring, self._on_subscribers_changed
        )
        self._host = host
        self._seconds = seconds_of(host.scheduler)
        self._log = TopicLog(self)
        self._reader = HistoryReader(host, self._read)
        self._views = WaitingViews(self, self.streams, self._reader)
        self._holds = 0
        self._detach_timer = Deadline(host.scheduler)
        self._retry_timer = Deadline(host.scheduler)
        self._closed = False
        self.burst: deque[Entry] = deque()
        self._warn_undecodable = LogOnce(logging.WARNING)
        self._warn_dropped = LogOnce(logging.WARNING)

    @property
    def live(self) -> bool:
        """Whether the backplane delivers the topic already."""
        return not self._closed and self._log.attached

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
        if not self.live:
            self.attach()
            return
        self._log.on_connected()
        self._views.begin()

    def emit(self, entry: Entry) -> None:
        """Deliver an entry with all others of this turn; see `LogHost`."""
        if not self.burst:
            self._host.deliver_soon(self)
        self.burst.append(entry)

    def deliver_burst(self, deadline: float) -> None:
        """Deliver the entries of this turn to all subscribers, one entry after the other.

        After the deadline, the rest waits for the next turn.
        """
        self._host.dispatcher.post(self._deliver, deadline)

    def _deliver(self, deadline: float) -> None:
        try:
            call_each(self.streams.deliver, self._until(deadline))
        finally:
            if self.burst:
                self._host.deliver_soon(self)

    def _until(self, deadline: float) -> Iterator[Entry]:
        for _ in range(min(len(self.burst), _MAX_BURST)):
            yield self.burst.popleft()
            if self._seconds() >= deadline:
                return

    # --- views that begin with history ------------------------------------------------------

    def subscribe_view(self, view: View) -> DisposableBase:
        """Subscribe a view, which begins in a later turn."""
        return self._views.subscribe(view)

    def begin(self, view: HistoryView) -> None:
        """Begin a view in a later turn, with the events before its first live event."""
        if not self._closed:
            self._views.add(view)

    @property
    def oldest(self) -> float:
        return self._seconds() - self.keep.seconds

    def on_read(self, view: HistoryView, kept: Kept | Exception) -> bool:
        """See `ViewsHost`; while the engine is away nothing can be missed."""
        if self._closed:
            return False
        if isinstance(kept, Kept):
            self._log.on_top(kept.top)
            return True
        return not self.is_away

    # --- for the log ------------------------------------------------------------------------

    @property
    def is_away(self) -> bool:
        return self._host.is_away(self.name)

    def count_healed(self, count: int) -> None:
        self._host.counters.healed += count

    def count_dropped(self) -> None:
        self._host.counters.dropped += 1
        text = (
            "topic %s: dropped a message without a position: more than 1000 messages or 1 MiB "
            "arrived before the topic was attached; hub.stats.dropped counts them"
        )
        self._warn_dropped(text, short_repr(self.name))

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
            else:
                decoding = self._decoding(history, on_kept)
                self.turns.add(lambda: next(decoding, False))

        self._host.backplane.read(self.name, since, limit, done)

    def _decoding(self, history: History, on_kept: OnKept) -> Iterator[bool]:
        """Decode messages that were read, step by step."""
        entries: list[Entry] = []
        for publication in history.publications:
            entries.append(self._decode(publication))
            if self.turns.count_message() or len(entries) % STEP == 0:
                yield True
        if not self._closed:
            on_kept(Kept(entries, history.top, history.began))

    def _decode(self, publication: Publication) -> Entry:
        payload, position = publication
        now, bytes_ = self._seconds(), size(payload)
        try:
            value = self._host.codec.decode(payload)
        except Exception as exc:
            error = one_line(decode_error(exc, payload))
            self._warn_undecodable("topic %s: %s", short_repr(self.name), error)
            after = None if position is None else Position(position.epoch, position.offset - 1)
            return Entry(Entry.gap(after, position, "undecodable").event, position, 0, now)
        return Entry(Message(value, position), position, bytes_, now, payload)

    # --- attaching --------------------------------------------------------------------------

    def attach(self) -> None:
        """Begin to receive the topic."""
        self._host.backplane.attach(self.name, self.keep, self._on_attached)

    def _on_attached(self, top: Position | Exception | None) -> None:
        if self._closed or self.live:
            return
        if isinstance(top, Exception):
            if not self.is_away:
                logger.warning("cannot attach topic %s: %s", short_repr(self.name), one_line(top))
                self._retry_timer.set(_RETRY, self.attach)
            return
        self._ring.position = top
        self._log.on_attached(top)
        self._views.begin()
        self._host.on_attached(self)

    def _on_subscribers_changed(self) -> None:
        self._host.run(self._reconcile)

    def _reconcile(self) -> None:
        if self._holds or self.streams.observed:
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
        self._reader.clear()
        # They refer to the topic: without these cycles it is freed at once.
        del self._views, self._reader, self._log
        self.streams.finish()
