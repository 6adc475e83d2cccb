"""One connection: its span, and its counts while they are collected."""

from __future__ import annotations

import enum
import weakref
from collections.abc import Mapping
from contextvars import Token
from typing import Any, Protocol, Self, TypeAlias

from opentelemetry import context, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from rxws._core.connection import Close, Connection
from rxws._core.frames import Frame, Opcode
from rxws._core.instrumentation import OnMessage, Write
from rxws._core.schedulers.timers import seconds_of

from ._figures import Binary, Figures

__all__ = ["Attributes", "ConnectionReport", "Labels", "Monitor"]

Attributes: TypeAlias = dict[str, str | int | float]
"""The attributes of a span or of a measurement."""

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""The attributes of all metrics of a connection: its role, and its route."""

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY


class Monitor(Protocol):
    """Where connections report; see `OpenTelemetry`."""

    def on_handshake_failed(self, labels: Labels, attributes: Attributes) -> None: ...
    def on_open(self, report: ConnectionReport) -> None: ...
    def on_latency(self, labels: Labels, seconds: float) -> None: ...
    def on_closed(self, labels: Labels, close: Close, seconds: float) -> None: ...
    def retire(self, report: ConnectionReport, figures: Figures) -> None: ...
    def on_dropped_late(self, labels: Labels, reason: str, count: int) -> None: ...


class _State(enum.Enum):
    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()  # queued messages may still be sent
    RELEASED = enum.auto()


class ConnectionReport:
    """The `ConnectionTelemetry` of one connection.

    Args:
        monitor: Where it reports.
        labels: The attributes of its metrics.
        span: Its span, which has begun.
    """

    __slots__ = (
        "_binary",
        "_connection",
        "_figures",
        "_monitor",
        "_opened_at",
        "_span",
        "_state",
        "_token",
        "labels",
    )

    def __init__(self, monitor: Monitor, labels: Labels, span: Span) -> None:
        self._monitor = monitor
        self.labels = labels
        self._span = span
        self._state = _State.HANDSHAKE
        self._token: Token[Context]
        self._connection: weakref.ref[Connection[Any, Any]]
        self._opened_at = 0.0
        self._binary = Binary()
        self._figures = Figures()  # as they were read last

    # --- ConnectionTelemetry ----------------------------------------------------------------

    def __enter__(self) -> Self:
        # The tasks and the callbacks of the connection copy this context.
        self._token = context.attach(trace.set_span_in_context(self._span))
        return self

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object, /) -> None:
        if kind is not GeneratorExit:  # it may be raised in another context
            context.detach(self._token)
        del self._token  # it keeps the values of all context variables
        if self._state is _State.HANDSHAKE:
            self._on_handshake_failed(exc or ConnectionResetError())

    def trace_headers(self) -> Mapping[str, str]:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        return headers

    def count_received(self, on_message: OnMessage) -> OnMessage:
        binary = self._binary

        def count(data: str | bytes, size: int) -> None:
            if type(data) is not str:
                binary.received_messages += 1
                binary.received_bytes += size
            on_message(data, size)

        return count

    def count_sent(self, write: Write) -> Write:
        binary = self._binary

        def count(opcode: Opcode, payload: bytes) -> bool:
            if opcode is _TEXT:
                return write(opcode, payload)
            if not write(opcode, payload):
                return False
            binary.sent_messages += 1
            binary.sent_bytes += len(payload)
            return True

        return count

    def on_queued_sent(self, frame: Frame) -> None:
        if frame.opcode is _BINARY:
            self._binary.sent_messages += 1
            self._binary.sent_bytes += len(frame.payload)

    def on_open(self, connection: Connection[Any, Any]) -> None:
        self._state = _State.OPEN
        self._connection = weakref.ref(connection)
        self._opened_at = seconds_of(connection.scheduler)()
        self._monitor.on_open(self)
        if self._span.is_recording():
            self._span.set_attributes(_open_attributes(connection))
            self._span.add_event("rxws.open")

    def on_latency(self, seconds: float) -> None:
        self._monitor.on_latency(self.labels, seconds)

    def on_exception(self, error: BaseException) -> None:
        self._span.record_exception(error)

    def on_closed(self, close: Close, failed: bool) -> None:
        self._state = _State.CLOSED
        connection = self._connection()
        assert connection is not None
        seconds = seconds_of(connection.scheduler)() - self._opened_at
        self._monitor.on_closed(self.labels, close, seconds)
        if self._span.is_recording():
            self._span.set_attributes(_close_attributes(close, self.read()))
            if failed:
                self._span.set_attribute("error.type", str(close.code))
                self._span.set_status(Status(StatusCode.ERROR, f"closed with {close.code}"))
        self._span.end()

    def on_released(self) -> None:
        figures = self.read()
        figures.buffered = 0
        self._state = _State.RELEASED
        self._monitor.retire(self, figures)

    def on_dropped_late(self, reason: str, count: int) -> None:
        self._monitor.on_dropped_late(self.labels, reason, count)

    # --- for the monitor --------------------------------------------------------------------

    @property
    def lost(self) -> bool:
        """Whether the connection was deleted without an end, because its event loop was closed."""
        return self._state is not _State.RELEASED and self._connection() is None

    def read(self) -> Figures:
        """Return the current counts, on any thread; the latest ones once it is released."""
        connection = self._connection()
        if connection is not None and self._state is not _State.RELEASED:
            is_open = self._state is _State.OPEN
            self._figures = self._figures.read(connection.flow, self._binary, is_open)
        return self._figures

    def _on_handshake_failed(self, error: BaseException) -> None:
        status: int | None = getattr(error, "status", None)  # of an HTTP response
        cause = error if error.__cause__ is None else error.__cause__
        attributes: Attributes = {"error.type": type(cause).__qualname__}
        if status is not None:
            attributes = {"error.type": str(status), "http.response.status_code": status}
        self._monitor.on_handshake_failed(self.labels, attributes)
        self._span.set_attributes(attributes)
        # HTTP's conventions: a server's refusal is no failure of the server.
        if status is None or status >= 500 or ("rxws.role", "client") in self.labels:
            self._span.set_status(Status(StatusCode.ERROR, str(error) or type(error).__name__))
        self._span.end()


def _open_attributes(connection: Connection[Any, Any]) -> Attributes:
    handshake = connection.handshake
    attributes: Attributes = {"http.response.status_code": 101}
    if handshake.url.host and handshake.url.port:
        attributes |= {"server.address": handshake.url.host, "server.port": handshake.url.port}
    if handshake.subprotocol is not None:
        attributes["rxws.subprotocol"] = handshake.subprotocol
    return attributes


def _close_attributes(close: Close, figures: Figures) -> Attributes:
    return {
        "rxws.close.code": close.code,
        "rxws.close.by": close.by,
        "rxws.close.reason": close.reason,
        "rxws.received.messages": figures.received_text.messages + figures.received_binary.messages,
        "rxws.received.bytes": figures.received_text.bytes + figures.received_binary.bytes,
        "rxws.sent.messages": figures.sent_text.messages + figures.sent_binary.messages,
        "rxws.sent.bytes": figures.sent_text.bytes + figures.sent_binary.bytes,
        "rxws.dropped.messages": figures.dropped.total(),
    }
