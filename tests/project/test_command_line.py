"""The commands of the documentation and of `--help`."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from aiohttp import web

from rxws import Recording
from rxws.cli.connect import command as connect
from rxws.cli.draw import command as draw
from rxws.cli.record import command as record
from rxws.cli.replay import command as replay
from rxws.testing import Clock
from support import ROOT
from support.fixtures import Serve
from support.processes.command_line import PATIENCE, environment
from support.terminal import open_terminal

PAGE = ROOT / "docs/howto/command-line.md"
ADDRESS = "localhost:8080"


class Example(NamedTuple):
    """A command line of the page, and what it prints; `…` stands for any text."""

    line: int
    command: str
    output: list[str]

    @property
    def is_typed(self) -> bool:
        """Whether a person types at a prompt."""
        return any(line.startswith("> ") for line in self.output)

    def check(self, printed: list[str]) -> None:
        """Compare the printed lines with those of the page."""
        pattern = re.escape("\n".join(self.output)).replace("…", ".+")
        text = "\n".join(printed)
        assert re.fullmatch(pattern, text), f"{PAGE.name}:{self.line} prints:\n{text}"


def examples() -> Iterator[Example]:
    """Yield the examples of the page."""
    text = PAGE.read_text("utf-8")
    pattern = r"(?<!-->\n)^```console\n(.*?)^```$"  # not after <!-- not run: … -->
    for block in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        first = text.count("\n", 0, block.start(1)) + 1
        example: Example | None = None
        for number, line in enumerate(block[1].splitlines(), first):
            if line.startswith("$ "):
                if example is not None:
                    yield example
                example = Example(number, line[2:], [])
            else:
                assert example is not None
                example.output.append(line)
        assert example is not None
        yield example


def _has_lines(count: int, lines: list[str]) -> bool:
    return len(lines) == count


@pytest.fixture
async def address(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the server of the page, and return its host and port."""
    applications: list[web.Application] = []
    monkeypatch.setattr(web, "run_app", applications.append)
    block = re.search(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    namespace: dict[str, Any] = {}
    exec(compile(block[1], PAGE, "exec", dont_inherit=True), namespace)
    return f"localhost:{await serve(applications.pop())}"


async def start_shell(command: str, directory: Path) -> asyncio.subprocess.Process:
    """Run a command line with an empty input, and stderr among stdout."""
    script = directory / "rxws"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m rxws "$@"\n', "utf-8")
    script.chmod(0o755)
    return await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        cwd=directory,
        env=environment(PATH=f"{directory}:{environment()['PATH']}"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        process_group=0,
    )


@pytest.fixture
def unused_port() -> int:
    """A port for the server that a command of the page starts."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


async def test_the_commands_of_the_page_print_what_it_says(
    address: str, unused_port: int, tmp_path: Path
) -> None:
    """Each command runs in a shell, in the order of the page."""
    found = [example for example in examples() if not example.is_typed]
    assert len(found) > 10
    for example in found:
        command = example.command.replace(ADDRESS, address).replace("8090", str(unused_port))
        process = await start_shell(command, tmp_path)
        out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
        example.check(out.decode().replace(address, ADDRESS).splitlines())


async def test_the_conversations_of_the_page_are_as_a_person_types_them(address: str) -> None:
    """Each line after `> ` is typed, once the lines before it are shown."""
    found = [example for example in examples() if example.is_typed]
    assert found
    for example in found:
        async with open_terminal() as terminal:
            await terminal.enter(example.command.replace(ADDRESS, address))
            for number, line in enumerate(example.output):
                if line.startswith("> "):
                    await terminal.until(partial(_has_lines, number + 2))
                    await terminal.enter(line[2:])
            lines = await terminal.until(lambda lines: lines[-1] == "$")
            example.check([line.replace(address, ADDRESS) for line in lines[1:-1]])


@pytest.mark.parametrize("example", connect.examples)
async def test_the_examples_of_the_help_work(address: str, tmp_path: Path, example: str) -> None:
    """Each example of `rxws connect --help` runs; Ctrl-C ends those that wait for more."""
    (tmp_path / "photo.png").write_bytes(b"\xff\x00")
    line = example.replace(ADDRESS, address).replace(" :8080", f" {address}")
    process = await start_shell(line, tmp_path)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE):
        first = await process.stdout.readline()
        if "-w" in example:
            os.killpg(process.pid, signal.SIGINT)
        rest, _ = await process.communicate()
    assert b"Error" not in first + rest
    assert process.returncode == 0


PRICES = [f'{{"symbol": "ACME", "price": {price}}}' for price in (99.5, 100.25, 99.75)]


def save_prices(directory: Path) -> None:
    """Save the recording of a client of the page's server, which lasts for 20 seconds."""
    clock = Clock()
    recording = Recording(scheduler=clock)
    recording.lane("outgoing").record("next", '{"subscribe": "ACME"}')
    for price in PRICES:
        recording.lane("incoming").record("next", price)
    clock.run(20)
    recording.lane("incoming").record("completed")
    recording.save(directory / "prices.jsonl")


@pytest.mark.parametrize("example", [*record.examples, *replay.examples, *draw.examples])
async def test_the_examples_of_recordings_work(address: str, tmp_path: Path, example: str) -> None:
    """Each example of `record`, `replay` and `draw` runs; Ctrl-C ends those that wait for more."""
    if "record" not in example:
        save_prices(tmp_path)
    line = example.replace(" :8080", f" {address}").replace("9000", "0")
    if "--follow" in example or example.startswith("rxws draw :"):
        async with open_terminal() as terminal:
            await terminal.enter(f"cd {tmp_path}; clear")
            await terminal.enter(line)
            await terminal.until(lambda lines: any("ev" in each for each in lines))
            await terminal.press("C-c")
            lines = await terminal.until(lambda lines: lines[-1] == "$")
            assert not any("Error" in each for each in lines)
        return
    process = await start_shell(line, tmp_path)
    assert process.stdout is not None
    waits = "record" in example and "-n" not in example
    async with asyncio.timeout(PATIENCE):
        first = b""
        if waits:
            while not (tmp_path / "prices.jsonl").exists():  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        elif "-o prices" not in example:
            first = await process.stdout.readline()
            assert first
        if waits or process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        rest, _ = await process.communicate()
    assert b"Error" not in first + rest
