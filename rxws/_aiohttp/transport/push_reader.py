"""Read frames by feeding aiohttp's parser directly, and deliver each message at once.

A message goes from the socket to the pipeline in one call, without a task, a queue or a turn of the
loop. Everything that the pipeline sends while one chunk is parsed is sent in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic

from aiohttp import WSCloseCode, WSMsgType
from reactivex.internal import noop

from rxws._session.transport import Receiver

from .frame_writer import FrameWriter
from .private_api import EarlyBytes, Parser
from .reader import Reader, dispatch_control, dispatch_failure, pass_on
from .socket_protocol import SocketProtocol

__all__ = ["PushReader"]

_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY

# After the messages of a chunk larger than this, in bytes, `Parser.resume` is called even if the
# parser is not full, which saves a copy of the unparsed rest. For smaller chunks, the call costs
# more than the copy.
_LARGE = 4096

# A pipeline is slow if it is busy for longer than this, in seconds. Then what it has sent so far is
# flushed before the next message.
_FLUSH_AFTER = 0.001

# After a slow pipeline has been busy for this long, in seconds, the loop gets a turn, even if the
# chunk has more messages.
_YIELD_AFTER = 0.01


class PushReader(Reader):
    """Feeds the parser, and calls the session with the messages that it finds.

    Three booleans say whether messages are delivered. They are not one enum, because the loop over
    a chunk's messages is faster if it tests a single boolean, `_stalled`:

    | state                                   | _stalled | _paused | _resume_scheduled |
    | --------------------------------------- | -------- | ------- | ----------------- |
    | not started, or ended                   | yes      | any     | any               |
    | delivering                              | no       | no      | any               |
    | paused by the session                   | yes      | yes     | any               |
    | to continue in the loop's next turn,    | yes      | no      | yes               |
    | after a pause or after a slow pipeline  |          |         |                   |

    Four more booleans are independent: `_tcp_paused` says that asyncio does not read, `_eof` that
    TCP has ended. The end is reported after all messages. `_delivering` is set while a chunk's
    messages are delivered. A subscriber may run a nested event loop then: what the reader is called
    with meanwhile has to wait, and `_interrupted` says that something does.
    """

    __slots__ = (
        "_busy_seconds",
        "_context",
        "_delivering",
        "_done",
        "_early_bytes",
        "_eof",
        "_flush_due",
        "_interrupted",
        "_loop",
        "_max_size",
        "_on_message",
        "_parser",
        "_paused",
        "_protocol",
        "_receiver",
        "_resume_scheduled",
        "_stalled",
        "_tcp_paused",
        "_writer",
        "deferred",
    )

    def __init__(
        self,
        early_bytes: EarlyBytes,
        protocol: SocketProtocol,
        writer: FrameWriter,
        max_size: int,
        compress: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._early_bytes = early_bytes
        self._protocol = protocol
        self._writer = writer
        self._receiver: Receiver
        self._on_message: Callable[[str | bytes, int], None]
        self._context: Context
        self._parser = Parser(max_size, compress)
        self._max_size = max_size
        self.deferred = 0
        self._done: asyncio.Future[None] = self._loop.create_future()
        self._paused = False
        self._resume_scheduled = False
        self._stalled = True
        self._tcp_paused = False
        self._eof = protocol.is_lost
        self._delivering = False
        self._interrupted = False
        self._flush_due = 0.0  # from this time on, the pipeline is slow
        self._busy_seconds = 0.0  # of a slow pipeline, in this turn of the loop
        protocol.on_data = early_bytes.feed_data

    def run(self, receiver: Receiver, context: Context) -> asyncio.Future[None]:
        self._receiver = receiver
        self._on_message = receiver.on_message
        self._context = context
        self._protocol.on_data = self._on_data
        data, self._early_bytes.data = self._early_bytes.data, b""  # free the memory
        self._stalled = self._paused
        if data or self._eof:
            self._stalled = True
            self._parser.feed(data)
            self._resume()
        return self._done

    def release(self) -> None:
        self._parser.release()
        del self._receiver, self._on_message, self._context, self._early_bytes

    def pause(self) -> None:
        self._paused = self._stalled = True

    def resume(self) -> None:
        self._paused = False
        self._resume_soon()

    def on_eof(self) -> None:
        self._eof = True
        if self._delivering:
            self._on_nested()
        elif not self._stalled:
            self._context.run(self._fail, None)

    on_lost = on_eof

    def _on_data(self, data: bytes) -> None:
        if self._stalled and not self._tcp_paused:
            # Pause asyncio only now that more data has arrived: most pauses end before that, and
            # each one then saves two system calls.
            self._tcp_paused = True
            self._protocol.transport.pause_reading()
        writer = self._writer
        if self._delivering:
            self._on_nested_data(data)
            return
        self._delivering = writer.corked = True
        try:
            self._context.run(self._parse, data)
        except BaseException as exc:  # such as a CancelledError or KeyboardInterrupt
            self._receiver.on_cancelled()  # unless the session has ended the connection already
            self._end()
            pass_on(exc)
        finally:
            self._delivering = writer.corked = False
            if writer.chunks:
                writer.flush()
            if self._interrupted:
                self._interrupted = False
                self._stalled = True
                self._resume_soon()

    def _on_nested_data(self, data: bytes) -> None:
        """Parse a chunk that arrives in a nested event loop, and read no more until that ends.

        The messages follow those of the chunk that is being delivered.
        """
        self._parser.feed(data)
        if not self._tcp_paused:
            self._tcp_paused = True
            self._protocol.transport.pause_reading()
        self.deferred += 1
        self._on_nested()

    def _on_nested(self) -> None:
        """Continue after the nested event loop; until then, send without collecting."""
        self._interrupted = True
        self._writer.corked = False
        self._writer.flush()

    def _parse(self, data: bytes) -> None:
        """Feed a chunk to the parser, and deliver its messages until `_stalled` is set."""
        parser, on_message = self._parser, self._on_message
        messages = parser.messages
        self._flush_due = monotonic() + _FLUSH_AFTER
        self._busy_seconds = 0.0
        broken, _ = parser.feed(data)
        while not self._stalled:
            if messages:
                message, size = messages.popleft()
                kind = message[0]
                if kind is _TEXT or kind is _BINARY:
                    if size > self._max_size:  # see `parser_limit`
                        self._receiver.on_violation(WSCloseCode.MESSAGE_TOO_BIG)
                        self._end()
                    else:
                        on_message(message[1], size)
                elif not dispatch_control(message, self._receiver):
                    self._end()
                if messages and monotonic() > self._flush_due:
                    self._yield_if_slow()
            elif (parser.full or len(data) > _LARGE) and parser.resume():
                broken, _ = parser.feed(b"")
                self._yield_if_slow()
            else:
                if broken:
                    self._fail(parser.error)
                return

    def _yield_if_slow(self) -> None:
        """If the pipeline is slow, flush what it has sent; after `_YIELD_AFTER`, also stall."""
        now = monotonic()
        late = now - self._flush_due
        if late <= 0:
            return
        self._writer.flush()
        self._busy_seconds += late + _FLUSH_AFTER
        self._flush_due = now + _FLUSH_AFTER
        if self._busy_seconds > _YIELD_AFTER:
            self.deferred += 1
            self._stalled = True
            self._resume_soon()

    def _resume_soon(self) -> None:
        if not self._resume_scheduled:
            self._resume_scheduled = True
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        self._resume_scheduled = False
        if self._delivering:  # in a nested event loop
            self._on_nested()
            return
        if self._paused or not self._stalled or self._done.done():
            return
        self._stalled = False
        self._on_data(b"")
        if self._stalled:
            return
        if self._eof:
            self._context.run(self._fail, None)
        elif self._tcp_paused:
            self._tcp_paused = False
            self._protocol.transport.resume_reading()

    def _fail(self, error: BaseException | None) -> None:
        """End without a close frame from the peer: it broke the protocol, or TCP has ended."""
        if not self._done.done():
            # First, because a subscriber that is notified may run a nested event loop.
            self._stalled = True
            self._protocol.on_data = noop
            dispatch_failure(error, self._receiver)
            self._end()

    def _end(self) -> None:
        self._parser.messages.clear()
        self._stalled = True
        self._protocol.on_data = noop
        if not self._done.done():  # it is done if the task that awaited it was cancelled
            self._done.set_result(None)
