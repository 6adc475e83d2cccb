"""A TCP relay for clients that reconnect: it forwards each connection until it is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from support.faults.network import reset_connection

__all__ = ["Relay"]


class Relay:
    """Accepts connections on 127.0.0.1 and forwards them to a port there.

    Attributes:
        port: The port to connect to.
        refusing: Whether new connections are reset at once.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.refusing = False
        self._target = target
        self._writers: set[asyncio.StreamWriter] = set()
        self._running: set[asyncio.Task[None]] = set()

    @classmethod
    @asynccontextmanager
    async def open(cls, target: int) -> AsyncIterator[Relay]:
        """Listen on a free port, and reset all connections at the end."""
        relay = cls(target)
        server = await asyncio.start_server(relay._forward, "127.0.0.1", 0)
        relay.port = server.sockets[0].getsockname()[1]
        try:
            yield relay
        finally:
            server.close()
            relay.refusing = True
            while relay._running:
                relay.cut()
                await asyncio.wait(tuple(relay._running))
            await server.wait_closed()

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._running)

    def cut(self, *, reset: bool = True) -> None:
        """End all connections, at both ends: by a reset, or by FIN."""
        for writer in self._writers:
            if reset:
                reset_connection(writer)
            else:
                writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        self._writers.add(writer)
        ends = [writer]
        try:
            if self.refusing:
                return
            onward, back = await asyncio.open_connection("127.0.0.1", self._target)
            ends.append(back)
            self._writers.add(back)
            await asyncio.gather(self._pump(reader, back), self._pump(onward, writer))
        finally:
            self._running.discard(task)
            for end in ends:
                self._writers.discard(end)
                end.transport.abort()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()
