"""Print a line when a connection opens, and when it has ended."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, cast

from aiohttp import web
from yarl import URL

from rxws._core import instrumentation
from rxws._core.connection import Address, Close, Connection
from rxws._core.instrumentation import ConnectionTelemetry, Instrumentation
from rxws.cli._link import describe
from rxws.cli._output import note

__all__ = ["logging_connections"]


class _LoggedConnection:
    """Prints, and passes everything on to the telemetry that is installed."""

    def __init__(self, telemetry: ConnectionTelemetry) -> None:
        self._telemetry = telemetry
        self._connection: Connection[Any, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._telemetry, name)

    def __enter__(self) -> _LoggedConnection:
        self._telemetry.__enter__()
        return self

    def __exit__(self, kind: object, exc: BaseException | None, traceback: object, /) -> None:
        self._telemetry.__exit__(kind, exc, traceback)

    def on_open(self, connection: Connection[Any, Any]) -> None:
        self._telemetry.on_open(connection)
        self._connection = connection
        handshake = connection.handshake
        _log(f"{_name(handshake.remote)} opened {handshake.url.path_qs}")

    def on_closed(self, close: Close, failed: bool) -> None:
        self._telemetry.on_closed(close, failed)
        conn = self._connection
        assert conn is not None
        stats = conn.flow.stats
        counts = f"{stats.received_messages} received, {stats.sent_messages} sent"
        _log(f"{_name(conn.handshake.remote)} {describe(close, 'the client')}; {counts}")


class _Log:
    def __init__(self, installed: Instrumentation) -> None:
        self._installed = installed

    def server(self, request: web.Request) -> ConnectionTelemetry:
        return cast("ConnectionTelemetry", _LoggedConnection(self._installed.server(request)))

    def client(self, url: str | URL) -> ConnectionTelemetry:
        return self._installed.client(url)

    def reconnecting(self) -> Callable[[object], None]:
        return self._installed.reconnecting()


@contextmanager
def logging_connections() -> Generator[None]:
    """Print a line for each connection of a server that opens or has ended."""
    installed = instrumentation.active
    instrumentation.active = _Log(installed)
    try:
        yield
    finally:
        instrumentation.active = installed


def _name(remote: Address) -> str:
    return f"{remote[0]}:{remote[1]}" if isinstance(remote, tuple) else str(remote or "client")


def _log(text: str) -> None:
    note(f"{time.strftime('%H:%M:%S')} {text}")
