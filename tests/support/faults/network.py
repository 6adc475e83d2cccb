"""A TCP proxy for many connections that swallows what it gets, or resets."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Self

from support.faults.proxy import RESET

__all__ = ["FaultyNetwork", "reset_connection"]


class FaultyNetwork:
    """Forward the connections to a port of 127.0.0.1, until `black_hole` or `reset`."""

    def __init__(self, target: int) -> None:
        self.target = target
        """The port, for connections from now on."""
        self._open = asyncio.Event()
        self._open.set()
        self._pairs: list[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = []
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def black_hole(self) -> None:
        """Deliver nothing any more in either direction, and answer no new connection."""
        self._open.clear()

    def heal(self, *, forget: bool = False) -> None:
        """Deliver again, also what has waited.

        With `forget`, the present connections stay dead, as after a NAT has lost its table.
        """
        if forget:
            self._swallowing.update(writer for pair in self._pairs for writer in pair)
        self._open.set()

    def swallow(self, index: int) -> None:
        """Deliver nothing any more on one connection, counted from the oldest one that is open."""
        self._swallowing.update(self._pairs[index])

    def reset(self) -> None:
        """Reset all connections."""
        for pair in list(self._pairs):
            for writer in pair:
                reset_connection(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        upstream: asyncio.StreamWriter | None = None
        try:
            await self._open.wait()
            upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self.target)
            pair = (writer, upstream)
            self._pairs.append(pair)
            try:
                pumps = [
                    asyncio.create_task(self._pump(reader, upstream)),
                    asyncio.create_task(self._pump(upstream_reader, writer)),
                ]
                try:
                    await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for pump in pumps:
                        pump.cancel()
                    await asyncio.wait(pumps)
            finally:
                self._pairs.remove(pair)
                self._swallowing.difference_update(pair)
        except (OSError, asyncio.CancelledError):
            pass  # a task of asyncio's server: nobody awaits it
        finally:
            for each in (writer, upstream):
                if each is not None:
                    each.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(1 << 16):
                await self._open.wait()
                if sink not in self._swallowing:
                    sink.write(data)
                    await sink.drain()


def reset_connection(writer: asyncio.StreamWriter) -> None:
    """Close a connection by RST."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None:
        with suppress(OSError, ValueError):  # uvloop's socket raises it if it is closed
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
