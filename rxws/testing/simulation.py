"""Run a handler in virtual time: the real session, without a network or an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NoReturn, TypeVar, cast, overload

from reactivex.abc import DisposableBase
from reactivex.internal import noop
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.observer import Observer
from typing_extensions import Unpack

from rxws import codecs
from rxws._aiohttp.route import RouteHandler, handler_and_options
from rxws._core.connection import Close, Handler, Handshake, Stats
from rxws._core.frames import Opcode
from rxws._core.schedulers.timers import call_later, is_call_later
from rxws._core.streams.stream import Stream
from rxws._recording.messages import watch_messages
from rxws._recording.recording import Recording
from rxws._recording.snapshot import Snapshots
from rxws._session.handler import check_handler, run_handler
from rxws._session.option_names import check_names
from rxws._session.options import OPTION_NAMES, ConnectionOptions, Options
from rxws._session.session import Session, State
from rxws.codecs import Codec

from .clock import Clock
from .fake_transport import FakeTransport, NeedsEventLoop, Sent, needs_event_loop
from .handshake import HandshakeLike, handshake_of
from .peer import Peer
from .real_time import refuse_real_time
from .scenario import PeerAction, Scenario, encode
from .timeline import Timeline, by_name, recorded

__all__ = ["Simulation", "simulate"]

In = TypeVar("In")
Out = TypeVar("Out")


class Simulation(Generic[In, Out]):
    """The result of `simulate`: everything that the handler received and sent.

    Attributes:
        incoming: The messages from `conn.incoming`, from its first subscription on.
        outgoing: The messages pushed to `conn.outgoing`. A `Close` that was pushed is the last one.
        errors: The errors that `conn.errors` emitted, as values.
        closed: How the connection ended; None if it is still open.
        wire: All frames that the session wrote, with their times, including pings and the close.
        failure: The exception that closed the connection: raised by the handler or its pipeline,
            or an error without a subscriber to `conn.errors`.
        stats: The connection's counters; see `rxws.Stats`.
        open_subscriptions: How many subscriptions to the connection's streams the handler has left
            open. After the connection has ended, its pending timers count as well.
        time: The virtual time at the end, in seconds.
    """

    stats: Stats
    open_subscriptions: int
    time: float

    def __init__(self, step: float, names: Mapping[str, Any]) -> None:
        self.incoming = Timeline((), step, names)
        self.outgoing = Timeline((), step, names)
        self.errors = Timeline((), step, names)
        self.wire: list[Sent] = []
        self.closed: Close | None = None
        self.failure: Exception | None = None

    def __repr__(self) -> str:
        ended = self.closed or "open"
        return f"<Simulation of {self.time:g} s: {ended}, outgoing={self.outgoing!r}>"


@overload
def simulate(
    handler: RouteHandler[In, Out],
    incoming: str | Recording = "",
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[In, Out]: ...
@overload
def simulate(
    handler: Handler[str | bytes, str | bytes],
    incoming: str | Recording = "",
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[str | bytes, str | bytes]: ...
@overload
def simulate(
    handler: Handler[In, Out],
    incoming: str | Recording = "",
    *,
    codec: Codec[In, Out],
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: HandshakeLike | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[In, Out]: ...
def simulate(
    handler: Any,
    incoming: str | Recording = "",
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: HandshakeLike | None = None,
    **options: Any,
) -> Simulation[Any, Any]:
    """Run a handler against a scripted peer in virtual time.

    The connection has all limits and timeouts of a real one, without a network. The peer answers
    pings and close frames at once, unless it has stopped reading.

    Args:
        handler: As for `rxws.websocket`, or what it returned; then the options given to it are the
            defaults. It is called once, before the first frame.
        incoming: The peer's actions as marbles: a name is a message, `|` closes with 1000,
            `{4001 reason}` closes with another code, `#` loses the TCP connection, `<` stops
            reading and `>` reads again. Or a recording of a connection, to repeat its peer's
            actions.
        codec: The handler's codec; by default `rxws.codecs.raw`.
        step: Seconds per character.
        values: The messages by name, which `peer_codec` encodes. A name that is not listed is sent
            as a text message, unless it consists of listed names: `ab` is not `a` and `b`.
        until: Seconds to run; by default the length of the marbles.
        peer_codec: The peer's codec; by default `codec`. A recording's frames are sent as they are,
            unless you pass a codec for the recorded values.
        handshake: The connection's URL, such as `"ws://localhost/?room=7"`, or its
            `rxws.Handshake`; by default the URL `ws://localhost/`.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        The handler's messages, errors and frames, and how the connection ended.

    Raises:
        NeedsEventLoop: The handler awaits something that needs an event loop.
        NotVirtualTime: An operator runs on a scheduler of its own, such as a thread pool.
        TypeError: The handler is not callable, or `handshake` has the wrong type.
        ValueError: The marbles are invalid, or an option is out of range.

    Examples:
        ```python
        def test_debounces():
            sim = simulate(handler, "a-b-c-----|", step=0.1)
            assert sim.outgoing == marbles("-------C--|", step=0.1)
            assert sim.closed.code == 1000
        ```
    """
    check_names("rxws.testing.simulate", options, {*OPTION_NAMES, *_ARGUMENTS})
    handler, options = handler_and_options(handler, options, without="origins")
    check_handler(handler)
    names = by_name(values)
    runner = _Runner(
        Options(**options),
        handshake_of(handshake),
        Simulation(step, names),
    )
    scenario = (
        Scenario.from_recording(incoming, use_frames=peer_codec is None)
        if isinstance(incoming, Recording)
        else Scenario.from_marbles(incoming, step, names)
    )
    for action in scenario.actions:
        runner.schedule(action, peer_codec or options.get("codec", codecs.raw))
    return runner.run(handler, scenario.seconds if until is None else until)


_ARGUMENTS = ("handshake", "incoming", "peer_codec", "step", "until", "values")


class _Session(Session[Any, Any]):
    """A session that remembers which exception closed it."""

    __slots__ = ("failure",)

    def __init__(self, *args: Any) -> None:
        self.failure: Exception | None = None
        super().__init__(*args)

    def close_with_error(self, error: Exception) -> bool:
        self._remember(error)
        return super().close_with_error(error)

    def close_after_fault(self, error: Exception) -> None:
        self._remember(error)
        super().close_after_fault(error)

    def _remember(self, error: Exception) -> None:
        if self.state is State.OPEN:
            self.failure = error


class _Runner:
    """Runs a session against the peer's actions, and records its streams and frames."""

    def __init__(
        self, options: Options, handshake: Handshake, simulation: Simulation[Any, Any]
    ) -> None:
        self._simulation = simulation
        self._clock = Clock()
        self._transport = FakeTransport(self._clock, self._on_frame)
        self._peer = Peer(self._transport)
        self._peer_reads = True
        self._actions: list[tuple[float, Callable[[], None]]] = []
        self._replies: list[Callable[[], None]] = []  # the peer's, not sent yet
        self._session = _Session(self._transport, self._clock, options, handshake)
        self._watched: list[tuple[Stream[Any], DisposableBase]] = []
        self._snapshots = Snapshots(max_items=None)
        conn = self._session.connection
        self._record(conn.incoming, simulation.incoming)
        self._record(conn.outgoing, simulation.outgoing)
        self._watch(conn.errors, lambda error: self._add(simulation.errors, OnNext(error)))
        self._watch(conn.closed, lambda close: setattr(simulation, "closed", close))

    def schedule(self, action: PeerAction, codec: Codec[Any, Any]) -> None:
        at, sign, value, encoded = action
        do: Callable[[], None]
        match sign:
            case "":
                do = partial(self._peer.message, value if encoded else encode(value, codec))
            case "{":
                do = partial(self._peer.close, value.code, value.reason)
            case "|":
                do = partial(self._peer.close, 1000)
            case "#":
                do = self._peer.lost
            case "<":
                do = self._stop_reading
            case _:
                do = self._resume_reading
        self._actions.append((at, do))

    def run(self, handler: Handler[Any, Any], seconds: float) -> Simulation[Any, Any]:
        session, simulation, clock = self._session, self._simulation, self._clock
        with _no_loop(), refuse_real_time() as real_time:
            run_handler(handler, session)
            self._transport.attach(session)
            # Now, as a message of a socket arrives after what the handler scheduled for the next
            # turn: `rx.merge` subscribes then.
            for at, do in self._actions:
                call_later(clock, at, do)
            clock.run(seconds)
        if real_time.first is not None:
            raise real_time.first
        for error in (session.failure, *simulation.errors.values):
            if isinstance(error, NeedsEventLoop):
                raise needs_event_loop(handler) from error
        simulation.failure = session.failure
        for timeline in (simulation.incoming, simulation.outgoing, simulation.errors):
            timeline.failure = session.failure
        simulation.stats = session.flow.stats
        simulation.time = clock.time
        simulation.open_subscriptions = sum(stream.subscriptions for stream, _ in self._watched)
        if simulation.closed is not None:
            simulation.open_subscriptions += sum(
                not is_call_later(action) for action in clock.actions
            )
        for _, watching in self._watched:
            watching.dispose()
        return simulation

    # --- recording --------------------------------------------------------------------------

    def _record(self, stream: Any, timeline: Timeline) -> None:
        def complete() -> None:
            # A Close that was pushed to `outgoing` is the end already.
            if not (timeline and isinstance(getattr(timeline[-1].value, "value", None), Close)):
                self._add(timeline, OnCompleted())

        ends: Observer[Any] = Observer(
            on_error=lambda error: self._add(timeline, OnError(error)), on_completed=complete
        )
        watching = watch_messages(
            stream,
            lambda value, _: self._add(timeline, OnNext(self._snapshots.of(value))),
            ends,
        )
        self._watched.append((stream, watching))

    def _watch(
        self,
        stream: Any,
        on_next: Callable[[Any], None],
        on_error: Callable[[Exception], None] = noop,
        on_completed: Callable[[], None] = noop,
    ) -> None:
        observer: Observer[Any] = Observer(on_next, on_error, on_completed)
        self._watched.append((stream, cast(Stream[Any], stream).watch(observer)))

    def _add(self, timeline: Timeline, notification: Notification[Any]) -> None:
        timeline.append(recorded(self._clock.time, notification))

    # --- the peer ---------------------------------------------------------------------------

    def _on_frame(self, sent: Sent) -> None:
        self._simulation.wire.append(sent)
        if sent.kind is Opcode.PING:
            self._reply(partial(self._peer.pong, sent.payload))
        elif sent.kind is Opcode.CLOSE:
            self._reply(partial(self._peer.close, sent.code, sent.reason))
            self._reply(self._peer.lost)

    def _reply(self, reply: Callable[[], None]) -> None:
        self._replies.append(reply)
        if self._peer_reads:
            call_later(self._clock, 0, self._send_replies)

    def _send_replies(self) -> None:
        replies, self._replies = self._replies, []
        for reply in replies:
            reply()

    def _stop_reading(self) -> None:
        self._peer_reads = False
        self._peer.stop()

    def _resume_reading(self) -> None:
        self._peer_reads = True
        self._peer.go()
        self._send_replies()


class _NoLoop:
    """Stands in for the running event loop, and raises `NeedsEventLoop` when it is used."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsEventLoop(f"{name}: there is no event loop in virtual time")

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **_: object) -> NoReturn:
        coroutine.close()  # avoids the warning that it was never awaited
        self.__getattr__("create_task")


@contextmanager
def _no_loop() -> Generator[None]:
    """Replace the running event loop (of an `async def` test, if any) by one that raises.

    Without a running loop, RxPY would create one to await an Observable, and leave it open.
    """
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(cast(Any, _NoLoop()))
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
