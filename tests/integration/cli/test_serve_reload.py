"""`rxws serve --reload`: the server starts again when its source changes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import ClientConnection, connect

from support.processes.command_line import PATIENCE, end_rxws, read_line, running_rxws
from support.terminal import open_terminal

ROOM = """
import rxws
from reactivex import operators as ops

@rxws.websocket(codec=rxws.codecs.text)
def room(conn):
    return conn.incoming.pipe(ops.map(str.{}))
"""


@pytest.fixture
def chat(tmp_path: Path) -> Path:
    """A file with a handler."""
    path = tmp_path / "chat.py"
    path.write_text(ROOM.format("upper"))
    return path


def replace(path: Path, text: str) -> None:
    """Change a file as editors do: in one step."""
    new = path.with_suffix(".new")
    new.write_text(text)
    os.replace(new, path)


async def ask(client: ClientConnection, text: str) -> str | bytes:
    await client.send(text)
    return await client.recv()


async def test_a_change_closes_connections_with_1012_and_serves_again(chat: Path) -> None:
    """Clients reconnect to the same port, and get the new handler."""
    arguments = ("serve", "chat:room", "--port", "0", "--reload")
    async with running_rxws(*arguments, cwd=chat.parent) as process:
        url = await read_line(process.stdout)
        assert await read_line(process.stderr) == "serving chat:room"
        async with connect(url) as client:
            assert await ask(client, "Hi") == "HI"
            replace(chat, ROOM.format("lower"))
            with pytest.raises(websockets.ConnectionClosedError):
                await client.recv()
            assert (client.close_code, client.close_reason) == (1012, "Service Restart")
        async with connect(url) as client:  # its socket is open all the time
            assert await ask(client, "Hi") == "hi"
            ended = asyncio.create_task(end_rxws(process))
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001
        code, _, err = await ended
        assert code == 0
        assert err.splitlines() == ["chat.py changed: restarting", "serving chat:room"]


async def test_a_syntax_error_is_shown_until_it_is_mended(chat: Path) -> None:
    """At a terminal: the error, and no traceback of rxws; Ctrl-C ends with 0."""
    async with open_terminal(width=120) as terminal:
        await terminal.run("serve", f"{chat}:room", "--port", "0", "--reload")
        await terminal.shows(f"serving {chat}:room")
        replace(chat, "def (")
        await terminal.shows(
            "Error: chat cannot be imported:",
            f'  File "{chat}", line 1',
            "    def (",
            "SyntaxError: invalid syntax",
            "waiting for a change",
        )
        replace(chat, ROOM.format("lower"))
        await terminal.shows("waiting for a change", f"serving {chat}:room")
        await terminal.press("C-c")
        await terminal.ends_with("^C$")
        await terminal.enter("echo code $?")
        await terminal.shows("code 0")


async def test_ctrl_c_while_the_server_starts(chat: Path) -> None:
    """At a terminal, the key reaches both processes: there is no traceback of either."""
    arguments = ("serve", "chat:room", "--port", "0", "--reload")
    options = {"cwd": chat.parent, "start_new_session": True}
    async with running_rxws(*arguments, **options) as process:
        await read_line(process.stdout)  # the other process starts
        os.killpg(process.pid, signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, err) == (0, b"")


async def test_the_server_ends_with_the_process_that_watches(chat: Path) -> None:
    """If that one is killed, the server closes its connections with 1001."""
    arguments = ("serve", "chat:room", "--port", "0", "--reload")
    async with running_rxws(*arguments, cwd=chat.parent) as process:
        url = await read_line(process.stdout)
        async with connect(url) as client:
            assert await ask(client, "Hi") == "HI"
            process.send_signal(signal.SIGKILL)
            with pytest.raises(websockets.ConnectionClosedOK):
                await client.recv()
            assert client.close_code == 1001
