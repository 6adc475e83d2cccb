"""One connection that a `WebSocketSubject` uses.

A message stays in the queue until the socket takes it. So if the connection is lost, no queued
message was sent, and all of them can be sent on the next connection.
"""

from __future__ import annotations

import enum
import threading
from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol

from reactivex.abc import DisposableBase
from reactivex.internal import noop

from rxws._core.connection import Close, Connection
from rxws._core.schedulers.timers import call_later
from rxws._core.upstream import no_upstreams
from rxws._session.encoding import Encoded
from rxws._session.flow import FlowControl
from rxws._session.outgoing import Outgoing
from rxws._session.read_gate import Hold

from .diagnostics import FaultStream
from .offline_queue import OfflineQueue, Snapshot

__all__ = ["Link", "PinnedMessage", "SharedPause"]


class SharedPause:
    """Pauses reading on the current connection and on those that follow; on any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal handler may pause, too
        self._pauses: dict[object, DisposableBase | None] = {}
        self._flow: FlowControl | None = None

    def pause(self) -> DisposableBase:
        """Pause reading until the result is disposed."""
        hold = Hold(self._resume)
        with self._lock:
            self._pauses[hold] = None if self._flow is None else self._flow.pause()
        return hold

    @property
    def paused(self) -> bool:
        return bool(self._pauses)

    @property
    def closing(self) -> bool:
        """See `Upstream.closing`."""
        flow = self._flow
        return flow is not None and flow.closing

    @property
    def delivering(self) -> bool:
        """See `Upstream.delivering`."""
        flow = self._flow
        return flow is not None and flow.delivering

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """See `Upstream.count_dropped`."""
        if (flow := self._flow) is not None:
            flow.count_dropped(reason, count)

    def fail(self, code: int, reason: str) -> None:
        """See `Upstream.fail`."""
        if (flow := self._flow) is not None:
            flow.fail(code, reason)

    def switch_to(self, flow: FlowControl | None) -> None:
        """Apply the pauses to a new connection; None if there is none."""
        with self._lock:
            self._flow = flow
            # The previous connection is closing, so its own pauses need no release.
            for hold in list(self._pauses):
                pause = None if flow is None else flow.pause()
                if hold in self._pauses:
                    self._pauses[hold] = pause
                elif pause is not None:  # disposed meanwhile by a signal handler
                    pause.dispose()

    def _resume(self, hold: object) -> None:
        with self._lock:
            pause = self._pauses.pop(hold, None)
        if pause is not None:
            pause.dispose()


_FIRST = -1  # below every position in the queue


class _Pinned(enum.Enum):
    WAITING = enum.auto()
    SENT = enum.auto()
    WITHDRAWN = enum.auto()


@dataclass(slots=True, eq=False)
class PinnedMessage:
    """A message for one connection, which is never sent on another."""

    message: Any
    position: int
    encoded: Encoded | None
    state: _Pinned = _Pinned.WAITING

    @property
    def written(self) -> bool:
        """Whether the message was written to the socket."""
        return self.state is _Pinned.SENT

    def withdraw(self) -> bool:
        """See `PendingMessage.withdraw`."""
        if self.state is _Pinned.WAITING:
            self.state = _Pinned.WITHDRAWN
        return self.state is _Pinned.WITHDRAWN


class _Owner(Protocol):
    """The owner of a link; see `SubjectLifecycle`."""

    queue: OfflineQueue
    pauses: SharedPause
    faults: FaultStream

    def on_value(self, value: Any) -> None: ...
    def on_all_sent(self) -> None: ...


class Link:
    """One connection. Its owner must call `attach`, `start` and `stop`, in this order.

    Messages pinned before `start` are sent first, all others in the order they were pushed in.
    """

    def __init__(self, connection: Connection[Any, Any], owner: _Owner) -> None:
        outgoing, flow = connection.outgoing, connection.flow
        if not (isinstance(outgoing, Outgoing) and isinstance(flow, FlowControl)):
            raise TypeError(f"{connection!r} was not opened by rxws")
        self.connection = connection
        self.active = False  # between `start` and `stop`
        self.closing = False  # whether `close` was called
        self._outgoing: Outgoing[Any] = outgoing
        self._flow = flow
        self._send_buffer = flow.send_buffer
        self._owner = owner
        self._queue = owner.queue
        self._pinned: deque[PinnedMessage] = deque()
        self._pumping = False
        self._next_pump: DisposableBase | None = None  # scheduled by `_on_drained`
        self._incoming: DisposableBase | None = None

    def attach(self) -> None:
        """Subscribe to the messages and errors of the connection, and apply the pauses."""
        connection = self.connection
        with no_upstreams():
            self._incoming = connection.incoming.subscribe(
                self._owner.on_value, noop, noop, scheduler=connection.scheduler
            )
        self._owner.pauses.switch_to(self._flow)
        self._owner.faults.switch_to(connection)

    def start(self) -> None:
        """Allow `try_send` and `pump` to send."""
        self.active = True
        self._send_buffer.on_drained = self._on_drained

    def stop(self) -> None:
        """Undo `attach` and `start`; the connection is closed or closing."""
        if self.active:
            self.active = False
            self._send_buffer.on_drained = None
            self._send_buffer.set_external_backlog(0)
        self._pinned.clear()
        for subscription in (self._next_pump, self._incoming):
            if subscription is not None:
                subscription.dispose()
        self._owner.pauses.switch_to(None)
        self._owner.faults.switch_to(None)

    def pin(self, message: Any) -> PinnedMessage:
        """Queue a message for this connection only."""
        # Withdrawn messages must not pile up while the peer reads nothing.
        while self._pinned and self._pinned[-1].state is _Pinned.WITHDRAWN:
            self._pinned.pop()
        position = self._queue.next_position() if self.active else _FIRST
        pinned = PinnedMessage(message, position, self._outgoing.encode(message))
        self._pinned.append(pinned)
        return pinned

    def try_send(self, value: Any) -> bool:
        """Send a message now, or return False if it must be queued."""
        if not self.active or self._pinned or len(self._queue) or not self._send_buffer.ready:
            return False
        return self._send(value) is not False

    def pump(self) -> None:
        """Send queued and pinned messages until the socket takes no more."""
        if self._pumping or not self.active:
            return
        self._pumping = True
        try:
            all_sent = self._send_until_full()
        finally:
            self._pumping = False
        if self.active:
            self._send_buffer.set_external_backlog(self._queue.bytes)
            if all_sent:
                self._owner.on_all_sent()

    def close(self, end: Close | Exception) -> None:
        self.closing = True
        if isinstance(end, Close):
            self.connection.outgoing.on_next(end)
        else:
            self.connection.outgoing.on_error(end)

    def _send_until_full(self) -> bool:
        """Return False if the socket took no more before all messages were sent."""
        while self.active and not self._is_empty():
            if not self._send_buffer.ready:
                return False
            pinned = self._next_pinned()
            if pinned is not None:
                pinned.state = _Pinned.SENT
                if self._outgoing.try_send(pinned.message, pinned.encoded) is False:
                    pinned.state = _Pinned.WAITING
                    self._pinned.appendleft(pinned)
                    return False
                continue
            queued = self._queue.take()
            if queued is not None and self._send(queued.value, queued.snapshot) is False:
                self._queue.put_back(queued)
                return False
        return True

    def _is_empty(self) -> bool:
        """Remove withdrawn and expired messages, and return whether none is left."""
        while self._pinned and self._pinned[0].state is _Pinned.WITHDRAWN:
            self._pinned.popleft()
        return not self._pinned and self._queue.first_position() is None

    def _next_pinned(self) -> PinnedMessage | None:
        """Remove and return the first pinned message if it was pinned before the queue's first."""
        if not self._pinned:
            return None
        queued = self._queue.first_position()
        is_next = queued is None or self._pinned[0].position < queued
        return self._pinned.popleft() if is_next else None

    def _send(self, value: Any, snapshot: Snapshot | None = None) -> bool | None:
        """Count what `Outgoing.try_send` did with a message, and return its result."""
        before = self._send_buffer.sent_messages
        try:
            if snapshot is None:
                sent = self._outgoing.try_send(value)
            else:
                sent = self._outgoing.try_send(snapshot.value, snapshot.encoded)
        except BaseException:  # raised by the codec, or by a subscriber of `outgoing`
            if self._send_buffer.sent_messages == before:
                self._queue.drop(value, "fault")
            else:
                self._queue.sent += 1
            raise
        if sent:
            self._queue.sent += 1
        elif sent is None:
            self._queue.drop(value, "fault")
        return sent

    def _on_drained(self) -> None:
        """Pump in the loop's next turn: the transport may be in the middle of a write."""
        if self._next_pump is None and (self._pinned or len(self._queue)):
            self._next_pump = call_later(self.connection.scheduler, 0, self._run_next_pump)

    def _run_next_pump(self) -> None:
        self._next_pump = None
        self.pump()
