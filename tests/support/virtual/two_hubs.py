"""Two hubs in virtual time, as in two processes."""

from __future__ import annotations

from typing import Any

import reactivex as rx

import rxws
from rxws.hub import Gap, Hub, Keep, LocalBackplane
from rxws.testing import Clock
from support.faulty_backplane import FaultyBackplane

__all__ = ["KEEP", "TwoHubs", "offsets"]

KEEP = {"kept:*": Keep(10, seconds=60)}


class TwoHubs:
    """Two hubs on one clock: the backplane of the second one fails as the test says."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        backplane = LocalBackplane(self.clock)
        self.backplane = backplane
        self.faulty = FaultyBackplane.peer_of(backplane)
        options = {"topics": KEEP, "codec": rxws.codecs.json, **options}
        self.first = Hub(backplane=backplane, scheduler=self.clock, **options)
        self.second = Hub(backplane=self.faulty, scheduler=self.clock, **options)

    def publish(self, *values: Any, topic: str = "kept:a") -> None:
        """Publish by the first hub, and run until all is delivered."""
        for value in values:
            self.first.topic(topic).on_next(value)
        self.clock.run(0)

    def collect(self, stream: rx.Observable[Any]) -> list[Any]:
        events: list[Any] = []
        stream.subscribe(events.append)
        self.clock.run(0)
        return events


def offsets(events: list[Any]) -> list[Any]:
    """Return the offsets of messages, and the reasons of gaps."""
    return [e.reason if isinstance(e, Gap) else e.position.offset for e in events]
