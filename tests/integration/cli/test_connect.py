"""`rxws connect` in a pipe, against peers that are not rxws."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import WSMsgType, web

import rxws
from support.fixtures import Serve
from support.peers.frames import Op, close_body, frame
from support.peers.raw import RawServer
from support.processes.command_line import PATIENCE, run_rxws, start_rxws


async def echo(request: web.Request) -> web.WebSocketResponse:
    """An echo server of aiohttp."""
    ws = web.WebSocketResponse(max_msg_size=0)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        elif message.type is WSMsgType.BINARY:
            await ws.send_bytes(message.data)
    return ws


Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Start `rxws`; it is killed at the end of a test that fails."""
    processes: list[asyncio.subprocess.Process] = []

    async def start(*arguments: str) -> asyncio.subprocess.Process:
        processes.append(process := await start_rxws(*arguments))
        return process

    yield start
    for process in processes:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.fixture
async def url(serve: Serve) -> str:
    return f"ws://127.0.0.1:{await serve(echo)}/"


async def test_a_reply_is_printed(url: str) -> None:
    """`echo hi | rxws connect URL -n 1` prints the reply, and nothing else, and ends with 0."""
    assert await run_rxws("connect", url, "-n", "1", stdin="hi\n") == (0, "hi\n", "")


async def test_each_line_is_a_message(url: str) -> None:
    """Lines are sent as they are, whatever they begin with; the last one needs no end."""
    stdin = "a\n\n/close 4001\n@x\r\n  é\n\tlast"
    result = await run_rxws("connect", url, "-n", "6", stdin=stdin)
    assert result == (0, "a\n\n/close 4001\n@x\n  é\n\tlast\n", "")


async def test_replies_after_the_end_of_the_input_are_printed(start: Start) -> None:
    """At the end of its input, the command waits for replies, here until the server closes."""
    async with RawServer() as server:
        process = await start("connect", server.url, "-w", "inf")
        process_ends = asyncio.create_task(process.communicate(b"hi\n"))
        peer = await server.accept()
        assert (await peer.messages(1))[0].payload == b"hi"
        await peer.text("late")
        await peer.close(1000)
        assert await asyncio.wait_for(process_ends, PATIENCE) == (b"late\n", b"")
        assert process.returncode == 0
        await peer.answer_close()


async def test_the_wait_for_replies_is_bounded(url: str) -> None:
    """After `-w` seconds without the end of the connection, the command closes it and is done."""
    assert await run_rxws("connect", url, "-w", "0", stdin="") == (0, "", "")
    assert await run_rxws("connect", url, "-m", "hi") == (0, "hi\n", "")


async def test_the_connection_is_closed_with_1000(start: Start) -> None:
    """When all messages have come, the command closes and waits for the close handshake."""
    async with RawServer() as server:
        process = await start("connect", server.url, "-n", "1")
        peer = await server.accept()
        await peer.text("one")
        await peer.text("two")
        frame = await peer.closing()
        assert frame.payload == (1000).to_bytes(2, "big")
        assert process.returncode is None
        await peer.close(1000)
        assert await process.communicate() == (b"one\n", b"")
        assert process.returncode == 0


async def test_messages_of_the_command_line(url: str) -> None:
    """`-m` replaces the input, and knows the commands of the prompt."""
    texts = ["hi", "/hex 00ff", "//x", "/binary é", "/close 4001 why"]
    result = await run_rxws("connect", url, "-v", *(f"-m{text}" for text in texts))
    assert (result.code, result.out) == (0, "hi\n00ff\n/x\nc3a9\n")
    lines = result.err.split("\n")
    assert lines[0] == f"connected to {url}"
    assert "  Upgrade: websocket" in lines
    assert lines[-2:] == ["closed with 4001 'why' by this side", ""]


async def test_a_wrong_message_of_the_command_line(url: str) -> None:
    """A mistake ends the command with 64, and closes the connection with 1000."""
    result = await run_rxws("connect", url, "-v", "-m", "/pong")
    assert result.code == 64
    assert "Error: /pong is not a command: use one of /ping," in result.err


async def test_a_ping(url: str) -> None:
    """`/ping` waits for the pong, and prints the round-trip time on stderr."""
    code, out, err = await run_rxws("connect", url, "-m", "/ping", "-w", "0")
    assert (code, out) == (0, "")
    assert re.fullmatch(r"pong after \d+\.\d ms\n", err)


