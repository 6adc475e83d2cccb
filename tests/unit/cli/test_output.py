"""What commands print."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, TextIO

import pytest

from rxws.cli import _output
from rxws.cli._output import (
    Output,
    discard_unwritable,
    note,
    open_output,
    printable,
    styled,
    to_terminal,
    write,
    write_soon,
)
from rxws.cli.draw._screen import TerminalScreen


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\rb", "a\\rb"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202edef", "abc\\u202edef"),
        ("héllo ☃ 🐍", "héllo ☃ 🐍"),
    ],
)
def test_characters_that_a_terminal_obeys_are_escaped(text: str, shown: str) -> None:
    """A server cannot move the cursor, set the title, or reorder what is shown."""
    assert printable(text) == shown


def test_data_goes_to_stdout_and_notes_to_stderr(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """A pipe gets the data unchanged, and nothing else."""
    write("é\x1b\n")
    write(b"\xff\x00")
    note("opened\x1b")
    captured = capfdbinary.readouterr()
    assert captured.out == "é\x1b\n".encode() + b"\xff\x00"
    assert captured.err == b"opened\\x1b\n"


# --- stdout -----------------------------------------------------------------------------------


class Pipe(NamedTuple):
    """A stdout whose other end the test reads."""

    stream: TextIO
    end: int


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipe]:
    end, file = os.pipe()
    with open(file, "w", encoding="ascii") as stream:
        # Not `sys.stdout`, which pytest replaces before each test.
        monkeypatch.setattr(_output, "sys", SimpleNamespace(stdout=stream))
        yield Pipe(stream, end)
    with suppress(OSError):  # the test has closed it
        os.close(end)


def read(file: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(file, size - len(data))
    return data


LARGE = b"x" * (1 << 20)  # more than a pipe takes


async def test_a_small_text_is_written_at_once(stdout: Pipe) -> None:
    """Buffered text goes first; characters that stdout cannot encode are escaped."""
    stdout.stream.write("first ")
    await write_soon("é\n")
    assert os.read(stdout.end, 100) == b"first \\xe9\n"
    await write_soon(b"\xff")
    assert os.read(stdout.end, 100) == b"\xff"
    assert not to_terminal()


async def test_the_loop_goes_on_while_the_reader_is_slow(stdout: Pipe) -> None:
    """A large text is written as the reader takes it, and waits for that."""
    writing = asyncio.ensure_future(write_soon(LARGE))
    await asyncio.sleep(0)
    assert not writing.done()
    assert await asyncio.to_thread(read, stdout.end, len(LARGE)) == LARGE
    await writing


async def test_a_full_pipe_takes_a_small_text_later(stdout: Pipe) -> None:
    """A small text does not stop the loop either."""
    os.set_blocking(stdout.stream.fileno(), False)
    filled = 0
    with suppress(BlockingIOError):
        while True:
            filled += os.write(stdout.stream.fileno(), b"x" * 4096)
    os.set_blocking(stdout.stream.fileno(), True)
    writing = asyncio.ensure_future(write_soon("end"))
    await asyncio.sleep(0)
    assert not writing.done()
    read(stdout.end, filled)
    await writing
    assert os.read(stdout.end, 100) == b"end"


@pytest.mark.parametrize("data", [b"small", LARGE], ids=["small", "large"])
async def test_a_reader_that_has_gone_is_an_error(stdout: Pipe, data: bytes) -> None:
    """The command ends then."""
    os.close(stdout.end)
    with pytest.raises(BrokenPipeError):
        await write_soon(data)


async def test_where_a_pipe_cannot_be_asked_a_thread_writes(
    stdout: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, where only sockets can be selected."""

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("select.select", refuse)
    await write_soon("text")
    assert os.read(stdout.end, 100) == b"text"


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_write_that_is_given_up_goes_on_in_its_thread(stdout: Pipe, is_closed: bool) -> None:
    """Nobody waits for the result then, maybe as the loop is closed: that is no error."""
    before = set(threading.enumerate())

    async def give_up() -> threading.Thread:
        writing = asyncio.ensure_future(write_soon(LARGE))
        await asyncio.sleep(0)
        [thread] = set(threading.enumerate()) - before
        writing.cancel()
        with suppress(asyncio.CancelledError):
            await writing
        if not is_closed:
            read(stdout.end, len(LARGE))
            await asyncio.to_thread(thread.join)
        return thread

    thread = asyncio.run(give_up())
    if is_closed:
        read(stdout.end, len(LARGE))
        thread.join()
    assert thread.daemon


