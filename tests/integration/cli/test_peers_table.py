"""The table of the docs that compares `rxws` with wscat, websocat and websockets."""

from __future__ import annotations

import asyncio
import html
import json
import re
import shlex
import signal
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import encode_basic_auth
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve

from support import ROOT
from support.peers.connect_proxy import connect_proxy
from support.peers.tls import PEM
from support.processes.command_line import PATIENCE, Result, environment, read_line
from support.terminal import open_terminal

PAGE = ROOT / "docs/howto/command-line.md"
COLUMNS = ["task", "rxws", "wscat", "websocat", "`python -m websockets`"]


def rows() -> dict[str, list[str]]:
    """Return the cells of the table, without Markdown and HTML, by task."""
    found: dict[str, list[str]] = {}
    lines = iter(PAGE.read_text("utf-8").splitlines())
    for line in lines:
        if line == f"| {' | '.join(COLUMNS)} |":
            break
    next(lines)
    for line in lines:
        if not line.startswith("|"):
            break
        task, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        assert task not in found
        found[task] = [html.unescape(re.sub(r"`|</?code>", "", cell)) for cell in cells]
    return found


class Server:
    """A server of `websockets` that sends each message back, and keeps what it got."""

    def __init__(self, *, over_tls: bool = False, wants_certificate: bool = False) -> None:
        self.scheme = "wss" if over_tls else "ws"
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if over_tls else None
        if self.tls is not None:
            self.tls.load_cert_chain(PEM)
        if self.tls is not None and wants_certificate:
            self.tls.load_verify_locations(PEM)
            self.tls.verify_mode = ssl.CERT_REQUIRED
        self.connections: list[ServerConnection] = []
        self.messages: list[str | bytes] = []

    @asynccontextmanager
    async def running(self, **options: Any) -> AsyncGenerator[str]:
        """Yield the URL."""
        options = {"ping_interval": None, "subprotocols": ["chat"], **options}
        # Without this, websockets requires that the client offers the subprotocol.
        options["select_subprotocol"] = lambda _, offered: "chat" if "chat" in offered else None
        async with serve(self.on_connection, "localhost", 0, ssl=self.tls, **options) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            yield f"{self.scheme}://localhost:{port}/chat"

    async def on_connection(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        async for message in connection:
            self.messages.append(message)
            await connection.send(message)

    def headers(self) -> Any:
        """Return the headers of the only request."""
        [connection] = self.connections
        assert connection.request is not None
        return connection.request.headers


class Case:
    """A row of the table that is tested."""

    def __init__(self, command: str, directory: Path, exits: AsyncExitStack) -> None:
        self.command = command
        self.directory = directory
        self.exits = exits
        self.server = Server()

    async def serve(self, server: Server | None = None, **options: Any) -> str:
        """Start a server, whose address replaces `URL`."""
        self.server = server or self.server
        url = await self.exits.enter_async_context(self.server.running(**options))
        self.command = self.command.replace("URL", url)
        return url

    async def start(self) -> asyncio.subprocess.Process:
        """Start the command in a shell."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", f"exec {self.command}" if "|" not in self.command else self.command),
            cwd=self.directory,
            env=environment(PATH=f"{self.directory}:{environment()['PATH']}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

        async def end() -> None:
            if process.returncode is None:
                process.kill()
            await process.communicate()

        self.exits.push_async_callback(end)
        return process

    async def run(self) -> Result:
        """Run the command in a shell."""
        process = await self.start()
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode is not None
        return Result(process.returncode, out.decode(), err.decode())

    async def has_reply(self) -> None:
        """Run the command, which prints the reply to "hi" and nothing else."""
        assert await self.run() == (0, "hi\n", "")


Check = Callable[[Case], Awaitable[None]]


class Row(NamedTuple):
    """What proves a row."""

    task: str
    check: Check


CHECKS: dict[str, Check] = {}


def proves(task: str) -> Callable[[Check], Check]:
    """Register the check of a row."""

    def register(check: Check) -> Check:
        CHECKS[task] = check
        return check

    return register


@pytest.fixture
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    """Prepare a directory with `rxws` and the files that commands read."""
    script = tmp_path / "rxws"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rxws "$@"\n', "utf-8")
    script.chmod(0o755)
    for name in ("ca.pem", "me.pem"):
        (tmp_path / name).write_bytes(PEM.read_bytes())
    async with AsyncExitStack() as exits:
        yield Case(rows()[request.param][0], tmp_path, exits)


@pytest.mark.parametrize("case", list(rows()), indirect=True, ids=str)
async def test_the_command_of_each_row_works(case: Case, request: pytest.FixtureRequest) -> None:
    """Each command of the column rxws does what the first column says."""
    task = request.node.callspec.params["case"]
    assert task in CHECKS, f"no test proves the row {task!r}"
    await CHECKS[task](case)


def test_each_check_has_a_row() -> None:
    """A task of a check is in the table, and each row has all columns."""
    assert list(CHECKS) == list(rows())
    assert {len(cells) for cells in rows().values()} == {len(COLUMNS) - 1}


@proves("talk at a prompt")
async def _(case: Case) -> None:
    await case.serve()
    async with open_terminal() as terminal:
        await terminal.enter(case.command)
        await terminal.shows("/help lists the commands, Ctrl-D closes")
        await terminal.enter("hi")
        await terminal.shows("> hi", "< hi")
        await terminal.press("C-d")
        await terminal.ends_with("closed with 1000 (normal closure) by this side", "$")


@proves("send one message, and print the reply")
async def _(case: Case) -> None:
    await case.serve()
    await case.has_reply()
    assert case.server.messages == ["hi"]


@proves("send lines, and print the replies")
async def _(case: Case) -> None:
    await case.serve()
    assert await case.run() == (0, "3\n2\n1\n", "")
    assert case.server.messages == ["1", "2", "3"]


@proves("add a header")
async def _(case: Case) -> None:
    await case.serve()
    await case.has_reply()
    assert case.server.headers()["X-Trace"] == "7"


@proves("offer a subprotocol")
async def _(case: Case) -> None:
    await case.serve()
    await case.has_reply()
    assert [each.subprotocol for each in case.server.connections] == ["chat"]


@proves("send an origin")
async def _(case: Case) -> None:
    await case.serve(origins=["https://example.com"])
    await case.has_reply()


@proves("authenticate")
async def _(case: Case) -> None:
    await case.serve()
    await case.has_reply()
    assert case.server.headers()["Authorization"] == encode_basic_auth("ann", "secret")


@proves("follow redirects")
async def _(case: Case) -> None:
    def redirect(connection: ServerConnection, request: Any) -> Any:
        if request.path == "/new":
            return None
        response = connection.respond(302, "")
        response.headers["Location"] = "/new"
        return response

    await case.serve(process_request=redirect)
    await case.has_reply()


@proves("trust a certificate authority")
async def _(case: Case) -> None:
    await case.serve(Server(over_tls=True))
    await case.has_reply()


@proves("accept any certificate")
async def _(case: Case) -> None:
    await case.serve(Server(over_tls=True))
    await case.has_reply()


@proves("present a client certificate")
async def _(case: Case) -> None:
    await case.serve(Server(over_tls=True, wants_certificate=True))
    await case.has_reply()


@proves("use an HTTP proxy")
async def _(case: Case) -> None:
    url = await case.serve(Server(over_tls=True))
    address, heads = await case.exits.enter_async_context(connect_proxy())
    case.command = case.command.replace("localhost:3128", address)
    await case.has_reply()
    host = url.removeprefix("wss://").removesuffix("/chat").encode()
    assert [head.split()[:2] for head in heads] == [[b"CONNECT", host]]


@proves("send a binary message")
async def _(case: Case) -> None:
    await case.serve()
    assert await case.run() == (0, "00ff\n", "")
    assert case.server.messages == [b"\x00\xff"]


@proves("ping")
async def _(case: Case) -> None:
    await case.serve()
    code, out, err = await case.run()
    assert (code, out) == (0, "")
    assert re.fullmatch(r"pong after \d+\.\d ms\n", err)


@proves("close with a code")
async def _(case: Case) -> None:
    await case.serve()
    assert await case.run() == (0, "", "")
    [connection] = case.server.connections
    await connection.wait_closed()
    assert (connection.close_code, connection.close_reason) == (4001, "bye")


@proves("see how the server closes")
async def _(case: Case) -> None:
    class Closing(Server):
        async def on_connection(self, connection: ServerConnection) -> None:
            await connection.close(4001, "bye")

    await case.serve(Closing())
    code, out, err = await case.run()
    assert (code, out) == (1, "")
    assert err.endswith("Error: closed with 4001 'bye' by the server\n")


@proves("format JSON")
async def _(case: Case) -> None:
    await case.serve()
    assert await case.run() == (0, '{\n  "price": 7\n}\n', "")


@proves("apply operators")
async def _(case: Case) -> None:
    await case.serve()
    assert await case.run() == (0, "7\n", "")


@proves("show the time of messages")
async def _(case: Case) -> None:
    await case.serve()
    code, out, err = await case.run()
    assert (code, err) == (0, "")
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d+ \(\+\d+\.\d+ ms\) hi\n", out)


@proves("reconnect")
async def _(case: Case) -> None:
    class Restarting(Server):
        async def on_connection(self, connection: ServerConnection) -> None:
            self.connections.append(connection)
            await connection.send(f"connection {len(self.connections)}")
            await connection.close(1012)

    await case.serve(Restarting())
    code, out, err = await case.run()
    assert (code, out) == (0, "connection 1\nconnection 2\n")
    assert "Connecting, attempt 2" in err


@proves("call JSON-RPC methods")
async def _(case: Case) -> None:
    class Adding(Server):
        async def on_connection(self, connection: ServerConnection) -> None:
            async for message in connection:
                call = json.loads(message)
                assert call["method"] == "add"
                answer = {"jsonrpc": "2.0", "id": call["id"], "result": sum(call["params"])}
                await connection.send(json.dumps(answer))

    await case.serve(Adding())
    assert await case.run() == (0, "3\n", "")


def _recorded(path: Path) -> list[tuple[str, str]]:
    events = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [(each["lane"], each["data"]) for each in events if each.get("type") == "text"]


@proves("record both directions")
async def _(case: Case) -> None:
    await case.serve()
    assert (await case.run()).code == 0
    recorded = _recorded(case.directory / "talk.jsonl")
    assert sorted(recorded) == [("incoming", "hi"), ("outgoing", "hi")]


RECORDING = """\
{"t": 0.1, "lane": "outgoing", "dir": "out", "type": "text", "data": "hi"}
{"t": 0.2, "lane": "incoming", "dir": "in", "type": "text", "data": "hello"}
"""


def _with_recording(case: Case) -> None:
    (case.directory / "talk.jsonl").write_text(RECORDING, "utf-8")


@proves("replay a recording")
async def _(case: Case) -> None:
    _with_recording(case)
    await case.serve()
    result = await case.run()
    assert (result.code, result.out) == (0, "hi\n")
    assert case.server.messages == ["hi"]


@proves("compare the replies with a recording")
async def _(case: Case) -> None:
    _with_recording(case)
    await case.serve()
    result = await case.run()
    assert (result.code, case.server.messages) == (1, ["hi"])
    assert "-hello\n+hi\n" in result.err


async def _start_server(case: Case) -> tuple[asyncio.subprocess.Process, str]:
    """Start a command that serves on port 9000, on a free port; return its URL."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    case.command = f"{case.command.replace('9000', str(port))} 2>&1"
    process = await case.start()
    assert re.search(rf"ws://127\.0\.0\.1:{port}", await read_line(process.stdout))
    return process, f"ws://127.0.0.1:{port}/"


async def _stop_server(process: asyncio.subprocess.Process) -> None:
    process.send_signal(signal.SIGINT)
    await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode == 0


@proves("serve a recording")
async def _(case: Case) -> None:
    _with_recording(case)
    process, url = await _start_server(case)
    async with connect(url) as client:
        assert await client.recv() == "hello"
    await _stop_server(process)


@proves("draw a recording")
async def _(case: Case) -> None:
    _with_recording(case)
    assert (await case.run()).code == 0
    picture = (case.directory / "talk.svg").read_text("utf-8")
    assert picture.startswith("<svg")
    assert "hello" in picture


@proves("serve an echo")
async def _(case: Case) -> None:
    process, url = await _start_server(case)
    async with connect(url) as client:
        await client.send("hi")
        assert await client.recv() == "hi"
    await _stop_server(process)


@proves("serve a client, at a prompt or in a pipe")
async def _(case: Case) -> None:
    process, url = await _start_server(case)
    async with connect(url) as client:
        assert await client.recv() == "hi"
        await client.send("hello")
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert "hello" in out.decode().splitlines()
    assert process.returncode == 0


@proves("send each message to all clients")
async def _(case: Case) -> None:
    process, url = await _start_server(case)
    async with connect(url) as one, connect(url) as two:
        await one.send("hi")
        assert [await one.recv(), await two.recv()] == ["hi", "hi"]
    await _stop_server(process)


@proves("measure the latency")
async def _(case: Case) -> None:
    await case.serve()
    code, out, _ = await case.run()
    assert code == 0
    assert "p99" in out
    assert len(case.server.messages) >= 100