async def test_files(url: str, tmp_path: Path) -> None:
    """`@file` sends a file, here one that is larger than all buffers; `-o` stores the reply."""
    sent, got = tmp_path / "sent", tmp_path / "got"
    sent.write_bytes(bytes(range(256)) * 20_000)
    result = await run_rxws(
        "connect", url, "-m", f"@{sent}", "-n", "1", "--raw", "-o", str(got), "--no-compress"
    )
    assert result == (0, "", "")
    assert got.read_bytes() == sent.read_bytes()


async def test_the_whole_input_as_one_message(url: str) -> None:
    """`-m @-` sends all of stdin."""
    result = await run_rxws("connect", url, "-m", "@-", "-n", "1", "--json", stdin="a\nb\n")
    assert result == (0, '"a\\nb\\n"\n', "")


async def test_lines_as_binary_messages(url: str) -> None:
    """`--binary` sends any bytes; without it, a line that is not UTF-8 is refused."""
    data = b"\xff\xfe\n\x00"
    assert await run_rxws("connect", url, "--binary", "-n", "2", stdin=data) == (
        0,
        "fffe\n00\n",
        "",
    )
    raw = await run_rxws("connect", url, "--binary", "--raw", "-n", "2", stdin=data)
    assert raw == (0, "ÿþ\x00", "")
    code, out, err = await run_rxws("connect", url, stdin=b"ok\n\xff\n")
    assert (code, out) == (64, "")
    assert "Line 2 of the input is not UTF-8: b'\\xff'. Use --binary" in err


async def test_commands_in_piped_input(url: str) -> None:
    """`--commands` obeys what begins with / and @ in the input."""
    result = await run_rxws("connect", url, "--commands", stdin="hi\n/hex ff\n/close 4001\n")
    assert result == (0, "hi\nff\n", "")


async def test_a_chain_of_operators(url: str) -> None:
    """`-p` prints what a chain emits; `-n` counts that."""
    chain = "ops.map(json.loads), ops.filter(lambda v: v['n'] > 1), ops.pluck('n')"
    stdin = "".join(f'{{"n": {n}}}\n' for n in range(5))
    result = await run_rxws("connect", url, "-p", chain, "-n", "2", stdin=stdin)
    assert result == (0, "2\n3\n", "")


async def test_a_time_operator_in_a_chain(url: str) -> None:
    """Time operators run on the event loop of the connection."""
    chain = "ops.buffer_with_count(3), ops.debounce(.01)"
    result = await run_rxws("connect", url, "-p", chain, "-n", "1", stdin="a\nb\nc\n")
    assert result == (0, '["a", "b", "c"]\n', "")


async def test_a_chain_that_fails(url: str) -> None:
    """The message names the operator and the value, and the exit code is 1."""
    result = await run_rxws("connect", url, "-p", "ops.map(int)", "-m", "x", "-v")
    assert result.code == 1
    assert "closed" not in result.err
    assert result.err.endswith(
        "Error: ops.map(int) failed for 'x': ValueError: invalid literal for int() with base 10: "
        "'x'\n"
    )


async def test_the_time_of_each_message(url: str) -> None:
    """`--time --json` has the round-trip time of the reply."""
    result = await run_rxws("connect", url, "--time", "--json", "-n", "1", stdin='{"a": 1}\n')
    message = json.loads(result.out)
    assert message["message"] == {"a": 1}
    assert 0 < message["elapsed"] < PATIENCE


@pytest.mark.parametrize(
    ("close", "code", "err"),
    [
        ((1000, ""), 0, ""),
        ((1001, "bye"), 0, ""),
        ((4001, "why\x1b[2J"), 1, "Error: closed with 4001 'why\\x1b[2J' by the server\n"),
        ((1011, ""), 1, "Error: closed with 1011 (internal error) by the server\n"),
    ],
)
async def test_a_close_of_the_server(
    close: tuple[int, str], code: int, err: str, start: Start
) -> None:
    """A clean close ends the command with 0, another one with 1, a name and a reason."""
    async with RawServer() as server:
        process = await start("connect", server.url)
        peer = await server.accept()
        await peer.close(*close)
        await peer.answer_close()
        assert await process.communicate() == (b"", err.encode())
        assert process.returncode == code


async def test_a_lost_connection(start: Start) -> None:
    """TCP that is reset is an abnormal end, by the network."""
    async with RawServer() as server:
        process = await start("connect", server.url)
        await (await server.accept()).rst()
        _, err = await process.communicate()
        assert err == b"Error: closed with 1006 (abnormal closure) by the network\n"
        assert process.returncode == 1


