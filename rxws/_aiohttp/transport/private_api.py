"""All use of aiohttp's private API.

On the push path, rxws feeds aiohttp's frame parser itself, takes the messages out of it, and
redirects the frame writer. `why_not_push` tests whether the installed aiohttp supports that.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import deque
from collections.abc import Callable
from typing import Any, cast

from aiohttp import (
    ClientMiddlewareType,
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
    WSCloseCode,
    WSMsgType,
    web,
)
from aiohttp.http import WebSocketReader, WebSocketWriter
from yarl import URL

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
    "shared_window",
    "why_not_push",
    "ws_connect_of",
]

WriteFrame = Callable[[bytes, int, int], None]
"""Writes a frame: payload, opcode, reserved bits."""


# --- what both paths need ---------------------------------------------------------------------


def client_response(ws: ClientWebSocketResponse[Any]) -> ClientResponse:
    """Return the response to the upgrade request."""
    return ws._response  # pyright: ignore[reportPrivateUsage] # the purpose of this module


def client_transport(ws: ClientWebSocketResponse[Any]) -> asyncio.Transport | None:
    """Return the asyncio transport of a client's WebSocket, or None if it is lost already."""
    connection = client_response(ws).connection
    return None if connection is None else connection.transport


def disable_auto_close(ws: ClientWebSocketResponse[Any]) -> None:
    """Stop a client's WebSocket from answering close frames; `receive()` still reports them.

    This patches the object, because a user's own `ClientSession` does not create our subclasses.
    """

    async def close(**_: Any) -> bool:
        return False

    ws.close = close  # type: ignore[method-assign] # see above


def feed_eof(ws: Any) -> None:
    """Make `receive()` report the end after the remaining messages, although TCP is not lost yet.

    aiohttp waits until it is.
    """
    if ws._reader.exception() is None:  # EOF would replace the exception, the peer's violation
        ws._reader.feed_eof()


def parser_limit(max_size: int, compress: bool) -> int:
    """Return a limit with which aiohttp's parser accepts every message of up to `max_size` bytes.

    It then accepts some larger messages, too, which the readers reject.
    """
    # aiohttp rejects a plain message of exactly the limit, but accepts an inflated one.
    limit = max_size + 1
    if compress:
        # aiohttp limits the compressed size, too. Data that does not compress grows by at most this
        # much, with any settings of zlib (see its `deflateBound`).
        limit += (max_size >> 3) + 64
    return limit


# --- the frame parser -------------------------------------------------------------------------

WebSocketDataQueue: Any
try:
    from aiohttp._websocket.reader import WebSocketDataQueue
except ImportError:  # pragma: no cover # a later aiohttp
    WebSocketDataQueue = object


# Bytes that aiohttp's queue adds to the size of each message.
_OVERHEAD = 128

# The parser stops when more bytes than this are queued: as many as asyncio reads at once.
_AHEAD = 256 << 10


