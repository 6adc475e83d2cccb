"""The prompt of an interactive connection."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Protocol, Self

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.renderer import CPR_Support

from rxws.cli._format import as_text
from rxws.cli._output import Output, note, printable, styled

from ._plan import Action

__all__ = ["Prompt", "history_file"]


def history_file() -> Path:
    """Return where typed messages are kept, as the XDG base directories say."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "rxws" / "history"


class Typed(Protocol):
    """What may be typed; see `Plan`."""

    @property
    def commands(self) -> Mapping[str, tuple[str, str]]: ...
    def typed(self, text: str) -> Action: ...


class Prompt(AbstractContextManager["Prompt"]):
    """Reads from a terminal, and prints above the line that is being typed.

    Args:
        plan: What may be typed.
        file: Gets all messages, too.
        stop: Set by Ctrl-C.
    """

    def __init__(self, plan: Typed, file: Output | None, stop: asyncio.Event) -> None:
        self._plan = plan
        self._file = file
        self._stop = stop
        self._session = _session(plan.commands)
        # Where the prompt is changes with each message, before the terminal's answer comes.
        self._session.app.renderer.cpr_support = CPR_Support.NOT_SUPPORTED
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        # Also between two prompts: otherwise a Ctrl-D that is pressed then would get lost.
        self._stack.enter_context(self._session.input.raw_mode())
        self._stack.enter_context(patch_stdout(raw=True))  # for what others print
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def actions(self) -> AsyncIterator[Action]:
        """See `Console.actions`; ends at Ctrl-C and Ctrl-D."""
        while True:
            try:
                text = await self._session.prompt_async(
                    handle_sigint=False, set_exception_handler=False
                )
            except EOFError:
                return
            except KeyboardInterrupt:
                self._stop.set()
                return
            try:
                yield self._plan.typed(text)
            except click.UsageError as error:
                self.note(error.message)

    async def show(self, text: str | bytes) -> None:
        """See `Console.show`."""
        if self._file is not None:
            self._file.write(text if isinstance(text, bytes) else text.encode())
        self._print(styled("< ", fg="blue") + printable(as_text(text)))
        if self._file is not None:
            await self._file.drained()

    def note(self, text: str) -> None:
        """See `Console.note`."""
        self._print(styled(printable(text), dim=True))

    def end(self) -> None:
        """See `Console.end`; removes the prompt, unless something is typed."""
        self._session.app.erase_when_done = not self._session.default_buffer.text

    def _print(self, text: str) -> None:
        # Not `run_in_terminal`, which leaves the raw mode meanwhile, and redraws after each text.
        app, output = self._session.app, self._session.output
        if app.is_running:
            app.renderer.erase()
        output.write_raw(text.removesuffix("\n") + "\n")
        output.flush()
        app.invalidate()


def _session(commands: Iterable[str]) -> PromptSession[str]:
    return PromptSession(
        "> ",
        history=_history(),
        key_bindings=_key_bindings(),
        completer=WordCompleter(list(commands), sentence=True),
        complete_while_typing=False,
    )


def _history() -> History:
    path = history_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))  # messages may have secrets
    except OSError as error:
        note(f"what you type is not kept: {path}: {error.strerror}")
        return InMemoryHistory()
    return FileHistory(str(path))


def _key_bindings() -> KeyBindings:
    keys = KeyBindings()

    @keys.add(Keys.Escape, Keys.Enter)
    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add(Keys.BracketedPaste)
    def paste(event: KeyPressEvent) -> None:
        text = event.data.replace("\r\n", "\n").replace("\r", "\n")
        # Often copied with the end of its last line.
        event.current_buffer.insert_text(text.removesuffix("\n"))

    return keys