async def test_a_clean_close_before_all_messages(start: Start) -> None:
    """With `-n`, a close that comes too early is a failure."""
    async with RawServer() as server:
        process = await start("connect", server.url, "-n", "2")
        peer = await server.accept()
        await peer.text("one")
        await peer.close(1000)
        await peer.answer_close()
        out, err = await process.communicate()
        assert (out, process.returncode) == (b"one\n", 1)
        assert err == (
            b"Error: closed with 1000 (normal closure) by the server, after 1 of 2 messages\n"
        )


async def test_a_timeout(url: str) -> None:
    """`-t` ends a command that waits for messages with 3, and so does `-w` if `-n` is given."""
    for option in ("-t", "-w"):
        result = await run_rxws("connect", url, "-n", "2", option, ".5", "-m", "hi")
        assert result == (3, "hi\n", "Error: timed out, after 1 of 2 messages\n")
    result = await run_rxws("connect", url, "-t", ".1", "-m", "hi", "-w", "inf", "-o", "/dev/null")
    assert result == (3, "", "Error: timed out\n")


async def test_a_handshake_that_takes_too_long() -> None:
    """`-t` also limits the handshake; with `--open-timeout` alone, the code is 2."""
    async with RawServer() as server:
        result = await run_rxws("connect", server.url, "-t", ".2")
        assert result == (3, "", "Error: timed out\n")
        result = await run_rxws("connect", server.url, "--open-timeout", ".2")
        assert result.code == 2
        assert "no answer in open_timeout=0.2 s" in result.err


async def test_a_refusal(serve: Serve) -> None:
    """The status and the body of a refusal are shown, and the code is 2."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403, text="log in first\x1b[2J")

    result = await run_rxws("connect", f"ws://127.0.0.1:{await serve(refuse)}/", "-m", "x")
    assert result.code == 2
    assert "HTTP status 403 Forbidden" in result.err
    assert result.err.endswith("\nlog in first\\x1b[2J\n")


async def test_ctrl_c_closes_with_1000(start: Start) -> None:
    """The first Ctrl-C waits for the close handshake, and the code is 0; a second one gives up."""
    async with RawServer() as server:
        process = await start("connect", server.url, "-v")
        peer = await server.accept()
        await peer.text("hi")
        assert process.stdout is not None
        assert await process.stdout.readline() == b"hi\n"
        process.send_signal(signal.SIGINT)
        assert (await peer.closing()).payload == (1000).to_bytes(2, "big")
        await peer.close(1000)
        _, err = await process.communicate()
        assert err.endswith(b"closed with 1000 (normal closure) by this side\n")
        assert process.returncode == 0


async def test_a_second_ctrl_c_gives_up(start: Start) -> None:
    """The command ends without the answer of the server."""
    async with RawServer() as server:
        process = await start("connect", server.url)
        peer = await server.accept()
        await peer.text("hi")
        assert process.stdout is not None
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        await peer.closing()
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 130


async def test_ctrl_c_during_the_handshake(start: Start) -> None:
    """There is nothing to close yet: the first Ctrl-C ends the command with 130."""
    async with RawServer() as server:
        process = await start("connect", server.url)
        await server.accept_tcp()
        process.send_signal(signal.SIGINT)
        assert await process.communicate() == (b"", b"")
        assert process.returncode == 130


async def test_a_reader_that_goes_away(start: Start) -> None:
    """`rxws connect … | head -1` closes with 1000 and ends with 0, without a message."""
    async with RawServer() as server:
        process = await start("connect", server.url)
        peer = await server.accept()
        assert process.stdout is not None
        process.stdout._transport.close()  # type: ignore[attr-defined] # asyncio has no other way
        await peer.text("hi")
        assert (await peer.closing()).payload == (1000).to_bytes(2, "big")
        await peer.close(1000)
        assert process.stderr is not None
        assert await process.stderr.read() == b""
        assert await process.wait() == 0


async def test_a_reader_that_is_slow_slows_down_the_server(start: Start) -> None:
    """While nobody reads stdout, the server is not read, but its pings are answered."""
    async with RawServer(receive_buffer=1 << 12) as server:
        process = await start("connect", server.url)
        peer = await server.accept()
        for _ in range(3):
            await peer.text("x" * 60_000)  # more than a pipe takes
        await peer.frame(Op.PING, b"there?")
        await peer.until(lambda: [f for f in peer.frames if f.opcode == Op.PONG])
        await peer.close(1000)
        out, err = await process.communicate()
        assert (len(out), err, process.returncode) == (3 * 60_001, b"", 0)


async def test_reconnect(start: Start) -> None:
    """`--reconnect` goes on with the next connection, and shows the states on stderr."""
    async with RawServer() as server:
        process = await start("connect", server.url, "--reconnect", "-n", "2")
        assert process.stdin is not None
        process.stdin.write(b"one\n")
        peer = await server.accept()
        assert (await peer.messages(1))[0].payload == b"one"
        await peer.text("first")
        await peer.close(1012)
        await peer.answer_close()
        peer = await server.accept()
        process.stdin.write(b"two\n")
        assert (await peer.messages(1))[0].payload == b"two"
        await peer.text("second")
        await peer.answer_close()
        out, err = await process.communicate()
    assert (out, process.returncode) == (b"first\nsecond\n", 0)
    lines = [re.sub(r"[01]\.\d s", "… s", line) for line in err.decode().split("\n")]
    assert lines[:3] == ["Connecting, attempt 1", f"Open {server.url}", "Closed 1012 by peer"]
    assert lines[3] == "Waiting … s: ConnectionClosed(closed with 1012 by peer)"
    assert lines[4:6] == ["Connecting, attempt 2", f"Open {server.url}"]


async def test_reconnect_gives_up_after_a_refusal(serve: Serve) -> None:
    """If trying again is no use, the code is that of a connection that could not be opened."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=401)

    url = f"ws://127.0.0.1:{await serve(refuse)}/"
    result = await run_rxws("connect", url, "--reconnect", "-w", "inf")
    assert result.code == 2
    assert "HTTP status 401" in result.err


