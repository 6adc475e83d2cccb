"""What commands print."""

from __future__ import annotations

import pytest

from rxws.cli._output import note, printable, write


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
