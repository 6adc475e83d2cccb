"""Holds on the reading of a client that comes back: they move from connection to connection."""

from __future__ import annotations

import threading

from reactivex.abc import DisposableBase

from .connection import Pausable
from .gate import Hold

__all__ = ["Holds"]


class Holds:
    """What can be paused whether there is a connection or none; released from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holds: dict[object, DisposableBase | None] = {}
        self._flow: Pausable | None = None

    def pause(self) -> DisposableBase:
        """Hold the reading of the present connection, and of those that follow it."""
        hold = Hold(self._release)
        with self._lock:
            self._holds[hold] = None if self._flow is None else self._flow.pause()
        return hold

    def move(self, flow: Pausable | None) -> None:
        """Go on to the next connection, or to where there is none."""
        with self._lock:
            self._flow = flow
            # Those on the last connection go with it: once it is closing they hold nothing.
            for hold in self._holds:
                self._holds[hold] = None if flow is None else flow.pause()

    def _release(self, hold: object) -> None:
        with self._lock:
            held = self._holds.pop(hold, None)
        if held is not None:
            held.dispose()
