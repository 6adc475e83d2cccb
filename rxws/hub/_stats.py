"""The counts of a hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from ._messages import GapReason

__all__ = ["Counters", "HubStats"]


@dataclass(frozen=True, slots=True)
class HubStats:
    """Counts of a hub in this process, since it was created.

    Args:
        published: Messages that were handed to the backplane.
        confirmed: Those of them that were published.
        unconfirmed: Those of them that may have been published; see `Unconfirmed`.
        refused: Those of them that the backplane has refused while it was connected.
        dropped: Messages that did not reach the backplane, as the queue was full. Also messages of
            topics that keep nothing, if more than 1000 or 1 MiB arrived while the topic was being
            attached.
        queued: Messages that wait, because the backplane is away or a topic is being attached.
        received: Messages that were delivered to the subscribers of a topic.
        healed: Those of them that the network had lost, and that were read from the history.
        gaps: The number of gaps that were reported, by reason; see `Gap`.
        reconnects: How often the backplane has come back.
        lag: For how many seconds the oldest message has been waiting for its confirmation.
        topics: The topics that this process receives.
        members: The members of this process, in all topics.
    """

    published: int = 0
    confirmed: int = 0
    unconfirmed: int = 0
    refused: int = 0
    dropped: int = 0
    queued: int = 0
    received: int = 0
    healed: int = 0
    gaps: Mapping[str, int] = field(default_factory=dict[str, int], hash=False)
    reconnects: int = 0
    lag: float = 0.0
    topics: int = 0
    members: int = 0


class Counters:
    """The counters behind `HubStats`."""

    __slots__ = (
        "confirmed",
        "dropped",
        "gaps",
        "healed",
        "published",
        "received",
        "reconnects",
        "refused",
        "unconfirmed",
    )

    def __init__(self) -> None:
        self.published = self.confirmed = self.unconfirmed = self.refused = self.dropped = 0
        self.received = self.healed = self.reconnects = 0
        self.gaps: Counter[str] = Counter()

    def count_gap(self, reason: GapReason) -> None:
        self.gaps[reason] += 1
