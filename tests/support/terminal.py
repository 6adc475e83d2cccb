"""A real terminal, tmux, in which a test types as a person does."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from support import ROOT
from support.processes.command_line import environment
from support.requirements import skip_peer

__all__ = ["Terminal", "open_terminal"]

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


class Terminal:
    """A terminal with a shell, whose prompt is `$ `."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def tmux(self, *arguments: str, **options: str) -> str:
        """Run a command of tmux and return what it prints."""
        process = await asyncio.create_subprocess_exec(
            *("tmux", "-S", str(self._socket), "-f", "/dev/null", *arguments),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment(**options),
        )
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, err.decode()
        return out.decode()

    async def type(self, text: str) -> None:
        """Type a text, without Enter."""
        await self.tmux("send-keys", "-l", "--", text)

    async def press(self, *keys: str) -> None:
        """Press keys by their names in tmux: Enter, Up, C-c, Escape."""
        await self.tmux("send-keys", *keys)

    async def enter(self, text: str) -> None:
        """Type a line."""
        await self.type(text)
        await self.press("Enter")

    async def paste(self, text: str) -> None:
        """Paste a text as a terminal with bracketed paste does."""
        await self.tmux("set-buffer", text)
        await self.tmux("paste-buffer", "-p")

    async def run(self, *arguments: str) -> None:
        """Start `rxws` in the shell."""
        await self.enter(shlex.join(["rxws", *arguments]))

    async def lines(self) -> list[str]:
        """Return the lines of the screen, without trailing spaces, up to the last line of text."""
        screen = await self.tmux("capture-pane", "-p")
        return [line.rstrip() for line in screen.rstrip().split("\n")]

    async def until(self, condition: Callable[[list[str]], object]) -> list[str]:
        """Wait until the screen fulfils a condition, and return its lines."""
        lines: list[str] = []
        try:
            async with asyncio.timeout(PATIENCE):
                # tmux has no event for it.
                while not condition(lines := await self.lines()):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError("the screen never was as expected:\n" + "\n".join(lines)) from None
        return lines

    async def shows(self, *wanted: str) -> list[str]:
        """Wait until lines appear, in this order, among others."""

        def condition(lines: list[str]) -> bool:
            rest = iter(lines)
            return all(line in rest for line in wanted)

        return await self.until(condition)

    async def ends_with(self, *wanted: str) -> list[str]:
        """Wait until these are the last lines of the screen."""
        return await self.until(lambda lines: lines[-len(wanted) :] == list(wanted))


def _prepare(directory: str) -> dict[str, str]:
    """Write the script `rxws` and what the shell reads at its start; return its variables."""
    script, profile = Path(directory, "rxws"), Path(directory, "profile")
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m rxws "$@"\n', "utf-8")
    script.chmod(0o755)
    profile.write_text("PS1='$ '\n", "utf-8")
    path = f"{directory}:{environment()['PATH']}"
    return {"XDG_STATE_HOME": f"{directory}/state", "PATH": path, "ENV": str(profile)}


@asynccontextmanager
async def open_terminal(
    width: int = 80, height: int = 40, **variables: str
) -> AsyncGenerator[Terminal]:
    """Open a terminal, in which the command `rxws` runs this checkout.

    The history file is in a directory of its own, unless `XDG_STATE_HOME` is among the variables.
    """
    if shutil.which("tmux") is None:
        skip_peer("no tmux on PATH (Debian: apt-get install tmux)")
    with tempfile.TemporaryDirectory() as directory:
        variables = {**_prepare(directory), **variables}
        terminal = Terminal(Path(directory, "tmux"))
        await terminal.tmux(
            *("new-session", "-d", "-x", str(width), "-y", str(height), "-c", str(ROOT)),
            *("env", "sh"),  # two words, or tmux would start it from bash, which removes PS1
            **variables,
        )
        try:
            await terminal.ends_with("$")
            yield terminal
        finally:
            await terminal.tmux("kill-server")
