"""The streams of one topic, in a hub or in a client."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from reactivex.abc import ObserverBase
from reactivex.internal import noop

from rxws._core.broadcast import Broadcast, SharedStream
from rxws._core.errors import short_repr
from rxws._core.log import LogOnce, logger, one_line
from rxws._core.streams.stream import Dispatcher, Fault, RestartableStream, call_each
from rxws._core.upstream import Upstream

from ._history import Entry, Event, Ring
from ._messages import Gap
from ._stats import Counters

__all__ = ["TopicStreams"]

T = TypeVar("T")


class _TopicStream(SharedStream[T]):
    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        on_changed: Callable[[], object],
        pauses: Upstream | None,
    ) -> None:
        super().__init__(dispatcher, fault, on_changed)
        self._pauses = pauses

    @property
    def observers(self) -> list[ObserverBase[T]]:
        return list(self._observers)

    @property
    def _pausable(self) -> Upstream | None:
        return self._pauses


class TopicStreams:
    """Delivers the entries of a topic to all its subscribers, and remembers the latest ones.

    Attributes:
        values: The payloads, for those who subscribe to the topic itself.
        events: Messages with positions, and gaps, in one order.
        entries: The same, with the payloads of the messages.
        gaps: The gaps.
        all: These streams, and others that end with them.
        ring: The latest entries.
    """

    def __init__(
        self,
        topic: str,
        dispatcher: Dispatcher,
        counters: Counters,
        ring: Ring,
        on_changed: Callable[[], object],
        pauses: Upstream | None = None,
    ) -> None:
        self._topic = topic
        self._on_changed = on_changed
        self._dispatcher = dispatcher
        self._counters = counters
        self.ring = ring
        self.fault: Fault = partial(_log_fault, LogOnce(logging.ERROR), topic)
        streams = (dispatcher, self.fault, on_changed, pauses)
        self.values: _TopicStream[Any] = _TopicStream(*streams)
        self.events: _TopicStream[Event] = _TopicStream(*streams)
        self.entries: _TopicStream[Entry] = _TopicStream(*streams)
        self.gaps: _TopicStream[Gap] = _TopicStream(*streams)
        self.all: list[RestartableStream[Any]] = [
            self.values, self.events, self.entries, self.gaps,
        ]  # fmt: skip

    @property
    def observed(self) -> bool:
        return any(stream.observed for stream in self.all)

    def deliver(self, entry: Entry) -> None:
        """Deliver an entry now; call this only within a notification of the dispatcher."""
        self.ring.append(entry)
        event = entry.event
        with Broadcast(event if isinstance(event, Gap) else event.value):
            try:  # if a subscriber raises a KeyboardInterrupt, the others still get the entry
                if isinstance(event, Gap):
                    self.on_gap(event)
                else:
                    self._counters.received += 1
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
        self._counters.count_gap(gap.reason)

    def notify(self, on_next: Callable[[Any], None], value: Any) -> None:
        """Call one subscriber; report what it raises."""
        try:
            on_next(value)
        except Exception as exc:
            self.fault(exc)

    def detach_all(self) -> None:
        """Remove all subscribers without notifying them."""
        for stream in self.all:
            stream.detach_all()

    def finish(self, error: Exception | None = None) -> None:
        """Detach all subscribers for good, and complete or fail them."""
        finish = [stream.finish_subscribers() for stream in self.all]
        for stream in self.all:
            stream.forget_owner()
        on_changed, self._on_changed = self._on_changed, noop
        on_changed()
        self._dispatcher.post(self._finish, finish, error)

    def _finish(
        self, finish: list[Callable[[Exception | None], bool]], error: Exception | None
    ) -> None:
        if any(call_each(lambda each: each(error), finish)) and error is not None:
            text = "topic %s failed, and no on_error handles it: %s"
            logger.error(text, short_repr(self._topic), one_line(error), exc_info=error)


def _log_fault(log: LogOnce, topic: str, error: Exception) -> None:
    text = "a subscriber of topic %s raised: %s"
    log(text, short_repr(topic), one_line(error), error=error)
