"""What rxws reports to monitoring systems and logs: nothing, until one calls `install`.

The code that opens connections, reconnects or shares topics reports to `active`. It knows nothing
of OpenTelemetry. By default `active` is an object whose methods do nothing, and no method is called
for each message.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from .connection import Close, Connection
from .frames import Frame, Opcode

if TYPE_CHECKING:  # for annotations only: this layer must not import aiohttp
    from aiohttp import web
    from yarl import URL

__all__ = [
    "NO_TELEMETRY",
    "ConnectionTelemetry",
    "Instrumentation",
    "InstrumentedHub",
    "NoInstrumentation",
    "NoTelemetry",
    "OnMessage",
    "Write",
    "active",
    "add_hub",
    "hubs",
    "install",
]

OnMessage: TypeAlias = Callable[[str | bytes, int], None]
"""See `Receiver.on_message`."""

Write: TypeAlias = Callable[[Opcode, bytes], bool]
"""See `Transport.write`."""


class ConnectionTelemetry(Protocol):
    """One connection, from its handshake to its release. Its methods must not raise.

    It is a context manager around the handshake, and on a server around the whole connection. The
    handshake has failed if the block is left before `on_open`.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object, /) -> None: ...

    def trace_headers(self) -> Mapping[str, str]:
        """Return the headers that connect the server's trace with the client's."""
        ...

    def count_received(self, on_message: OnMessage) -> OnMessage:
        """Return the function to call with each message instead of `on_message`."""
        ...

    def count_sent(self, write: Write) -> Write:
        """Return the function to call instead of `Transport.write`."""
        ...

    def on_queued_sent(self, frame: Frame) -> None:
        """The transport has taken a message that had to wait."""
        ...

    def on_open(self, connection: Connection[Any, Any]) -> None:
        """The handshake is complete."""
        ...

    def on_latency(self, seconds: float) -> None:
        """A pong has answered the heartbeat's ping after so many seconds."""
        ...

    def on_exception(self, error: BaseException) -> None:
        """An exception of the handler or of a subscriber ends the connection."""
        ...

    def on_closed(self, close: Close, failed: bool) -> None:
        """The connection has ended; queued messages may still be sent.

        Args:
            close: How it ended.
            failed: Whether `incoming` fails, or the handler has failed.
        """
        ...

    def on_released(self) -> None:
        """Nothing more is received or sent; the counters of the connection are read no more."""
        ...

    def on_dropped_late(self, reason: str, count: int) -> None:
        """Messages were dropped after `on_released`."""
        ...


class Instrumentation(Protocol):
    """What happens in this process."""

    def server(self, request: web.Request) -> ConnectionTelemetry:
        """A server has got the request of a handshake."""
        ...

    def client(self, url: str | URL) -> ConnectionTelemetry:
        """A client begins to connect."""
        ...

    def reconnecting(self) -> Callable[[object], None]:
        """A reconnecting client starts: return what to call with each `rxws.Status`."""
        ...

    def hub(self, hub: InstrumentedHub) -> None:
        """A hub was created, maybe before this instrumentation was installed; do not keep it."""
        ...


class InstrumentedHub(Protocol):
    """A hub, as it is read when metrics are collected, on any thread."""

    @property
    def started(self) -> bool:
        """Whether it runs."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether the engines of its backplane can be reached."""
        ...

    @property
    def stats(self) -> Any:
        """Its `rxws.hub.HubStats`."""
        ...

    @property
    def counters(self) -> Any:
        """What `stats` has counted; you may keep this object longer than the hub."""
        ...


class NoTelemetry:
    """Reports nothing; override what you need.

    `__exit__` is a static method: otherwise each open connection would keep a bound method.
    """

    __slots__ = ()

    def __enter__(self) -> Self:
        return self

    @staticmethod
    def __exit__(kind: object, exc: BaseException | None, traceback: object, /) -> None: ...
    def trace_headers(self) -> Mapping[str, str]:
        return {}

    def count_received(self, on_message: OnMessage) -> OnMessage:
        return on_message

    def count_sent(self, write: Write) -> Write:
        return write

    def on_queued_sent(self, frame: Frame) -> None: ...
    def on_open(self, connection: Connection[Any, Any]) -> None: ...
    def on_latency(self, seconds: float) -> None: ...
    def on_exception(self, error: BaseException) -> None: ...
    def on_closed(self, close: Close, failed: bool) -> None: ...
    def on_released(self) -> None: ...
    def on_dropped_late(self, reason: str, count: int) -> None: ...


