"""The parts of a hub that `Presences` and `Users` need, on a clock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable

import rxws
from rxws._core.schedulers.connection_scheduler import DefaultScheduler
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import Dispatcher
from rxws.hub import Done, Keep, PublishRequest
from rxws.testing import Clock

from .fake_backplane import FakeBackplane

__all__ = ["VirtualHubHost"]


class VirtualHubHost:
    """A host on a clock, with a backplane that the test plays.

    Attributes:
        holders: How often each topic is held.
        attached: The topics that are attached.
    """

    def __init__(self, codec: rxws.Codec[Any, Any] = rxws.codecs.json) -> None:
        self.clock = Clock()
        self.backplane = FakeBackplane()
        self.codec = codec
        self.holders: dict[str, int] = {}
        self.attached: set[str] = set()
        self.dispatcher = Dispatcher(self.clock)

    @property
    def scheduler(self) -> SchedulerBase:
        return self.clock

    def default_scheduler(self) -> SchedulerBase:
        return DefaultScheduler.of_loop(self.clock)

    def prepare(self, what: str) -> None:
        """Do nothing: the host always runs."""

    def run(self, action: Callable[[], object]) -> None:
        action()

    def post(self, action: Callable[[], object]) -> bool:
        call_later(self.clock, 0, action)
        return True

    def hold(self, topic: str) -> DisposableBase:
        self.holders[topic] = self.holders.get(topic, 0) + 1
        return Disposable(partial(self._release, topic))

    def _release(self, topic: str) -> None:
        self.holders[topic] -= 1
        if not self.holders[topic]:
            del self.holders[topic]
            self.attached.discard(topic)

    def is_attached(self, topic: str) -> bool:
        return topic in self.attached

    def publish_unnumbered(self, topic: str, payload: str, done: Done[Any] | None = None) -> None:
        request = PublishRequest(topic, payload, Keep.nothing())
        self.backplane.publish(request, done or (lambda _: None))

    def publish_waiting(self) -> None:
        self.backplane.calls.append(("publish waiting",))
