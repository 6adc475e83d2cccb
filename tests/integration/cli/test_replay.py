"""`rxws replay`, as a client and as a server, with peers that are not rxws."""

from __future__ import annotations

import asyncio
import json
import math
import re
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from reactivex import operators as ops
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve
from websockets.exceptions import ConnectionClosed as WebsocketsClosed
from yarl import URL

import rxws
from rxws import Close, Recording
from rxws.cli._connection import Target
from rxws.cli._format import Format
from rxws.cli._link import open_link
from rxws.cli.replay._client import Player
from rxws.cli.replay._recorded import open_recorded
from rxws.testing import Clock
from support.commands import RunningCommand, run_command, running_command
from support.fixtures import Serve
from support.peers.raw import RawClient, RawServer
from support.processes.command_line import PATIENCE, run_rxws, start_rxws
from support.terminal import open_terminal


def recorded(
    path: Path,
    *events: tuple[float, str, Any],
    close: Close | None = None,
    subprotocol: str | None = None,
) -> str:
    """Save a recording of a connection: the time, the lane and the value of each event."""
    clock = Clock()
    recording = Recording(scheduler=clock)
    recording.subprotocol = subprotocol
    for at, lane, data in events:
        clock.run(at - clock.time)
        recording.lane(lane).record("next", data)
    if close is not None:
        for lane in ("incoming", "outgoing"):
            recording.lane(lane).record("completed")
        recording.lane("closed").record("next", close)
    recording.save(path / "s.jsonl")
    return str(path / "s.jsonl")


TALK = (
    (0.01, "outgoing", "one"),
    (0.02, "incoming", "re: one"),
    (0.03, "outgoing", b"\x02"),
    (0.04, "incoming", b"\xff\x02"),
)

# A server may be slow on a busy machine: wait no less than the test does.
CHECK = ("--check", "--wait", str(PATIENCE), "--open-timeout", str(PATIENCE))


