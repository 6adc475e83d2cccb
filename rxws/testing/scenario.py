"""A session on a fake wire, the peer that plays a script, and the notes that are taken of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, Generic, NamedTuple, NoReturn, TypeVar, cast

from reactivex.abc import DisposableBase
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.observer import Observer

from rxws._core.connection import Close, Handler, Handshake, Stats
from rxws._core.frames import Opcode
from rxws._core.schedulers import call_later, is_own
from rxws._core.streams import Stream
from rxws._recording.recording import Recording
from rxws._session.handler import run_handler
from rxws._session.options import Options
from rxws._session.session import Session, State
from rxws.closing import is_wire_code
from rxws.codecs import Codec

from .clock import Clock
from .fake_transport import FakeTransport, NeedsEventLoop, Sent
from .notation import parse
from .peer import Peer
from .timeline import Timeline, recorded

__all__ = ["Act", "Scene", "Simulation", "encode", "played", "replayed"]

In = TypeVar("In")
Out = TypeVar("Out")


class Simulation(Generic[In, Out]):
    """What a handler did in virtual time, as `simulate` returns it.

    Attributes:
        incoming: What the connection's `incoming` told; values from the moment that somebody was
            subscribed.
        outgoing: What was sent through `outgoing`; a `Close` that was pushed is its end.
        errors: The faults, as values; empty where there was none.
        closed: How the connection ended; None if it had not by then.
        wire: Every frame that was written, pings and the close included, with its time.
        failure: The exception that closed the connection: what the handler or its pipeline raised,
            or a fault that nobody observed.
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


class Act(NamedTuple):
    """What the peer does at a time: a sign as in marbles, `""` for a message."""

    at: float
    sign: str
    value: Any = None
    encoded: bool = False


def played(text: str, step: float, names: Mapping[str, Any]) -> tuple[list[Act], float]:
    """Read marbles; what names stand for is still to be encoded."""
    marks, length = parse(text, step)
    return [
        Act(mark.at, mark.sign, mark.close)
        if mark.sign
        else Act(mark.at, "", names.get(mark.name, mark.name), mark.name not in names)
        for mark in marks
    ], length


def replayed(recording: Recording) -> tuple[list[Act], float]:
    """The peer of a recorded connection: what came in, and how that ended."""
    if "incoming" not in recording.lanes:
        raise ValueError(f"{recording!r} has no lane 'incoming': it is no connection's")
    events = recording.lanes["incoming"].events
    acts = [Act(event.t, "", event.data) for event in events if event.type == "next"]
    closes = recording.lane("closed").events if "closed" in recording.lanes else []
    for event in closes:
        if event.type == "close" and event.data.by != "local":
            lost = event.data.by == "network" or not is_wire_code(event.data.code)
            acts.append(Act(event.t, "#") if lost else Act(event.t, "{", event.data))
    return acts, max((act.at for act in acts), default=0.0)


def encode(value: Any, codec: Codec[Any, Any]) -> str | bytes:
    """Make the peer's message of a value."""
    try:
        return codec.encode(value)
    except Exception as exc:
        raise ValueError(
            f"{value!r:.80} cannot be encoded by the peer's codec ({exc}): give another value, or "
            "a peer_codec"
        ) from exc


class _Session(Session[Any, Any]):
    """A session that remembers why it was closed."""

    __slots__ = ("failure",)

    def __init__(self, *args: Any) -> None:
        self.failure: Exception | None = None
        super().__init__(*args)

    def close_for(self, error: Exception) -> None:
        self._failed(error)
        super().close_for(error)

    def _on_unobserved_fault(self, error: Exception) -> None:
        self._failed(error)
        super()._on_unobserved_fault(error)

    def _failed(self, error: Exception) -> None:
        if self.state is State.OPEN:
            self.failure = error


class Scene:
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
        conn = self._session.connection
        self._note(conn.incoming, self._noter(simulation.incoming))
        self._note(conn.outgoing, self._noter(simulation.outgoing))
        self._note(conn.errors, self._faults)
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
        call_later(self._clock, act.at, do)

    def run(self, handler: Handler[Any, Any], seconds: float) -> Simulation[Any, Any]:
        """Let the time pass, and note what is left."""
        session, simulation, clock = self._session, self._simulation, self._clock
        with _no_loop():
            run_handler(handler, session)
            self._transport.attach(session)
            clock.run(seconds)
        for error in (session.failure, *simulation.errors.values):
            if isinstance(error, NeedsEventLoop):
                raise NeedsEventLoop(
                    f"{handler!r} needs an event loop, and in virtual time there is none: test it "
                    "with rxws.testing.pair, or on a server"
                ) from error
        streams = [stream for stream, _ in self._noted]
        simulation.failure = session.failure
        for line in (simulation.incoming, simulation.outgoing, simulation.errors):
            line.failure = session.failure
        simulation.stats = session.flow.stats
        simulation.time = clock.time
        simulation.open_subscriptions = sum(stream.subscriptions for stream in streams) + (
            0 if simulation.closed is None else sum(not is_own(each) for each in clock.actions)
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

    def _faults(self, notification: Notification[Any]) -> None:
        if isinstance(notification, OnNext):  # that there will be no more of them is no fault
            self._simulation.errors.append(recorded(self._clock.time, notification))

    def _ended(self, notification: Notification[Any]) -> None:
        if isinstance(notification, OnNext):
            self._simulation.closed = notification.value

    # --- the peer ---------------------------------------------------------------------------

    def _carry(self, sent: Sent) -> None:
        self._simulation.wire.append(sent)
        if sent.kind is Opcode.PING:
            self._answer(partial(self._peer.pong, sent.payload))
        elif sent.kind is Opcode.CLOSE:
            self._answer(partial(self._peer.close, sent.code, sent.reason))
            self._answer(self._peer.lost)

    def _answer(self, answer: Callable[[], None]) -> None:
        self._answers.append(answer)
        if self._taking:
            call_later(self._clock, 0, self._answer_all)

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


class _NoLoop:
    """Stands where the running event loop is looked for, and tells who asks for one."""

    def __getattr__(self, name: str) -> NoReturn:
        raise NeedsEventLoop(f"{name}: there is no event loop in virtual time")

    def create_task(self, coroutine: Coroutine[Any, Any, Any], **_: object) -> NoReturn:
        coroutine.close()  # else it would be complained that it was never awaited
        raise NeedsEventLoop("create_task: there is no event loop in virtual time")


@contextmanager
def _no_loop() -> Generator[None]:
    """Let what is run within be told that there is no event loop, also in an `async def` test.

    Were there just none, RxPY would make one for who awaits an Observable, and leave it open.
    """
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(cast(Any, _NoLoop()))
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


def _is_close(notification: Any) -> bool:
    return isinstance(getattr(notification, "value", None), Close)
