"""A WebSocket connection as three streams: reactivex on top, aiohttp below, on both ends."""

from . import backoff, closing, codecs, operators, overflow, status
from .channels import Channel
from .client import ClientOptions, Connecting, connect
from .codecs import Codec
from .connection import Connection, Flow, Handler, Stats
from .dialling import ConnectionsOptions, connections
from .errors import (
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
from .iteration import iterate
from .messages import Close, Handshake
from .options import ConnectionOptions
from .paths import TransportInfo, transport_info
from .recording import Recording
from .server import listener, pipeline, setup, upgrade, websocket
from .status import Status
from .subject import WebSocketSubject
from .subjectoptions import SubjectOptions
from .unsent import Dropped, SubjectStats

__version__ = "0.1.0"

__all__ = [
    "BufferOverflow",
    "Channel",
    "ClientOptions",
    "Close",
    "Codec",
    "ConnectError",
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "ConnectionOptions",
    "ConnectionsOptions",
    "DecodeError",
    "Dropped",
    "EncodeError",
    "Flow",
    "Handler",
    "Handshake",
    "HandshakeError",
    "OpeningError",
    "Recording",
    "RxwsError",
    "SendTimeout",
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
    "iterate",
    "listener",
    "operators",
    "overflow",
    "pipeline",
    "setup",
    "status",
    "transport_info",
    "upgrade",
    "websocket",
]
