"""Telling of messages that will never be sent: each of them to who asks, else their number."""

from __future__ import annotations

from typing import Any

from .log import logger
from .streams import Dispatcher, Fault, Stream
from .unsent import Dropped, Unsent

__all__ = ["Drops"]


class Drops(Stream[Dropped[Any]]):
    """What was dropped, as a stream. Nobody has to subscribe it: then the log is told numbers.

    Args:
        dispatcher: The dispatcher that it shares with others.
        fault: Told of every exception that a subscriber raises.
        unsent: The queue that drops.
    """

    def __init__(self, dispatcher: Dispatcher, fault: Fault, unsent: Unsent) -> None:
        super().__init__(dispatcher, fault)
        self._unsent = unsent
        self._noticed: dict[str, int] = {}  # what somebody was told of, or the log

    def tell_new(self) -> None:
        """Tell who is subscribed of what was dropped since this was last called."""
        if self._unsent.untold:
            observed = self.observed
            for each in self._unsent.tell():
                if observed:  # of very much only the latest come here: the log is told the rest
                    self._noticed[each.reason] = self._noticed.get(each.reason, 0) + 1
                self.emit(each)

    def sum_up(self) -> None:
        """Tell the log of what nobody was told of; for where a connection begins or ends."""
        self.tell_new()
        dropped = self._unsent.dropped
        news = {why: count - self._noticed.get(why, 0) for why, count in dropped.items()}
        self._noticed = dropped
        told = ", ".join(f"{count} {why}" for why, count in news.items() if count > 0)
        if told:
            logger.warning(
                "messages were dropped that nobody was told of by subject.drops: %s", told
            )
