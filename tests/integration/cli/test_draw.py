"""`rxws draw` of what is still growing, on a terminal and in a file."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

from rxws import Recording
from support.commands import run_command, running_command
from support.peers.raw import RawServer
from support.processes.command_line import PATIENCE
from support.terminal import open_terminal


def line(t: float, data: str, lane: str = "incoming", kind: str = "text") -> str:
    event = {"t": t, "lane": lane, "dir": "in", "type": kind, "data": data}
    return json.dumps(event) + "\n"


def counts(lines: list[str]) -> list[str]:
    """Return the names and counts of the lanes on a screen."""
    return [f"{found[1]} {found[2]}" for each in lines if (found := _LANE.match(each))]


_LANE = re.compile(r"[↓↑<^ ] (\w+) .* (\d+) ev")


async def test_a_file_is_followed_in_place(tmp_path: Path) -> None:
    """The picture changes as lines come, starts anew with the file, and Ctrl-C leaves it there."""
    path = tmp_path / "s.jsonl"
    with path.open("w", encoding="utf-8") as file:
        file.write(line(0.1, "one"))
        file.flush()
        async with open_terminal(width=70) as terminal:
            await terminal.run("draw", str(path), "--follow")
            await terminal.until(lambda lines: counts(lines) == ["incoming 1"])
            whole = line(0.2, "two")
            file.write(whole[:20])
            file.flush()
            file.write(whole[20:] + line(0.3, "three"))
            file.flush()
            lines = await terminal.until(lambda lines: counts(lines) == ["incoming 3"])
            assert max(map(len, lines[1:])) <= 70
            file.seek(0)
            file.truncate()
            file.write(line(0.1, "a"))
            file.flush()
            await terminal.until(lambda lines: counts(lines) == ["incoming 1"])
            await terminal.press("C-c")
            lines = await terminal.until(lambda lines: lines[-1] == "$")
            assert counts(lines) == ["incoming 1"]


async def test_a_connection_is_drawn_live() -> None:
    """`draw URL` shows what happens, and its close; an abnormal one is the exit code."""
    async with RawServer() as server, open_terminal(width=70) as terminal:
        await terminal.enter(f"rxws draw {server.url} -m hello; echo code $?")
        peer = await server.accept()
        assert (await peer.messages(1))[0].payload == b"hello"
        await peer.text("one")
        await terminal.until(lambda lines: counts(lines) == ["incoming 1", "outgoing 1"])
        await peer.close(4002, "enough")
        await peer.answer_close()
        lines = await terminal.until(lambda lines: "code 1" in lines)
        assert any("✗4002" in each for each in lines)
        assert "Error: closed with 4002 'enough' by the server" in lines


async def test_an_ascii_terminal(tmp_path: Path) -> None:
    """Where the encoding has no lines and dots, the live picture is ASCII."""
    (tmp_path / "s.jsonl").write_text(line(0.1, "é"), "utf-8")
    async with open_terminal(width=70, PYTHONIOENCODING="ascii") as terminal:
        await terminal.run("draw", str(tmp_path / "s.jsonl"), "--follow")
        lines = await terminal.until(lambda lines: counts(lines) == ["incoming 1"])
        assert all(each.isascii() for each in lines)
        await terminal.press("C-c")
        await terminal.ends_with("$")


async def test_a_picture_file_follows_a_recording(tmp_path: Path) -> None:
    """With `-o`, the file is replaced as the recording grows, and is whole at any time."""
    path, svg = tmp_path / "s.jsonl", tmp_path / "s.svg"
    with path.open("w", encoding="utf-8") as file:
        file.write(line(0.1, "one"))
        file.flush()

        async def until_drawn(text: str) -> None:
            async with asyncio.timeout(PATIENCE):
                while not (svg.exists() and text in svg.read_text("utf-8")):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
            assert svg.read_text("utf-8").endswith("</svg>\n")

        async with running_command("draw", str(path), "--follow", "-o", str(svg)) as command:
            await until_drawn("one")
            file.write(line(0.2, "two"))
            file.flush()
            await until_drawn("two")
            command.interrupt()
            assert await command.ended() == (0, "", "")


async def test_stdin_is_followed_to_its_end(tmp_path: Path) -> None:
    """`rxws record … -o - | rxws draw - --follow -o FILE` ends with the recording."""
    text = tmp_path / "s.txt"
    stdin = line(0.1, "one") + line(0.2, "two")
    result = await run_command(
        "draw", "-", "--follow", "-o", str(text), "--width", "60", stdin=stdin
    )
    assert result == (0, "", "")
    assert counts(text.read_text("utf-8").splitlines()) == ["incoming 2"]


async def test_a_bad_line_ends_it(tmp_path: Path) -> None:
    """A line that is no event is named while a file is followed, too."""
    path = tmp_path / "s.jsonl"
    path.write_text(line(0.1, "one") + "what?\n", "utf-8")
    result = await run_command("draw", str(path), "--follow", "-o", str(tmp_path / "s.svg"))
    assert result.code == 64
    assert "s.jsonl, line 2 is not a recorded event" in result.err
    result = await run_command("draw", "-", "--follow", "-o", str(tmp_path / "s.svg"), stdin="no\n")
    assert result.code == 64
    assert "stdin, line 1 is not a recorded event" in result.err


async def test_ctrl_c_closes_the_connection(tmp_path: Path) -> None:
    """`draw URL` closes with 1000, and the last picture has the close."""
    svg = tmp_path / "s.svg"
    async with (
        RawServer() as server,
        running_command("draw", server.url, "-o", str(svg)) as command,
    ):
        peer = await server.accept()
        await peer.text("one")
        async with asyncio.timeout(PATIENCE):
            while not (svg.exists() and "one" in svg.read_text("utf-8")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        command.interrupt()
        assert (await peer.answer_close()).payload == b"\x03\xe8"
        assert await command.ended() == (0, "", "")
    assert "1000" in svg.read_text("utf-8")


async def test_record_and_draw_work_together(tmp_path: Path) -> None:
    """A recording is drawn live from its file while another process writes it."""
    path = tmp_path / "s.jsonl"
    async with RawServer() as server, open_terminal(width=70) as terminal:
        recording = asyncio.ensure_future(run_command("record", server.url, "-o", str(path)))
        peer = await server.accept()
        await peer.text("one")
        async with asyncio.timeout(PATIENCE):
            while not (path.exists() and "one" in path.read_text("utf-8")):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await terminal.run("draw", str(path), "--follow")
        await terminal.until(lambda lines: counts(lines) == ["incoming 1", "outgoing 0"])
        await peer.text("two")
        await peer.close(1000)
        await terminal.until(lambda lines: counts(lines) == ["incoming 2", "outgoing 0"])
        await terminal.until(lambda lines: "".join(lines).count("┤1000") == 2)
        assert await recording == (0, "", "")
        await terminal.press("C-c")
        await terminal.ends_with("$")
    assert Recording.load(path).title == server.url
