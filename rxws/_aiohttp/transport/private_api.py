"""All use of aiohttp's private API.

The push path needs it: rxws feeds aiohttp's frame parser itself, takes the messages out of it, and
redirects the frame writer. `why_not_push` tries whether the installed aiohttp supports that.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from aiohttp import (
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
    WSCloseCode,
    WSMsgType,
    web,
)
from aiohttp.http import WebSocketReader, WebSocketWriter

__all__ = [
    "EarlyBytes",
    "Parser",
    "PushClientSocket",
    "PushServerSocket",
    "WriteCollector",
    "WriteFrame",
    "client_response",
    "client_transport",
    "disable_auto_close",
    "early_bytes_of",
    "feed_eof",
    "parser_limit",
    "redirect_frames",
    "why_not_push",
    "with_push",
]

WriteFrame = Callable[[bytes, int, int], None]
"""Writes a frame: payload, opcode, reserved bits."""


# --- what both paths need ---------------------------------------------------------------------


def client_response(ws: ClientWebSocketResponse[Any]) -> ClientResponse:
    """Return the response to the upgrade request."""
    return ws._response  # pyright: ignore[reportPrivateUsage] # see the module


def client_transport(ws: ClientWebSocketResponse[Any]) -> asyncio.Transport | None:
    """Return the asyncio transport of a client's WebSocket, or None if it is lost already."""
    connection = client_response(ws).connection
    return None if connection is None else connection.transport


def disable_auto_close(ws: ClientWebSocketResponse[Any]) -> None:
    """Make `receive()` report a close without answering it.

    This patches the one object, because a subclass is no option for a user's own `ClientSession`.
    """

    async def close(**_: Any) -> bool:
        return False

    ws.close = close  # type: ignore[method-assign] # see above


def feed_eof(ws: Any) -> None:
    """Make `receive()` report the end after the remaining messages, with the transport still open.

    aiohttp's protocols report EOF to their reader only when the connection is lost.
    """
    if ws._reader.exception() is None:  # feeding EOF would replace the peer's violation
        ws._reader.feed_eof()


def parser_limit(max_size: int, compress: bool) -> int:
    """Return the limit for aiohttp's parser at which it accepts all messages of `max_size` bytes.

    It accepts some larger messages, too; the readers reject those.
    """
    # aiohttp rejects a plain message of exactly the limit, but accepts an inflated one.
    limit = max_size + 1
    if compress:
        # aiohttp also compares the compressed size, and data that does not compress grows: at most
        # by this much with any settings of zlib (see its `deflateBound`).
        limit += (max_size >> 3) + 64
    return limit


# --- the frame parser -------------------------------------------------------------------------

try:
    from aiohttp._websocket.reader import WebSocketDataQueue
except ImportError:  # pragma: no cover # a later aiohttp
    WebSocketDataQueue = cast(Any, object)


# What aiohttp's queue counts for each message in addition to its bytes.
_OVERHEAD = 128

# Bytes of parsed messages above which the parser stops: as much as asyncio reads at once.
_AHEAD = 256 << 10


