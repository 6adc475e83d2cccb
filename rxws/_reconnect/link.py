"""What goes out through one connection of a client that comes back: exactly when it can leave.

A message is handed to the connection only if it leaves for the socket at once. So what waits when
the connection dies is all still in the client's own queue, and nothing of it was sent.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase
from reactivex.internal import noop

from rxws._core.connection import Close, Connection, Pausable
from rxws._core.schedulers import call_later
from rxws._session.flow import FlowControl
from rxws._session.outgoing import Outgoing
from rxws._session.read_gate import Hold

from .offline_queue import OfflineQueue

__all__ = ["Link", "PinnedMessage", "SharedPause"]


class SharedPause:
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


_FIRST = -1.0  # before every place in the order of the queue


class _Pinned(enum.Enum):
    WAITING = enum.auto()
    LEFT = enum.auto()
    TAKEN_BACK = enum.auto()


class PinnedMessage:
    """A message that belongs to one connection, and is never sent on another."""

    __slots__ = ("message", "order", "state")

    def __init__(self, message: Any, order: float) -> None:
        self.message = message
        self.order = order
        self.state = _Pinned.WAITING

    def take_back(self) -> bool:
        """Do not send it; tell whether that comes in time."""
        if self.state is _Pinned.WAITING:
            self.state = _Pinned.TAKEN_BACK
        return self.state is _Pinned.TAKEN_BACK


class Link:
    """The way from a queue, and from what is for this connection only, into one connection.

    All is in the order in which it was pushed, but for what is `first`.

    Args:
        connection: The connection.
        unsent: The queue.
        on_sent: Called for each message of the queue that left.
        on_empty: Called when nothing waits any more, at the end of every `pump`.
    """

    def __init__(
        self,
        connection: Connection[Any, Any],
        unsent: OfflineQueue,
        on_sent: Callable[[], object],
        on_empty: Callable[[], object],
    ) -> None:
        outgoing, flow = connection.outgoing, connection.flow
        # All connections are of rxws's making.
        assert isinstance(outgoing, Outgoing)
        assert isinstance(flow, FlowControl)
        self._scheduler = connection.scheduler
        self._outgoing: Outgoing[Any] = outgoing
        self._flow = flow
        self._unsent = unsent
        self._on_sent = on_sent
        self._on_empty = on_empty
        self._notes: deque[PinnedMessage] = deque()
        self._pumping = False
        self._soon: DisposableBase | None = None
        self._stopped = False
        flow.on_drained = self._on_dry

    def note(self, message: Any, first: bool = False) -> PinnedMessage:
        """Let a message wait that is for this connection only."""
        # A wire that takes nothing shall not gather what came and left meanwhile.
        while self._notes and self._notes[-1].state is _Pinned.TAKEN_BACK:
            self._notes.pop()
        note = PinnedMessage(message, _FIRST if first else self._unsent.next_order())
        self._notes.append(note)
        return note

    def offer(self, value: Any) -> bool:
        """Send a message of the user's if it leaves at once; else do nothing."""
        if self._stopped or self._notes or len(self._unsent):
            return False
        return self._push(value) is not False

    def pump(self) -> None:
        """Send what waits, as far as it leaves."""
        if self._pumping or self._stopped:
            return
        self._pumping = True
        try:
            empty = self._send_all()
        finally:
            self._pumping = False
        if not self._stopped:
            self._flow.set_external_backlog(self._unsent.bytes)
            if empty:
                self._on_empty()

    def end(self, end: Close | Exception) -> None:
        """End the connection: nothing follows."""
        if isinstance(end, Close):
            self._outgoing.on_next(end)
        else:
            self._outgoing.on_error(end)

    def stop(self) -> None:
        """Let go of the connection: it is over, or to be closed."""
        self._stopped = True
        self._flow.on_drained = noop
        self._flow.set_external_backlog(0)
        self._notes.clear()
        if self._soon is not None:
            self._soon.dispose()
            self._soon = None

    def _send_all(self) -> bool:
        """Send what waits, as far as it leaves, and tell whether nothing waits any more."""
        while not self._stopped and not self._is_empty():
            # A loss that a pause hides is told by what is sent all the same.
            if not (self._takes or self._flow.send_lost):
                return False
            note = self._next_note()
            if note is not None:
                note.state = _Pinned.LEFT
                if self._outgoing.push_now(note.message) is False:
                    note.state = _Pinned.WAITING
                    self._notes.appendleft(note)
                    return False
                continue
            waiting = self._unsent.take()
            if waiting is not None and self._push(waiting.value) is False:
                self._unsent.put_back(waiting)
                return False
        return True

    def _is_empty(self) -> bool:
        while self._notes and self._notes[0].state is _Pinned.TAKEN_BACK:
            self._notes.popleft()
        return not self._notes and self._unsent.peek() is None

    @property
    def _takes(self) -> bool:
        """Whether the wire takes messages; asked before one is encoded in vain."""
        return self._flow.wire_writable and not self._flow.outbox.count

    def _next_note(self) -> PinnedMessage | None:
        """Take out the first note, if it comes before all that waits in the queue."""
        if not self._notes:
            return None
        waits = self._unsent.peek()
        return self._notes.popleft() if waits is None or self._notes[0].order < waits else None

    def _push(self, value: Any) -> bool | None:
        left = self._outgoing.push_now(value)
        if left:
            self._on_sent()
        elif left is None:
            self._unsent.drop(value, "fault")
        return left

    def _on_dry(self) -> None:
        """The wire takes frames again: not now, it may be in the middle of that."""
        if self._soon is None and (self._notes or len(self._unsent)):
            self._soon = call_later(self._scheduler, 0, self._pump_soon)

    def _pump_soon(self) -> None:
        self._soon = None
        self.pump()
