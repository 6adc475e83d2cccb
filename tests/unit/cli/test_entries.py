"""What a person types in `rxws connect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from rxws import Close
from rxws.cli._entries import (
    COMMANDS,
    Help,
    Ping,
    Send,
    list_commands,
    parse_entry,
)
from rxws.cli.connect._calls import COMMANDS as CALL_COMMANDS
from rxws.cli.connect._calls import Call, notifications, parse_call


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("hi", Send("hi")),
        ("", Send("")),
        ("  {\n}", Send("  {\n}")),
        ("//hi", Send("/hi")),
        ("@@hi", Send("@hi")),
        ("/hex 00ff", Send(b"\x00\xff")),
        ("/hex 00 FF", Send(b"\x00\xff")),
        ("/hex", Send(b"")),
        ("/binary hé", Send("hé".encode())),
        ("/ping", Ping()),
        ("/help", Help()),
        ("/close", Close(1000)),
        ("/close 4001", Close(4001)),
        ("/close 4001 why not ", Close(4001, "why not")),
    ],
)
def test_a_line_is_a_message_or_a_command(text: str, entry: object) -> None:
    """A message may begin with anything; a second / or @ makes the first one literal."""
    assert parse_entry(text) == entry


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("/pong", "/pong is not a command: use one of /ping, /close, /hex, /binary, /help, or"),
        ("/", "/ is not a command"),
        ("/hex 0g", "/hex 0g: use hex digits, such as /hex 00ff."),
        ("/close never", "/close never: "),
        ("/close 1006", "/close 1006: "),
        ("/close 999", "/close 999: close code 999 is not in 1000..4999"),
        ("/close 4001 " + "x" * 200, "at most 123 bytes"),
        ("@missing", "@missing: No such file or directory. To send this text itself, start with"),
        ("/binary @/", "@/: Is a directory."),
        ("@\0", "@\0: embedded null byte."),
    ],
)
def test_a_mistake_is_explained(text: str, message: str) -> None:
    """The message names what was typed, and what to type instead."""
    with pytest.raises(click.UsageError) as caught:
        parse_entry(text)
    assert message in caught.value.message


def test_a_file_is_sent_as_text_if_it_is_text(tmp_path: Path) -> None:
    """`@file` sends UTF-8 as a text message and anything else as a binary one."""
    text, binary = tmp_path / "a text", tmp_path / "binary"
    text.write_bytes("é\n".encode())
    binary.write_bytes(b"\xff\x00")
    assert parse_entry(f"@{text}") == Send("é\n")
    assert parse_entry(f"@{binary}") == Send(b"\xff\x00")
    assert parse_entry(f"/binary @{text}") == Send("é\n".encode())


def test_help_lists_every_command() -> None:
    """`/help` fits into 80 columns."""
    listed = list_commands({**COMMANDS, **CALL_COMMANDS})
    assert all(name in listed for name in [*COMMANDS, *CALL_COMMANDS, "@FILE"])
    assert max(map(len, listed.split("\n"))) < 80


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("ping", Call("call", "ping", (), {})),
        ("add 1 2.5", Call("call", "add", (1, 2.5), {})),
        ('add {"a": 1, "b": [2]}', Call("call", "add", (), {"a": 1, "b": [2]})),
        ("sum [1, 2]", Call("call", "sum", ([1, 2],), {})),
        (
            'say hello "big world" true null',
            Call("call", "say", ("hello", "big world", True, None), {}),
        ),
        ("say 12th {x", Call("call", "say", ("12th", "{x"), {})),
        ("/notify log now", Call("notify", "log", ("now",), {})),
        ("/stream ticks", Call("stream", "ticks", (), {})),
        ('/stream ticks {"n": 3}', Call("stream", "ticks", (), {"n": 3})),
    ],
)
def test_a_line_of_rpc_is_a_call(text: str, call: Call) -> None:
    """Arguments are JSON or words; an object alone has the arguments by name."""
    assert parse_call(text) == call


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Write a method and its arguments"),
        ("/notify", "Write a method and its arguments"),
        ("/stream ticks 3", '/stream ticks: give arguments by name: {"count": 3}.'),
        ("/nope 3", "/nope is not a command: use one of"),
    ],
)
def test_a_mistake_in_a_call_is_explained(text: str, message: str) -> None:
    """The message shows how a call looks."""
    with pytest.raises(click.UsageError) as caught:
        parse_call(text)
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("frame", "lines"),
    [
        ('{"method": "price", "params": {"a": 1}}', ['price {"a": 1}']),
        ('{"method": "tick"}', ["tick []"]),
        ('[{"method": "a", "params": [1]}, {"id": 1, "result": 2}]', ["a [1]"]),
        ('{"method": "$/progress", "params": {}}', []),
        ("not JSON", []),
        ("5", []),
    ],
)
def test_notifications_are_shown(frame: Any, lines: list[str]) -> None:
    """Answers and the items of streams are shown by their calls."""
    assert notifications(frame) == lines