@pytest.fixture
async def rpc_url(serve: Serve) -> str:
    methods = rxws.rpc.Methods()

    @methods.add
    def add(a: int, b: int) -> int:
        return a + b

    @methods.add
    async def count(n: int) -> Any:
        for number in range(n):
            yield number

    @methods.add
    def log(text: str, context: rxws.rpc.Context) -> None:
        context.caller.notify("logged", text)

    @methods.add
    def fail() -> None:
        raise rxws.rpc.ResponseError(7, "no", {"why": "because"})

    return f"ws://127.0.0.1:{await serve(rxws.websocket(rxws.rpc.serve(methods)))}/"


async def test_rpc_in_a_pipe(rpc_url: str) -> None:
    """Each line is a call; results, items of streams and notifications are shown."""
    lines = ["add 1 2", 'add {"a": 3, "b": 4}', "count 2", '/stream count {"n": 2}']
    result = await run_rxws("connect", rpc_url, "--rpc", stdin="\n".join(lines))
    assert result == (0, "3\n7\n[\n  0,\n  1\n]\n0\n1\n", "")


async def test_rpc_shows_notifications(rpc_url: str) -> None:
    """A notification of the server is a note."""
    messages = ["-m", "/notify log hi", "-m", 'log {"text": "again"}']
    result = await run_rxws("connect", rpc_url, "--rpc", *messages)
    assert result == (0, "null\n", 'logged ["hi"]\nlogged ["again"]\n')


async def test_an_error_of_rpc(rpc_url: str) -> None:
    """The code, the message and the data of an error are shown; the exit code is 1."""
    result = await run_rxws("connect", rpc_url, "--rpc", "-m", "fail", "-m", "add 1 2")
    assert result == (1, "", 'Error: fail: no (7) {"why": "because"}\n')


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["-o", "/missing/file"],
            "Error: Cannot write to /missing/file: No such file or directory.",
        ),
        (["--raw", "--time"], "--raw prints messages unchanged: leave out --time"),
        (["--rpc", "-n", "1"], "--rpc shows the answers of calls: leave out -n and -p."),
        (["-p", "ops.mpa(str)"], "Invalid value for '-p' / '--pipe': ops.mpa(str): AttributeError"),
    ],
)
async def test_options_that_do_not_fit(options: list[str], message: str) -> None:
    """Wrong options are refused before connecting."""
    result = await run_rxws("connect", "ws://127.0.0.1:1/", *options)
    assert result.code == 64
    assert message in result.err


async def test_messages_before_an_abnormal_close_are_printed(start: Start) -> None:
    """A message that comes together with the close of the server is not lost."""
    async with RawServer() as server:
        process = await start("connect", server.url, "-w", "inf")
        ends = asyncio.ensure_future(process.communicate())
        await server.accept(then=frame(Op.TEXT, b"hello") + frame(Op.CLOSE, close_body(4002)))
        out, _ = await asyncio.wait_for(ends, PATIENCE)
    assert (process.returncode, out) == (1, b"hello\n")
