"""A server on the library websockets that sends what a test writes, as Centrifugo would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from support.peers.raw import PATIENCE

__all__ = ["Centrifugo", "CentrifugoConnection"]


class CentrifugoConnection:
    """One connection of a client."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self._lines: list[str] = []

    async def receive(self) -> Any:
        """Return the next line that the client has sent."""
        if not self._lines:
            async with asyncio.timeout(PATIENCE):
                frame = await self.socket.recv()
            assert isinstance(frame, str)
            self._lines = frame.split("\n")
        return json.loads(self._lines.pop(0))

    async def send(self, *lines: Any) -> None:
        """Send a frame of lines; each is text, or a value to be encoded."""
        await self.socket.send(
            "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        )

    async def answer(self, name: str, *after: Any, **result: Any) -> Any:
        """Expect a command, reply in a frame with the lines `after`, and return its fields."""
        command = await self.receive()
        assert name in command, f"{command} instead of {name}"
        await self.send({"id": command["id"], name: result}, *after)
        return command[name]

    async def connected(self, **result: Any) -> Any:
        """Accept the connection, as Centrifugo 5 does."""
        return await self.answer(
            "connect", client="a7e5", version="5.4.9 OSS", subs={}, session="s", node="n", **result
        )

    async def close_code(self) -> int | None:
        """Wait for the end, and return the code."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code


class Centrifugo:
    """Accepts connections, and hands them to the test."""

    def __init__(self) -> None:
        self.url = ""
        self._connections: asyncio.Queue[CentrifugoConnection] = asyncio.Queue()

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator[Centrifugo]:
        """Listen on a free port."""
        server = cls()
        async with serve(server._accept, "127.0.0.1", 0) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            server.url = f"ws://127.0.0.1:{port}/connection/websocket"
            yield server

    async def _accept(self, socket: ServerConnection) -> None:
        self._connections.put_nowait(CentrifugoConnection(socket))
        await socket.wait_closed()

    async def accept(self) -> CentrifugoConnection:
        """Return the next connection."""
        async with asyncio.timeout(PATIENCE):
            return await self._connections.get()
