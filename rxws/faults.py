"""Faults that are not the end, of whichever connection a client has, and of its channels."""

from __future__ import annotations

from typing import Any

from reactivex.abc import DisposableBase

from .connection import Connection
from .home import Home
from .log import logger
from .renewing import Renewing
from .scheduling import ConnectionScheduler
from .streams import Dispatcher

__all__ = ["Faults", "log_fault"]


class Faults(Renewing[Exception]):
    """The faults as a stream.

    The errors of a connection are subscribed while somebody subscribes these: else the connection
    is to know that nobody does.

    Args:
        dispatcher: The dispatcher that it shares with others.
        home: Where the connections are.
    """

    def __init__(self, dispatcher: Dispatcher, home: Home) -> None:
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
