"""`rxws bench` against servers that are not rxws."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import count

import pytest
from aiohttp import WSMsgType, web
from yarl import URL

from rxws.cli._connection import Target
from rxws.cli.bench import _load
from rxws.cli.bench._load import Load, Plan, Remote
from support.commands import run_command, running_command
from support.fixtures import Serve
from support.terminal import open_terminal


class Peer:
    """A server of aiohttp, at several paths."""

    def __init__(self) -> None:
        self.received: list[str | bytes] = []
        self.numbers = count()
        self.busy = asyncio.Event()

    async def serve(self, request: web.Request) -> web.WebSocketResponse:
        number = next(self.numbers)
        if request.path == "/half" and number % 2:
            raise web.HTTPServiceUnavailable
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        if request.path == "/talks":
            await ws.send_str("hello")
        async for message in ws:
            self.received.append(message.data)
            if len(self.received) > 20:
                self.busy.set()
            if request.path == "/closes":
                await ws.close(code=4001)
            elif request.path == "/number":
                await ws.send_str(str(len(self.received)))
            elif request.path != "/silent" and message.type is WSMsgType.TEXT:
                await ws.send_str(message.data)
            elif request.path != "/silent":
                await ws.send_bytes(message.data)
        return ws


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def url(serve: Serve, peer: Peer) -> str:
    return f"ws://127.0.0.1:{await serve(peer.serve)}"


async def test_round_trips_are_measured(url: str, peer: Peer) -> None:
    """The load ends after the messages; each is different, and has the wanted size."""
    result = await run_command("bench", url, "-c", "3", "-n", "50", "--size", "100")
    assert len(set(peer.received)) == len(peer.received) == 50
    assert {len(message) for message in peer.received} == {100}
    assert (result.code, result.err) == (0, "")
    assert re.fullmatch(
        r"connections  3 opened; p50 \S+ ms  p99 \S+ ms  max \S+ ms\n"
        r"messages     50 sent, 50 answered in \d\.\d s: [\d,]+/s\n"
        r"bytes        5 kB sent, 5 kB received: \S+ [kM]?B/s\n"
        r"latency      p50 \S+ ms  p90 \S+ ms  p99 \S+ ms  p99\.9 \S+ ms  max \S+ ms\n"
        r"closed       3 with 1000 \(normal closure\) by this client\n",
        result.out,
    )


async def test_a_rate_is_kept_for_a_duration(url: str, peer: Peer) -> None:
    """No more messages are sent than the rate allows, and the load ends by itself."""
    result = await run_command(
        *("bench", url, "-c", "2", "-r", "20", "-d", "0.5", "--binary", "--json")
    )
    figures = json.loads(result.out)
    assert 1 <= figures["messages"]["sent"] <= 10
    assert figures["messages"]["answered"] == figures["messages"]["sent"] == len(peer.received)
    assert figures["interrupted"] is False
    assert figures["seconds"] >= 0.5
    assert all(isinstance(message, bytes) for message in peer.received)
    assert result.code == 0


async def test_one_way_messages_need_no_answers(url: str, peer: Peer) -> None:
    """A server may be silent; all messages reach it."""
    result = await run_command(
        *("bench", f"{url}/silent", "--one-way", "-n", "1000", "--size", "1000", "--json")
    )
    figures = json.loads(result.out)
    assert len(peer.received) == figures["messages"]["sent"] == 1000
    assert (figures["messages"]["received"], figures["latency_ms"]) == (0, None)
    assert result.code == 0


async def test_a_message_may_have_any_answer(url: str, peer: Peer) -> None:
    """With `-m`, the next message of the server is the answer."""
    result = await run_command(
        *("bench", f"{url}/number", "-c", "1", "-m", "now?", "-n", "20", "--in-flight", "4")
    )
    assert peer.received == ["now?"] * 20
    assert "20 sent, 20 answered" in result.out
    assert result.code == 0


async def test_messages_that_are_no_answers_are_counted(url: str) -> None:
    """A greeting is no answer."""
    result = await run_command("bench", f"{url}/talks", "-c", "2", "-n", "4")
    assert "4 sent, 4 answered, 2 other messages received" in result.out
    assert result.code == 0


async def test_missing_answers_are_a_timeout(url: str, peer: Peer) -> None:
    """The load waits for the last answers for a while, and the exit code is 3."""
    target = Target(URL(f"{url}/silent"), {})
    load = Load(target, Plan(connections=1, seconds=0.1, patience=0.1))
    results = await load.run(asyncio.Event())
    assert (results.sent, results.answered, results.received) == (1, 0, 0)


async def test_closes_are_counted_by_code(url: str) -> None:
    """A close code of the server that is no clean one makes the exit code 1."""
    result = await run_command("bench", f"{url}/closes", "-c", "2", "-d", "30")
    assert "closed       2 with 4001 by the server\n" in result.out
    assert result.code == 1


async def test_connections_that_fail_are_counted(url: str) -> None:
    """The others are measured; the exit code is 2."""
    result = await run_command("bench", f"{url}/half", "-c", "4", "-n", "4")
    assert "connections  2 opened, 2 failed; " in result.out
    assert f"failed       2: {url}/half refused the WebSocket: HTTP status 503" in result.out
    assert result.code == 2


async def test_a_server_that_is_not_there_is_an_error() -> None:
    """Without any connection there are no figures."""
    result = await run_command("bench", "ws://127.0.0.1:1")
    assert (result.code, result.out) == (2, "")
    assert "Error: cannot connect to 'ws://127.0.0.1:1'" in result.err


async def test_ctrl_c_prints_what_was_measured(url: str, peer: Peer) -> None:
    """The connections are closed with 1000, and the exit code is 0."""
    async with running_command("bench", url, "-d", "600", "--json") as command:
        await peer.busy.wait()
        command.interrupt()
        code, out, _ = await command.ended()
    figures = json.loads(out)
    assert figures["interrupted"] is True
    assert figures["messages"]["answered"] >= 20
    assert figures["connections"]["closed"] == [{"code": 1000, "by": "local", "count": 10}]
    assert code == 0


async def test_a_redirect_to_another_machine_is_refused(
    url: str, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address of the open connection counts, and not the name that was given."""
    monkeypatch.setattr(_load, "is_loopback", lambda remote: False)
    with pytest.raises(Remote):
        await Load(Target(URL(url), {}), Plan(connections=3, seconds=9)).run(asyncio.Event())
    assert peer.received == []


async def test_progress_is_shown_at_a_terminal(url: str, peer: Peer) -> None:
    """The bar disappears when the figures are printed."""
    async with open_terminal(width=100) as terminal:
        await terminal.run("bench", url, "-d", "60", "-r", "50")
        await terminal.until(
            lambda lines: re.search(r"sending .* \d+ messages  \d+/s  ", "\n".join(lines))
        )
        await terminal.press("C-c")
        lines = await terminal.until(lambda lines: lines[-1] == "$")
    assert not any("sending" in line for line in lines)
    assert any(re.match(r"latency      p50 ", line) for line in lines)
