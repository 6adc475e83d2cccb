"""What rxws touches of aiohttp that aiohttp does not promise to keep, all of it.

The push path lives on it: aiohttp's frame parser is fed, and its messages taken, by us, its frame
writer writes where it is told to. `why_not_push` tells, by trying, whether this aiohttp lets us.
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
    "Pieces",
    "PushClientSocket",
    "PushServerSocket",
    "WriteFrame",
    "client_response",
    "client_transport",
    "disable_auto_close",
    "end_of_stream",
    "feed_of",
    "frame_writer",
    "parser_limit",
    "why_not_push",
    "with_push",
]

WriteFrame = Callable[[bytes, int, int], None]
"""Writes a frame: payload, opcode, reserved bits."""


# --- what both paths need ---------------------------------------------------------------------


def client_response(ws: ClientWebSocketResponse[Any]) -> ClientResponse:
    """Return the response of the upgrade: its headers and its connection are public, it is not."""
    return ws._response  # pyright: ignore[reportPrivateUsage] # see the module


def client_transport(ws: ClientWebSocketResponse[Any]) -> asyncio.Transport | None:
    """Return the transport below a client's WebSocket; None where it is lost already."""
    connection = client_response(ws).connection
    return None if connection is None else connection.transport


def disable_auto_close(ws: ClientWebSocketResponse[Any]) -> None:
    """Let `receive()` report an end without answering it.

    A subclass would do on a session of ours, but not on one of the user's.
    """

    async def close(**_: Any) -> bool:
        return False

    ws.close = close  # type: ignore[method-assign] # on this one object, as said above


def end_of_stream(ws: Any) -> None:
    """Let `receive()` report the end behind what it has still to give, with the transport open.

    aiohttp's protocols tell its reader so only when the connection is lost.
    """
    if ws._reader.exception() is None:  # what the peer did wrong would be forgotten
        ws._reader.feed_eof()


# --- the parser, made to push -----------------------------------------------------------------

try:
    from aiohttp._websocket.reader import WebSocketDataQueue
except ImportError:  # pragma: no cover # an aiohttp to come
    WebSocketDataQueue = cast(Any, object)


# What aiohttp counts for each message that waits, besides its bytes.
_EACH = 128

# Bytes of messages that wait above which the parser parses no further: what asyncio reads at once.
_AHEAD = 256 << 10


