"""The state that the connections of one `hub.serve` share."""

from __future__ import annotations

from dataclasses import dataclass

from .options import Allow, Identify, Limits
from .topics import ServedHub, ServedTopics

__all__ = ["Served"]


@dataclass(slots=True)
class Served:
    """The functions and limits of one `hub.serve`.

    Args:
        max_reply: The size of the largest reply in bytes.
        starting: The number of subscriptions that are not answered.
    """

    topics: ServedTopics
    user: Identify | None
    allow: Allow
    limits: Limits
    max_reply: int
    starting: int = 0

    @property
    def hub(self) -> ServedHub:
        return self.topics.hub
