"""A client of the hub's protocol, on the library websockets, that can send any line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from support.peers.raw import PATIENCE

__all__ = ["HubPeer", "ServeHub", "Serving", "until"]


class Serving(NamedTuple):
    """A hub that serves at a URL."""

    hub: Any
    url: str


ServeHub = Callable[..., AbstractAsyncContextManager[Serving]]


class HubPeer:
    """Sends and receives the lines of the protocol, with the library websockets."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._lines: list[str] = []
        self._id = 0

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, token: str | None = "ann") -> AsyncIterator[HubPeer]:
        """Connect to a URL, and send the command connect unless the token is None."""
        async with connect(url) as socket:
            peer = cls(socket)
            if token is not None:
                assert "connect" in await peer.call(connect={"token": token})
            yield peer

    async def send(self, *lines: Any) -> None:
        """Send a frame of lines; each is text, or a value to be encoded."""
        await self.socket.send(
            "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
        )

    async def receive(self) -> Any:
        """Return the next line."""
        if not self._lines:
            async with asyncio.timeout(PATIENCE):
                frame = await self.socket.recv()
            assert isinstance(frame, str)
            self._lines = frame.split("\n")
        return json.loads(self._lines.pop(0))

    async def call(self, **request: Any) -> Any:
        """Send a command and return its reply, without the id; pushes before it are dropped."""
        self._id += 1
        await self.send({"id": self._id, **request})
        while (got := await self.receive()).pop("id", None) != self._id:
            pass
        return got

    async def push(self) -> Any:
        """Return the next push; pings and replies before it are dropped."""
        while "push" not in (got := await self.receive()):
            pass
        return got["push"]

    async def close_code(self) -> int | None:
        """Wait for the end, and return the code."""
        async with asyncio.timeout(PATIENCE):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed:
                return self.socket.close_code


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 # other libraries' state has no event
            await asyncio.sleep(0.005)
