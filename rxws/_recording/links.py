"""Find out which recorded stream a tap gets its values from."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from rxws._core.streams.stream import Stream

from .diagram import Step
from .lane import Lane
from .passage import Passage

__all__ = ["Links"]

_inside: ContextVar[list[Lane] | None] = ContextVar("rxws taps", default=None)
"""The lanes that were subscribed to while a tap subscribes to its source."""


class Links:
    """Links each tap to the recorded stream above it: the one that its source subscribes to.

    A tap whose source subscribes to none or to several, or does so later, is not linked.
    """

    def __init__(self) -> None:
        self._lane: Lane | None = None
        self._incoming: Callable[[], Stream[Any] | None] = lambda: None

    def observe(self, lane: Lane, stream: Stream[Any]) -> None:
        """Link taps to a connection's incoming messages, too, whose lane is no tap."""
        self._lane = lane
        self._incoming = weakref.ref(stream)

    @contextmanager
    def subscribing(self, lane: Lane) -> Generator[None]:
        """Link the lane of a tap, which subscribes to its source meanwhile."""
        inside: list[Lane] = []
        outer = _inside.get()
        before = self._subscriptions()
        token = _inside.set(inside)
        try:
            yield
        finally:
            _inside.reset(token)
            if outer is not None:
                outer.append(lane)
        if self._lane is not None and not inside and self._subscriptions() == before + 1:
            inside.append(self._lane)
        if lane.passage is None and len(inside) == 1:
            lane.passage = Passage(Step(inside[0].name))

    def _subscriptions(self) -> int:
        incoming = self._incoming()
        return 0 if incoming is None else incoming.subscriptions
