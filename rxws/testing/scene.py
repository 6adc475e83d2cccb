"""A session on a fake wire, the peer that plays a script, and the notes that are taken of both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, cast

from reactivex.abc import DisposableBase
from reactivex.notification import Notification, OnCompleted, OnError, OnNext
from reactivex.observer import Observer

from rxws.codecs import Codec
from rxws.connection import Handler
from rxws.handling import handle
from rxws.messages import Close, Handshake, Kind
from rxws.options import Options
from rxws.scheduling import after, is_own
from rxws.session import Session, State
from rxws.streams import Stream

from .clock import Clock
from .fake import FakeTransport, NeedsEventLoop, Sent
from .peer import Peer
from .script import Act, encode
from .simulated import Simulation
from .timeline import Timeline, recorded

__all__ = ["Scene"]


class _Session(Session[Any, Any]):
    """A session that remembers why it was closed."""

    __slots__ = ("failure",)

    def __init__(self, *args: Any) -> None:
        self.failure: Exception | None = None
        super().__init__(*args)

    def close_for(self, error: Exception) -> None:
        self._failed(error)
        super().close_for(error)

    def _fault_unobserved(self, error: Exception) -> None:
        self._failed(error)
        super()._fault_unobserved(error)

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
        conn = self._session.face.connection
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
        after(self._clock, act.at, do)

    def run(self, handler: Handler[Any, Any], seconds: float) -> Simulation[Any, Any]:
        """Let the time pass, and note what is left."""
        session, simulation, clock = self._session, self._simulation, self._clock
        with _no_loop():
            handle(handler, session)
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
