"""`rxws record`, against peers that are not rxws."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from rxws import Close, Recording
from support.commands import run_command, running_command
from support.peers.frames import Op, close_body, frame
from support.peers.raw import RawServer
from support.processes.command_line import PATIENCE, environment, start_rxws
from support.terminal import open_terminal


async def answer(ws: ServerConnection) -> None:
    """Answer each message; close with 4001 after "bye"."""
    async for message in ws:
        await ws.send(b"\xff" if message == "binary" else f"re: {message!s}")
        if message == "bye":
            await ws.close(4001, "as you wish")


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with websockets_serve(answer, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}/"


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s.jsonl")


def messages(path: str, lane: str = "incoming") -> list[Any]:
    events = Recording.load(path).lanes[lane].events
    return [event.data for event in events if event.type == "next"]


async def until_recorded(path: str, text: str) -> None:
    """Wait until a file contains a text."""
    async with asyncio.timeout(PATIENCE):
        # There is no event for it.
        while not (os.path.exists(path) and text in Path(path).read_text("utf-8")):  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.02)


async def test_both_directions_are_recorded(url: str, path: str) -> None:
    """The messages of `-m` come first, then the lines of the input; `-n` ends with 1000."""
    result = await run_command(
        "record", url, "-o", path, "-m", "one", "-m", "binary", "-n", "4", stdin="two\nthree\n"
    )
    assert result == (0, "", "")
    assert messages(path, "outgoing") == ["one", "binary", "two", "three"]
    assert messages(path) == ["re: one", b"\xff", "re: two", "re: three"]
    recording = Recording.load(path)
    assert recording.title == url
    assert recording.lanes["closed"].events[0].data == Close(1000, "", "local")


async def test_the_recording_goes_on_after_the_input(path: str) -> None:
    """The end of the input does not end the recording; the server's close does."""
    async with RawServer() as server:
        command = run_command("record", server.url, "-o", path, stdin="hi\n")
        recording = asyncio.ensure_future(command)
        peer = await server.accept()
        assert (await peer.messages(1))[0].payload == b"hi"
        await peer.text("late")
        await peer.close(1000)
        assert await recording == (0, "", "")
    assert messages(path) == ["late"]


async def test_an_abnormal_close_is_recorded_and_reported(url: str, path: str) -> None:
    """The exit code is 1, and the file has the close code."""
    result = await run_command("record", url, "-o", path, "-m", "bye")
    error = "Error: closed with 4001 'as you wish' by the server, after 1 received messages\n"
    assert result == (1, "", error)
    assert Recording.load(path).lanes["closed"].events[0].data == Close(4001, "as you wish", "peer")


async def test_a_connection_that_closes_at_once_is_recorded(path: str) -> None:
    """A message and a close that come with the handshake are in the file."""
    async with RawServer() as server:
        recording = asyncio.ensure_future(run_command("record", server.url, "-o", path))
        message = frame(Op.TEXT, b"hello") + frame(Op.CLOSE, close_body(4002))
        await server.accept(then=message)
        assert (await recording).code == 1
    assert messages(path) == ["hello"]
    assert Recording.load(path).lanes["closed"].events[0].data == Close(4002, "", "peer")


async def test_too_few_messages_are_a_failure(path: str) -> None:
    """A clean close before `-n` messages have come ends with 1."""
    async with RawServer() as server:
        command = run_command("record", server.url, "-o", path, "-n", "2")
        recording = asyncio.ensure_future(command)
        peer = await server.accept()
        await peer.text("only")
        await peer.close(1000)
        result = await recording
    assert result.code == 1
    assert "after 1 of 2 received messages" in result.err


async def test_a_time_ends_the_recording(url: str, path: str) -> None:
    """`--for` closes with 1000."""
    assert await run_command("record", url, "-o", path, "--for", "0.05") == (0, "", "")
    assert Recording.load(path).lanes["closed"].events[0].data == Close(1000, "", "local")


