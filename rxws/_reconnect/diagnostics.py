"""The streams `drops` and `errors` of a `WebSocketSubject`."""

from __future__ import annotations

from typing import Any

from reactivex.abc import DisposableBase

from rxws._core.connection import Connection
from rxws._core.log import logger
from rxws._core.schedulers import ConnectionScheduler
from rxws._core.streams import Dispatcher, Fault, RestartableStream, Stream

from .loop_affinity import LoopAffinity
from .offline_queue import Dropped, OfflineQueue

__all__ = ["DropStream", "FaultStream", "log_fault"]


class DropStream(Stream[Dropped[Any]]):
    """The messages that a queue dropped; those that nobody observed are counted on the log."""

    def __init__(self, dispatcher: Dispatcher, fault: Fault, queue: OfflineQueue) -> None:
        super().__init__(dispatcher, fault)
        self._queue = queue
        self._reported: dict[str, int] = {}  # by reason, to subscribers or to the log

    def report_new(self) -> None:
        """Emit the messages that were dropped since the last call."""
        if self._queue.has_unreported:
            observed = self.observed
            for dropped in self._queue.take_dropped():
                if observed:  # of very many only the latest are here; the log counts the others
                    self._reported[dropped.reason] = self._reported.get(dropped.reason, 0) + 1
                self.emit(dropped)

    def log_unobserved(self) -> None:
        """Log how many were dropped unobserved; called when a connection begins or ends."""
        self.report_new()
        dropped = self._queue.dropped
        unreported = {why: count - self._reported.get(why, 0) for why, count in dropped.items()}
        self._reported = dropped
        counts = ", ".join(f"{count} {why}" for why, count in unreported.items() if count > 0)
        if counts:
            logger.warning(
                "a WebSocketSubject dropped messages, and nobody observes its drops: %s", counts
            )


class FaultStream(RestartableStream[Exception]):
    """The faults of whichever connection is open, and of channels.

    A connection handles a fault by itself if nobody observes its `errors`. So these are subscribed
    only while somebody subscribes here.
    """

    def __init__(self, dispatcher: Dispatcher, affinity: LoopAffinity) -> None:
        super().__init__(dispatcher, log_fault, lambda: affinity.run(self._resubscribe))
        self._connection: Connection[Any, Any] | None = None
        self._subscription: DisposableBase | None = None

    def follow(self, connection: Connection[Any, Any] | None) -> None:
        """Report the faults of another connection instead, or of none for now."""
        self._connection = connection
        self._resubscribe()

    def report_subscriber(self, error: Exception) -> None:
        """Report what a subscriber raised, as a fault of the open connection."""
        scheduler = None if self._connection is None else self._connection.scheduler
        if isinstance(scheduler, ConnectionScheduler):
            scheduler.fault(error)
        else:
            log_fault(error)

    def report_channel(self, error: Exception, repeated: bool) -> None:
        """Report a fault of one channel, which leaves the connection and the others running."""
        if self.observed:
            self.emit(error)
        elif repeated:
            logger.debug("a channel failed again: %r", error)
        else:
            logger.error("a channel failed: %s", error, exc_info=error)

    def _resubscribe(self) -> None:
        previous, self._subscription = self._subscription, None
        if self._connection is not None and self.observed:
            self._subscription = self._connection.errors.subscribe(self.emit)
        if previous is not None:  # only now: a fault in between would be unobserved
            previous.dispose()


def log_fault(error: Exception) -> None:
    """Log what a subscriber raised while no connection is open."""
    logger.error("a subscriber of a WebSocketSubject raised: %s", error, exc_info=error)
