"""The commands about servers, in the documentation and in `--help`."""

from __future__ import annotations

import asyncio
import re
import shlex
import shutil
import signal
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
import websockets
from aiohttp import web
from websockets.asyncio.client import connect

import rxws
from rxws.cli.bench import command as bench
from rxws.cli.hub_tail import command as hub_tail
from rxws.cli.serve import command as serve_command
from rxws.hub import Hub, Keep, RedisBackplane
from support import ROOT
from support.fixtures import Serve
from support.peers.tls import PEM
from support.processes.command_line import PATIENCE, Result, read_line, run_rxws, running_rxws
from support.processes.redis_server import RedisServer, redis_servers

PAGE = ROOT / "docs/howto/command-line.md"
BLOCK = re.compile(r'^```(console|python) title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
LOCAL = re.compile(r"(127\.0\.0\.1|localhost):\d+")


class Example(NamedTuple):
    """A command line, and what it prints; `…` stands for any text."""

    command: str
    output: str

    @property
    def arguments(self) -> list[str]:
        return shlex.split(self.command.rpartition("| rxws ")[2].removeprefix("rxws "))

    def check(self, printed: str) -> None:
        pattern = re.escape(self.output).replace("…", ".+")
        assert re.fullmatch(pattern, printed), f"{self.command} prints:\n{printed}"


def bodies(title: str) -> list[str]:
    """Return the blocks with this title."""
    found = BLOCK.findall(PAGE.read_text("utf-8"))
    return [body for _, name, body in found if name == title]


def examples(title: str) -> list[Example]:
    """Return the examples in the blocks with this title."""
    texts = [each for body in bodies(title) for each in body.removeprefix("$ ").split("\n$ ")]
    parts = [each.partition("\n") for each in texts]
    return [Example(command, output.removesuffix("\n")) for command, _, output in parts]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with the modules and files that the commands name."""
    [source] = [
        body for _, name, body in BLOCK.findall(PAGE.read_text("utf-8")) if name == "chat.py"
    ]
    (tmp_path / "chat.py").write_text(source)
    for name in ("examples/chat.py", "shop/__init__.py", "shop/app.py", "prices.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source + "\nfeed = room.handler\n\ndef make_app():\n    return room\n")
    shutil.copy(PEM, tmp_path / "cert.pem")
    return tmp_path


def trust(url: str) -> ssl.SSLContext | None:
    """Return a context that trusts the certificate of the tests, for a `wss://` URL."""
    if not url.startswith("wss"):
        return None
    context = ssl.create_default_context(cafile=PEM)
    context.check_hostname = False
    return context


async def run_server(example: Example, directory: Path) -> str:
    """Run a server on a free port while a client says hi; return what it prints, with port 8080."""
    arguments = [*example.arguments, "--port", "0"]
    async with running_rxws(*arguments, cwd=directory, stderr=asyncio.subprocess.STDOUT) as process:
        if example.command.startswith("echo "):
            assert process.stdin is not None
            process.stdin.write(b"hello\n")
            process.stdin.write_eof()
        first = await read_line(process.stdout)
        if found := re.search(r"wss?://\S+", first):
            origin = websockets.Origin("https://example.com") if "--origin" in arguments else None
            with suppress(websockets.ConnectionClosed):
                async with connect(found[0], origin=origin, ssl=trust(found[0])) as client:
                    await client.send('"hi"' if "json" in arguments else "hi")
                    await client.recv()
                    if "-n" in arguments:
                        await client.wait_closed()
            if "-v" in arguments:
                first += "\n" + "\n".join([await read_line(process.stdout) for _ in range(2)])
        if "-n" not in arguments and found:
            process.send_signal(signal.SIGINT)
        rest, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
    printed = f"{first}\n{rest.decode()}".removesuffix("\n")
    assert process.returncode == (64 if "Error" in printed else 0), printed
    return LOCAL.sub(lambda match: f"{match[1]}:8080" if found else match[0], printed)


@pytest.mark.parametrize("example", examples("serve"), ids=lambda each: each.command)
async def test_the_servers_of_the_page_print_what_it_says(
    example: Example, directory: Path
) -> None:
    """Each command runs, with a client that is not rxws."""
    example.check(await run_server(example, directory))


@pytest.mark.parametrize("line", serve_command.examples)
async def test_the_examples_of_serve_work(line: str, directory: Path) -> None:
    """Each example of `rxws serve --help` runs until Ctrl-C."""
    await run_server(Example(line, ""), directory)


async def echo(request: web.Request) -> web.WebSocketResponse:
    ws = web.WebSocketResponse()
    await ws.prepare(request)
    async for message in ws:
        await ws.send_str(message.data)
    return ws


async def run_bench(example: Example, serve: Serve, *more: str) -> Result:
    """Run a load on an echo server, whatever the URL is."""
    url = f"ws://127.0.0.1:{await serve(echo)}"
    arguments = [
        url if re.match("localhost:8080|:8080|wss://staging", each) else each
        for each in example.arguments
    ]
    return await run_rxws(*arguments, *more)


@pytest.mark.parametrize("example", examples("bench"), ids=lambda each: each.command)
async def test_the_loads_of_the_page_print_what_it_says(example: Example, serve: Serve) -> None:
    """Each command runs; the figures differ."""
    result = await run_bench(example, serve)
    example.check((result.out or result.err).removesuffix("\n"))


@pytest.mark.parametrize("line", bench.examples)
async def test_the_examples_of_bench_work(line: str, serve: Serve) -> None:
    """Each example of `rxws bench --help` runs, for a shorter time."""
    assert (await run_bench(Example(line, ""), serve, "-d", ".3")).code == 0


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_servers(tmp_path) as start:
        yield start()


@asynccontextmanager
async def kitchen(redis: RedisServer) -> AsyncGenerator[tuple[str, str]]:
    """Serve a hub with two messages in its topics; yield its address and the first position."""
    hub = Hub(
        codec=rxws.codecs.json,
        backplane=RedisBackplane(redis.url),
        topics={"room:*": Keep(100), "news:*": Keep(100)},
    )
    route = hub.serve(allow=lambda *_: True, user=lambda _, token: "ann" if token else "nobody")
    async with hub, rxws.serve(route, path="/hub") as server:
        for topic in ("room:kitchen", "room:1", "room:2", "news:42"):
            position = await hub.topic(topic).publish("hello")
            await hub.topic(topic).publish({"text": "is anybody here?"})
        yield f"127.0.0.1:{server.port}", str(position)


@pytest.fixture
async def tail(redis: RedisServer) -> AsyncIterator[list[tuple[str, str]]]:
    """What the page has, and what the servers of the test have instead."""
    async with kitchen(redis) as (address, position):
        yield [
            ("redis://localhost", redis.url),
            ("(?:localhost)?:8080", address),
            ("9f2c:17", position),
        ]


def replaced(example: Example, addresses: list[tuple[str, str]]) -> list[str]:
    found: list[str] = []
    for each in example.arguments:
        for pattern, address in addresses:
            each = re.sub(pattern, address, each)
        found.append(each)
    return found


@pytest.mark.parametrize("example", examples("hub tail"), ids=lambda each: each.command)
async def test_the_topics_of_the_page_print_what_it_says(
    example: Example, tail: list[tuple[str, str]]
) -> None:
    """Each command runs; notes and messages are compared apart, as their order may differ."""
    result = await run_rxws(*replaced(example, tail))
    assert result.code == 0
    is_note = re.compile("room:kitchen: |to continue")
    lines = example.output.split("\n")
    Example(example.command, "\n".join(each for each in lines if not is_note.match(each))).check(
        result.out.removesuffix("\n")
    )
    Example(example.command, "\n".join(each for each in lines if is_note.match(each))).check(
        result.err.removesuffix("\n")
    )


@pytest.mark.parametrize("line", hub_tail.examples)
async def test_the_examples_of_hub_tail_work(line: str, tail: list[tuple[str, str]]) -> None:
    """Each example of `rxws hub tail --help` prints a message."""
    command, _, _ = line.partition(" | ")
    arguments = replaced(Example(command, ""), tail)
    begin = () if {"--since", "--last"} & {*arguments} else ("--last", "1")
    result = await run_rxws(*arguments, *begin, "-n", "1")
    assert (result.code, bool(result.out)) == (0, True), result.err
