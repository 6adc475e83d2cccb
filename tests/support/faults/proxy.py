"""A TCP proxy between a peer and rxws that delays, splits and cuts, as a network does.

It cuts by FIN or by RST. It records what it received and counts what it forwarded, so that
`ProxyLane.passed` can report which messages were complete.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from support.faults.proxy_lane import BLANK, WHOLE, Cut, CutKind, Direction, Pace, ProxyLane
from support.peers.handshake import Head

PATIENCE = 30.0  # seconds; how long TCP may take to end after a cut
RESET = struct.pack("ii", 1, 0)  # SO_LINGER that makes a close a reset


@dataclass
class Proxy:
    """Accept one connection on 127.0.0.1 and forward it to a port there.

    Attributes:
        target: The port.
        cut: Where to cut; None if the test calls `cut_now`.
        up: The pace from the client to the server.
        down: The pace from the server to the client.
        seed: The seed of the sizes and times.
        receive_buffer: SO_RCVBUF of both sockets, in bytes.
    """

    target: int
    cut: Cut | None = None
    up: Pace = WHOLE
    down: Pace = WHOLE
    seed: int = 0
    receive_buffer: int | None = None
    how: CutKind | None = field(default=None, init=False)
    """How it was cut, None if it was not."""
    resets: bool = field(default=False, init=False)
    """Whether an end reset the connection by itself."""

    def __post_init__(self) -> None:
        rng = random.Random(self.seed)
        self.lanes: dict[Direction, ProxyLane] = {
            "up": ProxyLane("up", self.up, self.cut, rng),
            "down": ProxyLane("down", self.down, self.cut, rng),
        }
        self._listener = self._socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(1)
        self.port: int = self._listener.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self._changed: list[asyncio.Future[None]] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._running: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc: object) -> None:
        assert self._running is not None
        if exc[0] is not None:
            self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    @property
    def extension(self) -> str | None:
        """The extensions that the server accepted."""
        down = self.lanes["down"]
        head = Head.parse(bytes(down.received[: down.head_length - len(BLANK)]))
        return head.headers.get("sec-websocket-extensions")

    async def ended(self) -> None:
        """Wait until both ends have closed TCP."""
        assert self._running is not None
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([self._running])
        self._running.result()

    def cut_now(self, how: CutKind) -> None:
        """Stop forwarding and end TCP at both ends; later calls do nothing."""
        if self.how is not None or not self._sockets:
            return
        self.how = how
        for lane in self.lanes.values():
            lane.at_cut = len(lane.received)
        for sock in self._sockets:
            with suppress(OSError):
                if how == "fin":
                    sock.shutdown(socket.SHUT_WR)
                else:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        if how == "rst":
            for pump in self._pumps:
                pump.cancel()
        for future in self._changed:
            wake(future)

    def _socket(self) -> socket.socket:
        sock = socket.socket()
        if self.receive_buffer is not None:  # what is accepted inherits it
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        sock.setblocking(False)
        return sock

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            client, _ = await loop.sock_accept(self._listener)
            self._sockets.append(client)
            self._sockets.append(server := self._socket())
            await loop.sock_connect(server, ("127.0.0.1", self.target))
            for sock in self._sockets:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            up = self._pump(self.lanes["up"], client, server)
            down = self._pump(self.lanes["down"], server, client)
            self._pumps += [asyncio.create_task(up), asyncio.create_task(down)]
            await asyncio.wait(self._pumps)
            for pump in self._pumps:
                if not pump.cancelled():
                    pump.result()
        finally:
            for pump in self._pumps:
                pump.cancel()
            if self._pumps:
                await asyncio.wait(self._pumps)
            for sock in [self._listener, *self._sockets]:
                sock.close()

    async def _pump(self, lane: ProxyLane, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            while data := await loop.sock_recv(source, 1 << 16):
                lane.take(data)
                await self._forward(lane, sink)
            sink.shutdown(socket.SHUT_WR)
        except OSError:  # one end has reset the connection; only the other end must see it
            if self.how is None:
                self.resets = True
            if self.how != "fin":  # both are to drain what an end still says
                self.cut_now("rst")

    async def _forward(self, lane: ProxyLane, sink: socket.socket) -> None:
        while self.how is None and lane.forwarded < len(lane.received):
            size, wait = lane.next_piece()
            if size:
                await self._send(lane, sink, size)
            if lane.forwarded == lane.limit and self._is_due(lane):
                assert self.cut is not None
                self.cut_now(self.cut.how)
            elif wait is not None:
                await asyncio.sleep(wait)

    def _is_due(self, lane: ProxyLane) -> bool:
        """Return whether to cut now; right after the request is too early."""
        down = self.lanes["down"]
        return (
            (self.cut is not None and self.cut.part == "head")
            or lane.forwarded < len(lane.received)
            or 0 < down.head_length <= down.forwarded
        )

    async def _send(self, lane: ProxyLane, sink: socket.socket, size: int) -> None:
        end = lane.forwarded + size
        while self.how is None and lane.forwarded < end:
            try:
                lane.forwarded += sink.send(memoryview(lane.received)[lane.forwarded : end])
            except BlockingIOError:
                await self._writable(sink)

    async def _writable(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        self._changed.append(ready)
        loop.add_writer(sock, wake, ready)
        try:
            await ready
        finally:
            loop.remove_writer(sock)
            self._changed.remove(ready)


def wake(future: asyncio.Future[None]) -> None:
    """Complete a future, unless it is done."""
    if not future.done():
        future.set_result(None)
