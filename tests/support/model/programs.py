"""Play the same steps on four transports; rxws must report the same on each.

A step waits until both ends have seen it, so that nothing depends on time. Each transport has a
driver: the fake transport in virtual time, `rxws.testing.pair`, and a server with a raw peer.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

import rxws
from rxws._aiohttp.shutdown import CONNECTIONS
from rxws._core.frames import Opcode
from rxws._session.options import Options
from rxws._session.session import Session
from rxws.codecs import Codec
from rxws.testing import Clock, Sent, pair
from rxws.testing.fake_transport import FakeTransport
from rxws.testing.peer import Peer
from support.peers.frames import Op, close_body
from support.peers.raw import PATIENCE, RawClient
from support.virtual.session import HANDSHAKE

Step = tuple[Any, ...]
AnyConnection = rxws.Connection[Any, Any]

VIOLATIONS: dict[int, tuple[int, bytes]] = {
    1002: (0x3, b""),
    1007: (Op.TEXT, b"caf\xe9"),
    1009: (Op.BINARY, bytes(100_001)),
}


class Boom(Exception):
    """Raised by subscribers."""


def _decode(data: str | bytes) -> str | bytes:
    if data == "undecodable":
        raise ValueError("as it says")
    return data


OPTIONS: dict[str, Any] = {
    "codec": Codec[Any, Any](rxws.codecs.raw.encode, _decode),
    "heartbeat": None,
    "max_message_size": 100_000,
    "compress": False,
}


@dataclass
class Notifications:
    """The notifications of a connection and what its peer received.

    Attributes:
        incoming: The values, and how it ended.
        outgoing: The values, and how it ended.
        errors: The types of the faults.
        closed: Code, reason, and who.
        dropped: Messages, by reason.
        peer: The messages that the peer got, and the codes of close frames.
    """

    incoming: list[Any] = field(default_factory=list)
    outgoing: list[Any] = field(default_factory=list)
    errors: list[Any] = field(default_factory=list)
    closed: list[Any] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    peer: list[Any] = field(default_factory=list)


def _end(error: Exception | None) -> Any:
    if isinstance(error, rxws.ConnectionClosed):
        close = error.close
        return type(error).__name__, close.code, close.reason, close.by
    return type(error).__name__ if error else "completes"


class Driver(ABC):
    """A connection on some transport, and its peer."""

    conn: AnyConnection

    def __init__(self) -> None:
        self.told = Notifications()
        self.changed = asyncio.Event()
        self.taking: Any = None
        self.holds: list[Any] = []

    async def open(self, hears_errors: bool) -> None:
        """Open the connection."""
        await self.connect()
        if hears_errors:
            self.conn.errors.subscribe(lambda error: self._note("errors", type(error).__name__))

    def watch(self, conn: AnyConnection) -> None:
        """Record the notifications of a connection."""
        self.conn = conn
        self._subscribe("outgoing", conn.outgoing)
        conn.closed.subscribe(
            lambda close: self._note("closed", (close.code, close.reason, close.by)),
            lambda error: self._note("closed", error),
            lambda: self._note("closed", "completes"),
        )
        self.take()

    def take(self) -> None:
        """Subscribe `incoming`."""
        self.taking = self._subscribe("incoming", self.conn.incoming)

    def _subscribe(self, lane: str, stream: Any) -> Any:
        def on_next(value: Any) -> None:
            self._note(lane, value if not isinstance(value, rxws.Close) else value.code)
            if lane == "incoming" and value == "raise":
                raise Boom

        return stream.subscribe(
            on_next,
            lambda error: self._note(lane, _end(error)),
            lambda: self._note(lane, "completes"),
        )

    def _note(self, lane: str, what: Any) -> None:
        getattr(self.told, lane).append(what)
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition on the notifications holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    @abstractmethod
    async def connect(self) -> None: ...

    @abstractmethod
    async def hear(self, message: str | bytes) -> None:
        """Send a message from the peer."""

    @abstractmethod
    async def peer_closes(self, code: int | None, reason: str) -> None: ...

    @abstractmethod
    async def peer_violates(self, code: int) -> None: ...

    @abstractmethod
    async def peer_is_lost(self, how: str) -> None: ...

    @abstractmethod
    async def peer_has(self, count: int) -> None:
        """Wait until the peer has received `count` messages."""

    @abstractmethod
    async def goodbye(self, answer: bool) -> None:
        """Let the peer answer our close frame, unless it closed first, and end TCP."""

    @property
    @abstractmethod
    def session(self) -> Session[Any, Any]: ...

    @abstractmethod
    async def gone(self) -> None:
        """Wait for the end of the transport, and complete `told.peer`."""


class FakeDriver(Driver):
    """A fake transport and its peer, in virtual time."""

    async def connect(self) -> None:
        self.clock = Clock()
        self.transport = FakeTransport(self.clock)
        self.peer = Peer(self.transport)
        self._session: Session[Any, Any] = Session(
            self.transport, self.clock, Options(**OPTIONS), HANDSHAKE
        )
        self.watch(self._session.connection)
        self.transport.attach(self._session)

    @property
    def session(self) -> Session[Any, Any]:
        return self._session

    async def until(self, condition: Callable[[], Any]) -> None:
        for _ in range(50):
            self.clock.turn()
        assert condition(), self.told

    async def hear(self, message: str | bytes) -> None:
        self.peer.message(message)

    async def peer_closes(self, code: int | None, reason: str) -> None:
        self.peer.close(code, reason)

    async def peer_violates(self, code: int) -> None:
        self.peer.violation(code)

    async def peer_is_lost(self, how: str) -> None:
        if how == "fin":
            self.peer.lost()
        else:
            self.transport.lose()

    def _got(self, close: bool) -> list[Any]:
        return [
            sent.code if sent.kind is Opcode.CLOSE else sent.message
            for sent in self.transport.sent
            if (close and sent.kind is Opcode.CLOSE) or sent.kind < Opcode.CLOSE
        ]

    async def peer_has(self, count: int) -> None:
        await self.until(lambda: len(self._got(close=False)) == count)

    async def goodbye(self, answer: bool) -> None:
        await self.until(lambda: self.transport.sent[-1].kind is Opcode.CLOSE)
        if answer:
            self.peer.close(self.transport.sent[-1].code, self.transport.sent[-1].reason)
        self.peer.lost()

    async def gone(self) -> None:
        self.told.peer = self._got(close=True)
        self.clock.run(60)
        assert self.transport.over
        assert self.clock.pending == 0


class PairDriver(Driver):
    """`rxws.testing.pair`; the peer is a connection that answers by itself."""

    async def connect(self) -> None:
        options: Any = OPTIONS
        self.pair = pair(peer_codec=rxws.codecs.raw, **options)
        ours, theirs = self.pair
        self.watch(ours)
        self.peer = theirs
        self.got: list[Any] = []
        theirs.incoming.subscribe(self._got, lambda _: None)
        theirs.errors.subscribe()
        # Read the code from the frame: the peer's session reports a close only if it answers it.
        end = self.pair._ends[0]
        carry = end._carry

        def spy(sent: Sent) -> None:
            if sent.kind is Opcode.CLOSE:
                self._got(sent.code)
            carry(sent)

        end._carry = spy

    def _got(self, what: Any) -> None:
        self.got.append(what)
        self.changed.set()

    @property
    def session(self) -> Session[Any, Any]:
        return self.pair._sessions[0]

    async def hear(self, message: str | bytes) -> None:
        self.peer.outgoing.on_next(message)

    async def peer_closes(self, code: int | None, reason: str) -> None:
        # Not through `outgoing`, which takes neither an illegal code nor none.
        self.pair._ends[1]._put(Sent(0.0, Opcode.CLOSE, close_body(code, reason)))

    async def peer_violates(self, code: int) -> None:
        raise NotImplementedError("a session sends what is well-formed")

    async def peer_is_lost(self, how: str) -> None:
        end = self.pair._ends[1]
        if how == "fin":
            end.lose()
        else:
            end.abort()

    async def peer_has(self, count: int) -> None:
        await self.until(lambda: len(self.got) >= count)

    async def goodbye(self, answer: bool) -> None:
        del answer
        await self.until(lambda: self.got and (self.got[-1] is None or type(self.got[-1]) is int))
        if not self.pair.closed:
            self.pair._ends[1].lose()

    async def gone(self) -> None:
        async with asyncio.timeout(PATIENCE):
            await self.pair.aclose()
        self.told.peer = self.got


class DriverServer:
    """A server by rxws that gives each connection to the driver that dialled."""

    def __init__(self) -> None:
        self.drivers: list[SocketDriver] = []
        self.app = web.Application()
        self.app.router.add_get("/", rxws.websocket(self._handle, **OPTIONS))
        rxws.setup(self.app, drain=1.0)
        self.runner = web.AppRunner(self.app, shutdown_timeout=1.0, access_log=None)

    def _handle(self, conn: AnyConnection) -> None:
        self.drivers[-1].accepted(conn)

    async def start(self) -> None:
        """Listen."""
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()

    @property
    def port(self) -> int:
        """The port of the server."""
        port: int = self.runner.addresses[0][1]
        return port

    @property
    def sessions(self) -> set[Session[Any, Any]]:
        """The open sessions."""
        return self.app[CONNECTIONS]._open


class SocketDriver(Driver):
    """A server with a raw peer."""

    def __init__(self, server: DriverServer, path: str, choose: Callable[[str], None]) -> None:
        super().__init__()
        self.server = server
        self.path = path
        self.choose = choose

    def accepted(self, conn: AnyConnection) -> None:
        """Attach the connection that the server accepted."""
        self.watch(conn)
        self.changed.set()

    async def connect(self) -> None:
        self.choose(self.path)
        self.server.drivers.append(self)
        self.peer = await RawClient.connect(self.server.port)
        await self.until(lambda: hasattr(self, "conn"))
        [self._session] = self.server.sessions

    @property
    def session(self) -> Session[Any, Any]:
        return self._session

    async def hear(self, message: str | bytes) -> None:
        if isinstance(message, str):
            await self.peer.text(message)
        else:
            await self.peer.frame(Op.BINARY, message)

    async def peer_closes(self, code: int | None, reason: str) -> None:
        await self.peer.close(code, reason)

    async def peer_violates(self, code: int) -> None:
        await self.peer.frame(*VIOLATIONS[code])

    async def peer_is_lost(self, how: str) -> None:
        if how == "fin":
            self.peer.fin()
        else:
            await self.peer.rst()

    async def peer_has(self, count: int) -> None:
        await self.peer.until(lambda: len(self.peer.data) >= count)

    async def goodbye(self, answer: bool) -> None:
        if answer:
            await self.peer.answer_close()
        else:
            await self.peer.closing()
            self.peer.fin()

    async def gone(self) -> None:
        if self.peer.ended is None and self.peer.sock.fileno() >= 0:
            await self.peer.until_ended()
        self.told.peer = [
            one.code
            if one.opcode == Op.CLOSE
            else one.payload.decode()
            if one.opcode == Op.TEXT
            else one.payload
            for one in self.peer.frames
        ]
        await self.peer.rst()
        async with asyncio.timeout(PATIENCE):
            # Nothing tells when the run of a session has ended, in the next turns.
            while self.server.sessions:  # noqa: ASYNC110 # see above
                await asyncio.sleep(0)


class Program:
    """Run steps on a driver."""

    def __init__(self, steps: list[Step], hears_errors: bool) -> None:
        self.steps = steps
        self.hears_errors = hears_errors

    async def run(self, driver: Driver) -> Notifications:
        """Run the steps, and return the notifications."""
        self.driver, self.told = driver, driver.told
        self.values = self.faults = self.sent = 0
        self.taking = True
        await driver.open(self.hears_errors)
        for step in self.steps:
            if await self._do(*step):
                break
        else:
            await self._do("complete")
        for hold in driver.holds:
            hold.dispose()
        await driver.gone()
        await driver.until(lambda: "completes" in self.told.closed)
        driver.conn.outgoing.on_next("too late")
        self.told.dropped = dict(driver.conn.flow.stats.dropped or {})
        return self.told

    @property
    def _free(self) -> bool:
        return self.taking and not self.driver.holds

    async def _seen(self) -> None:
        """Wait until the peer's messages were emitted, unless the flow is paused."""
        if self._free:
            await self.driver.until(
                lambda: (
                    len(self.told.incoming) >= self.values and len(self.told.errors) >= self.faults
                )
            )

    async def _unhold(self) -> None:
        while self.driver.holds:
            self.driver.holds.pop().dispose()
        if not self.taking:
            self.taking = True
            self.driver.take()

    @staticmethod
    def _message(what: str | bytes | int) -> str | bytes:
        return bytes(what) if isinstance(what, int) else what

    async def _do(self, what: str, *args: Any) -> bool:
        """Run a step; return whether it was the last."""
        driver = self.driver
        match what:
            case "hear":
                if isinstance(args[0], int) and not self._free:
                    return False  # large ones fill a wire, each at its own size
                await driver.hear(self._message(args[0]))
                self.values += 1
                await self._seen()
            case "hear fault":
                if not self.hears_errors and not self._free:
                    return False
                await driver.hear(args[0])
                self.values += args[0] == "raise"
                self.faults += 1
                if not self.hears_errors:
                    return await self._ended(answer=True)
                await self._seen()
            case "send":
                driver.conn.outgoing.on_next(self._message(args[0]))
                self.sent += 1
                await driver.peer_has(self.sent)
            case "send fault":
                if (
                    not self.hears_errors
                ):  # messages in flight may or may not be emitted before the end
                    await self._unhold()
                    await self._seen()
                driver.conn.outgoing.on_next(object())
                self.faults += 1
                if not self.hears_errors:
                    return await self._ended(answer=True)
                await driver.until(lambda: "EncodeError" in self.told.errors)
            case "hold":
                driver.holds.append(driver.conn.flow.pause())
            case "let go":
                if driver.holds:
                    driver.holds.pop().dispose()
                    await self._seen()
            case "leave":
                driver.taking.dispose()
                self.taking = False
            case "take":
                if not self.taking:
                    self.taking = True
                    driver.take()
                    await self._seen()
            case "peer closes":
                await driver.peer_closes(*args)
                await self._unhold()
                return await self._ended(answer=False)
            case "peer violates":
                await driver.peer_violates(*args)
                await self._unhold()
                return await self._ended(answer=False)
            case "peer is lost":
                if args[0] != "fin":
                    await self._unhold()
                    await self._seen()
                await driver.peer_is_lost(*args)
                await self._unhold()
                return True
            case "close":
                driver.conn.outgoing.on_next(rxws.Close(*args))
                return await self._ended(answer=True)
            case "complete":
                driver.conn.outgoing.on_completed()
                return await self._ended(answer=True)
            case "fail":
                driver.conn.outgoing.on_error(args[0])
                return await self._ended(answer=True)
            case "shutdown":
                await self._unhold()
                await self._seen()
                driver.session.shutdown(within=5.0)
                return await self._ended(answer=True)
            case _:
                raise AssertionError(what)
        return False

    async def _ended(self, answer: bool) -> bool:
        await self.driver.goodbye(answer)
        return True
