"""Faults that are not the end, of whichever connection a client has, and of its channels."""

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
    """What was dropped, as a stream. Nobody has to subscribe it: then the log is told numbers.

    Args:
        dispatcher: The dispatcher that it shares with others.
        fault: Told of every exception that a subscriber raises.
        unsent: The queue that drops.
    """

    def __init__(self, dispatcher: Dispatcher, fault: Fault, unsent: OfflineQueue) -> None:
        super().__init__(dispatcher, fault)
        self._unsent = unsent
        self._noticed: dict[str, int] = {}  # what somebody was told of, or the log

    def report_new(self) -> None:
        """Tell who is subscribed of what was dropped since this was last called."""
        if self._unsent.has_unreported:
            observed = self.observed
            for each in self._unsent.tell():
                if observed:  # of very much only the latest come here: the log is told the rest
                    self._noticed[each.reason] = self._noticed.get(each.reason, 0) + 1
                self.emit(each)

    def log_unobserved(self) -> None:
        """Tell the log of what nobody was told of; for where a connection begins or ends."""
        self.report_new()
        dropped = self._unsent.dropped
        news = {why: count - self._noticed.get(why, 0) for why, count in dropped.items()}
        self._noticed = dropped
        told = ", ".join(f"{count} {why}" for why, count in news.items() if count > 0)
        if told:
            logger.warning(
                "messages were dropped that nobody was told of by subject.drops: %s", told
            )


class FaultStream(RestartableStream[Exception]):
    """The faults as a stream.

    The errors of a connection are subscribed while somebody subscribes these: else the connection
    is to know that nobody does.

    Args:
        dispatcher: The dispatcher that it shares with others.
        home: Where the connections are.
    """

    def __init__(self, dispatcher: Dispatcher, home: LoopAffinity) -> None:
        super().__init__(dispatcher, log_fault, lambda: home.run(self._watch))
        self._connection: Connection[Any, Any] | None = None
        self._watched: DisposableBase | None = None

    def move(self, connection: Connection[Any, Any] | None) -> None:
        """Go on to the next connection, or to where there is none."""
        self._connection = connection
        self._watch()

    def of_subscriber(self, error: Exception) -> None:
        """A subscriber has raised: a fault of the connection, whose rules hold."""
        scheduler = None if self._connection is None else self._connection.scheduler
        if isinstance(scheduler, ConnectionScheduler):
            scheduler.fault(error)
        else:
            log_fault(error)

    def of_channel(self, error: Exception, again: bool) -> None:
        """What belongs to one channel has raised: the connection and the others go on."""
        if self.observed:
            self.emit(error)
        elif again:
            logger.debug("a channel failed again: %r", error)
        else:
            logger.error("a channel failed: %s", error, exc_info=error)

    def _watch(self) -> None:
        watched, self._watched = self._watched, None
        if self._connection is not None and self.observed:
            self._watched = self._connection.errors.subscribe(self.emit)
        if watched is not None:  # not before: in between nobody would observe
            watched.dispose()


def log_fault(error: Exception) -> None:
    """Tell the log of a subscriber that raised, where there is no connection whose fault it is."""
    logger.error("a subscriber of a WebSocketSubject raised: %s", error, exc_info=error)
