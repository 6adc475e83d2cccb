"""The lines of standard input."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from rxws.cli._lines import read_lines

CHUNK = 1 << 16


async def lines_of(file: int) -> list[bytes]:
    return [line async for line in read_lines(file)]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:  # the test has closed it
            pass


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        (b"", []),
        (b"one\ntwo\n", [b"one", b"two"]),
        (b"one\r\n\r\ntwo", [b"one", b"", b"two"]),
        (b"\n", [b""]),
        ("é\rb\n".encode(), ["é\rb".encode()]),
    ],
)
async def test_lines_end_as_on_any_system(
    pipe: tuple[int, int], text: bytes, lines: list[bytes]
) -> None:
    """A line ends with LF or CRLF, and the last one also with the end of the input."""
    os.write(pipe[1], text)
    os.close(pipe[1])
    assert await lines_of(pipe[0]) == lines


async def test_a_line_may_arrive_in_parts(pipe: tuple[int, int]) -> None:
    """Text that comes late belongs to the same line."""
    lines = read_lines(pipe[0])
    os.write(pipe[1], b"a\nb")
    assert await anext(lines) == b"a"
    os.write(pipe[1], b"c\n")
    assert await anext(lines) == b"bc"
    os.close(pipe[1])
    with pytest.raises(StopAsyncIteration):
        await anext(lines)


async def test_a_large_file_is_read_as_it_is_used(tmp_path: Path) -> None:
    """At most 6 chunks are read ahead, so that a file may be larger than the memory."""
    line = b"x" * 1000
    path = tmp_path / "large"
    path.write_bytes((line + b"\n") * 3000)
    file = os.open(path, os.O_RDONLY)
    try:
        used = 0
        async for each in read_lines(file):
            assert each == line
            used += 1001
            assert os.lseek(file, 0, os.SEEK_CUR) - used <= 6 * CHUNK
        assert used == 3000 * 1001
    finally:
        os.close(file)


async def test_an_input_that_cannot_be_read_is_an_error(pipe: tuple[int, int]) -> None:
    """The lines before it are not lost, and the error is that of the system."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        await lines_of(pipe[1])


def test_a_read_that_still_waits_ends_with_the_next_line(pipe: tuple[int, int]) -> None:
    """When the command has ended, its thread reads once more, and ends without an error."""
    before = set(threading.enumerate())

    async def read_one() -> list[threading.Thread]:
        os.write(pipe[1], b"one\n")
        assert await anext(read_lines(pipe[0])) == b"one"
        return [each for each in threading.enumerate() if each not in before]

    [thread] = asyncio.run(read_one())
    assert thread.daemon
    os.write(pipe[1], b"two\n")
    thread.join()
