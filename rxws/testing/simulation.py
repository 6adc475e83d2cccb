"""A handler and a scripted peer in virtual time: the real session, without a network or a loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Generic, TypeVar, cast, overload

from reactivex.abc import DisposableBase
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.observer import Observer
from typing_extensions import Unpack
from yarl import URL

from rxws import codecs
from rxws.codecs import Codec
from rxws.connection import Handler, Stats
from rxws.handling import check_handler, handle
from rxws.messages import Close, Handshake, Kind
from rxws.options import ConnectionOptions, Options
from rxws.recording import Recording
from rxws.scheduling import after
from rxws.session import Session
from rxws.streams import Stream

from .clock import Clock
from .fake import FakeTransport, NeedsEventLoop, Sent
from .peer import Peer
from .script import Act, encode, played, replayed
from .timeline import Timeline, recorded

__all__ = ["Simulation", "simulate"]

In = TypeVar("In")
Out = TypeVar("Out")


class Simulation(Generic[In, Out]):
    """What a handler did in virtual time, as `simulate` returns it.

    Attributes:
        incoming: What the connection's `incoming` told; values from the moment that somebody was
            subscribed.
        outgoing: What was sent through `outgoing`; a `Close` that was pushed is its end.
        errors: The faults.
        closed: How the connection ended; None if it had not by then.
        wire: Every frame that was written, pings and the close included, with its time.
        failure: The exception that closed the connection: what the handler or its pipeline raised.
        stats: What went through, and what was dropped.
        open_subscriptions: How many subscriptions and timers of the handler's are left: to the
            connection's streams, and, when the connection has ended, to time.
        time: The seconds that passed.
    """

    incoming: Timeline
    outgoing: Timeline
    errors: Timeline
    closed: Close | None
    failure: Exception | None
    stats: Stats
    open_subscriptions: int
    time: float

    def __init__(self, step: float, names: Mapping[str, Any]) -> None:
        self.incoming = Timeline((), step, names)
        self.outgoing = Timeline((), step, names)
        self.errors = Timeline((), step, names)
        self.wire: list[Sent] = []
        self.closed = self.failure = None

    def __repr__(self) -> str:
        ended = self.closed or "open"
        return f"<Simulation of {self.time:g} s: {ended}, outgoing={self.outgoing!r}>"


class _Session(Session[Any, Any]):
    """A session that remembers why it was closed."""

    __slots__ = ("failure",)

    def __init__(self, *args: Any) -> None:
        self.failure: Exception | None = None
        super().__init__(*args)

    def close_for(self, error: Exception) -> None:
        self.failure = self.failure or error
        super().close_for(error)


@overload
def simulate(
    handler: Handler[str | bytes, str | bytes],
    incoming: str | Recording = "",
    *,
    step: float = 1.0,
    values: Mapping[str, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[str | bytes, str | bytes]: ...
@overload
def simulate(
    handler: Handler[In, Out],
    incoming: str | Recording = "",
    *,
    codec: Codec[In, Out],
    step: float = 1.0,
    values: Mapping[str, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[In, Out]: ...
def simulate(
    handler: Handler[Any, Any],
    incoming: str | Recording = "",
    *,
    codec: Codec[Any, Any] = codecs.raw,
    step: float = 1.0,
    values: Mapping[str, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Any,
) -> Simulation[Any, Any]:
    """Run a handler against a scripted peer in virtual time.

    The session is the real one, with all its limits and deadlines; the wire is none. The peer
    answers pings and closes at once, while it takes frames.

    Args:
        handler: As for `rxws.websocket`; called once, before the first frame.
        incoming: What the peer does, as marbles: a name is a message, `|` a close with 1000,
            `{4001 reason}` one with another code, `#` the loss of TCP; with `<` the peer stops
            taking frames, with `>` it starts again. Or a recording of a connection, whose peer does
            the same again.
        codec: The handler's codec.
        step: Seconds of one character.
        values: What names stand for: values that `peer_codec` encodes. A name that is not in here
            is a text message as it stands.
        until: Seconds that pass in all; by default as many as the marbles take.
        peer_codec: The peer's codec; `codec` if not given.
        handshake: What was agreed upon; a plain one if not given.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        What happened.

    Raises:
        NeedsEventLoop: The handler waits for what only an event loop brings.
        ValueError: The marbles are none, or an option is out of range.

    Examples:
        ```python
        def test_debounces():
            sim = simulate(handler, "a-b-c-----|", step=0.1)
            assert sim.outgoing == marbles("-------C--|", step=0.1)
            assert sim.closed.code == 1000
        ```
    """
    check_handler(handler)
    names = dict(values or {})
    scene = _Scene(
        Options(codec=codec, **options),
        handshake or Handshake(URL("ws://localhost/"), {}),
        Simulation(step, names),
    )
    if isinstance(incoming, Recording):
        acts, length = replayed(incoming)
    else:
        acts, length = played(incoming, step, names)
    for act in acts:
        scene.plan(act, peer_codec or codec)
    return scene.run(handler, length if until is None else until)


class _Scene:
    """A session, its wire and the peer, and the notes that are taken of them."""

    def __init__(
        self, options: Options, handshake: Handshake, simulation: Simulation[Any, Any]
    ) -> None:
        self._simulation = simulation
        self._clock = Clock()
        self._transport = FakeTransport(self._clock, self._carry)
        self._peer = Peer(self._transport)
        self._signs: dict[str, Callable[[], None]] = {
            "|": partial(self._peer.close, 1000),
            "#": self._peer.lost,
            "<": self._stop,
            ">": self._go,
        }
        self._taking = True
        self._answers: list[Callable[[], None]] = []
        self._session = _Session(self._transport, self._clock, options, handshake)
        self._noted: list[tuple[Stream[Any], DisposableBase]] = []
        conn = self._session.face.connection
        self._note(conn.incoming, self._noter(simulation.incoming))
        self._note(conn.outgoing, self._noter(simulation.outgoing))
        self._note(conn.errors, self._noter(simulation.errors))
        self._note(conn.closed, self._ended)

    def plan(self, act: Act, codec: Codec[Any, Any]) -> None:
        """Let the peer do something at its time."""
        do: Callable[[], None]
        if act.sign == "{":
            do = partial(self._peer.close, act.value.code, act.value.reason)
        elif act.sign:
            do = self._signs[act.sign]
        else:
            message = act.value if act.encoded else encode(act.value, codec)
            do = partial(self._peer.message, message)
        after(self._clock, act.at, do)

    def run(self, handler: Handler[Any, Any], seconds: float) -> Simulation[Any, Any]:
        """Let the time pass, and note what is left."""
        session, simulation, clock = self._session, self._simulation, self._clock
        handle(handler, session)
        self._transport.attach(session)
        clock.run(seconds)
        if isinstance(session.failure, RuntimeError) and "event loop" in str(session.failure):
            raise NeedsEventLoop(
                f"{handler!r} uses an event loop, and in virtual time there is none: test it with "
                "rxws.testing.pair, or on a server"
            ) from session.failure
        streams = [stream for stream, _ in self._noted]
        simulation.failure = session.failure
        simulation.stats = session.flow.stats
        simulation.time = clock.time
        simulation.open_subscriptions = sum(stream.subscriptions for stream in streams) + (
            0 if simulation.closed is None else clock.pending
        )
        for _, watching in self._noted:
            watching.dispose()
        return simulation

    # --- the notes --------------------------------------------------------------------------

    def _note(self, stream: Any, tell: Callable[[Notification[Any]], None]) -> None:
        observer: Observer[Any] = Observer(
            lambda value: tell(OnNext(value)),
            lambda error: tell(OnError(error)),
            lambda: tell(OnCompleted()),
        )
        self._noted.append((stream, cast(Stream[Any], stream).watch(observer)))

    def _noter(self, line: Timeline) -> Callable[[Notification[Any]], None]:
        def note(notification: Notification[Any]) -> None:
            if isinstance(notification, OnCompleted) and line and _is_close(line[-1].value):
                return  # what was pushed is the end, and no second one
            line.append(recorded(self._clock.time, notification))

        return note

    def _ended(self, notification: Notification[Any]) -> None:
        if isinstance(notification, OnNext):
            self._simulation.closed = notification.value

    # --- the peer ---------------------------------------------------------------------------

    def _carry(self, sent: Sent) -> None:
        self._simulation.wire.append(sent)
        if sent.kind is Kind.PING:
            self._answer(partial(self._peer.pong, sent.payload))
        elif sent.kind is Kind.CLOSE:
            self._answer(partial(self._peer.close, sent.code, sent.reason))
            self._answer(self._peer.lost)

    def _answer(self, answer: Callable[[], None]) -> None:
        self._answers.append(answer)
        if self._taking:
            after(self._clock, 0, self._answer_all)

    def _answer_all(self) -> None:
        answers, self._answers = self._answers, []
        for answer in answers:
            answer()

    def _stop(self) -> None:
        self._taking = False
        self._peer.stop()

    def _go(self) -> None:
        self._taking = True
        self._peer.go()
        self._answer_all()


def _is_close(notification: Any) -> bool:
    return isinstance(getattr(notification, "value", None), Close)
