"""The connection that receives what is published."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Protocol

from .connection import FencedConnection

__all__ = ["ChannelListener", "Receiver"]

_CHUNK = 1000  # channels in one command
_TURN = 0.005  # seconds after which other tasks get their turn


class ChannelListener(Protocol):
    """Gets what the receiver receives."""

    def on_subscribed(self, channel: str) -> None:
        """From now on every message of the channel arrives."""
        ...

    def on_data(self, channel: str, data: bytes) -> None:
        """A message has arrived."""
        ...


class Receiver:
    """Subscribes to channels, over one connection after the other.

    Args:
        own: A channel that each connection subscribes to after all others: its confirmation says
            that they are complete.
    """

    def __init__(self, listener: ChannelListener, own: str) -> None:
        self._listener = listener
        self._own = own
        self._channels: dict[str, None] = {}
        self._connection: FencedConnection | None = None
        self._outgoing: list[tuple[str, str]] = []
        self._wake = asyncio.Event()
        # How many confirmations are due: only the last one says how it is now.
        self._due: dict[str, int] = {}
        self.heard = 0.0
        """When something was received."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def subscribe(self, channel: str) -> None:
        """Receive a channel, on this connection and the next ones."""
        self._channels[channel] = None
        self._send("SUBSCRIBE", (channel,))

    def unsubscribe(self, channel: str) -> None:
        """Stop receiving a channel."""
        del self._channels[channel]
        self._send("UNSUBSCRIBE", (channel,))

    def _send(self, command: str, channels: Iterable[str]) -> None:
        if self._connection is None:
            return
        for channel in channels:
            self._outgoing.append((command, channel))
            self._due[channel] = self._due.get(channel, 0) + 1
        self._wake.set()

    async def run(self, connection: FencedConnection) -> None:
        """Receive until the connection breaks."""
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._due.clear()
        self._outgoing.clear()
        self._send("SUBSCRIBE", (*self._channels, self._own))
        writer = asyncio.create_task(self._write(connection))
        try:
            turn = loop.time()
            while True:
                self._receive(await connection.read())
                self.heard = loop.time()
                if self.heard - turn > _TURN:
                    # Reading what is buffered does not suspend.
                    await asyncio.sleep(0)
                    turn = loop.time()
        finally:
            self._connection = None
            writer.cancel()
            with suppress(asyncio.CancelledError, Exception):  # the reader has failed as well
                await writer

    def _receive(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            raise reply
        kind, channel, data = reply
        name = channel.decode()
        if kind == b"message":
            try:
                self._listener.on_data(name, data)
            except Exception as exc:
                # A mistake in the hub, or a foreign message, must not end the connection.
                asyncio.get_running_loop().call_exception_handler(
                    {"message": f"a message of the channel {name!r} failed", "exception": exc}
                )
            return
        self._due[name] -= 1
        if not self._due[name]:
            del self._due[name]
            if kind == b"subscribe":
                self._listener.on_subscribed(name)

    async def _write(self, connection: FencedConnection) -> None:
        while True:
            while not self._outgoing:
                self._wake.clear()
                await self._wake.wait()
            outgoing, self._outgoing = self._outgoing, []
            commands: list[list[str]] = []
            for command, channel in outgoing:
                if commands and commands[-1][0] == command and len(commands[-1]) <= _CHUNK:
                    commands[-1].append(channel)
                else:
                    commands.append([command, channel])
            await connection.send(commands)
