"""`rxws replay`: its options, its output, and what it says about differences and bad files."""

from __future__ import annotations

import asyncio
import json
import math
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from rxws import Close, ConnectionClosed, Recording
from rxws.cli._failures import Failure
from rxws.cli.replay._check import check_close, check_message
from rxws.cli.replay._recorded import LaneReader, open_recorded
from rxws.testing import Clock
from support.commands import run_command_here
from support.processes.command_line import Result


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A recording of two messages in each direction, a second apart."""
    clock = Clock()
    recording = Recording(scheduler=clock)
    for number in (1, 2):
        clock.run(1)
        recording.lane("incoming").record("next", f'{{"n": {number}}}')
        recording.lane("outgoing").record("next", bytes([number]))
    recording.lane("incoming").record("completed")
    recording.lane("closed").record("next", Close(1000, "", "peer"))
    recording.save(path := tmp_path / "s.jsonl")
    return str(path)


def replay(*args: str) -> Result:
    return run_command_here("replay", *args)


# --- printing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "printed"),
    [
        ([], '{"n": 1}\n{"n": 2}\n'),
        (["--json"], '{"n": 1}\n{"n": 2}\n'),
        (["--pretty"], '{\n  "n": 1\n}\n{\n  "n": 2\n}\n'),
        (["--lane", "outgoing"], "01\n02\n"),
    ],
)
def test_the_messages_are_printed(path: str, options: list[str], printed: str) -> None:
    """Each message is a line; binary ones are hex."""
    result = replay(path, "--speed", "max", *options)
    assert (result.code, result.out, result.err) == (0, printed, "")


def test_a_lost_connection_is_noted(path: str) -> None:
    """The end of a recorded connection is a note, not a failure of the replay."""
    recording = Recording()
    lost = Close(1006, "", "network")
    recording.lane("incoming").record("next", "a")
    recording.lane("incoming").record("error", ConnectionClosed(lost))
    recording.save(path)
    result = replay(path, "--speed", "max")
    assert (result.code, result.out) == (0, "a\n")
    assert "closed with 1006 (abnormal closure) by the network" in result.err


def test_the_error_of_a_pipeline_is_reported(path: str) -> None:
    """A lane that ended with another error than a close ends the replay with it."""
    recording = Recording()
    recording.lane("doubled").record("next", 2)
    recording.lane("doubled").record("error", ZeroDivisionError("by zero"))
    recording.save(path)
    result = replay(path, "--lane", "doubled")
    assert result == (1, "2\n", "Error: ZeroDivisionError: by zero\n")


@pytest.mark.parametrize("close", [Close(1000), None])
def test_the_messages_after_a_reconnect_are_printed(path: str, close: Close | None) -> None:
    """The end of an earlier connection is left out."""
    recording = Recording()
    lane = recording.lane("incoming")
    lane.record("next", "a")
    lane.record("error", ConnectionClosed(Close(1006, "", "network")))
    lane.record("next", "b")
    if close is not None:
        lane.record("completed")
    recording.save(path)
    assert replay(path) == (0, "a\nb\n", "")


def test_the_time_that_was_not_kept_is_skipped(path: str) -> None:
    """If older events were dropped, the replay begins with the first that is left."""
    clock = Clock()
    recording = Recording(keep=2, scheduler=clock)
    for number in range(3):
        clock.run(3600)
        recording.lane("incoming").record("next", f"{number}")
    recording.save(path)
    with open_recorded(path) as recorded:
        assert recorded.start == 7200


def test_a_sent_close_is_noted(path: str) -> None:
    """The close that a recorded client has sent is no message."""
    recording = Recording()
    recording.lane("outgoing").record("next", "a")
    recording.lane("outgoing").record("next", Close(4001, "bye"))
    recording.save(path)
    result = replay(path, "--speed", "max", "--lane", "outgoing")
    assert (result.code, result.out) == (0, "a\n")
    assert result.err == "closed with 4001 'bye' by this side\n"


def test_the_wire_is_printed_not_the_decoded_value(path: str) -> None:
    """If a program recorded decoded values, their frames are printed."""
    event = {"t": 0, "lane": "incoming", "dir": "in", "type": "repr", "data": "Tick(1)"}
    line = {**event, "frame": {"type": "text", "data": '{"tick":1}'}}
    Path(path).write_text(json.dumps(line) + "\n", "utf-8")
    assert replay(path).out == '{"tick":1}\n'


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--speed", "0"], "'0' is not a speed: use a number such as 10, or max"),
        (["--speed", "fast"], "'fast' is not a speed"),
        (["--speed", "inf"], "'inf' is not a speed"),
        (["--lane", "x"], "'x' is not in {path}, which has: incoming, outgoing, closed."),
        (["ws://x", "--serve"], "Use either a URL, to be the client, or --serve"),
        (["--check"], "--check is for a URL."),
        (["-k"], "--insecure needs a URL."),
        (["--serve", "-H", "A: b"], "--header needs a URL."),
        (["--port", "1"], "--port is for --serve."),
        (["ws://x", "--once"], "--once is for --serve."),
        (["--serve", "--lane", "x"], "--lane is for FILE alone."),
        (["ws://x", "--allow-origin", "*"], "--allow-origin is for --serve."),
    ],
)
def test_wrong_usage_is_named(path: str, args: list[str], message: str) -> None:
    """An option that would have no effect is refused."""
    result = replay(path, *args)
    assert message.format(path=path) in result.err.replace("\n", " ")
    assert result.code == 64


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "s.jsonl is empty: it has no events."),
        (b"\x89PNG\r\n\x1a\n", "s.jsonl, line 1 is not a recorded event"),
        (b'{"t": 0, "lane": "a", "type": "text", "data": ""}\n{}\n', "s.jsonl, line 2 is not"),
    ],
)
def test_a_bad_file_is_named_with_its_line(path: str, content: bytes, message: str) -> None:
    """The message has the line, and a remedy."""
    Path(path).write_bytes(content)
    result = replay(path)
    assert message in result.err
    assert ("Use a file that" in result.err) == bool(content)
    assert result.code == 64


def test_a_missing_file_is_named() -> None:
    """click's message names the file."""
    result = replay("none.jsonl")
    assert "'none.jsonl' does not exist" in result.err
    assert result.code == 64


