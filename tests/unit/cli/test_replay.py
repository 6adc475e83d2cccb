"""`rxws replay`: its options, its output, and what it says about differences and bad files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rxws import Close, ConnectionClosed, Recording
from rxws.cli._failures import Failure
from rxws.cli._main import root
from rxws.cli.replay._check import Check
from rxws.testing import Clock


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


def replay(*args: str) -> Any:
    return CliRunner().invoke(root, ["replay", *args], prog_name="rxws")


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
    assert (result.exit_code, result.stdout, result.stderr) == (0, printed, "")


def test_a_lost_connection_is_noted(path: str) -> None:
    """The end of a recorded connection is a note, not a failure of the replay."""
    recording = Recording()
    lost = Close(1006, "", "network")
    recording.lane("incoming").record("next", "a")
    recording.lane("incoming").record("error", ConnectionClosed(lost))
    recording.save(path)
    result = replay(path, "--speed", "max")
    assert (result.exit_code, result.stdout) == (0, "a\n")
    assert "closed with 1006 (abnormal closure) by the network" in result.stderr


def test_a_sent_close_is_noted(path: str) -> None:
    """The close that a recorded client has sent is no message."""
    recording = Recording()
    recording.lane("outgoing").record("next", "a")
    recording.lane("outgoing").record("next", Close(4001, "bye"))
    recording.save(path)
    result = replay(path, "--speed", "max", "--lane", "outgoing")
    assert (result.exit_code, result.stdout) == (0, "a\n")
    assert result.stderr == "closed with 4001 'bye' by this side\n"


def test_the_wire_is_printed_not_the_decoded_value(path: str) -> None:
    """If a program recorded decoded values, their frames are printed."""
    event = {"t": 0, "lane": "incoming", "dir": "in", "type": "repr", "data": "Tick(1)"}
    line = {**event, "frame": {"type": "text", "data": '{"tick":1}'}}
    Path(path).write_text(json.dumps(line) + "\n", "utf-8")
    assert replay(path).stdout == '{"tick":1}\n'


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
    assert message.format(path=path) in result.stderr.replace("\n", " ")
    assert result.exit_code == 64


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
    assert message in result.stderr
    assert ("Use a file that" in result.stderr) == bool(content)
    assert result.exit_code == 64


def test_a_missing_file_is_named() -> None:
    """click's message names the file."""
    result = replay("none.jsonl")
    assert "'none.jsonl' does not exist" in result.stderr
    assert result.exit_code == 64


@pytest.mark.parametrize("mode", [["ws://x"], ["--serve", "--port", "0"]])
def test_values_without_frames_cannot_be_sent(path: str, mode: list[str]) -> None:
    """A recording of a pipeline has no frames; the message says what to record."""
    recording = Recording()
    for lane in ("incoming", "outgoing"):
        recording.lane(lane).record("next", {"a": 1})
    recording.save(path)
    result = replay(path, *mode)
    assert "the recording has no frame for the" in result.stderr
    assert "record a connection, with `rxws record`" in result.stderr
    assert result.exit_code == 64


# --- differences ----------------------------------------------------------------------------------


def difference(expected: list[str | bytes], *arrived: str | bytes) -> str:
    check = Check(expected, None)

    def run() -> None:
        for message in arrived:
            check.message(message)
        check.end(None)

    with pytest.raises(Failure) as caught:
        run()
    assert caught.value.code == 1
    return caught.value.message


@pytest.mark.parametrize(
    ("expected", "arrived", "message"),
    [
        ("a", "b", "message 1 of 1 differs:\n-a\n+b"),
        ("a", b"a", "message 1 of 1 differs: expected text, but binary arrived:\n-a\n+61"),
        (b"\x01", b"\x02", "message 1 of 1 differs:\n-01\n+02"),
        ('{"a": 1}', '{"a": 2}', 'message 1 of 1 differs at .a:\n {\n-  "a": 1\n+  "a": 2\n }'),
        ('{"a": [1, {"b": 2}]}', '{"a": [1, {"b": 3}]}', "differs at .a[1].b:"),
        ('{"a": 1, "b": 2}', '{"a": 1}', "differs at .b:"),
        ('{"a": 1}', '{"a": 1, "b": 2}', "differs at .b:"),
        ("[1]", "[1, 2]", "differs at [1]:"),
        ("[1]", '{"a": 1}', "message 1 of 1 differs:"),
        ("1", "true", "message 1 of 1 differs:\n-1\n+true"),
        ("[1]", "[true]", "differs at [0]:"),
        ("a\x1b", "b", "-a\\x1b\n+b"),
    ],
)
def test_the_first_difference_is_named(
    expected: str | bytes, arrived: str | bytes, message: str
) -> None:
    """The message has the place in a JSON text, and both texts."""
    assert message in difference([expected], arrived)


def test_the_number_of_the_message_is_named() -> None:
    """Messages before the first difference are equal."""
    assert "message 2 of 3 differs" in difference(["a", "b", "c"], "a", "x", "c")


def test_a_missing_message_is_shown() -> None:
    """The message says how many arrived, and which one is next."""
    assert "1 of 3 messages arrived; the next one is missing:\n- b" in difference(
        ["a", "b", "c"], "a"
    )


def test_one_message_too_many_is_shown() -> None:
    """A message after the last one is a difference."""
    assert difference(["a"], "a", "b") == "message 2 is not in the recording:\n+ b"


def test_a_long_difference_is_cut() -> None:
    """At most 40 lines of a diff are shown."""
    one, two = (json.dumps([add + number for number in range(100)]) for add in (0, 1000))
    lines = difference([one], two).splitlines()
    assert len(lines) == 42
    assert lines[-1].endswith("more lines")


def test_the_order_of_keys_and_spaces_do_not_matter() -> None:
    """Texts that are JSON are compared by their values."""
    check = Check(['{"a": 1, "b": [2]}', "[1]", "plain"], None)
    for message in ('{"b":[2],"a":1}', " [1]", "plain"):
        check.message(message)
    check.end(None)


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
    check = Check([], Close(4001, "", "peer"))
    if message is None:
        check.end(close)
    else:
        with pytest.raises(Failure, match=message):
            check.end(close)


def test_the_close_of_the_client_is_not_compared() -> None:
    """If the recorded client closed, any end is right."""
    Check([], Close(4001, "", "local")).end(Close(1000, "", "peer"))
