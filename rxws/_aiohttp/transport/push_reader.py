"""The way in by aiohttp's parser, which hands each message over as soon as it is whole.

No task, no queue and no turn of the loop lie between the socket and the pipeline; and what the
pipeline sends while one chunk of bytes is being parsed leaves in one write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import Context
from time import monotonic

from aiohttp import WSCloseCode, WSMsgType

from rxws._session.transport import Receiver

from .frame_writer import FrameWriter
from .private_api import EarlyBytes, Parser
from .reader import dispatch_control, dispatch_failure
from .socket_protocol import SocketProtocol

__all__ = ["PushReader"]

_TEXT, _BINARY = WSMsgType.TEXT, WSMsgType.BINARY

# Bytes of a chunk above which the parser is told at once that its messages were taken. Else it is
# when it is full. That costs less, but what is left of a large one then would have to be copied.
_LARGE = 4096

# Seconds after which a pipeline counts as slow: what it has sent leaves before the next.
_PROMPT = 0.001

# Seconds after which others get a turn of the loop, though more messages of this chunk are there.
_SLICE = 0.01


class PushReader:
    """Feeds the parser, and tells the session what it finds.

    Args:
        feed: What has come in by now.
        wire: The wire.
        writing: The way out, corked while a chunk is parsed.
        max_size: Bytes of the largest message.
        compress: Whether the peer may compress.
    """

    __slots__ = (
        "_busy",
        "_context",
        "_due",
        "_ended",
        "_feed",
        "_held",
        "_loop",
        "_max_size",
        "_on_message",
        "_over",
        "_parser",
        "_receiver",
        "_resuming",
        "_stalled",
        "_stopped",
        "_wire",
        "_writing",
        "deferred",
    )

    def __init__(
        self,
        feed: EarlyBytes,
        wire: SocketProtocol,
        writing: FrameWriter,
        max_size: int,
        compress: bool,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._feed = feed
        self._wire = wire
        self._writing = writing
        self._receiver: Receiver
        self._on_message: Callable[[str | bytes, int], None]
        self._context: Context
        self._parser = Parser(max_size, compress)
        self._max_size = max_size
        self.deferred = 0
        self._over: asyncio.Future[None] = self._loop.create_future()
        self._held = False  # whether the session holds reading
        self._resuming = False  # whether telling is to go on in the next turn
        self._stalled = True  # whether what comes waits: for either reason, or until it runs
        self._stopped = False  # whether TCP's reading is paused
        self._ended = wire.is_lost  # whether nothing more will come from TCP
        self._due = 0.0  # when what was sent meanwhile is to leave
        self._busy = 0.0  # seconds that the pipeline took of this turn
        wire.on_data = feed.feed_data

    def run(self, receiver: Receiver, context: Context) -> asyncio.Future[None]:
        """See `Reading.run`."""
        self._receiver = receiver
        self._on_message = receiver.on_message
        self._context = context
        self._wire.on_data = self._received
        early, self._feed.early = self._feed.early, b""  # not kept for a connection's life
        self._parser.feed(early)
        self._go_on()
        return self._over

    def pause(self) -> None:
        """See `Transport.pause_reading`; not even the next message of this chunk comes."""
        self._held = self._stalled = True

    def resume(self) -> None:
        """See `Transport.resume_reading`."""
        self._held = False
        self._go_on_soon()

    def on_eof(self) -> None:
        """See `Reading.on_eof`."""
        self._ended = True
        if not self._stalled:
            self._context.run(self._fail, None)

    on_lost = on_eof

    # --- what comes in ------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        if self._stalled and not self._stopped:
            # TCP is told of a pause only when more comes than was on its way: most pauses are over
            # by then, and two system calls are saved.
            self._stopped = True
            self._wire.transport.pause_reading()
        writing = self._writing
        writing.corked = True
        try:
            self._context.run(self._parse, data)
        except BaseException:  # ctrl-C within a subscriber
            self._receiver.on_cancelled()
            self._end()
            raise
        finally:
            writing.corked = False
            if writing.pieces:
                writing.flush()

    def _parse(self, data: bytes) -> None:
        """Feed the parser, and tell of all that it finds, until one of the messages stalls it."""
        parser, on_message = self._parser, self._on_message
        messages = parser.messages
        self._due = monotonic() + _PROMPT
        self._busy = 0.0
        broken, _ = parser.feed(data)
        while not self._stalled:
            if messages:
                message, size = messages.popleft()
                kind = message[0]
                try:
                    if kind is _TEXT or kind is _BINARY:
                        if size > self._max_size:  # see `parser_limit`
                            self._receiver.on_violation(WSCloseCode.MESSAGE_TOO_BIG)
                            self._end()
                        else:
                            on_message(message[1], size)
                    elif not dispatch_control(message, self._receiver):
                        self._end()
                except asyncio.CancelledError:  # a subscriber's; in a task it would end that
                    self._receiver.on_cancelled()
                if messages and monotonic() > self._due:
                    self._pace()
            elif (parser.full or len(data) > _LARGE) and parser.go_on():
                broken, _ = parser.feed(b"")
                self._pace()
            else:
                if broken:
                    self._fail(parser.error)
                return

    def _pace(self) -> None:
        """Where the pipeline takes its time, what it sent leaves, and others get their turn."""
        now = monotonic()
        late = now - self._due
        if late <= 0:
            return
        self._writing.flush()
        self._busy += late + _PROMPT
        self._due = now + _PROMPT
        if self._busy > _SLICE:
            self.deferred += 1
            self._stalled = True
            self._go_on_soon()

    def _go_on_soon(self) -> None:
        if not self._resuming:
            self._resuming = True
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._resuming = False
        if self._held or not self._stalled or self._over.done():
            return
        self._stalled = False
        self._received(b"")
        if self._stalled:
            return
        if self._ended:
            self._context.run(self._fail, None)
        elif self._stopped:
            self._stopped = False
            self._wire.transport.resume_reading()

    def _fail(self, error: BaseException | None) -> None:
        """The end that is no close frame: the peer's violation, or with None the end of TCP."""
        if not self._over.done():
            dispatch_failure(error, self._receiver)
            self._end()

    def _end(self) -> None:
        self._parser.messages.clear()
        self._stalled = True
        self._wire.on_data = _ignore
        if not self._over.done():  # who waits for it may have been cancelled
            self._over.set_result(None)


def _ignore(_: bytes) -> None:
    """Nothing that follows the end counts."""
