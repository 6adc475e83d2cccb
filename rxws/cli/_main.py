"""The command `rxws`, whose commands are imported when they run."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from rxws import __version__

from ._command import write_examples
from ._exit_codes import ExitCode
from ._failures import Failure, as_failure
from ._output import discard_unwritable

__all__ = ["LazyGroup", "root"]


EXAMPLES = [  # they are also in the help of their commands
    "rxws connect ws://localhost:8080/chat",
    "echo hi | rxws connect :8080/chat -n 1",
    "rxws serve examples/chat.py:room --port 0 --reload -v",
    "rxws demo",
]


class LazyGroup(click.Group):
    """A group that imports the module of a command when the command runs.

    Args:
        commands_in: The module in `rxws.cli` that defines each command, as `command`, and the
            first line of the command's help.
    """

    def __init__(self, *, commands_in: Mapping[str, tuple[str, str]], **options: Any) -> None:
        super().__init__(**options)
        self.commands_in = commands_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help."""
        return list(self.commands_in)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.commands_in:
            return None
        module, _ = self.commands_in[cmd_name]
        command: click.Command = import_module(f"rxws.cli.{module}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_in.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or fail with the names that exist."""
        if args[0] not in self.commands_in and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}. Commands: {', '.join(self.commands_in)}.")
        return super().resolve_command(ctx, args)


@contextmanager
def _clear_errors() -> Generator[None]:
    """Make errors a message and an exit code, except unexpected ones."""
    try:
        yield
    except BrokenPipeError:  # whoever read the output has had enough
        discard_unwritable(sys.stdout)
        raise click.exceptions.Exit(ExitCode.DONE) from None
    except Exception as error:
        failure = as_failure(error)
        if failure is None or failure is error:
            raise
        discard_unwritable(sys.stdout)
        raise failure from error


class _Root(LazyGroup):
    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, and examples of the commands."""
        super().format_help_text(ctx, formatter)
        write_examples(formatter, EXAMPLES)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; return its exit code."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        with _clear_errors():
            return super().invoke(ctx)

    def make_context(self, *args: Any, **options: Any) -> click.Context:
        """Parse the options, among them --help, which writes."""
        with _clear_errors():
            return super().make_context(*args, **options)

    def main(self, *args: Any, standalone_mode: bool = True, **options: Any) -> Any:
        """Run the command line; exit with an `ExitCode`, also after wrong usage."""
        run: Callable[..., Any] = super().main
        if not standalone_mode:
            return run(*args, standalone_mode=False, **options)
        try:
            code = run(*args, standalone_mode=False, **options)
        except click.ClickException as error:
            with suppress(OSError):
                error.show()
            discard_unwritable(sys.stderr)
            code = error.code if isinstance(error, Failure) else ExitCode.USAGE
        except click.Abort:
            code = ExitCode.INTERRUPTED
        sys.exit(code)


root = _Root(
    name="rxws",
    help="Talk to WebSocket servers, and run your own.",
    epilog="To complete commands and options with the Tab key, run: rxws completion -h",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    commands_in={
        "connect": ("connect", "Talk to a server, from the keyboard or in a pipe."),
        "serve": ("serve", "Serve a handler."),
        "record": ("record", "Record a connection in a file."),
        "replay": ("replay", "Replay a recording, as a client or as a server."),
        "draw": ("draw", "Draw a recording as a marble diagram."),
        "bench": ("bench", "Measure the latency and the throughput of a server."),
        "hub": ("_hub", "Work with the topics of a hub."),
        "demo": ("demo", "Open the playground in a browser."),
        "completion": ("completion", "Print the script that completes commands in a shell."),
    },
)
click.version_option(__version__, "-V", "--version", message="rxws %(version)s")(root)
