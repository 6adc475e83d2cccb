"""`rxws draw` of a finished recording, and its options."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from rxws import Close, Recording
from rxws.cli._main import root
from rxws.testing import Clock


def draw(*args: str, charset: str = "utf-8", **options: Any) -> Any:
    return CliRunner(charset=charset).invoke(root, ["draw", *args], prog_name="rxws", **options)


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A recording of six messages, a second apart."""
    clock = Clock()
    recording = Recording(scheduler=clock, title="ws://localhost/")
    for number in range(1, 7):
        clock.run(1)
        recording.lane("incoming").record("next", f"m{number}")
    for lane in ("incoming", "outgoing"):
        recording.lane(lane).record("completed")
    recording.lane("closed").record("next", Close(4002, "", "peer"))
    recording.save(tmp_path / "s.jsonl")
    return str(tmp_path / "s.jsonl")


def drawn_messages(text: str) -> list[int]:
    return [number for number in range(1, 7) if f"m{number}" in text]


# --- text -----------------------------------------------------------------------------------------


def test_the_text_fits_the_terminal(path: str) -> None:
    """Without `-o`, the lines on stdout are as wide as the terminal."""
    for width in (60, 100):
        result = draw(path, env={"COLUMNS": str(width)})
        lines = result.stdout.splitlines()
        assert (result.exit_code, result.stderr, lines[0]) == (0, "", "ws://localhost/")
        assert max(map(len, lines)) == width
        assert result.stdout.count("┤4002") == 2
        assert drawn_messages(result.stdout) == [1, 2, 3, 4, 5]
    assert max(map(len, draw(path, "--width", "70").stdout.splitlines())) == 70


def test_the_text_is_ascii_where_the_terminal_is(path: str) -> None:
    """If stdout's encoding lacks the characters of a diagram, ASCII is used."""
    result = draw(path, charset="latin-1")
    assert result.stdout.isascii()
    assert result.stdout.count("|4002") == 2


def test_lanes_are_chosen(path: str) -> None:
    """`--lane` draws the lanes that are named, also those that are usually hidden."""
    assert "outgoing" not in draw(path, "--lane", "incoming").stdout
    result = draw(path, "--lane", "outgoing", "--lane", "closed")
    assert "outgoing" in result.stdout
    assert "closed" in result.stdout
    assert "incoming" not in result.stdout


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (["--from", "1.5", "--to", "4.5"], [2, 3, 4]),
        (["--to", "2.5"], [1, 2]),
        (["--from", "4.5", "--to", "100"], [5]),
        (["--from", "3.5"], [4, 5]),
        (["--last", "2.5"], [4, 5]),
    ],
)
def test_a_part_of_the_time_is_drawn(path: str, options: list[str], numbers: list[int]) -> None:
    """`--from` and `--to` are times in seconds; `--last` counts from the end."""
    # The last message has no room for its label next to the end.
    assert drawn_messages(draw(path, "--width", "100", *options).stdout) == numbers


# --- files ----------------------------------------------------------------------------------------


def test_an_svg_file_is_written(path: str, tmp_path: Path) -> None:
    """The file is a valid SVG of 760 pixels, or of the given width; `-o -` is stdout."""
    svg = tmp_path / "s.svg"
    for options, width in ([], "760"), (["--width", "500"], "500"):
        result = draw(path, "-o", str(svg), *options)
        assert (result.exit_code, result.output) == (0, "")
        assert ElementTree.parse(svg).getroot().get("width") == width
    assert draw(path, "-o", "-").stdout.startswith("<svg")
    assert list(tmp_path.glob(".*")) == []


def test_a_text_file_is_written(path: str, tmp_path: Path) -> None:
    """A file with the suffix .txt gets the text."""
    assert draw(path, "-o", str(tmp_path / "s.txt"), "--width", "80").output == ""
    assert (tmp_path / "s.txt").read_text("utf-8") == draw(path, "--width", "80").stdout


def test_stdin_is_drawn(path: str) -> None:
    """`-` reads the recording from stdin."""
    assert draw("-", input=Path(path).read_bytes()).stdout == draw(path).stdout


# --- wrong usage ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["none.jsonl"], "'none.jsonl' is not a file, nor a URL such as ws://none.jsonl."),
        (["{path}", "-o", "s.png"], "'s.png' does not end with .svg or .txt."),
        (["{path}", "-o", "/none/s.svg"], "No such file or directory"),
        (["{path}", "--lane", "x"], "There is no lane 'x'. The lanes are: incoming, outgoing,"),
        (
            ["{path}", "--from", "9"],
            "the recording ends at 6 s.",
        ),
        (["{path}", "--from", "3", "--to", "2"], "Nothing to draw between these times"),
        (["{path}", "--last", "1", "--to", "2"], "Use either --last, or --from and --to."),
        (["{path}", "--follow", "--to", "2"], "--from and --to are for a finished recording"),
        (["ws://x", "--from", "2"], "--from and --to are for a finished recording"),
        (["{path}", "--follow"], "needs a terminal, or a file: use -o FILE."),
        (["{path}", "--follow", "-o", "-"], "needs a terminal, or a file: use -o FILE."),
        (["ws://x"], "needs a terminal, or a file: use -o FILE."),
        (["{path}", "-m", "x"], "--message needs a URL."),
        (["{path}", "-k"], "--insecure needs a URL."),
        (["ftp://x"], "'ftp://x': use ws:// or wss://."),
    ],
)
def test_wrong_usage_is_named(path: str, args: list[str], message: str) -> None:
    """The message says what to use instead."""
    result = draw(*(arg.format(path=path) for arg in args))
    assert message in " ".join(result.stderr.split())
    assert result.exit_code == 64


@pytest.mark.parametrize("source", ["{path}", "-"])
def test_a_bad_file_is_named_with_its_line(path: str, source: str) -> None:
    """The message has the line and a remedy."""
    Path(path).write_text("no recording", "utf-8")
    result = draw(source.format(path=path), input="no recording")
    assert "line 1 is not a recorded event" in result.stderr
    assert result.exit_code == 64
