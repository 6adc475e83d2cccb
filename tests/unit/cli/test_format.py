"""How `rxws connect` prints messages."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from rxws.cli._format import Format, Style

NOON = datetime(2024, 5, 17, 12, 0, 0, 7000)


@pytest.mark.parametrize(
    ("style", "value", "printed"),
    [
        ("text", "hi", "hi\n"),
        ("text", '{"b": 1}', '{"b": 1}\n'),
        ("text", b"\x00\xff", "00ff\n"),
        ("text", {"a": [1, b"\xff"]}, '{"a": [1, "ff"]}\n'),
        ("text", {"a"}, "\"{'a'}\"\n"),
        ("json", "hi\nthere", '"hi\\nthere"\n'),
        ("json", ' {"b" : 1}\n', '{"b": 1}\n'),
        ("json", b"\xff", '"ff"\n'),
        ("pretty", '{"b":{"c":1}}', '{\n  "b": {\n    "c": 1\n  }\n}\n'),
        ("pretty", "[]", "[]\n"),
        ("pretty", "12 {", "12 {\n"),
        ("pretty", "1.50", "1.50\n"),
        ("raw", "hi\n", "hi\n"),
        ("raw", b"\x00\xff", b"\x00\xff"),
        ("raw", [1], "[1]"),
    ],
)
def test_each_style_prints_each_kind_of_value(
    style: Style, value: Any, printed: str | bytes
) -> None:
    """Text, binary messages and values of a chain have one form in each style."""
    assert Format(style)(value) == printed


def test_a_pipe_gets_texts_unchanged_and_a_terminal_gets_them_escaped() -> None:
    """Only a terminal obeys escape sequences."""
    assert Format("text")("\x1b[2J") == "\x1b[2J\n"
    assert Format("text", terminal=True)("\x1b[2J") == "\\x1b[2J\n"
    assert Format("json", terminal=True)("a\u202eb") == '"a\\u202eb"\n'
    assert Format("pretty", terminal=True)('["\u202e"]') == '[\n  "\\u202e"\n]\n'


def test_a_terminal_shows_the_beginning_of_a_long_binary_message() -> None:
    """The first 256 bytes and the size are enough; a pipe gets all."""
    data = b"\xab" * 257
    assert Format("text", terminal=True)(data) == "ab" * 256 + "… (257 bytes)\n"
    assert Format("text", terminal=True)(data[1:]) == "ab" * 256 + "\n"
    assert Format("text")(data) == "ab" * 257 + "\n"


def test_the_time_and_the_round_trip_time_come_first() -> None:
    """The round-trip time is that of the first message after one was sent."""
    timed = Format("text", time=True, now=lambda: NOON)
    assert timed("hi", 0.01234) == "12:00:00.007 (+12.3 ms) hi\n"
    assert timed("hi") == "12:00:00.007 hi\n"


def test_the_time_is_a_field_of_json() -> None:
    """With `--json`, the time has the time zone, and the round-trip time is in seconds."""
    timed = Format("json", time=True, now=lambda: NOON)
    time = NOON.astimezone().isoformat(timespec="milliseconds")
    assert timed("hi", 0.5) == f'{{"time": "{time}", "elapsed": 0.5, "message": "hi"}}\n'