async def test_a_killed_recording_is_complete(url: str, path: str) -> None:
    """`kill -9` leaves a file that can be loaded, with all messages."""
    process = await start_rxws("record", url, "-o", path, "-m", "a", "-m", "b")
    await until_recorded(path, "re: b")
    process.kill()
    assert await asyncio.wait_for(process.communicate(), PATIENCE) == (b"", b"")
    assert messages(path) == ["re: a", "re: b"]
    assert len(Recording.load(path).lanes["closed"]) == 0


async def test_an_interrupted_recording_is_complete(url: str, path: str) -> None:
    """Ctrl-C leaves a file with all messages, and the close."""
    async with running_command("record", url, "-o", path, "-m", "a", "-m", "b") as command:
        await until_recorded(path, "re: b")
        command.interrupt()
        assert await command.ended() == (0, "", "")
    assert messages(path) == ["re: a", "re: b"]
    assert Recording.load(path).lanes["closed"].events[0].data == Close(1000, "", "local")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full")
async def test_a_full_disk_is_reported(url: str) -> None:
    """The connection is closed, and the message names the file and the reason."""
    result = await run_command("record", url, "-o", "/dev/full", "-m", "a")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("Error: /dev/full: No space left on device: the recording ends")


async def test_a_file_is_not_overwritten_by_accident(url: str, path: str) -> None:
    """A file that exists needs `--force` or `--append`; otherwise nothing is connected."""
    record = "record", url, "-o", path, "-n", "1", "-m"
    assert (await run_command(*record, "one")).code == 0
    refused = await run_command(*record, "two")
    assert refused.code == 64
    assert "s.jsonl exists: use --append to continue it, or --force to overwrite" in refused.err
    assert messages(path) == ["re: one"]
    assert (await run_command(*record, "three", "--append")).code == 0
    assert messages(path) == ["re: one", "re: three"]
    times = [event.t for event in Recording.load(path).events]
    assert times == sorted(times)
    assert (await run_command(*record, "four", "--force")).code == 0
    assert messages(path) == ["re: four"]
    assert (await run_command(*record, "five", "--force", "--append")).code == 64


async def test_another_file_is_not_continued(url: str, tmp_path: Path) -> None:
    """`--append` names the line of a file that is no recording, and a remedy."""
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n", "utf-8")
    result = await run_command("record", url, "-o", str(path), "--append")
    assert result.code == 64
    assert "notes.txt, line 1 is not a recorded event" in result.err
    assert "Use a file that" in result.err
    assert path.read_text("utf-8") == "buy milk\n"


async def test_a_file_that_cannot_be_opened(url: str, tmp_path: Path) -> None:
    """The message names the file."""
    result = await run_command("record", url, "-o", str(tmp_path / "none" / "s.jsonl"))
    assert result.code == 64
    assert "No such file or directory" in result.err


async def test_a_failed_connection_leaves_no_file(path: str) -> None:
    """Nothing is written, or overwritten, if the server cannot be reached."""
    result = await run_command("record", "ws://127.0.0.1:1/", "-o", path)
    assert result.code == 2
    assert not Path(path).exists()  # noqa: ASYNC240


async def test_a_recording_on_stdout(url: str) -> None:
    """With `-o -`, the lines go to stdout."""
    result = await run_command("record", url, "-o", "-", "-n", "1", stdin="hi\n")
    assert (result.code, result.err) == (0, "")
    lines = [json.loads(line) for line in result.out.splitlines()]
    data = [line["data"] for line in lines if line["type"] == "text"]
    assert data == ["hi", "re: hi"]


async def test_a_reader_that_has_enough_ends_the_recording(url: str) -> None:
    """`rxws record URL -o - | head -1` ends quietly with 0."""
    reading, writing = os.pipe()
    process = await start_rxws("record", url, "-o", "-", "-m", "a", stdout=writing)
    os.close(writing)
    os.close(reading)
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, error) == (0, b"")


