"""Commands with one key run one after the other, those with others at the same time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import Generic, TypeVar

__all__ = ["Lanes"]

T = TypeVar("T")


class _State(Enum):
    STARTING = auto()  # a command is being started, further up the stack
    STARTED = auto()  # and has ended already
    RUNNING = auto()


class _Lane(Generic[T]):
    __slots__ = ("state", "waiting")

    def __init__(self, first: T) -> None:
        self.waiting = deque([first])
        self.state = _State.STARTED


class Lanes(Generic[T]):
    """The commands that run or wait, by their keys.

    Args:
        start: Starts a command; `release` reports its end, also within this call.
    """

    __slots__ = ("_lanes", "_start")

    def __init__(self, start: Callable[[T], None]) -> None:
        self._start = start
        self._lanes: dict[str, _Lane[T]] = {}

    def add(self, key: str, command: T) -> None:
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(command)
            self._run(key, lane)
        else:
            lane.waiting.append(command)

    def release(self, key: str) -> None:
        """Start the next command with this key."""
        lane = self._lanes.get(key)
        if lane is None:  # the connection has ended
            return
        if lane.state is _State.RUNNING:
            self._run(key, lane)
        else:
            lane.state = _State.STARTED

    def clear(self) -> None:
        for lane in self._lanes.values():
            lane.waiting.clear()
        self._lanes.clear()

    def _run(self, key: str, lane: _Lane[T]) -> None:
        """Start commands until one has to wait; this does not recurse, as there may be many."""
        while lane.waiting:
            lane.state = _State.STARTING
            self._start(lane.waiting.popleft())
            if lane.state is _State.STARTING:
                lane.state = _State.RUNNING
                return
        self._lanes.pop(key, None)