@pytest.mark.parametrize("mode", [["ws://x"], ["--serve", "--port", "0"]])
def test_values_without_frames_cannot_be_sent(path: str, mode: list[str]) -> None:
    """A recording of a pipeline has no frames; the message says what to record."""
    recording = Recording()
    for lane in ("incoming", "outgoing"):
        recording.lane(lane).record("next", {"a": 1})
    recording.save(path)
    result = replay(path, *mode)
    assert "the recording has no frame for the" in result.err
    assert "record a connection, with `rxws record`" in result.err
    assert result.code == 64


# --- long recordings ------------------------------------------------------------------------------


def write_lines(path: str, count: int, data: str = "", end: str = "") -> None:
    """Write a recording of messages in both directions, which are due at once."""
    with Path(path).open("w", encoding="utf-8") as file:
        for number in range(count):
            lane, way = ("outgoing", "out") if number % 2 else ("incoming", "in")
            event = {"t": 0, "lane": lane, "dir": way, "type": "text", "data": f"{number}{data}"}
            file.write(json.dumps(event) + "\n")
        file.write(end)


def test_a_broken_line_is_told_when_it_is_reached(path: str) -> None:
    """The messages before it are printed; a wrong line at the beginning would prevent that."""
    write_lines(path, 3000, end="what?\n")
    result = replay(path)
    assert result.out.split() == [str(number) for number in range(0, 3000, 2)]
    assert "s.jsonl, line 3001 is not a recorded event" in result.err
    assert result.code == 64


async def test_a_long_recording_needs_little_memory(path: str) -> None:
    """Lines are read when they are due: a recording of 20 MB needs 2 MB at most."""
    write_lines(path, 10_000, data="." * 2000)
    tracemalloc.start()
    try:
        with open_recorded(path, "incoming") as recorded:
            assert recorded.size > 20_000_000
            with LaneReader(recorded, "incoming") as reader:
                count = len([None async for _ in reader.due(math.inf)])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 5000
    assert peak < 2_000_000


