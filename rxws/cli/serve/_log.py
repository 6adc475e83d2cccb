"""Print a line when a connection opens, and when it has ended."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from aiohttp import web
from reactivex.abc import DisposableBase

from rxws._core import instrumentation
from rxws._core.connection import Address, Close, Connection
from rxws._core.instrumentation import ConnectionTelemetry, NoInstrumentation, NoTelemetry
from rxws.cli._link import describe
from rxws.cli._output import note

__all__ = ["log_connections"]


class _LoggedConnection(NoTelemetry):
    __slots__ = ("_connection",)

    def on_open(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        handshake = connection.handshake
        _log(f"{_name(handshake.remote)} opened {handshake.url.path_qs}")

    def on_closed(self, close: Close, failed: bool) -> None:
        conn = self._connection
        del self._connection  # it refers to this object
        stats = conn.flow.stats
        counts = f"{stats.received_messages} received, {stats.sent_messages} sent"
        _log(f"{_name(conn.handshake.remote)} {describe(close, 'the client')}; {counts}")


class _Log(NoInstrumentation):
    def server(self, request: web.Request) -> ConnectionTelemetry:
        return _LoggedConnection()


def log_connections() -> DisposableBase:
    """Print a line for each connection of a server that opens or has ended, until disposed of."""
    return instrumentation.install(_Log())


def _name(remote: Address) -> str:
    return f"{remote[0]}:{remote[1]}" if isinstance(remote, tuple) else str(remote or "client")


def _log(text: str) -> None:
    with suppress(OSError):  # nobody reads stderr any more: serve on
        note(f"{time.strftime('%H:%M:%S')} {text}")
