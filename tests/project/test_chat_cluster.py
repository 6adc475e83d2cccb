"""The chat of several processes, with a real Redis and clients that do not use rxws."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from support import ROOT
from support.processes.examples import EXAMPLES, PATIENCE, ExampleServer, running_example
from support.processes.redis_server import RedisServer, free_port, redis_servers

Told = dict[str, Any]


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """Start a Redis server."""
    with redis_servers(tmp_path) as start:
        yield start()


@pytest.fixture
async def servers(redis: RedisServer) -> AsyncIterator[list[ExampleServer]]:
    """Start two processes of the chat on one Redis."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                running_example("chat_cluster", "--redis", redis.url, port=free_port())
            )
            for _ in range(2)
        ]


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("http://localhost", "use redis://host:port/0"),
        (f"redis://127.0.0.1:{free_port()}", "cannot be reached"),
    ],
)
async def test_wrong_redis_url(url: str, text: str) -> None:
    """A wrong URL of Redis ends the program with one line that says what is wrong."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / "chat_cluster.py"), "--redis", url, "--port", "0"),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        stdout, stderr = await process.communicate()
    assert process.returncode == 1
    assert stdout == b""
    assert stderr.decode().count("\n") == 1
    assert text in stderr.decode()


class Guest:
    """A person in a room."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[Told] = []

    async def say(self, text: str) -> None:
        """Send a message."""
        await self.socket.send(json.dumps({"text": text}))

    async def until(self, condition: Callable[[Told], bool]) -> Told:
        """Return the next message that meets a condition."""
        async with asyncio.timeout(PATIENCE):
            while True:
                self.told.append(json.loads(await self.socket.recv()))
                if condition(self.told[-1]):
                    return self.told[-1]

    async def sees(self, *names: str) -> None:
        """Wait until exactly these people are present."""
        await self.until(lambda told: told == {"here": list(names)})

    async def hears(self, count: int) -> list[tuple[str, str]]:
        """Return the names and texts of the next messages."""
        lines = [await self.until(lambda told: "text" in told) for _ in range(count)]
        return [(line["name"], line["text"]) for line in lines]


@asynccontextmanager
async def guest(server: ExampleServer, name: str, room: str = "kitchen") -> AsyncIterator[Guest]:
    """Enter a room by name."""
    url = f"ws://127.0.0.1:{server.port}/room?name={name}&room={room}"
    async with connect(url) as socket:
        yield Guest(socket)


def test_example_is_small_and_says_how_to_run_it() -> None:
    """The example and its page have fewer than 100 lines, and it says how to run it."""
    source = (EXAMPLES / "chat_cluster.py").read_text()
    assert len(source.splitlines()) < 100
    assert "Run" in (ast.get_docstring(ast.parse(source)) or "")
    script = (EXAMPLES / "chat_cluster.html").read_text().split('<script type="module">\n')[1]
    assert len(script.split("</script>")[0].splitlines()) < 100


async def test_people_in_two_processes_share_a_room(servers: list[ExampleServer]) -> None:
    """People in two processes see each other come, speak and go; other rooms hear nothing."""
    one, other = servers
    async with guest(one, "ann") as ann, guest(other, "cleo", "cellar") as cleo:
        await ann.sees("ann")
        await cleo.sees("cleo")
        async with guest(other, "bob") as bob:
            await ann.sees("ann", "bob")
            await bob.sees("ann", "bob")
            await ann.say("hello")
            assert await bob.hears(1) == [("ann", "hello")]
            await bob.say("hi")
            assert await ann.hears(2) == [("ann", "hello"), ("bob", "hi")]
        await ann.sees("ann")
        await cleo.say("anybody?")
        assert await cleo.hears(1) == [("cleo", "anybody?")]


async def test_who_comes_later_reads_what_was_said(servers: list[ExampleServer]) -> None:
    """Who comes later, in the other process, gets the last 20 messages, and then live ones."""
    one, other = servers
    async with guest(one, "ann") as ann:
        for number in range(25):
            await ann.say(str(number))
        await ann.hears(25)
        async with guest(other, "bob") as bob:
            before = [("ann", str(number)) for number in range(5, 25)]
            assert await bob.hears(20) == before
            await ann.say("live")
            assert await bob.hears(1) == [("ann", "live")]


async def test_invalid_messages_are_answered(servers: list[ExampleServer]) -> None:
    """A message without a text gets an error, and the connection stays open."""
    async with guest(servers[0], "ann") as ann:
        await ann.socket.send('{"text": 1}')
        assert "text" in (await ann.until(lambda told: "error" in told))["error"]
        await ann.say("hello")
        assert await ann.hears(1) == [("ann", "hello")]


async def test_a_process_that_stops_leaves_the_room(servers: list[ExampleServer]) -> None:
    """If a process is stopped, its people disappear at once, and the others go on."""
    one, other = servers
    async with guest(one, "ann") as ann, guest(other, "bob") as bob:
        await ann.sees("ann", "bob")
        code, error = await other.end(signal.SIGTERM)
        assert (code, error) == (0, "")
        await bob.socket.wait_closed()
        assert bob.socket.close_code == 1001
        await ann.sees("ann")
        await ann.say("still here")
        assert await ann.hears(1) == [("ann", "still here")]


async def test_one_process_needs_no_redis() -> None:
    """Without `--redis`, the chat works in one process."""
    async with (
        running_example("chat_cluster", port=free_port()) as server,
        guest(server, "ann") as ann,
        guest(server, "bob") as bob,
    ):
        await ann.sees("ann", "bob")
        await bob.say("hello")
        assert await ann.hears(1) == [("bob", "hello")]