NO_TELEMETRY: ConnectionTelemetry = NoTelemetry()


def _ignore_status(status: object) -> None: ...


class NoInstrumentation:
    """Reports nothing; override what you need."""

    def server(self, request: web.Request) -> ConnectionTelemetry:
        return NO_TELEMETRY

    def client(self, url: str | URL) -> ConnectionTelemetry:
        return NO_TELEMETRY

    def reconnecting(self) -> Callable[[object], None]:
        return _ignore_status

    def hub(self, hub: InstrumentedHub) -> None: ...


class _AllTelemetry:
    """Reports one connection to several instrumentations."""

    __slots__ = ("_all",)

    def __init__(self, telemetry: Sequence[ConnectionTelemetry]) -> None:
        self._all = telemetry

    def __enter__(self) -> Self:
        for each in self._all:
            each.__enter__()
        return self

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object, /) -> None:
        for each in reversed(self._all):
            each.__exit__(kind, exc, traceback)

    def trace_headers(self) -> Mapping[str, str]:
        return {name: text for each in self._all for name, text in each.trace_headers().items()}

    def count_received(self, on_message: OnMessage) -> OnMessage:
        for each in self._all:
            on_message = each.count_received(on_message)
        return on_message

    def count_sent(self, write: Write) -> Write:
        for each in self._all:
            write = each.count_sent(write)
        return write

    def on_queued_sent(self, frame: Frame) -> None:
        for each in self._all:
            each.on_queued_sent(frame)

    def on_open(self, connection: Connection[Any, Any]) -> None:
        for each in self._all:
            each.on_open(connection)

    def on_latency(self, seconds: float) -> None:
        for each in self._all:
            each.on_latency(seconds)

    def on_exception(self, error: BaseException) -> None:
        for each in self._all:
            each.on_exception(error)

    def on_closed(self, close: Close, failed: bool) -> None:
        for each in self._all:
            each.on_closed(close, failed)

    def on_released(self) -> None:
        for each in self._all:
            each.on_released()

    def on_dropped_late(self, reason: str, count: int) -> None:
        for each in self._all:
            each.on_dropped_late(reason, count)


def _all_of(telemetry: Sequence[ConnectionTelemetry]) -> ConnectionTelemetry:
    """Combine what reports anything; often that is one."""
    reporting = [each for each in telemetry if each is not NO_TELEMETRY]
    if len(reporting) > 1:
        return _AllTelemetry(reporting)
    return reporting[0] if reporting else NO_TELEMETRY


class _AllInstrumentation:
    """Reports to several instrumentations."""

    def __init__(self, instrumentations: Sequence[Instrumentation]) -> None:
        self._all = instrumentations

    def server(self, request: web.Request) -> ConnectionTelemetry:
        return _all_of([each.server(request) for each in self._all])

    def client(self, url: str | URL) -> ConnectionTelemetry:
        return _all_of([each.client(url) for each in self._all])

    def reconnecting(self) -> Callable[[object], None]:
        reports = [each.reconnecting() for each in self._all]

        def report(status: object) -> None:
            for each in reports:
                each(status)

        return report

    def hub(self, hub: InstrumentedHub) -> None:
        for each in self._all:
            each.hub(hub)


_NO_INSTRUMENTATION = NoInstrumentation()

active: Instrumentation = _NO_INSTRUMENTATION
"""Where everything is reported; look it up in this module each time."""

_installed: list[Instrumentation] = []
_lock = threading.Lock()


def install(instrumentation: Instrumentation) -> DisposableBase:
    """Report to an instrumentation, also to those before it, until the result is disposed of."""
    _change(_installed.append, instrumentation)
    for ref in list(hubs):
        if (hub := ref()) is not None:
            instrumentation.hub(hub)
    return Disposable(lambda: _change(_installed.remove, instrumentation))


def _change(change: Callable[[Instrumentation], None], instrumentation: Instrumentation) -> None:
    global active
    with _lock:
        change(instrumentation)
        if len(_installed) > 1:
            active = _AllInstrumentation(tuple(_installed))
        else:
            active = _installed[0] if _installed else _NO_INSTRUMENTATION


hubs: set[weakref.ref[InstrumentedHub]] = set()
"""All hubs: there are few, and most are created before `rxws.metrics.install` is called.

Not a `WeakSet`, which cannot be read on one thread while a hub is created on another.
"""


def add_hub(hub: InstrumentedHub) -> None:
    """Report a new hub."""
    hubs.add(weakref.ref(hub, hubs.discard))
    active.hub(hub)