@pytest.mark.parametrize(("no_color", "shown"), [("1", "text"), ("", "\x1b[2mtext\x1b[0m")])
def test_a_text_is_dim_unless_colours_are_off(
    monkeypatch: pytest.MonkeyPatch, no_color: str, shown: str
) -> None:
    """NO_COLOR is honoured, unless it is empty, as https://no-color.org asks."""
    monkeypatch.setenv("NO_COLOR", no_color)
    assert styled("text", dim=True) == shown


def test_data_that_cannot_be_written_is_discarded(stdout: Pipe) -> None:
    """Otherwise Python would try again at its exit, and print an error."""
    stdout.stream.write("lost")
    os.close(stdout.end)
    discard_unwritable(stdout.stream)
    stdout.stream.flush()


def test_data_that_can_be_written_is_not_discarded(stdout: Pipe) -> None:
    """It is written."""
    stdout.stream.write("kept")
    discard_unwritable(stdout.stream)
    assert os.read(stdout.end, 100) == b"kept"


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe that is full: its ends for reading and for writing."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, b"." * 4096)
    os.set_blocking(writing, True)
    yield reading, writing
    for each in (reading, writing):
        with suppress(OSError):
            os.close(each)


def until_closed(reading: int, into: list[bytes]) -> threading.Thread:
    """Read in a thread."""

    def read() -> None:
        while data := os.read(reading, 1 << 16):
            into.append(data)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


async def test_writes_to_a_full_pipe_are_queued_in_order(pipe: tuple[int, int]) -> None:
    """A write returns at once; `drained` waits for the reader."""
    reading, writing = pipe
    output = Output(writing)
    for number in range(100):
        assert output.write(b"%d " % number + b"x" * number * 100) > 0
    waiting = asyncio.ensure_future(output.drained())
    for _ in range(10):
        await asyncio.sleep(0)
    assert output.is_behind
    assert not waiting.done()
    found: list[bytes] = []
    thread = until_closed(reading, found)
    await waiting
    assert not output.is_behind
    output.write(b"end")
    os.close(writing)
    await asyncio.to_thread(thread.join)
    numbers = b"".join(found).replace(b"x", b"").lstrip(b".")
    assert numbers == b"".join(b"%d " % number for number in range(100)) + b"end"


async def test_a_reader_that_goes_while_something_is_queued(pipe: tuple[int, int]) -> None:
    """`drained` and the next write raise the error."""
    reading, writing = pipe
    output = Output(writing)
    output.write(b"lost")
    os.close(reading)
    for _ in range(2):
        with pytest.raises(BrokenPipeError):
            await output.drained()
        with pytest.raises(BrokenPipeError):
            output.write(b"more")


async def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    """A file is never slow, however large the data."""
    with open_output(tmp_path / "file") as output:
        output.write(b"." * 1_000_000)
        assert not output.is_behind
        await output.drained()
    assert (tmp_path / "file").stat().st_size == 1_000_000


async def test_a_picture_waits_for_a_stopped_terminal(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the terminal is stopped, pictures are left out, except for the last one."""
    reading, writing = pipe
    with os.fdopen(writing, "w", encoding="utf-8", closefd=False) as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        found: list[bytes] = []
        with TerminalScreen() as screen:
            for number in range(100):
                screen.show(f"picture {number}")
        thread = until_closed(reading, found)
        await screen.drained()
    os.close(writing)
    await asyncio.to_thread(thread.join)
    assert re.findall(rb"picture \d+", b"".join(found)) == [b"picture 99"]
