"""WebSocket connections as Observables, for servers and clients, on reactivex and aiohttp.

Examples:
    ```python
    @rxws.websocket(codec=rxws.codecs.text)
    def shout(conn):
        return conn.incoming.pipe(ops.map(str.upper))

    async with rxws.connect("ws://localhost:8080/shout", codec=rxws.codecs.text) as conn:
        conn.incoming.subscribe(print)
        conn.outgoing.on_next("hello")
        await conn.closed
    ```
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rxws._aiohttp.client import ClientOptions, ConnectCall, connect
from rxws._aiohttp.route import RouteHandler
from rxws._aiohttp.server import Server, ServerOptions, serve
from rxws._aiohttp.shutdown import setup
from rxws._aiohttp.transport.read_path import TransportInfo, transport_info
from rxws._aiohttp.websocket import upgrade, websocket
from rxws._core.async_iteration import Iteration, iterate
from rxws._core.async_source import from_async_iterable
from rxws._core.connection import Close, Connection, Flow, Handler, Handshake, Stats
from rxws._core.errors import (
    BufferOverflow,
    ConnectError,
    ConnectionClosed,
    DecodeError,
    EncodeError,
    HandshakeError,
    OpeningError,
    RxwsError,
    SendTimeout,
)
from rxws._reconnect.channels import Channel
from rxws._reconnect.connections import connections
from rxws._reconnect.offline_queue import Dropped, SubjectStats
from rxws._reconnect.options import ReconnectOptions, SubjectOptions
from rxws._reconnect.subject import WebSocketSubject
from rxws._recording.recording import Recording
from rxws._session.handler import listener, pipeline
from rxws._session.options import ConnectionOptions
from rxws.codecs import Codec
from rxws.status import Status

from . import backoff, closing, codecs, operators, overflow, status

if TYPE_CHECKING:
    from . import hub, metrics, rpc
    from .hub import Hub, Keep

__version__ = "0.1.0"

__all__ = [
    "BufferOverflow",
    "Channel",
    "ClientOptions",
    "Close",
    "Codec",
    "ConnectCall",
    "ConnectError",
    "Connection",
    "ConnectionClosed",
    "ConnectionOptions",
    "DecodeError",
    "Dropped",
    "EncodeError",
    "Flow",
    "Handler",
    "Handshake",
    "HandshakeError",
    "Hub",
    "Iteration",
    "Keep",
    "OpeningError",
    "ReconnectOptions",
    "Recording",
    "RouteHandler",
    "RxwsError",
    "SendTimeout",
    "Server",
    "ServerOptions",
    "Stats",
    "Status",
    "SubjectOptions",
    "SubjectStats",
    "TransportInfo",
    "WebSocketSubject",
    "backoff",
    "closing",
    "codecs",
    "connect",
    "connections",
    "from_async_iterable",
    "hub",
    "iterate",
    "listener",
    "metrics",
    "operators",
    "overflow",
    "pipeline",
    "rpc",
    "serve",
    "setup",
    "status",
    "transport_info",
    "upgrade",
    "websocket",
]


def __dir__() -> list[str]:
    """List the public names, and `testing` and `viz` once they are imported."""
    imported = [name for name in ("testing", "viz") if name in globals()]
    return [*__all__, *imported, "__version__"]


if not TYPE_CHECKING:  # otherwise type checkers would not report a misspelt name

    def __getattr__(name: str) -> Any:
        """Import a part that most programs do not need when it is first used."""
        if name in ("hub", "metrics", "rpc"):
            return import_module(f"rxws.{name}")
        if name in ("Hub", "Keep"):
            return getattr(import_module("rxws.hub"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
