"""One connection that a `WebSocketSubject` uses.

A message is taken out of the queue only if it leaves for the socket at once. So when a connection
dies, none of the messages that are still queued was sent.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from reactivex.abc import DisposableBase
from reactivex.internal import noop

from rxws._core.connection import Close, Connection, Pausable
from rxws._core.schedulers import call_later
from rxws._core.upstream import no_upstreams
from rxws._session.read_gate import Hold

from .diagnostics import FaultStream
from .offline_queue import OfflineQueue

__all__ = ["Link", "PinnedMessage", "SharedPause"]


class SharedPause:
    """Pauses reading on the current connection and on those that follow; on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pauses: dict[object, DisposableBase | None] = {}
        self._flow: Pausable | None = None

    def pause(self) -> DisposableBase:
        """Pause reading until the returned object is disposed."""
        handle = Hold(self._resume)
        with self._lock:
            self._pauses[handle] = None if self._flow is None else self._flow.pause()
        return handle

    def follow(self, flow: Pausable | None) -> None:
        """Pause another connection instead, or none for now."""
        with self._lock:
            self._flow = flow
            # The pauses of the last connection need no release: it is closing.
            for handle in self._pauses:
                self._pauses[handle] = None if flow is None else flow.pause()

    def _resume(self, handle: object) -> None:
        with self._lock:
            pause = self._pauses.pop(handle, None)
        if pause is not None:
            pause.dispose()


_FIRST = -1.0  # less than every position in the queue


class _Pinned(enum.Enum):
    WAITING = enum.auto()
    SENT = enum.auto()
    WITHDRAWN = enum.auto()


class PinnedMessage:
    """A message for one connection, which is never sent on another."""

    __slots__ = ("message", "order", "state")

    def __init__(self, message: Any, order: float) -> None:
        self.message = message
        self.order = order
        self.state = _Pinned.WAITING

    def withdraw(self) -> bool:
        """See `PendingMessage.withdraw`."""
        if self.state is _Pinned.WAITING:
            self.state = _Pinned.WITHDRAWN
        return self.state is _Pinned.WITHDRAWN


@runtime_checkable
class _DirectSender(Protocol):
    """The port to a connection's `outgoing`; see `Outgoing`."""

    def try_send(self, value: Any, /) -> bool | None: ...


class _SendBuffer(Protocol):
    """The port to the send buffer behind a connection's `flow`; see `SendBuffer`."""

    on_drained: Callable[[], object]

    @property
    def ready(self) -> bool: ...
    def set_external_backlog(self, waiting: int, /) -> None: ...


@runtime_checkable
class _BufferedFlow(Protocol):
    @property
    def send_buffer(self) -> _SendBuffer: ...


class _Owner(Protocol):
    """The owner of a link; see `SubjectLifecycle`."""

    queue: OfflineQueue
    pauses: SharedPause
    faults: FaultStream

    def on_value(self, value: Any) -> None: ...
    def on_all_sent(self) -> None: ...


class Link:
    """One connection that its owner attaches, starts and stops, in this order.

    Messages leave in the order in which they were pushed; those pinned before `start` go first.
    """

    def __init__(self, connection: Connection[Any, Any], owner: _Owner) -> None:
        outgoing, flow = connection.outgoing, connection.flow
        if not (isinstance(outgoing, _DirectSender) and isinstance(flow, _BufferedFlow)):
            raise TypeError(f"{connection!r} was not opened by rxws")
        self.connection = connection
        self.active = False  # between `start` and `stop`
        self.ended = False  # whether the end of the queue was sent
        self._outgoing: _DirectSender = outgoing
        self._send_buffer = flow.send_buffer
        self._owner = owner
        self._queue = owner.queue
        self._pinned: deque[PinnedMessage] = deque()
        self._pumping = False
        self._scheduled: DisposableBase | None = None  # a pump that is to come
        self._incoming: DisposableBase | None = None

    def attach(self) -> None:
        """Receive messages and faults, and apply the pauses."""
        connection = self.connection
        with no_upstreams():
            self._incoming = connection.incoming.subscribe(
                self._owner.on_value, noop, noop, scheduler=connection.scheduler
            )
        self._owner.pauses.follow(connection.flow)
        self._owner.faults.follow(connection)

    def start(self) -> None:
        """Send from the next `pump` on."""
        self.active = True
        self._send_buffer.on_drained = self._on_drained

    def stop(self) -> None:
        """Undo `attach` and `start`; the connection is closed or closing."""
        if self.active:
            self.active = False
            self._send_buffer.on_drained = noop
            self._send_buffer.set_external_backlog(0)
        self._pinned.clear()
        for subscription in (self._scheduled, self._incoming):
            if subscription is not None:
                subscription.dispose()
        self._owner.pauses.follow(None)
        self._owner.faults.follow(None)

    def pin(self, message: Any) -> PinnedMessage:
        """Queue a message for this connection only."""
        # Otherwise withdrawn messages would pile up while the peer reads nothing.
        while self._pinned and self._pinned[-1].state is _Pinned.WITHDRAWN:
            self._pinned.pop()
        pinned = PinnedMessage(message, self._queue.next_order() if self.active else _FIRST)
        self._pinned.append(pinned)
        return pinned

    def try_send(self, value: Any) -> bool:
        """Send a message if it leaves at once, and otherwise do nothing."""
        if not self.active or self._pinned or len(self._queue) or not self._send_buffer.ready:
            return False
        return self._send(value) is not False

    def pump(self) -> None:
        """Send waiting messages until one does not leave at once."""
        if self._pumping or not self.active:
            return
        self._pumping = True
        try:
            all_sent = self._send_waiting()
        finally:
            self._pumping = False
        if self.active:
            self._send_buffer.set_external_backlog(self._queue.bytes)
            if all_sent:
                self._owner.on_all_sent()

    def end(self, end: Close | Exception) -> None:
        """Close the connection with what ends the queue."""
        self.ended = True
        if isinstance(end, Close):
            self.connection.outgoing.on_next(end)
        else:
            self.connection.outgoing.on_error(end)

    def _send_waiting(self) -> bool:
        """Return whether all messages were sent."""
        while self.active and not self._is_empty():
            if not self._send_buffer.ready:
                return False
            pinned = self._next_pinned()
            if pinned is not None:
                pinned.state = _Pinned.SENT
                if self._outgoing.try_send(pinned.message) is False:
                    pinned.state = _Pinned.WAITING
                    self._pinned.appendleft(pinned)
                    return False
                continue
            queued = self._queue.take()
            if queued is not None and self._send(queued.value) is False:
                self._queue.put_back(queued)
                return False
        return True

    def _is_empty(self) -> bool:
        while self._pinned and self._pinned[0].state is _Pinned.WITHDRAWN:
            self._pinned.popleft()
        return not self._pinned and self._queue.peek() is None

    def _next_pinned(self) -> PinnedMessage | None:
        """Take the first pinned message if it comes before the queue's first."""
        if not self._pinned:
            return None
        queued = self._queue.peek()
        return self._pinned.popleft() if queued is None or self._pinned[0].order < queued else None

    def _send(self, value: Any) -> bool | None:
        sent = self._outgoing.try_send(value)
        if sent:
            self._queue.sent += 1
        elif sent is None:
            self._queue.drop(value, "fault")
        return sent

    def _on_drained(self) -> None:
        """Pump in the next turn: the transport may be in the middle of writing."""
        if self._scheduled is None and (self._pinned or len(self._queue)):
            self._scheduled = call_later(self.connection.scheduler, 0, self._pump_scheduled)

    def _pump_scheduled(self) -> None:
        self._scheduled = None
        self.pump()
