"""Sends and receives the frames of a peer, over a connection or a `WebSocketSubject`."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase

from rxws import codecs
from rxws._core.connection import Connection
from rxws._core.errors import ConnectionClosed
from rxws._core.schedulers.connection_scheduler import ConnectionScheduler
from rxws._core.schedulers.timers import call_later
from rxws._core.streams.scheduled import SchedulerCarrier
from rxws._core.upstream import Upstream, no_upstreams
from rxws._reconnect.subject import WebSocketSubject, codec_of, lifecycle_of
from rxws._session.flow import FlowControl
from rxws._session.incoming import IncomingStream
from rxws.status import Closed, Open, Status

__all__ = ["Sent", "Source", "Wire", "WireOwner", "open_wire"]

Source = Connection[Any, Any] | WebSocketSubject[Any, Any]


# The sources that have a wire: a second one would answer requests, too.
_OWNED: weakref.WeakSet[Any] = weakref.WeakSet()


class Sent(Protocol):
    """A frame that was given to the wire."""

    @property
    def written(self) -> bool:
        """Whether the frame was written, so that the other side may get it."""
        ...

    def withdraw(self) -> bool:
        """Return whether the frame was never written; then it never will be."""
        ...


class WireOwner(Protocol):
    """Who uses a wire; see `Router`."""

    def check_here(self, what: str) -> None:
        """Raise a RuntimeError unless this is the event loop of the wire."""
        ...

    def on_frame(self, frame: str | bytes) -> None: ...

    def on_open(self) -> None:
        """There is a connection, or the other side is no longer behind: call `send_if_writable`."""
        ...

    def on_lost(self, error: Exception | None) -> None:
        """The connection ended; there may be another one later."""
        ...

    def on_end(self, error: Exception | None = None) -> None:
        """There will be no more connection; None if it ended cleanly."""
        ...


class Wire(Protocol):
    """Where a peer sends frames, and gets them from."""

    carrier: SchedulerCarrier[Any]
    """A stream with the scheduler for derived streams."""
    upstream: Upstream
    """Pauses the source."""
    scheduler: SchedulerBase

    @property
    def connection(self) -> Connection[Any, Any] | None:
        """The open connection."""
        ...

    def send(self, frame: str) -> Sent | None:
        """Send on the open connection only; return None if there is none."""
        ...

    def send_if_writable(self, frame: str) -> Sent | None:
        """Do as `send`, but also return None if the other side is behind.

        The owner's `on_open` is called later.
        """
        ...

    def fault(self, error: Exception) -> None:
        """Report what a subscriber raised."""
        ...

    def dispose(self) -> None:
        """Stop receiving."""
        ...


class _Handed:
    """A frame that was given to a connection."""

    written = True

    def withdraw(self) -> bool:
        return False


_HANDED = _Handed()


class _ConnectionWire:
    """One connection."""

    def __init__(self, connection: Connection[Any, Any], owner: WireOwner) -> None:
        check_codec(connection)
        assert isinstance(connection.incoming, IncomingStream)
        assert isinstance(connection.flow, FlowControl)
        self.connection: Connection[Any, Any] | None = connection
        self.carrier: SchedulerCarrier[Any] = connection.incoming
        self.upstream: Upstream = connection.flow
        self.scheduler = connection.scheduler
        self._send_buffer = connection.flow.send_buffer
        self._owner: WireOwner | None = owner
        self._incoming: DisposableBase | None = None
        self._behind: DisposableBase | None = None  # set while the other side is behind

    def start(self) -> None:
        connection, owner = self.connection, self._owner
        assert connection is not None
        assert owner is not None
        owner.check_here("this connection")
        _OWNED.add(connection)
        owner.on_open()
        with no_upstreams():
            self._incoming = connection.incoming.subscribe(
                owner.on_frame, owner.on_end, owner.on_end, scheduler=connection.scheduler
            )

    def send(self, frame: str) -> Sent | None:
        connection = self.connection
        if connection is None or connection.outgoing.is_stopped:
            return None
        connection.outgoing.on_next(frame)
        return _HANDED

    def send_if_writable(self, frame: str) -> Sent | None:
        if self._send_buffer.wire_writable:
            return self.send(frame)
        if self._behind is None and self.connection is not None:
            with no_upstreams():
                self._behind = self.connection.flow.writable.subscribe(
                    self._on_writable, scheduler=self.scheduler
                )
        return None

    def _on_writable(self, writable: bool) -> None:
        if writable and self._behind is not None and self._owner is not None:
            behind, self._behind = self._behind, None
            behind.dispose()
            self._owner.on_open()

    def fault(self, error: Exception) -> None:
        assert isinstance(self.scheduler, ConnectionScheduler)
        self.scheduler.fault(error)

    def dispose(self) -> None:
        # Without reference cycles, Python frees a closed connection at once.
        subscriptions = self._incoming, self._behind
        self._incoming = self._behind = None
        if self.connection is not None:
            _OWNED.discard(self.connection)
        self.connection = self._owner = None
        for subscription in subscriptions:
            if subscription is not None:
                subscription.dispose()


class _SubjectWire:
    """The connections of a subject, one after the other."""

    def __init__(self, subject: WebSocketSubject[Any, Any], owner: WireOwner) -> None:
        self._lifecycle = lifecycle_of(subject)
        if (codec := codec_of(subject)) is not None:
            _check(codec in (codecs.raw, codecs.text), subject)
        self._subject = subject
        self._owner: WireOwner | None = owner
        self.carrier: SchedulerCarrier[Any] = subject
        self.upstream: Upstream = self._lifecycle.pauses
        self._subscriptions: list[DisposableBase] = []

    def start(self) -> None:
        owner = self._owner
        assert owner is not None
        with no_upstreams():
            self._subscriptions.append(
                self._subject.subscribe(owner.on_frame, owner.on_end, owner.on_end)
            )
            _OWNED.add(self._subject)
            self.scheduler = self._lifecycle.scheduler
            try:
                owner.check_here("this subject")
            except RuntimeError:
                self.dispose()
                raise
            self._subscriptions.append(self._subject.status.subscribe(self._on_status))

    @property
    def connection(self) -> Connection[Any, Any] | None:
        return self._subject.connection

    def _on_status(self, status: Status) -> None:
        if isinstance(status, Open):
            # Later, so that the messages of `opening` and of channels are sent first.
            call_later(self.scheduler, 0, self._on_open)
        elif isinstance(status, Closed) and self._owner is not None:
            close = status.close
            self._owner.on_lost(None if close is None else ConnectionClosed(close))

    def _on_open(self) -> None:
        owner = self._owner
        if owner is None or self.connection is None:
            return
        try:
            check_codec(self.connection)
        except TypeError as exc:
            owner.on_end(exc)
        else:
            owner.on_open()

    def send(self, frame: str) -> Sent | None:
        return self._lifecycle.send_pinned(frame) if self._lifecycle.sending else None

    send_if_writable = send  # what the socket does not take yet waits in the link

    def fault(self, error: Exception) -> None:
        self._lifecycle.report_fault(error)

    def dispose(self) -> None:
        subscriptions, self._subscriptions = self._subscriptions, []
        self._owner = None
        _OWNED.discard(self._subject)
        for subscription in subscriptions:
            subscription.dispose()


def open_wire(source: Any, owner: WireOwner) -> tuple[Wire, Callable[[], None]]:
    """Return the wire for a connection or a subject, and the function that starts it.

    Raises:
        TypeError: It is neither, or its codec is neither `raw` nor `text`.
        RuntimeError: Another wire uses it.
    """
    wire: _ConnectionWire | _SubjectWire
    if isinstance(source, WebSocketSubject):
        wire = _SubjectWire(source, owner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(source, Connection):
        wire = _ConnectionWire(source, owner)  # pyright: ignore[reportUnknownArgumentType]
    else:
        raise TypeError(
            f"rxws.rpc needs a Connection or a WebSocketSubject, not {source!r:.100}"
            + ("; subscribe to it, and use each connection" * isinstance(source, Observable))
        )
    if source in _OWNED:
        raise RuntimeError(
            f"{source!r:.100} has a Peer or a Caller already: use that one, or peer.caller, as "
            "both would answer requests"
        )
    return wire, wire.start


def check_codec(connection: Connection[Any, Any]) -> None:
    """Raise a TypeError unless the codec of a connection is `raw` or `text`."""
    incoming = connection.incoming
    if not isinstance(incoming, IncomingStream):
        raise TypeError(f"{connection!r} was not opened by rxws")
    _check(incoming.uses(codecs.raw) or incoming.uses(codecs.text), connection)


def _check(valid: bool, source: object) -> None:
    if not valid:
        raise TypeError(
            f"rxws.rpc parses messages itself, but {source!r:.100} has another codec: use "
            "codec=rxws.codecs.raw (the default) or rxws.codecs.text"
        )
