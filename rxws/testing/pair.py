"""Two connected ends on the running event loop, without sockets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from threading import get_ident
from typing import Any, Generic, TypeVar, overload

from reactivex.abc import DisposableBase, SchedulerBase
from typing_extensions import Unpack

from rxws import codecs
from rxws._aiohttp.route import RouteHandler, handler_and_options
from rxws._aiohttp.transport.tasks import Tasks
from rxws._core.connection import Close, Connection, Handler
from rxws._core.frames import Opcode
from rxws._core.schedulers.loop_scheduler import LoopScheduler, may_run_here, running_loop
from rxws._session.encoding import size
from rxws._session.handler import check_handler, run_handler
from rxws._session.option_names import check_names
from rxws._session.options import OPTION_NAMES, ConnectionOptions, Options
from rxws._session.session import Session, State
from rxws._session.transport import Delivery, Receiver
from rxws.closing import UNEXPECTED
from rxws.codecs import Codec

from .fake_transport import FakeTransport, Sent
from .handshake import HandshakeLike, handshake_of

__all__ = ["Pair", "pair"]

In = TypeVar("In")
Out = TypeVar("Out")
PeerIn = TypeVar("PeerIn")
PeerOut = TypeVar("PeerOut")

_HIGH_WATER = 64 << 10  # bytes in flight above which an end is not writable, as with a socket
_FRAME_OVERHEAD = (
    128  # bytes that each frame counts besides its payload, to bound small frames, too
)
_READ_CLOSE_TIMEOUT = 0.5  # seconds; a paused server then resumes reading, to see the close


class _End(FakeTransport):
    """The transport of one end: delivers its frames to the other end on the event loop."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        super().__init__(scheduler, self._send)
        self._loop = asyncio.get_running_loop()
        self._thread = get_ident()
        self.other: _End
        self.tasks = Tasks()
        self._in_flight: deque[Sent | None] = deque()  # None is the end of TCP
        self._in_flight_bytes = 0
        self._delivered_bytes = 0
        self._delivery_scheduled = False
        self._close_delivered = False
        self.ended = asyncio.Event()
        self.on_resumed = lambda: self.other.deliver()

    def _log_call(self, name: str) -> None:
        """Record no calls, as a pair may live long."""

    def _send(self, sent: Sent) -> None:
        if self.other.over:  # TCP would answer with a reset
            self.sever()
            return
        self._put(sent)
        self._in_flight_bytes += _FRAME_OVERHEAD + len(sent.payload)
        if self._in_flight_bytes > _HIGH_WATER and self.writable:
            self.set_writable(False, self._in_flight_bytes)

    def _put(self, sent: Sent | None) -> None:
        self._in_flight.append(sent)
        if not self._delivery_scheduled:
            self._delivery_scheduled = True
            self._schedule(self._deliver_scheduled)

    def _deliver_scheduled(self) -> None:
        self._delivery_scheduled = False
        self.deliver()

    def deliver(self) -> None:
        """Deliver the frames in flight while the other end reads."""
        other = self.other
        while self._in_flight and (other.reading or other.lingering) and not other.over:
            sent = self._in_flight.popleft()
            if sent is None:
                other.lose()
                continue
            size = _FRAME_OVERHEAD + len(sent.payload)
            self._in_flight_bytes -= size
            self._delivered_bytes += size
            other.received += 1
            if not other.lingering and not self._close_delivered:
                self._close_delivered = sent.kind is Opcode.CLOSE
                _dispatch(other.receiver, sent)
        if not self.writable:
            self.buffered = self._in_flight_bytes
            if not self._in_flight and not self.send_lost:
                self.set_writable(True)

    def delivery(self) -> Delivery:
        """Return how many bytes the other end has received, and how many are in flight."""
        in_flight = self._in_flight_bytes
        return Delivery(self._delivered_bytes, in_flight, in_flight > 0)

    def _end(self, *, linger: bool) -> None:
        super()._end(linger=linger)
        if linger:
            self._put(None)

    def abort(self) -> None:
        """End TCP with a reset; the frames in flight are lost."""
        if not self.over:  # otherwise the end of TCP may be in flight
            self._in_flight.clear()
            self._in_flight_bytes = 0
            super().abort()

    def lose(self) -> None:
        """End TCP for both ends."""
        super().lose()
        self._put(None)
        self._schedule(self.ended.set)

    @staticmethod
    def locate() -> object:
        """Return the running event loop."""
        return running_loop()

    def may_run_here(self) -> bool:
        """See `rxws._core.schedulers.loop_scheduler.may_run_here`."""
        return may_run_here(self._loop, self._thread, "this connection")

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn, unless the loop is closed by then."""
        with suppress(RuntimeError):
            super().call_soon_threadsafe(callback)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine as a task."""
        return self.tasks.spawn(self._loop, coroutine)

    def let_finish(self, task: asyncio.Task[Any]) -> None:
        """Wait for a task at the end."""
        self.tasks.let_finish(task)


def _dispatch(receiver: Receiver, sent: Sent) -> None:
    if sent.kind is Opcode.PING:
        receiver.on_ping(sent.payload)
    elif sent.kind is Opcode.PONG:
        receiver.on_pong(sent.payload)
    elif sent.kind is Opcode.CLOSE:
        receiver.on_close(sent.code, sent.reason)
    else:
        receiver.on_message(sent.message, size(sent.message))