async def answer(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(f"re: {message}" if isinstance(message, str) else b"\xff" + message)


@asynccontextmanager
async def websockets_server(handler: Any = answer) -> AsyncGenerator[str]:
    async with websockets_serve(handler, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


# --- printing -------------------------------------------------------------------------------------


async def test_the_waits_are_those_of_the_recording(tmp_path: Path) -> None:
    """A message is not printed before its time; `--speed` makes the waits shorter."""
    path = recorded(tmp_path, (0, "incoming", "a"), (3600, "incoming", "b"))
    process = await start_rxws("replay", path)
    assert process.stdout
    assert await asyncio.wait_for(process.stdout.readline(), PATIENCE) == b"a\n"
    process.send_signal(signal.SIGINT)
    assert await asyncio.wait_for(process.communicate(), PATIENCE) == (b"", b"")
    assert process.returncode == 130
    assert await run_command("replay", path, "--speed", "1e6") == (0, "a\nb\n", "")


async def test_binary_messages_are_printed_raw(tmp_path: Path) -> None:
    """With `--raw`, the bytes are on stdout, without line feeds."""
    path = recorded(tmp_path, (0, "incoming", b"\xff\x00"), (0, "incoming", "a"))
    assert await run_command("replay", path, "--raw") == (0, "\xff\x00a", "")


async def test_a_recording_that_was_cut_off_is_replayed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest is printed, with a note about the line."""
    path = recorded(tmp_path, (0, "incoming", "a"), (0, "incoming", "b"))
    (tmp_path / "s.jsonl").write_bytes((tmp_path / "s.jsonl").read_bytes()[:-5])
    assert await run_command("replay", path) == (0, "a\n", "")
    assert [f"{path}, line 2 is cut off, and is skipped"] == caplog.messages


async def test_the_progress_of_a_replay(tmp_path: Path) -> None:
    """A terminal shows the progress if the messages go elsewhere."""
    path = recorded(tmp_path, (0, "incoming", "a"), (3600, "incoming", "b"))
    async with open_terminal() as terminal:
        await terminal.enter(f"rxws replay {path} > {tmp_path}/out")
        await terminal.until(lambda lines: re.search("━╸ +1 messages", lines[-1]))
        await terminal.press("C-c")
        await terminal.ends_with("$")
    assert (tmp_path / "out").read_text("utf-8") == "a\n"


# --- as a client ----------------------------------------------------------------------------------


async def test_the_client_sends_what_was_recorded(tmp_path: Path) -> None:
    """The messages go to the server, what arrives is printed, and the close code is repeated."""
    path = recorded(tmp_path, *TALK, close=Close(4002, "bye", "local"))
    async with websockets_server() as url:
        assert await run_command("replay", path, url) == (0, "re: one\nff02\n", "")
    async with RawServer() as server:
        command = run_command("replay", path, server.url, "--speed", "max", "-w", "0")
        replay = asyncio.ensure_future(command)
        peer = await server.accept()
        frames = await peer.messages(2)
        assert [frame.payload for frame in frames] == [b"one", b"\x02"]
        assert (await peer.answer_close()).payload == b"\x0f\xa2bye"
        assert await replay == (0, "", "")


async def test_a_check_that_passes(tmp_path: Path) -> None:
    """With `--check`, a server that answers as recorded gives 0."""
    path = recorded(tmp_path, *TALK, close=Close(1000, "", "local"))
    async with websockets_server() as url:
        result = await run_command("replay", path, url, *CHECK, "--speed", "max")
    assert result == (0, "re: one\nff02\n", "")


async def test_a_check_names_the_first_difference(tmp_path: Path) -> None:
    """A server that answers differently gives 1, and a diff of that message."""

    async def other(ws: ServerConnection) -> None:
        async for message in ws:
            await ws.send("re: one" if message == "one" else "wrong")

    path = recorded(tmp_path, *TALK, close=Close(1000, "", "local"))
    async with websockets_server(other) as url:
        result = await run_command("replay", path, url, *CHECK)
    assert result.code == 1
    assert result.err == (
        "Error: message 2 differs: expected binary, but text arrived:\n-ff02\n+wrong\n"
    )


async def test_a_check_waits_for_a_message_that_is_late(tmp_path: Path) -> None:
    """A missing message is waited for, and then named."""

    async def silent(ws: ServerConnection) -> None:
        await ws.wait_closed()

    path = recorded(tmp_path, *TALK, close=Close(1000, "", "local"))
    async with websockets_server(silent) as url:
        result = await run_command("replay", path, url, "--check", "--wait", "0.1")
    assert result.code == 1
    assert "0 of 2 messages arrived; the next one is missing:\n- re: one" in result.err


async def test_a_check_compares_the_close_code(tmp_path: Path, serve: Serve) -> None:
    """A server of aiohttp that closes with another code than recorded gives 1."""

    async def handler(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        await ws.close(code=int(request.query["code"]))
        return ws

    url = f"ws://127.0.0.1:{await serve(handler)}/"
    path = recorded(tmp_path, (0, "outgoing", "x"), close=Close(4001, "", "peer"))
    assert await run_command("replay", path, f"{url}?code=4001", *CHECK) == (0, "", "")
    result = await run_command("replay", path, f"{url}?code=4003", *CHECK)
    assert result.code == 1
    assert "the server closed with 4003; in the recording it closed with 4001" in result.err
    assert (await run_command("replay", path, f"{url}?code=4001")).code == 0
    result = await run_command("replay", path, f"{url}?code=1011")
    assert (result.code, result.err) == (
        1,
        "Error: closed with 1011 (internal error) by the server\n",
    )


def long_recording(directory: Path) -> str:
    """Write a recording that sends more than sockets take: 20 MB, at once."""
    path = directory / "s.jsonl"
    with path.open("w", encoding="utf-8") as lines:
        for number in range(10_000):
            event = {"t": 0, "lane": "outgoing", "dir": "out", "type": "text"}
            print(json.dumps({**event, "data": f"{number} {'.' * 2000}"}), file=lines)
    return str(path)


async def test_a_server_that_closes_early_is_reported(tmp_path: Path) -> None:
    """While messages are still sent, the close ends the command, after what arrived before it."""

    path = long_recording(tmp_path)
    async with RawServer() as server:
        command = run_command("replay", path, server.url, "--speed", "max")
        replay = asyncio.ensure_future(command)
        peer = await server.accept(reads=False)
        await peer.text("enough")
        await peer.close(4003)
        peer.start_reading()
        await peer.answer_close()
        result = await replay
    assert result == (1, "enough\n", "Error: closed with 4003 by the server\n")
    assert len(peer.data) < 10_000


async def test_nothing_is_read_ahead_of_a_server_that_does_not_read(tmp_path: Path) -> None:
    """With `--speed max`, a full socket stops the reading; at last the server has everything."""
    path = long_recording(tmp_path)
    async with RawServer(receive_buffer=1 << 14) as server:
        accepting = asyncio.ensure_future(server.accept(reads=False))
        with open_recorded(path, "outgoing") as file:
            async with open_link(Target(URL(server.url), {}), reconnect=False) as link:
                peer = await accepting
                with Player(file, link, math.inf, 0, False, Format("raw")) as player:
                    playing = asyncio.ensure_future(player.run(asyncio.Event()))
                    assert link.connection
                    flow = link.connection.flow
                    await flow.writable.pipe(ops.first(lambda writable: not writable))
                    for _ in range(100):  # turns of the loop, in which it could read on
                        await asyncio.sleep(0)
                    buffered, share = flow.buffered, player.figures().share
                    peer.start_reading()
                    await playing
                frames = await peer.messages(10_000)
                closing = asyncio.ensure_future(peer.answer_close())
        await closing
    assert buffered < 1_000_000
    assert share is not None
    assert 0 < share < 0.9
    assert [int(frame.payload.split()[0]) for frame in frames] == list(range(10_000))


async def test_ctrl_c_closes_with_1000(tmp_path: Path) -> None:
    """Ctrl-C ends the client with a close handshake."""
    path = recorded(tmp_path, (0, "outgoing", "x"), (3600, "outgoing", "y"))
    async with RawServer() as server, running_command("replay", path, server.url) as command:
        peer = await server.accept()
        await peer.messages(1)
        command.interrupt()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        assert await command.ended() == (0, "", "")


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """The exit code is 2."""
    path = recorded(tmp_path, *TALK)
    assert (await run_command("replay", path, "ws://127.0.0.1:1/")).code == 2


# --- as a server ----------------------------------------------------------------------------------


class Server:
    """`rxws replay --serve`."""

    def __init__(self, command: RunningCommand, port: int) -> None:
        self.command = command
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/any/path"


@asynccontextmanager
async def serving(path: str, *options: str) -> AsyncGenerator[Server]:
    arguments = "replay", path, "--serve", "--port", "0", *options
    async with running_command(*arguments) as command:
        line = await command.note()
        found = re.fullmatch(r"serving on ws://127\.0\.0\.1:(\d+) \(any path\)", line)
        assert found, line
        yield Server(command, int(found[1]))
        if "--once" not in options:
            command.interrupt()
        result = await command.ended()
    assert (result.code, result.out) == (0, "")


async def test_each_client_gets_the_recorded_messages_and_the_close(tmp_path: Path) -> None:
    """Clients of `websockets` and aiohttp get the messages, and the recorded close code."""
    path = recorded(tmp_path, *TALK, close=Close(4002, "so long", "peer"), subprotocol="chat.v1")
    async with serving(path) as server:
        for number in (1, 2):
            async with websockets_connect(server.url, subprotocols=["chat.v1"]) as ws:  # type: ignore[list-item]
                assert ws.subprotocol == "chat.v1"
                assert [await ws.recv(), await ws.recv()] == ["re: one", b"\xff\x02"]
                with pytest.raises(WebsocketsClosed) as caught:
                    await ws.recv()
                assert caught.value.rcvd
                assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (4002, "so long")
            assert await server.command.note() == f"connection {number}: opened /any/path"
            closed = "closed with 4002 'so long' by this side, sent 2, received 0 messages"
            assert await server.command.note() == f"connection {number}: {closed}"
        async with aiohttp.ClientSession() as session, session.ws_connect(server.url) as ws:
            assert [(await ws.receive()).data for _ in range(2)] == ["re: one", b"\xff\x02"]
            assert (await ws.receive()).data == 4002


async def test_the_close_of_a_client_is_noted(tmp_path: Path) -> None:
    """A client that closes first is named, and what it has sent is counted."""
    path = recorded(tmp_path, (0, "incoming", "a"), (3600, "incoming", "b"))
    async with serving(path) as server:
        async with websockets_connect(server.url) as ws:
            assert await ws.recv() == "a"
            await ws.send("hi")
        await server.command.note()
        closed = "closed with 1000 (normal closure) by the client, sent 1, received 1 messages"
        assert await server.command.note() == f"connection 1: {closed}"


async def test_a_lost_connection_is_lost_again(tmp_path: Path) -> None:
    """If the network ended the recorded connection, TCP ends without a close frame."""
    path = recorded(tmp_path, *TALK, close=Close(1006, "", "network"))
    async with serving(path, "--speed", "max") as server:
        client = await RawClient.connect(server.port)
        await client.messages(2)
        await client.until_ended()
        assert client.closes == []
        await client.rst()


async def test_the_server_ends_after_one_connection(tmp_path: Path) -> None:
    """With `--once`, the process ends with the first connection."""
    path = recorded(tmp_path, (0, "incoming", "a"), close=Close(1005, "", "peer"))
    async with serving(path, "--once") as server, websockets_connect(server.url) as ws:
        assert await ws.recv() == "a"
        with pytest.raises(WebsocketsClosed):
            await ws.recv()


async def test_a_recording_with_only_sent_messages_is_served(tmp_path: Path) -> None:
    """Without incoming messages, the connection is closed at once."""
    path = recorded(tmp_path, (0, "outgoing", "a"))
    async with serving(path) as server, websockets_connect(server.url) as ws:
        with pytest.raises(WebsocketsClosed) as caught:
            await ws.recv()
        assert caught.value.rcvd
        assert caught.value.rcvd.code == 1000


@pytest.mark.parametrize("allowed", ["http://localhost:3000", "*"])
async def test_pages_of_an_origin_may_connect(tmp_path: Path, allowed: str) -> None:
    """A browser's page of another origin is refused, unless its origin is allowed."""
    path = recorded(tmp_path, (0, "incoming", "a"))
    origin: Any = "http://localhost:3000"
    async with serving(path) as server:
        with pytest.raises(Exception, match="HTTP 403"):
            await websockets_connect(server.url, origin=origin)
    allowing = serving(path, "--allow-origin", allowed)
    async with allowing as server, websockets_connect(server.url, origin=origin) as ws:
        assert await ws.recv() == "a"


async def test_a_port_in_use_is_reported(tmp_path: Path) -> None:
    """The message names the address."""
    path = recorded(tmp_path, *TALK)
    async with serving(path) as server:
        result = await run_rxws("replay", path, "--serve", "--port", str(server.port))
    assert result.code == 2
    assert f"cannot listen on 127.0.0.1 port {server.port}: Address already in use" in result.err


# --- a broken line --------------------------------------------------------------------------------


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A recording whose last line is wrong, further on than what is checked at the start."""
    lines = [
        {"t": 0, "lane": lane, "dir": way, "type": "text", "data": f"{number}"}
        for number in range(1000)
        for lane, way in (("incoming", "in"), ("outgoing", "out"))
    ]
    path = tmp_path / "s.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines) + "what?\n", "utf-8")
    return str(path)


async def test_a_client_ends_at_a_broken_line(broken: str) -> None:
    """The server gets the messages before it, and a close with 1000."""
    received: list[Any] = []

    async def collect(ws: ServerConnection) -> None:
        received.extend([message async for message in ws])
        received.append(ws.close_code)

    async with websockets_server(collect) as url:
        result = await run_command("replay", broken, url, "--speed", "max")
    assert received == [*map(str, range(1000)), 1000]
    assert "s.jsonl, line 2001 is not a recorded event" in result.err
    assert result.code == 64


async def test_a_server_ends_at_a_broken_line(broken: str) -> None:
    """The client gets the messages before it, and a close with 1011."""
    async with running_command("replay", broken, "--serve", "--port", "0") as command:
        url = (await command.note()).split()[2]
        async with websockets_connect(url) as ws:
            received: list[Any] = []
            with suppress(WebsocketsClosed):
                while True:
                    received.append(await ws.recv())
        result = await command.ended()
    assert received == [*map(str, range(1000))]
    assert ws.close_code == 1011
    assert "s.jsonl, line 2001 is not a recorded event" in result.err
    assert (result.code, result.out) == (64, "")


# --- together -------------------------------------------------------------------------------------


async def test_a_recording_of_a_served_recording_is_the_same(tmp_path: Path) -> None:
    """`record` of `replay --serve` gives the messages and the close code of the original."""
    path = recorded(tmp_path, *TALK, close=Close(4002, "", "peer"))
    again = str(tmp_path / "again.jsonl")
    async with serving(path, "--speed", "max") as server:
        recording = await run_rxws("record", server.url, "-o", again)
        ending = "Error: closed with 4002 by the server, after 2 received messages\n"
        assert recording == (1, "", ending)
        checked = await run_rxws("replay", again, server.url, *CHECK)
        assert checked == (0, "re: one\nff02\n", "")
    one, two = rxws.Recording.load(path), rxws.Recording.load(again)
    for lane in ("incoming", "closed"):
        assert [
            event.data for event in one.lanes[lane].events if event.type in ("next", "close")
        ] == [event.data for event in two.lanes[lane].events if event.type in ("next", "close")]
