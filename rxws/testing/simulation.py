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

from .clock import Clock, check_clock
from .fake_transport import FakeTransport, NeedsEventLoop, Sent, needs_event_loop
from .handshake import HandshakeLike, handshake_of
from .peer import Peer
from .real_time import refuse_real_time
from .scenario import PeerAction, Scenario, encode
from .timeline import Timeline, by_name, recorded

__all__ = ["Simulation", "Simulator", "simulate"]

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
    check_names("rxws.testing.simulate", options, {*OPTION_NAMES, *_ARGUMENTS, "until"})
    runners = _Runners(Clock())
    runner, length = _runner(
        runners.clock, handler, incoming, step, values, peer_codec, handshake, options
    )
    runners.start(runner)
    runners.run(length if until is None else until)
    runner.stop_recording()
    return runner.simulation


class Simulator:
    """Run several connections in the same virtual time, such as those of a `rxws.Hub`.

    Each has a handler and a scripted peer, as with `simulate`. Times are those of the clock, also
    of connections that begin later.

    Args:
        clock: The clock, to which hubs belong, too; by default a new one.

    Attributes:
        clock: The clock.

    Raises:
        TypeError: `clock` is no `Clock`.

    Examples:
        ```python
        def test_everybody_hears_ann():
            clock = Clock()
            hub = rxws.Hub(scheduler=clock)
            simulator = Simulator(clock)

            def room(conn):
                conn.incoming.subscribe(hub.topic("room"))
                return hub.topic("room")

            simulator.connect(room, "--hello--")
            bob = simulator.connect(room)
            simulator.run(5)
            assert bob.outgoing == marbles("--hello")
        ```
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._runners = _Runners(Clock() if clock is None else check_clock(clock))

    @property
    def clock(self) -> Clock:
        """The clock."""
        return self._runners.clock

    def connect(
        self,
        handler: Handler[Any, Any] | RouteHandler[Any, Any],
        incoming: str | Recording = "",
        *,
        step: float = 1.0,
        values: Mapping[Any, Any] | None = None,
        peer_codec: Codec[Any, Any] | None = None,
        handshake: HandshakeLike | None = None,
        **options: Any,
    ) -> Simulation[Any, Any]:
        """Open a connection now.

        Args:
            handler: See `simulate`.
            incoming: The peer's actions from now on, see `simulate`.
            step: Seconds per character.
            values: See `simulate`.
            peer_codec: See `simulate`.
            handshake: See `simulate`.
            **options: See `rxws.ConnectionOptions`.

        Returns:
            What `simulate` returns; `run` continues it.

        Raises:
            NeedsEventLoop: See `simulate`; `run` raises it, too.
            NotVirtualTime: See `simulate`; `run` raises it, too.
            TypeError: See `simulate`.
            ValueError: See `simulate`.
        """
        check_names("Simulator.connect", options, {*OPTION_NAMES, *_ARGUMENTS})
        runner, _ = _runner(
            self.clock, handler, incoming, step, values, peer_codec, handshake, options
        )
        self._runners.start(runner)
        return runner.simulation

    def run(self, seconds: float) -> None:
        """Advance the clock by a number of seconds, and run all connections."""
        self._runners.run(seconds)


_ARGUMENTS = ("handshake", "incoming", "peer_codec", "step", "values")


def _runner(
    clock: Clock,
    handler: Any,
    incoming: str | Recording,
    step: float,
    values: Mapping[Any, Any] | None,
    peer_codec: Codec[Any, Any] | None,
    handshake: HandshakeLike | None,
    options: dict[str, Any],
) -> tuple[_Runner, float]:
    """Return the runner of a connection, and the length of its peer's actions in seconds."""
    handler, options = handler_and_options(handler, options, without="origins")
    check_handler(handler)
    names = by_name(values)
    runner = _Runner(
        clock, handler, Options(**options), handshake_of(handshake), Simulation(step, names)
    )
    scenario = (
        Scenario.from_recording(incoming, use_frames=peer_codec is None)
        if isinstance(incoming, Recording)
        else Scenario.from_marbles(incoming, step, names)
    )
    for action in scenario.actions:
        runner.schedule(action, peer_codec or options.get("codec", codecs.raw))
    return runner, scenario.seconds


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


class _Runners:
    """Runs the connections on one clock."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self._runners: list[_Runner] = []

    def start(self, runner: _Runner) -> None:
        """Call the handler of a new connection."""
        self._runners.append(runner)
        self._do(runner.start)

    def run(self, seconds: float) -> None:
        self._do(lambda: self.clock.run(seconds))

    def _do(self, action: Callable[[], None]) -> None:
        with _no_loop(), refuse_real_time() as real_time:
            action()
        if real_time.first is not None:
            raise real_time.first
        for runner in self._runners:
            runner.update()
        if all(runner.simulation.closed is not None for runner in self._runners):
            timers = sum(not is_call_later(action) for action in self.clock.actions)
            for runner in self._runners:
                runner.simulation.open_subscriptions += timers


class _Runner:
    """Runs a session against the peer's actions, and records its streams and frames."""

    def __init__(
        self,
        clock: Clock,
        handler: Handler[Any, Any],
        options: Options,
        handshake: Handshake,
        simulation: Simulation[Any, Any],
    ) -> None:
        self.simulation = simulation
        self._handler = handler
        self._clock = clock
        self._began = clock.time
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

    def start(self) -> None:
        """Call the handler, and schedule what the peer does."""
        run_handler(self._handler, self._session)
        self._transport.attach(self._session)
        # Now, as a message of a socket arrives after what the handler scheduled for the next
        # turn: `rx.merge` subscribes then.
        for at, do in self._actions:
            call_later(self._clock, at, do)

    def update(self) -> None:
        """Complete the simulation, as it is now."""
        session, simulation = self._session, self.simulation
        for error in (session.failure, *simulation.errors.values):
            if isinstance(error, NeedsEventLoop):
                refused = needs_event_loop(self._handler)
                for note in getattr(error, "__notes__", ()):
                    refused.add_note(note)
                raise refused from error
        simulation.failure = session.failure
        for timeline in (simulation.incoming, simulation.outgoing, simulation.errors):
            timeline.failure = session.failure
        simulation.stats = session.flow.stats
        simulation.time = self._clock.time
        simulation.open_subscriptions = sum(stream.subscriptions for stream, _ in self._watched)

    def stop_recording(self) -> None:
        for _, watching in self._watched:
            watching.dispose()

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
        self.simulation.wire.append(sent._replace(at=sent.at + self._began))
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
