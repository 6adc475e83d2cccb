"""Two connections that are each other's peer, in one process, on the running event loop."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import Disposable
from typing_extensions import Unpack
from yarl import URL

from rxws import codecs
from rxws._core.connection import Close, Connection, Handler, Handshake
from rxws._core.frames import Opcode
from rxws._core.loop_scheduler import LoopScheduler
from rxws._session.encoding import size
from rxws._session.handler import check_handler, run_handler
from rxws._session.options import ConnectionOptions, Options
from rxws._session.session import Session, State
from rxws._session.transport import Receiver
from rxws.closing import UNEXPECTED
from rxws.codecs import Codec

from .fake_transport import FakeTransport, Sent

__all__ = ["Pair", "pair"]

In = TypeVar("In")
Out = TypeVar("Out")
PeerIn = TypeVar("PeerIn")
PeerOut = TypeVar("PeerOut")

_ROOM = 64 << 10  # bytes under way from which on one end has to wait for the other, as with sockets
_GRACE = 0.5  # seconds that a server may take to read a close; what holds it then is let go
_FRAME = 128  # bytes that a frame counts besides its payload, so that tiny ones are bounded, too


class _End(FakeTransport):
    """One end of a wire; the other is an end, too."""

    def __init__(self, scheduler: SchedulerBase) -> None:
        super().__init__(scheduler, self._send)
        self._loop = asyncio.get_running_loop()
        self.other: _End
        self.tasks: set[asyncio.Task[None]] = set()
        self._under_way: deque[Sent | None] = deque()  # to the other end; None is the end of TCP
        self._bytes = 0  # of those
        self._due = False
        self._said_goodbye = False  # whether our close frame has arrived
        self.gone = asyncio.Event()
        self.on_resumed = self._other_goes_on

    def _other_goes_on(self) -> None:
        self.other.deliver()

    def _note(self, name: str) -> None:
        """Nothing: a pair may live long."""

    def _send(self, sent: Sent) -> None:
        if self.other.over:  # as TCP does, which answers by a reset
            self.sever()
            return
        self._put(sent)
        self._bytes += _FRAME + len(sent.payload)
        if self._bytes > _ROOM and self.writable:
            self.set_writable(False, self._bytes)

    def _put(self, sent: Sent | None) -> None:
        self._under_way.append(sent)
        if not self._due:
            self._due = True
            self._soon(self._run)

    def _run(self) -> None:
        self._due = False
        self.deliver()

    def deliver(self) -> None:
        """Let the other end read what is under way, as far as it does."""
        other = self.other
        while self._under_way and (other.reading or other.lingering) and not other.over:
            sent = self._under_way.popleft()
            if sent is None:
                other.lose()
                continue
            self._bytes -= _FRAME + len(sent.payload)
            other.received += 1
            if not other.lingering and not self._said_goodbye:
                self._said_goodbye = sent.kind is Opcode.CLOSE
                _tell(other.receiver, sent)
        if not self.writable:
            self.buffered = self._bytes
            if not self._under_way and not self.send_lost:
                self.set_writable(True)

    def _end(self, *, linger: bool) -> None:
        super()._end(linger=linger)
        if linger:
            self._put(None)

    def abort(self) -> None:
        """End TCP by a reset: what is under way is lost."""
        if not self.over:  # else the end itself may be under way
            self._under_way.clear()
            self._bytes = 0
            super().abort()

    def lose(self) -> None:
        """TCP ends, for both ends."""
        super().lose()
        self._put(None)
        self._soon(self.gone.set)

    def call_soon_threadsafe(self, callback: Callable[[], object]) -> None:
        """Call back in a later turn; dropped where the loop is closed by now."""
        with suppress(RuntimeError):
            super().call_soon_threadsafe(callback)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> DisposableBase:
        """Run a coroutine as a task."""
        task = self._loop.create_task(coroutine)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

        def cancel() -> None:
            self._soon(task.cancel)

        return Disposable(cancel)


def _tell(receiver: Receiver, sent: Sent) -> None:
    if sent.kind is Opcode.PING:
        receiver.on_ping(sent.payload)
    elif sent.kind is Opcode.PONG:
        receiver.on_pong(sent.payload)
    elif sent.kind is Opcode.CLOSE:
        receiver.on_close(sent.code, sent.reason)
    else:
        receiver.on_message(sent.message, size(sent.message))


class Pair(  # noqa: SLOT001 # there are few of them
    tuple[Connection[In, Out], Connection[PeerIn, PeerOut]], Generic[In, Out, PeerIn, PeerOut]
):
    """The server's connection and the client's, as `pair` returns them.

    As a context it closes both at its end, the client first, with 1000, or with 1011 if it is left
    by an exception; and it leaves nothing open.
    """

    _sessions: tuple[Session[Any, Any], ...]
    _ends: tuple[_End, ...]

    @classmethod
    def of(
        cls, sessions: tuple[Session[Any, Any], ...], ends: tuple[_End, ...]
    ) -> Pair[Any, Any, Any, Any]:
        """Make one of two sessions and their wire."""
        made: Pair[Any, Any, Any, Any] = Pair(session.connection for session in sessions)
        made._sessions, made._ends = sessions, ends
        return made

    @property
    def closed(self) -> bool:
        """Whether both ends are over."""
        return all(end.over for end in self._ends)

    async def aclose(self) -> None:
        """Close with 1000, if that was not done, and wait until all is over."""
        await self._leave(Close())

    async def _leave(self, close: Close) -> None:
        server, client = self._sessions
        if client.state is State.OPEN:
            client.outgoing.on_next(close)
        server.incoming.discard_unobserved()  # nobody will subscribe what nobody ever did
        try:
            await asyncio.wait([(gone := asyncio.ensure_future(self._gone()))], timeout=_GRACE)
            # What still holds the server's reading would hide the close from it.
            server.flow.gate.open_permanently()
            await gone
        except asyncio.CancelledError:  # who waits wants to wait no longer
            for session in self._sessions:
                session.kill()
            raise
        finally:
            tasks = [task for end in self._ends for task in end.tasks]
            for task in tasks:
                if not task.cancelling():  # who is may have to tidy up
                    task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _gone(self) -> None:
        for end in self._ends:
            await end.gone.wait()

    async def __aenter__(self) -> Pair[In, Out, PeerIn, PeerOut]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        await self._leave(Close() if exc is None else UNEXPECTED)


@overload
def pair(
    handler: Handler[str | bytes, str | bytes] | None = None,
    **options: Unpack[ConnectionOptions],
) -> Pair[str | bytes, str | bytes, str | bytes, str | bytes]: ...
@overload
def pair(
    handler: Handler[In, Out] | None = None,
    *,
    codec: Codec[In, Out],
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, In, Out]: ...
@overload
def pair(
    handler: Handler[In, Out] | None = None,
    *,
    codec: Codec[In, Out],
    peer_codec: Codec[PeerIn, PeerOut],
    **options: Unpack[ConnectionOptions],
) -> Pair[In, Out, PeerIn, PeerOut]: ...
def pair(
    handler: Handler[Any, Any] | None = None,
    *,
    codec: Codec[Any, Any] = codecs.raw,
    peer_codec: Codec[Any, Any] | None = None,
    **options: Any,
) -> Pair[Any, Any, Any, Any]:
    """Make two connections that are each other's peer, without sockets, on the running loop.

    Args:
        handler: Runs on the first, the server's, as with `rxws.websocket`.
        codec: The codec of both, or of the first.
        peer_codec: The codec of the second; `codec` if not given.
        **options: Those of both; see `rxws.ConnectionOptions`.

    Returns:
        The server's connection and the client's. As a context, it closes them.

    Raises:
        RuntimeError: No event loop is running.
        TypeError: The handler is not callable.
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
    if handler is not None:
        check_handler(handler)
    scheduler = LoopScheduler.running()
    ends = _End(scheduler), _End(scheduler)
    ends[0].other, ends[1].other = ends[1], ends[0]
    handshake = Handshake(URL("ws://localhost/"), {})
    sessions: tuple[Session[Any, Any], Session[Any, Any]] = (
        Session(ends[0], scheduler, Options(codec=codec, **options), handshake),
        Session(ends[1], scheduler, Options(codec=peer_codec or codec, **options), handshake),
    )
    if handler is not None:
        run_handler(handler, sessions[0])
    for end, session in zip(ends, sessions, strict=True):
        end.attach(session)
    return Pair.of(sessions, ends)
