"""The stream that reports how a connection ended."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.connection import Close
from rxws._core.streams.stream import Dispatcher, Fault, ReplayStream

from .incoming import IncomingStream

__all__ = ["ClosedStream"]


class ClosedStream(ReplayStream[Close]):
    """The `closed` of a connection.

    If you wait for the end while messages wait for a subscriber of `incoming`, a warning is logged:
    when the read-ahead is full, nothing more is read, not even the peer's close frame.
    """

    __slots__ = ("_incoming",)

    def __init__(self, dispatcher: Dispatcher, fault: Fault, incoming: IncomingStream[Any]) -> None:
        super().__init__(dispatcher, fault)
        self._incoming = incoming

    def report(self, close: Close) -> None:
        """Emit how the connection ended, and complete."""
        self._dispatcher.post(self._report, close)

    def _report(self, close: Close) -> None:
        try:
            self.deliver(close)
        finally:
            self._finish(None)

    def _subscribe_core(
        self, observer: ObserverBase[Close], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        if not self._latest:
            self._incoming.warn_if_unobserved()
        return super()._subscribe_core(observer, scheduler)

    def __await__(self) -> Generator[Any, None, Close]:
        self._incoming.end_awaited += 1
        try:
            return (yield from super().__await__())
        finally:
            self._incoming.end_awaited -= 1