@pytest.mark.parametrize("output", ["-", "/dev/fd/N"])
async def test_a_slow_reader_does_not_block_the_connection(output: str) -> None:
    """While a pipe is full, pings are answered; later its reader gets everything."""
    reading, writing = os.pipe()
    pipes: dict[str, Any] = {"stdout": writing}
    if output != "-":  # as a shell does for >(another command)
        output, pipes = f"/dev/fd/{writing}", {"pass_fds": [writing]}
    async with RawServer() as server:
        process = await start_rxws("record", server.url, "-o", output, **pipes)
        os.close(writing)
        peer = await server.accept()
        for number in range(60):
            await peer.text(f"{number} {'.' * 2000}")
        await peer.frame(Op.PING, b"still there?")
        await peer.until(lambda: [each for each in peer.frames if each.opcode == Op.PONG])
        await peer.close(1000)
        with open(reading, "rb") as pipe:  # noqa: ASYNC230 # the peer waits for nothing else
            lines = await asyncio.to_thread(pipe.readlines)
        _, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert (process.returncode, error) == (0, b"")
    texts = [event["data"] for event in map(json.loads, lines) if event["type"] == "text"]
    assert [int(text.split()[0]) for text in texts] == list(range(60))
    assert sum(map(len, lines)) > 100_000  # more than a pipe holds
    assert b'{"code": 1000, "reason": "", "by": "peer"}' in b"".join(lines)


async def test_a_client_that_reconnects_is_recorded(path: str) -> None:
    """`--reconnect` records all connections and the states; each gets the messages of `-m`."""
    async with RawServer() as server:
        command = run_command("record", server.url, "-o", path, "-m", "hello", "--reconnect")
        recording = asyncio.ensure_future(command)
        for number in (1, 2):
            peer = await server.accept()
            assert (await peer.messages(1))[0].payload == b"hello"
            await peer.text(f"m{number}")
            await until_recorded(path, f"m{number}")
            if number == 1:
                await peer.rst()
        await peer.close(1000)
        result = await recording
    assert (result.code, result.out) == (0, "")
    assert "Waiting " in result.err
    assert messages(path) == ["m1", "m2"]
    assert messages(path, "outgoing") == ["hello", "hello"]
    assert [status.state for status in messages(path, "status")].count("open") == 2


async def test_a_line_that_is_not_text(url: str, path: str) -> None:
    """The message names the line of the input."""
    result = await run_command("record", url, "-o", path, stdin=b"a\n\xff\n")
    assert result.code == 64
    assert "Line 2 of the input is not UTF-8" in result.err


async def test_a_closed_input_is_no_input(url: str, path: str) -> None:
    """A service without stdin can record."""
    command = shlex.join([sys.executable, "-m", "rxws", "record", url, "-o", path, "-m", "a"])
    process = await asyncio.create_subprocess_shell(f"{command} -n 1 <&-", env=environment())
    assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    assert messages(path) == ["re: a"]


async def test_a_command_is_no_message(url: str, path: str) -> None:
    """`-m /ping` is refused: a recording can only send."""
    result = await run_command("record", url, "-o", path, "-m", "/ping")
    assert result.code == 64
    assert "is not a message: to send it, write //ping" in result.err


async def test_the_progress_is_shown_on_a_terminal(path: str) -> None:
    """A terminal shows the messages, their rate, the bytes and the time, and Ctrl-C ends it."""
    async with RawServer() as server, open_terminal() as terminal:
        await terminal.run("record", server.url, "-o", path, "-n", "4")
        peer = await server.accept()
        for number in range(3):
            await peer.text(f"m{number}")
        lines = await terminal.until(lambda lines: "3 of 4 messages" in lines[-1])
        assert re.fullmatch(r"━+╸? +3 of 4 messages  \d+/s  \d+ bytes +0:0\d", lines[-1])
        await terminal.press("C-c")
        await peer.answer_close()
        await terminal.ends_with("$")
    assert messages(path) == ["m0", "m1", "m2"]
