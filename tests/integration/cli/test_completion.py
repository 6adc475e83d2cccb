"""Completion in a real bash, as a person uses it."""

from __future__ import annotations

import shutil

import pytest

from support.terminal import Terminal, open_terminal

BASH = "bash --noprofile --norc"

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on PATH")


async def complete(terminal: Terminal, text: str, line: str) -> None:
    """Type a text and the Tab key, and wait for the line that bash makes of it."""
    await terminal.type(text)
    await terminal.press("Tab")
    await terminal.ends_with(line)


async def test_the_tab_key_completes_commands_options_and_files() -> None:
    """What `rxws completion bash` prints completes each kind of word."""
    async with open_terminal() as terminal:
        await terminal.enter(f"PS1='bash: ' {BASH}")
        await terminal.ends_with("bash:")
        await terminal.enter('eval "$(rxws completion bash)"; PS1="ready: "')
        await terminal.ends_with("ready:")
        await complete(terminal, "rxws hu", "ready: rxws hub")
        await complete(terminal, "t", "ready: rxws hub tail")
        await complete(terminal, "--red", "ready: rxws hub tail --redis")
        await terminal.press("C-u")
        await complete(terminal, "rxws replay pyproject.t", "ready: rxws replay pyproject.toml")