class Parser:
    """aiohttp's frame parser, whose messages wait in a row until they are taken.

    Args:
        max_size: Bytes of the largest message.
        compress: Whether the peer may compress.
        ahead: Bytes of messages that wait above which it parses no further.

    Attributes:
        feed: Parses a chunk. The first of what it returns tells whether `error` ended it.
        full: Whether too much waits; what was taken counts until `go_on` is called.
        messages: What was found and not taken yet: messages of aiohttp's type, with their bytes.
    """

    __slots__ = ("_queue", "_reader", "feed", "full", "messages")

    _reading_paused = False  # for aiohttp's queue, which takes this for its protocol

    def __init__(self, max_size: int, compress: bool, ahead: int = _AHEAD) -> None:
        # aiohttp's queue as it is: to an override the parser would have to make a slower call.
        # It doubles its limit.
        queue = self._queue = cast(Any, WebSocketDataQueue)(self, ahead // 2, loop=None)
        limit = parser_limit(max_size, compress)
        self._reader = WebSocketReader(queue, limit, compress, decode_text=True)
        self.feed: Callable[[bytes], tuple[bool, bytes]] = self._reader.feed_data
        self.full = False
        self.messages: deque[tuple[Any, int]] = queue._buffer

    def pause_reading(self) -> None:
        """The queue says that there is too much in it."""
        self.full = True

    def go_on(self) -> bool:
        """Parse what was left because too much waited, now that all is taken; tell whether any."""
        self.full = False
        stalled = self._queue._stalled_reader is not None
        if size := self._queue._size:
            # One entry stands for all that were taken: with it goes what they count.
            self.messages.append((None, size - _EACH))
            try:
                self._queue.read().send(None)
            except StopIteration:
                pass
        return stalled

    @property
    def error(self) -> BaseException | None:
        """What is wrong with what was fed; told of behind the messages."""
        return cast("BaseException | None", self._queue.exception())


class EarlyBytes:
    """Stands where aiohttp has its parser until ours takes over: keeps what comes by then."""

    __slots__ = ("early",)

    def __init__(self) -> None:
        self.early = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Keep it."""
        self.early += data
        return False, b""

    def feed_eof(self) -> None:
        """Nothing: the wire sees the end."""


# --- WebSockets whose frames do not go to aiohttp's queue --------------------------------------


class PushServerSocket(web.WebSocketResponse):
    """A server's WebSocket for the push path."""

    feed: EarlyBytes | None = None

    def _post_start(self, request: Any, protocol: str | None, writer: WebSocketWriter) -> None:
        self.feed = EarlyBytes()
        self._ws_protocol = protocol
        self._writer = writer
        request.protocol.set_parser(self.feed)
        request.protocol.keep_alive(False)


class PushClientSocket(ClientWebSocketResponse[Any]):
    """A client's WebSocket for the push path."""

    feed: EarlyBytes | None = None

    @property
    def _parser(self) -> Any:
        # aiohttp makes a parser, puts it here, and takes from here what its protocol gets.
        if self.feed is None:
            self.feed = EarlyBytes()
        return self.feed

    @_parser.setter
    def _parser(self, _: Any) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass


class _WithPush:
    """A session of the user's, with `PushClientSocket` for its WebSockets."""

    _ws_response_class = PushClientSocket

    def __init__(self, session: ClientSession) -> None:
        self._session = session

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def with_push(session: ClientSession) -> Callable[..., Any]:
    """Return a session's `ws_connect` that makes WebSockets for the push path, if it can.

    It cannot where the user has a `ws_connect` or a WebSocket class of their own.
    """
    own, its, aiohttps = cast(Any, session), cast(Any, type(session)), cast(Any, ClientSession)
    if (
        getattr(own.ws_connect, "__func__", None) is not aiohttps.ws_connect
        or its._ws_connect is not aiohttps._ws_connect
        or own._ws_response_class is not ClientWebSocketResponse
    ):
        return cast(Callable[..., Any], own.ws_connect)
    return functools.partial(aiohttps._ws_connect, _WithPush(own))


def feed_of(ws: object) -> EarlyBytes | None:
    """Return what a WebSocket's bytes go to; None where they go to aiohttp's own queue."""
    return ws.feed if isinstance(ws, PushServerSocket | PushClientSocket) else None


class Pieces:
    """What aiohttp's frame writer takes for its transport: a list, written when it is time."""

    __slots__ = ("is_closing", "pieces", "write")

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self.pieces: list[bytes] = []
        self.write = self.pieces.append
        self.is_closing = is_closing


def frame_writer(ws: Any, to: Pieces) -> WriteFrame | None:
    """Let a WebSocket's frames be collected instead of written.

    Returns:
        What writes one frame uncompressed, at once. None where messages are compressed: those go
        through `send_frame`, to the same place.
    """
    writer = ws._writer
    writer.transport = to
    return None if writer.compress else cast(WriteFrame, writer._write_websocket_frame)


# --- whether all this is so -------------------------------------------------------------------


def why_not_push() -> str | None:
    """Tell what this aiohttp lacks for the push path; None if nothing."""
    for check in (_parser_waits, _writer_writes, _sockets_have_hooks):
        try:
            lack = None if check() else check.__doc__
        except Exception as exc:
            lack = f"{check.__doc__} {exc!r}"
        if lack:
            return lack
    return None


def _parser_waits() -> bool:
    """The parser does not stall, or does not collect, as the push path needs it."""
    found: list[Any] = []
    parser = Parser(16, False, 0)
    for chunk in (b"\x81\x01a\x82\x02bc", b"", b"\x88\x02\x03\xe8\x82\x12"):
        parser.feed(chunk)
        found += [(*message[:2], size) for message, size in parser.messages]
        parser.messages.clear()
        found.append(parser.go_on())  # up to the next message
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


def _writer_writes() -> bool:
    """The frame writer does not write a frame as the push path needs it."""

    class Socket:
        _writer = WebSocketWriter(cast(Any, None), cast(Any, None))

    collected = Pieces(bool)
    cast(WriteFrame, frame_writer(Socket, collected))(b"ab", WSMsgType.TEXT, 0)
    return b"".join(collected.pieces) == b"\x81\x02ab"


def _sockets_have_hooks() -> bool:
    """WebSockets lack the hooks that the push path needs."""
    server = inspect.signature(cast(Any, web.WebSocketResponse)._post_start)
    names = cast(Any, ClientSession)._ws_connect.__code__.co_names
    return (
        list(server.parameters) == ["self", "request", "protocol", "writer"]
        and hasattr(web.RequestHandler, "set_parser")
        and {"_parser", "_ws_response_class", "set_parser"} <= set(names)
    )


def parser_limit(max_size: int, compress: bool) -> int:
    """Return the limit to give to aiohttp so that it takes all messages of so many bytes.

    It takes some that are larger: the session's side checks those.
    """
    # A plain message of exactly the limit is refused by aiohttp, an inflated one is not.
    limit = max_size + 1
    if compress:
        # It holds the compressed size against the limit, too, and what cannot be compressed grows:
        # by no more than this, whatever settings zlib is used with (see its `deflateBound`).
        limit += (max_size >> 3) + 64
    return limit