class Parser:
    """aiohttp's frame parser. It queues messages until the caller takes them.

    Args:
        max_size: Bytes of the largest message.
        compress: Whether the peer may compress messages.
        ahead: Bytes of queued messages above which it stops parsing.

    Attributes:
        feed: Parses a chunk. The first element of its result is True if `error` has stopped it.
        full: Whether too much is queued. Messages count until `resume` is called, even if taken.
        messages: The queue: pairs of an aiohttp message and its size in bytes.
    """

    __slots__ = ("_queue", "_reader", "feed", "full", "messages")

    _reading_paused = False  # read by aiohttp's queue, which takes this object for its protocol

    def __init__(self, max_size: int, compress: bool, ahead: int = _AHEAD) -> None:
        # aiohttp's queue itself, not a subclass, because the compiled parser calls an overridden
        # method more slowly. The queue doubles its limit.
        queue = self._queue = cast(Any, WebSocketDataQueue)(self, ahead // 2, loop=None)
        limit = parser_limit(max_size, compress)
        self._reader = WebSocketReader(queue, limit, compress, decode_text=True)
        self.feed: Callable[[bytes], tuple[bool, bytes]] = self._reader.feed_data
        self.full = False
        self.messages: deque[tuple[Any, int]] = queue._buffer

    def pause_reading(self) -> None:
        """Note that the queue is full; aiohttp's queue calls this."""
        self.full = True

    def resume(self) -> bool:
        """Allow parsing again once all messages are taken; return whether unparsed data is left.

        Feed `b""` to parse it.
        """
        self.full = False
        stalled = self._queue._stalled_reader is not None
        if size := self._queue._size:
            # Make the queue forget the size of all taken messages: read one dummy of that size.
            self.messages.append((None, size - _OVERHEAD))
            try:
                self._queue.read().send(None)
            except StopIteration:
                pass
        return stalled

    @property
    def error(self) -> BaseException | None:
        """The violation found in the data; it follows the queued messages."""
        return cast("BaseException | None", self._queue.exception())


class EarlyBytes:
    """Takes the place of aiohttp's parser, and keeps the bytes received before ours is running."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Keep a chunk."""
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: `SocketProtocol` observes the end."""


# --- WebSockets that do not read --------------------------------------------------------------


class PushServerSocket(web.WebSocketResponse):
    """A server's WebSocket for the push path."""

    early_bytes: EarlyBytes | None = None

    def _post_start(self, request: Any, protocol: str | None, writer: WebSocketWriter) -> None:
        self.early_bytes = EarlyBytes()
        self._ws_protocol = protocol
        self._writer = writer
        request.protocol.set_parser(self.early_bytes)
        request.protocol.keep_alive(False)


class PushClientSocket(ClientWebSocketResponse[Any]):
    """A client's WebSocket for the push path."""

    early_bytes: EarlyBytes | None = None

    @property
    def _parser(self) -> Any:
        # aiohttp stores its parser here, then passes what it finds here to its protocol.
        if self.early_bytes is None:
            self.early_bytes = EarlyBytes()
        return self.early_bytes

    @_parser.setter
    def _parser(self, _: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass


class _WithPush:
    """A user's session whose WebSockets are of the class `PushClientSocket`."""

    _ws_response_class = PushClientSocket

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def with_push(session: ClientSession) -> Callable[..., Any]:
    """Return a `ws_connect` that makes WebSockets for the push path.

    Return the session's own `ws_connect` if the user has replaced it or the WebSocket class.
    """
    own, its, aiohttps = cast(Any, session), cast(Any, type(session)), cast(Any, ClientSession)
    if (
        getattr(own.ws_connect, "__func__", None) is not aiohttps.ws_connect
        or its._ws_connect is not aiohttps._ws_connect
        or own._ws_response_class is not ClientWebSocketResponse
    ):
        return cast(Callable[..., Any], own.ws_connect)
    return functools.partial(aiohttps._ws_connect, _WithPush(own))


def early_bytes_of(ws: object) -> EarlyBytes | None:
    """Return the early bytes of a WebSocket on the push path; None on the pull path."""
    return ws.early_bytes if isinstance(ws, PushServerSocket | PushClientSocket) else None


# --- the frame writer -------------------------------------------------------------------------


class WriteCollector:
    """A stand-in for the transport of aiohttp's frame writer that collects what it writes."""

    __slots__ = ("chunks", "is_closing", "write")

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self.chunks: list[bytes] = []
        self.write = self.chunks.append
        self.is_closing = is_closing


def redirect_frames(ws: Any, collector: WriteCollector) -> WriteFrame | None:
    """Make a WebSocket write its frames to a collector instead of its transport.

    Returns:
        A function that writes one uncompressed frame synchronously. None if messages are
        compressed: those must go through `send_frame`.
    """
    writer = ws._writer
    writer.transport = collector
    return None if writer.compress else cast(WriteFrame, writer._write_websocket_frame)


# --- does this aiohttp support the push path? -------------------------------------------------


def why_not_push() -> str | None:
    """Return what this aiohttp lacks for the push path; None if nothing."""
    for is_met, lack in _REQUIREMENTS.items():
        try:
            if not is_met():
                return lack
        except Exception as exc:
            return f"{lack}: {exc!r}"
    return None


def _parser_queues() -> bool:
    found: list[Any] = []
    parser = Parser(16, False, 0)
    for chunk in (b"\x81\x01a\x82\x02bc", b"", b"\x88\x02\x03\xe8\x82\x12"):
        parser.feed(chunk)
        found += [(*message[:2], size) for message, size in parser.messages]
        parser.messages.clear()
        found.append(parser.resume())  # up to the next message
    return (
        found
        == [
            *((WSMsgType.TEXT, "a", 1), True),
            *((WSMsgType.BINARY, b"bc", 2), False),
            *((WSMsgType.CLOSE, 1000, 0), True),
        ]
        and getattr(parser.error, "code", None) == WSCloseCode.MESSAGE_TOO_BIG  # of the last
        and parser.feed(b"")[0]
    )


def _writer_is_redirected() -> bool:

    class Socket:
        _writer = WebSocketWriter(cast(Any, None), cast(Any, None))

    collector = WriteCollector(bool)
    cast(WriteFrame, redirect_frames(Socket, collector))(b"ab", WSMsgType.TEXT, 0)
    return b"".join(collector.chunks) == b"\x81\x02ab"


def _sockets_have_hooks() -> bool:
    server = inspect.signature(cast(Any, web.WebSocketResponse)._post_start)
    names = cast(Any, ClientSession)._ws_connect.__code__.co_names
    return (
        list(server.parameters) == ["self", "request", "protocol", "writer"]
        and hasattr(web.RequestHandler, "set_parser")
        and {"_parser", "_ws_response_class", "set_parser"} <= set(names)
    )


_REQUIREMENTS: dict[Callable[[], bool], str] = {
    _parser_queues: "aiohttp's parser does not queue messages and stop as the push path needs",
    _writer_is_redirected: "aiohttp's frame writer cannot be redirected as the push path needs",
    _sockets_have_hooks: "aiohttp's WebSockets lack the hooks that the push path needs",
}