class Pair(  # noqa: SLOT001 # few exist at a time
    tuple[Connection[In, Out], Connection[PeerIn, PeerOut]], Generic[In, Out, PeerIn, PeerOut]
):
    """The server's connection and the client's, as `pair` returns them.

    Use it as an async context manager. When the block ends, the client closes with 1000, or with
    1011 after an exception, and both connections and their tasks end.
    """

    _sessions: tuple[Session[Any, Any], ...]
    _ends: tuple[_End, ...]

    @classmethod
    def of(
        cls, sessions: tuple[Session[Any, Any], ...], ends: tuple[_End, ...]
    ) -> Pair[Any, Any, Any, Any]:
        """Create a pair from two sessions and their transports."""
        made: Pair[Any, Any, Any, Any] = Pair(session.connection for session in sessions)
        made._sessions, made._ends = sessions, ends
        return made

    @property
    def closed(self) -> bool:
        """Whether both connections have ended."""
        return all(end.over for end in self._ends)

    async def aclose(self) -> None:
        """Close with 1000 if still open; wait until both connections and their tasks have ended."""
        await self._close(Close())

    async def _close(self, close: Close) -> None:
        server, client = self._sessions
        if client.state is State.OPEN:
            client.outgoing.on_next(close)
        try:
            ended = asyncio.gather(*(end.ended.wait() for end in self._ends))
            await asyncio.wait([ended], timeout=_READ_CLOSE_TIMEOUT)
            server.gate.open_permanently()
            server.stop_waiting()
            await ended
        except asyncio.CancelledError:
            for session in self._sessions:
                session.terminate()
            raise
        finally:
            for session in self._sessions:
                session.stop_waiting()
            for end, session in zip(self._ends, self._sessions, strict=True):
                await end.tasks.finish(session)

    async def __aenter__(self) -> Pair[In, Out, PeerIn, PeerOut]:
        return self

    async def __aexit__(self, kind: object, exc: BaseException | None, traceback: object) -> None:
        await self._close(Close() if exc is None else UNEXPECTED)


@overload
def pair(
    handler: RouteHandler[In, Out],
    *,
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, In, Out]: ...
@overload
def pair(
    handler: RouteHandler[In, Out],
    *,
    peer_codec: Codec[PeerIn, PeerOut],
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, PeerIn, PeerOut]: ...
@overload
def pair(
    handler: Handler[str | bytes, str | bytes] | None = None,
    *,
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[str | bytes, str | bytes, str | bytes, str | bytes]: ...
@overload
def pair(
    handler: Handler[In, Out] | None = None,
    *,
    codec: Codec[In, Out],
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, In, Out]: ...
@overload
def pair(
    handler: Handler[In, Out] | None = None,
    *,
    codec: Codec[In, Out],
    peer_codec: Codec[PeerIn, PeerOut],
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, PeerIn, PeerOut]: ...
def pair(
    handler: Any = None,
    *,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: HandshakeLike | None = None,
    **options: Any,
) -> Pair[Any, Any, Any, Any]:
    """Connect a server and a client on the running event loop, without sockets.

    Args:
        handler: Runs on the server's connection, as with `rxws.websocket`. Or what `websocket`
            returned; then the options given to it are the defaults of the server's connection.
        codec: The server's codec; by default `rxws.codecs.raw`.
        peer_codec: The client's codec; by default `codec`.
        handshake: The URL of both connections, such as `"ws://localhost/?room=7"`, or their
            `rxws.Handshake`; by default the URL `ws://localhost/`.
        **options: The options of both connections; see `rxws.ConnectionOptions`.

    Returns:
        The server's connection and the client's. Used as an async context manager, it closes them.

    Raises:
        RuntimeError: No event loop is running.
        TypeError: The handler is not callable, or `handshake` has the wrong type.
        ValueError: An option is out of range.

    Examples:
        ```python
        async def test_shouts():
            async with pair(shout) as (_, client):
                replies = client.incoming.pipe(ops.take(1), ops.to_future())
                client.outgoing.on_next("hey")
                assert await replies == "HEY"
        ```
    """
    check_names("rxws.testing.pair", options, {*OPTION_NAMES, "handshake", "peer_codec"})
    handler, server = handler_and_options(handler, options, without="origins")
    if handler is not None:
        check_handler(handler)
    client: dict[str, Any] = {**options, "codec": peer_codec or server.get("codec", codecs.raw)}
    scheduler = LoopScheduler.running()
    ends = _End(scheduler), _End(scheduler)
    ends[0].other, ends[1].other = ends[1], ends[0]
    shared = handshake_of(handshake)
    sessions: tuple[Session[Any, Any], Session[Any, Any]] = (
        Session(ends[0], scheduler, Options(**server), shared),
        Session(ends[1], scheduler, Options(**client), shared),
    )
    if handler is not None:
        run_handler(handler, sessions[0])
    for end, session in zip(ends, sessions, strict=True):
        end.attach(session)
    return Pair.of(sessions, ends)
