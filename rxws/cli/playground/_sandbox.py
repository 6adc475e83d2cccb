"""A server with the chosen pipeline and a client that reconnects, both in this process.

They are connected by TCP, so that a slow reader, a lost connection and a server that is away are
real ones.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Any, Literal

import aiohttp
from reactivex import Observable
from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

import rxws
from rxws._recording.lane import Lane
from rxws.status import Closed, Connecting, Open, Status, Waiting

from ._feed import KEEP, Budget, Feed, describe_close
from ._parameters import check_text
from ._pipeline import Pipeline

__all__ = ["MAX_BURST", "MAX_RATE", "SPEEDS", "Sandbox"]

MAX_BURST = 100  # messages at once
MAX_RATE = 50.0  # messages per second
SPEEDS = {"full": 0.0, "slow": 0.5, "stopped": None}  # seconds per message that the client reads

_KERNEL_BUFFER = 4096  # bytes; small, so that back-pressure shows soon
_LONGEST = 1000  # characters of a message
_CODEC = rxws.codecs.text


class Sandbox:
    """The server and the client of one open page."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.recording: rxws.Recording | None = None  # of the latest connection
        self._port = 0
        self._server: rxws.Server | None = None
        self._connection: rxws.Connection[str, str] | None = None  # the server's end
        self._socket: socket.socket | None = None  # of the client's latest connection
        self._writable = True
        self._budget = Budget(2 * MAX_RATE, 2 * MAX_BURST)
        self._sent = 0
        self._rate: asyncio.Task[None] | None = None
        self._reading: asyncio.Future[None] | None = None  # done when the speed changes
        self._speed: float | None = 0.0
        self._received = rxws.Recording(keep=KEEP)
        self.feed = Feed(self._received)
        self._status = self._received.lane("status")
        self._subscription: DisposableBase = Disposable()

    async def start(self) -> None:
        """Start the server and the client."""
        await self._start_server()
        connector = aiohttp.TCPConnector(socket_factory=self._make_socket)
        self._session = aiohttp.ClientSession(connector=connector)
        self.client = rxws.WebSocketSubject(
            lambda: f"ws://127.0.0.1:{self._port}/",
            codec=_CODEC,
            session=self._session,
            backoff=rxws.backoff.exponential(1.5, cap=6),
            stable_after=2.0,
            high_water=1,
            queue=64 << 10,
        )
        self.client.drops.subscribe()  # otherwise the log reports them; the page shows the counters
        self.client.status.subscribe(lambda status: record_status(self._status, status))
        self.connect()

    async def aclose(self) -> None:
        """Close the connection, and stop the server and the client."""
        self.set_rate("", 0)
        self._subscription.dispose()
        self.client.dispose()
        self._change_speed(0.0)
        try:
            if self._server is not None:
                await self._server.aclose()
        finally:
            await self._session.close()

    # --- the client ---------------------------------------------------------------------------

    def _make_socket(self, address: Any) -> socket.socket:
        """Make a socket of the client, whose small buffer lets back-pressure show soon."""
        family, kind, protocol, *_ = address
        self._socket = sock = socket.socket(family, kind, protocol)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KERNEL_BUFFER)
        return sock

    def connect(self) -> None:
        """Subscribe to the client, which opens a connection unless there is one."""
        self._subscription.dispose()
        self._subscription = self.client.pipe(
            rxws.operators.map_async(self._read), self._received.tap("received")
        ).subscribe(on_error=lambda _: None)  # the lane shows it

    async def _read(self, text: str) -> str:
        """Take as long as the chosen speed says."""
        while self._speed != 0.0:
            self._reading = asyncio.get_running_loop().create_future()
            done, _ = await asyncio.wait([self._reading], timeout=self._speed)
            if not done:
                break
        return text

    def set_speed(self, speed: object) -> None:
        """Let the client read at full speed, slowly, or not at all."""
        if not isinstance(speed, str) or speed not in SPEEDS:
            raise ValueError(f"speed must be one of {', '.join(SPEEDS)}, not {speed!r:.40}")
        self._change_speed(SPEEDS[speed])

    def _change_speed(self, seconds: float | None) -> None:
        self._speed = seconds
        if self._reading is not None and not self._reading.done():
            self._reading.set_result(None)

    def send(self, text: str, count: int) -> None:
        """Send a text from the client; `#` stands for the number of the message."""
        check_text("message", text, _LONGEST)
        if not isinstance(count, int) or not 1 <= count <= MAX_BURST:
            raise ValueError(f"a burst has 1 to {MAX_BURST} messages, not {count!r:.40}")
        if self._budget.take(count) < count:
            raise ValueError(f"at most {2 * MAX_RATE:g} messages per second: wait a moment")
        for _ in range(count):
            self._sent += 1
            self.client.on_next(text.replace("#", str(self._sent)))

    def set_rate(self, text: str, rate: float) -> None:
        """Send a text again and again; with rate 0, stop."""
        check_text("message", text, _LONGEST)
        if not isinstance(rate, int | float) or not 0 <= rate <= MAX_RATE:
            raise ValueError(f"a rate is 0 to {MAX_RATE:g} messages per second, not {rate!r:.40}")
        if self._rate is not None:
            self._rate.cancel()
            self._rate = None
        if rate:
            self._rate = asyncio.get_running_loop().create_task(self._send_at(text, rate))

    async def _send_at(self, text: str, rate: float) -> None:
        while True:
            if self._budget.take(1):
                self._sent += 1
                self.client.on_next(text.replace("#", str(self._sent)))
            await asyncio.sleep(1 / rate)

    # --- the server ---------------------------------------------------------------------------

    async def _start_server(self) -> None:
        self._server = await rxws.serve(
            self._handler,
            "127.0.0.1",
            self._port,
            codec=_CODEC,
            compress=False,  # or spaces would not fill buffers
            kernel_buffer=_KERNEL_BUFFER,
            **self.pipeline.server_options(),
        )
        self._port = self._server.port

    def _handler(self, conn: rxws.Connection[str, str]) -> Observable[str]:
        self.recording = recording = rxws.Recording.of(conn, keep=KEEP)
        self.feed.follow(recording)
        self._connection = conn
        conn.flow.writable.subscribe(self._set_writable)
        return self.pipeline.run(conn, recording)

    def _set_writable(self, writable: bool) -> None:
        self._writable = writable

    async def set_server(self, running: bool) -> None:
        """Kill the server without a close frame, or start it again."""
        server = self._server
        if running and server is None:
            await self._start_server()
        elif not running and server is not None:
            self._server = None
            try:
                await self._lose_connection()
            finally:
                await server.aclose()

    async def _lose_connection(self) -> None:
        """Cut the connection, and give the server a moment to see it."""
        if self._connection is not None and self.client.connection is not None:
            self.cut()
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await self._connection.closed

    def cut(self) -> None:
        """End TCP without a close frame, as the end of a process or a proxy does."""
        if self._socket is None or self.client.connection is None:
            raise ValueError("there is no connection to cut")
        with suppress(OSError):  # it is lost already
            self._socket.shutdown(socket.SHUT_RDWR)

    # --- both ---------------------------------------------------------------------------------

    def close(self, side: Literal["client", "server"], code: int, reason: str) -> None:
        """Close the connection from one end.

        Raises:
            ValueError: The code or the reason cannot be sent, or there is no connection.
        """
        try:
            close = rxws.Close(code, reason)
        except TypeError as error:
            raise ValueError(str(error)) from None
        if self._connection is None or self.client.connection is None:
            raise ValueError("there is no connection to close")
        if side == "server":
            self._connection.outgoing.on_next(close)
        else:
            self.client.on_next(close)

    def state(self) -> dict[str, Any]:
        """Describe flow control and counters for the page."""
        stats, queue = None, self.client.stats
        dropped = dict(queue.dropped)
        buffered, paused = 0, 0.0
        if self._connection is not None:
            flow = self._connection.flow
            stats, buffered = flow.stats, flow.buffered
            paused = stats.paused
            for reason, count in stats.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + count
        return {
            "server": self._server is not None,
            "buffered": buffered,
            "max_buffer": self.pipeline.server_options()["max_buffer"],
            "writable": self._writable,
            "paused": round(paused, 1),
            "dropped": dropped,
            "queued": queue.queued,
            "left_out": self.feed.left_out,
        }


def record_status(lane: Lane, status: Status) -> None:
    """Record a status as the page shows it."""
    data: dict[str, Any] = {"status": type(status).__name__}
    match status:
        case Connecting(attempt):
            data["attempt"] = attempt
        case Waiting(delay, cause):
            data.update(delay=delay, text=" ".join(f"{type(cause).__name__}: {cause}".split()))
        case Closed(close, error):
            if close is not None:
                data.update(describe_close(close))
            data["error"] = None if error is None else type(error).__name__
        case Open():
            pass
    lane.record("next", data)