@pytest.mark.parametrize("name", ["-", "pipe"])
def test_a_pipe_is_replayed(path: str, tmp_path: Path, name: str) -> None:
    """The recording may come from another command, on stdin or as a named pipe."""
    write_lines(path, 3)
    content = Path(path).read_bytes()
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True)
    if name == "pipe":
        writer.start()
    result = run_command_here("replay", "-" if name == "-" else str(pipe), stdin=content)
    assert result == (0, "0\n2\n", "")


async def test_what_is_waited_for_stays_when_the_wait_is_cancelled(path: str) -> None:
    """A reader that is cancelled continues where it was."""
    write_lines(path, 2500)
    with open_recorded(path) as recorded, LaneReader(recorded, "outgoing") as reader:
        found: list[str] = []

        async def read() -> None:
            async for event in reader:
                found.append(event.data)  # noqa: PERF401 # a list would get lost

        while len(found) < 1250:
            task = asyncio.create_task(read())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        assert found == [str(number) for number in range(1, 2500, 2)]
        assert reader.progress == 1


# --- differences ----------------------------------------------------------------------------------


def difference(expected: str | bytes | None, arrived: str | bytes) -> str:
    with pytest.raises(Failure) as caught:
        check_message(2, expected, arrived)
    assert caught.value.code == 1
    return caught.value.message


@pytest.mark.parametrize(
    ("expected", "arrived", "message"),
    [
        ("a", "b", "message 2 differs:\n-a\n+b"),
        ("a", b"a", "message 2 differs: expected text, but binary arrived:\n-a\n+61"),
        (b"\x01", b"\x02", "message 2 differs:\n-01\n+02"),
        ('{"a": 1}', '{"a": 2}', 'message 2 differs at .a:\n {\n-  "a": 1\n+  "a": 2\n }'),
        ('{"a": [1, {"b": 2}]}', '{"a": [1, {"b": 3}]}', "differs at .a[1].b:"),
        ('{"a": 1, "b": 2}', '{"a": 1}', "differs at .b:"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "differs at .b:"),
        ("[1]", "[1, 2]", "differs at [1]:"),
        ("[1]", '{"a": 1}', "message 2 differs:"),
        ("1", "true", "message 2 differs:\n-1\n+true"),
        ("[1]", "[true]", "differs at [0]:"),
        ("a\x1b", "b", "-a\\x1b\n+b"),
    ],
)
def test_the_first_difference_is_named(
    expected: str | bytes, arrived: str | bytes, message: str
) -> None:
    """The message has the place in a JSON text, and both texts."""
    assert message in difference(expected, arrived)


def test_one_message_too_many_is_shown() -> None:
    """A message after the last one is a difference."""
    assert difference(None, "b") == "message 2 is not in the recording:\n+ b"


def test_a_long_difference_is_cut() -> None:
    """At most 40 lines of a diff are shown."""
    one, two = (json.dumps([add + number for number in range(100)]) for add in (0, 1000))
    lines = difference(one, two).splitlines()
    assert len(lines) == 42
    assert lines[-1].endswith("more lines")


@pytest.mark.parametrize(
    ("expected", "arrived"),
    [('{"a": 1, "b": [2]}', '{"b":[2],"a":1}'), ("[1]", " [1]"), ("plain", "plain")],
)
def test_the_order_of_keys_and_spaces_do_not_matter(expected: str, arrived: str) -> None:
    """Texts that are JSON are compared by their values."""
    check_message(1, expected, arrived)


@pytest.mark.parametrize(
    ("close", "message"),
    [
        (Close(4001, "", "peer"), None),
        (Close(4002, "", "peer"), "the server closed with 4002; in the recording it closed with"),
        (Close(4001, "", "local"), "the server did not close the connection; in the recording"),
        (None, "the server did not close the connection"),
    ],
)
def test_the_close_of_the_server_is_compared(close: Close | None, message: str | None) -> None:
    """If the recorded server closed, the server must do so with the same code."""
    recorded = Close(4001, "", "peer")
    if message is None:
        check_close(recorded, close)
    else:
        with pytest.raises(Failure, match=message):
            check_close(recorded, close)


def test_the_close_of_the_client_is_not_compared() -> None:
    """If the recorded client closed, any end is right."""
    check_close(Close(4001, "", "local"), Close(1000, "", "peer"))