class Parser:
    """aiohttp's frame parser. It queues messages until the caller takes them.

    It stops parsing when more than `ahead` bytes are queued, and continues after `resume`.

    Attributes:
        feed: Parses a chunk. The first element of its result is True if `error` has stopped it.
        full: Whether more than `ahead` bytes were queued since the last `resume`.
        messages: The queue: pairs of an aiohttp message and its size in bytes.
    """

    __slots__ = ("_queue", "_reader", "feed", "full", "messages")

    # aiohttp's queue uses a `Parser` as its protocol: it reads this, and calls `pause_reading`.
    _reading_paused = False

    def __init__(self, max_size: int, compress: bool, ahead: int = _AHEAD) -> None:
        # Not a subclass of aiohttp's queue, because the compiled parser calls an overridden method
        # more slowly. The queue doubles the limit that it gets.
        queue = self._queue = WebSocketDataQueue(self, ahead // 2, loop=None)
        limit = parser_limit(max_size, compress)
        self._reader = WebSocketReader(queue, limit, compress, decode_text=True)
        self.feed: Callable[[bytes], tuple[bool, bytes]] = self._reader.feed_data
        self.full = False
        self.messages: deque[tuple[Any, int]] = queue._buffer

    def pause_reading(self) -> None:
        self.full = True

    def resume(self) -> bool:
        """Allow parsing again, once all messages are taken.

        Returns:
            Whether unparsed data is left. Feed `b""` to parse it.
        """
        self.full = False
        stalled = self._queue._stalled_reader is not None
        if size := self._queue._size:
            # The queue still counts the messages that were taken directly from its deque. To reset
            # the count, add a dummy of that size and read it.
            self.messages.append((None, size - _OVERHEAD))
            try:
                self._queue.read().send(None)
            except StopIteration:
                pass
        return stalled

    def release(self) -> None:
        """Drop aiohttp's parser and queue, which refer to this object."""
        del self._queue, self._reader, self.feed

    @property
    def error(self) -> BaseException | None:
        """How the data broke the protocol, after the messages that are queued."""
        return cast("BaseException | None", self._queue.exception())


class EarlyBytes:
    """Replaces aiohttp's parser, and keeps the bytes that arrive before our `Parser` runs."""

    __slots__ = ("data",)

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        """Do nothing: `SocketProtocol` reports the end."""


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
        # `ws_connect` assigns its parser to this attribute, then reads the attribute and passes the
        # value to the protocol, which feeds it. So the protocol feeds `EarlyBytes`.
        if self.early_bytes is None:
            self.early_bytes = EarlyBytes()
        return self.early_bytes

    @_parser.setter
    def _parser(self, _: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass


class _DialSession:
    """A `ClientSession` for one dial: another class of WebSockets, and one more middleware.

    Its requests do not raise for a status, whatever the session's `raise_for_status`.
    """

    def __init__(
        self,
        session: Any,
        response_class: type[ClientWebSocketResponse[Any]],
        middleware: ClientMiddlewareType,
    ) -> None:
        self._session = session
        self._ws_response_class = response_class
        self._middleware = middleware

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def request(self, method: str, url: str | URL, **options: Any) -> Any:
        """Request as the session does."""
        middlewares = (*self._session._middlewares, self._middleware)
        return self._session.request(
            method, url, raise_for_status=False, middlewares=middlewares, **options
        )


def ws_connect_of(
    session: ClientSession, middleware: ClientMiddlewareType, *, push: bool
) -> Callable[..., Any]:
    """Return a session's `ws_connect` with one more middleware, after the session's own.

    If the user has replaced `ws_connect` or the WebSocket class, or this aiohttp has no such
    hooks, return the session's own `ws_connect`.

    Args:
        session: The session of the user or of rxws.
        middleware: Called with each request, also after a redirect.
        push: Whether to create WebSockets for the push path.
    """
    users, original = cast(Any, session), cast(Any, ClientSession)
    users_class = cast(Any, type(session))
    if (
        not _session_has_hooks()
        or getattr(users.ws_connect, "__func__", None) is not original.ws_connect
        or users_class._ws_connect is not original._ws_connect
        or users._ws_response_class is not ClientWebSocketResponse
    ):
        return cast(Callable[..., Any], users.ws_connect)
    response_class = PushClientSocket if push else ClientWebSocketResponse
    return functools.partial(
        original._ws_connect, _DialSession(session, response_class, middleware)
    )


@functools.cache
def _session_has_hooks() -> bool:
    """Return whether `_DialSession` can replace a session."""
    session = cast(Any, ClientSession)
    try:
        names = {*session._ws_connect.__code__.co_names, *session._request.__code__.co_names}
    except AttributeError:
        return False
    return {"request", "_ws_response_class", "_middlewares"} <= names


def early_bytes_of(ws: object) -> EarlyBytes | None:
    """Return the early bytes of a WebSocket on the push path; None on the pull path."""
    # aiohttp's server socket is a MutableMapping, so isinstance would be slow.
    early_bytes = getattr(ws, "early_bytes", None)
    return early_bytes if isinstance(early_bytes, EarlyBytes) else None


# --- the frame writer -------------------------------------------------------------------------


class WriteCollector:
    """Replaces the transport of aiohttp's frame writer, and collects the written bytes."""

    __slots__ = ("chunks", "is_closing", "write")

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self.chunks: list[bytes] = []
        self.write = self.chunks.append
        self.is_closing = is_closing


def redirect_frames(ws: Any, collector: WriteCollector) -> WriteFrame | None:
    """Make a WebSocket write its frames to a collector, and return a function that writes one.

    Return None if the WebSocket compresses messages, because only its `send_frame` does that.
    """
    writer = ws._writer
    writer.transport = collector
    write_frame: WriteFrame = writer._write_websocket_frame
    return None if writer.compress else write_frame


def shared_window(ws: Any) -> int | None:
    """Return what a WebSocket's frames depend on besides their payloads: the window in bits.

    Returns:
        0 if messages are not compressed; None if each frame is different, because it is masked or
        compressed with context takeover.
    """
    writer = ws._writer
    window: int = writer.compress
    return None if writer.use_mask or (window and not writer.notakeover) else window


# --- does this aiohttp support the push path? -------------------------------------------------


def why_not_push() -> str | None:
    """Return what the installed aiohttp lacks for the push path; None if it supports it."""
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
        found.append(parser.resume())  # with ahead=0, it stops after each message
    expected = [
        *((WSMsgType.TEXT, "a", 1), True),
        *((WSMsgType.BINARY, b"bc", 2), False),
        *((WSMsgType.CLOSE, 1000, 0), True),
    ]
    is_last_too_big = getattr(parser.error, "code", None) == WSCloseCode.MESSAGE_TOO_BIG
    return found == expected and is_last_too_big and parser.feed(b"")[0]


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
