"""A server at which a person types to all clients, and sees what they send."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, assert_never

import click

import rxws
from rxws import closing
from rxws._core.connection import Close, Connection
from rxws.cli._entries import COMMANDS, Entry, Help, Ping, Send, list_commands, parse_entry
from rxws.cli._format import Format
from rxws.cli._lines import read_lines
from rxws.cli._link import describe
from rxws.cli._output import note, write_soon
from rxws.operators import map_async

__all__ = ["Talk"]


class _Typed:
    """What may be typed."""

    commands: Mapping[str, tuple[str, str]] = COMMANDS

    def typed(self, text: str) -> Entry:
        return parse_entry(text)


class _Pipe(AbstractContextManager["_Pipe"]):
    """Sends the lines of stdin, once there is a client, and goes on after its end."""

    def __init__(self, connected: asyncio.Event) -> None:
        self._connected = connected

    async def actions(self) -> AsyncIterator[Entry]:
        await self._connected.wait()
        number = 0
        async for line in read_lines(sys.stdin.fileno()):
            number += 1
            try:
                yield Send(line.decode())
            except UnicodeDecodeError as error:
                text = f"Line {number} of the input is not UTF-8: {line[:40]!r}."
                raise click.UsageError(text) from error
        await asyncio.Future()

    async def show(self, text: str | bytes) -> None:
        await write_soon(text)

    def note(self, text: str) -> None:
        note(text)

    def __exit__(self, *_: object) -> None: ...


class Talk:
    """The clients, and what is said.

    Args:
        count: After how many received messages to end; None for no limit.
        stop: Set by Ctrl-C.
    """

    def __init__(self, count: int | None, stop: asyncio.Event) -> None:
        self._count = count
        self._stop = stop
        self._clients: dict[Connection[Any, Any], int] = {}
        self._numbers = 0
        self._connected = asyncio.Event()
        self._pings = set[asyncio.Task[None]]()
        self._showing = asyncio.Lock()  # stdout may be slow
        self._end: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self._interactive = sys.stdin.isatty() and sys.stdout.isatty()
        self._format = Format("text", terminal=sys.stdout.isatty())
        self._console = self._open_console()

    def _open_console(self) -> Any:
        if not self._interactive:
            return _Pipe(self._connected)
        from rxws.cli.connect._prompt import Prompt  # importing it takes a while

        return Prompt(_Typed(), None, self._stop)

    def handler(self, conn: Connection[Any, Any]) -> None:
        """Show what a client sends."""
        self._numbers += 1
        number = self._clients[conn] = self._numbers
        handshake = conn.handshake
        remote = handshake.remote
        where = f" from {remote[0]}:{remote[1]}" if isinstance(remote, tuple) else ""
        self._console.note(f"#{number} connected{where} to {handshake.url.path_qs}")
        self._connected.set()
        conn.closed.subscribe(partial(self._on_closed, conn))
        conn.incoming.pipe(map_async(partial(self._show, number), 1)).subscribe()

    async def until(self, url: str) -> Close:
        """Send what is typed, until the end; return how to close the open connections.

        Raises:
            click.UsageError: A line of a pipe is not UTF-8.
            BrokenPipeError: Nobody reads stdout any more.
        """
        with self._console:
            self._console.note(f"serving {url}")
            typing = asyncio.create_task(self._send_typed())
            stopping = asyncio.create_task(self._stop.wait())
            ends: list[asyncio.Future[Any]] = [typing, stopping, self._end]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if typing.done():
                    typing.result()
            finally:
                tasks = {typing, stopping, *self._pings}
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
        return self._end.result() if self._end.done() else closing.GOING_AWAY

    def _on_closed(self, conn: Connection[Any, Any], close: Close) -> None:
        number = self._clients.pop(conn)
        self._console.note(f"#{number} {describe(close, 'the client')}")

    async def _show(self, number: int, message: str | bytes) -> None:
        async with self._showing:
            if self._end.done():
                return
            text = self._format(message)
            if self._interactive and self._numbers > 1:
                text = f"#{number} {text if isinstance(text, str) else text.decode()}"
            try:
                await self._console.show(text)
            except BrokenPipeError as error:
                self._end.set_exception(error)
                return
            if self._count is not None:
                self._count -= 1
                if not self._count:
                    self._end.set_result(Close())

    async def _send_typed(self) -> None:
        async for entry in self._console.actions():
            if isinstance(entry, Help):
                self._console.note(list_commands(COMMANDS))
            elif not self._clients:
                self._console.note("nobody is connected: this was not sent")
            else:
                await self._send(entry)

    async def _send(self, entry: Send | Ping | Close) -> None:
        for conn, number in list(self._clients.items()):
            match entry:
                case Send(data):
                    conn.outgoing.on_next(data)
                case Close():
                    conn.outgoing.on_next(entry)
                case Ping():
                    task = asyncio.create_task(self._ping(conn, number))
                    self._pings.add(task)
                    task.add_done_callback(self._pings.discard)
                case _:
                    assert_never(entry)
        if not self._interactive:  # a file may be larger than the send buffer
            for conn in list(self._clients):
                try:
                    await conn.flow.drained()
                except rxws.ConnectionClosed:
                    pass

    async def _ping(self, conn: Connection[Any, Any], number: int) -> None:
        try:
            seconds = await conn.flow.ping()
        except rxws.ConnectionClosed:
            return
        self._console.note(f"#{number} pong after {seconds * 1000:.1f} ms")
