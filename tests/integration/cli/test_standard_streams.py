"""Standard streams that are closed, full or gone, as a shell makes them."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

import rxws
from support.fixtures import Serve
from support.processes.command_line import PATIENCE, Result, environment

FULL = "Error: cannot write the output: No space left on device\n"
RECORDED = '{"t": 0.1, "lane": "incoming", "dir": "in", "type": "text", "data": "hello"}\n'

pytestmark = pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has /dev/full")


@pytest.fixture
async def url(serve: Serve) -> str:
    return f"ws://127.0.0.1:{await serve(rxws.websocket(lambda conn: conn.incoming))}/"


async def run_shell(arguments: str, redirection: str, directory: Path) -> Result:
    """Run `rxws` in a shell; a shell opens and closes streams as no API of Python does."""
    (directory / "talk.jsonl").write_text(RECORDED, "utf-8")
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", f"{shlex.quote(sys.executable)} -m rxws {arguments} {redirection}"),
        cwd=directory,
        env=environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "connect --help",
        "completion bash",
        "connect URL -m hi -n 1",
        "serve --echo --port 0",
        "replay talk.jsonl",
        "draw talk.jsonl",
    ],
)
async def test_a_full_disk_is_reported(url: str, tmp_path: Path, arguments: str) -> None:
    """A command whose output cannot be written says so, in one line, and ends with 1."""
    result = await run_shell(arguments.replace("URL", url), ">/dev/full", tmp_path)
    assert result == (1, "", FULL)


@pytest.mark.parametrize(
    "arguments",
    ["--help", "connect URL -m hi -n 1", "record URL -o - -m hi -n 1", "draw talk.jsonl"],
)
async def test_a_closed_stdout_discards_the_output(
    url: str, tmp_path: Path, arguments: str
) -> None:
    """`>&-` is as `>/dev/null`: no socket gets the file descriptor of stdout."""
    code, out, err = await run_shell(arguments.replace("URL", url), ">&-", tmp_path)
    assert (code, out) == (0, "")
    assert "Error" not in err


async def test_a_closed_stdin_is_empty(url: str, tmp_path: Path) -> None:
    """`<&-` is as `</dev/null`: there is nothing to send."""
    assert await run_shell(f"connect {url} -w 0", "<&-", tmp_path) == (0, "", "")


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
async def test_the_exit_code_needs_no_stderr(tmp_path: Path, redirection: str) -> None:
    """Where the message cannot be written, the exit code still says what happened."""
    assert await run_shell("connect :1 -m hi", redirection, tmp_path) == (2, "", "")
    assert await run_shell("connect", redirection, tmp_path) == (64, "", "")


async def test_help_for_a_reader_that_has_gone(tmp_path: Path) -> None:
    """`rxws --help | true` is no error."""
    result = await run_shell("--help", "| true; exit ${PIPESTATUS[0]}", tmp_path)
    assert result == (0, "", "")
