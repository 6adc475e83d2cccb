"""`rxws connect`: talk to a server."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import click

from rxws.cli._chain import parse_chain
from rxws.cli._command import Command, Number
from rxws.cli._connection import Target, connection_options
from rxws.cli._exit_codes import ExitCode
from rxws.cli._format import Format, Style
from rxws.cli._options import message_count, reconnect, styles
from rxws.cli._output import open_output
from rxws.cli._run import run

from ._plan import Plan
from ._talk import talk

__all__ = ["command"]

_SECONDS = Number(0, unbounded=True)


@click.command(
    "connect",
    cls=Command,
    examples=[
        "rxws connect ws://localhost:8080/chat",
        "echo hi | rxws connect :8080/chat -n 1",
        "rxws connect :8080/chat -m hi -n 1 --time",
        "rxws connect :8080/prices -m '{\"subscribe\": 1}' -w inf -p 'ops.debounce(.2)'",
        "rxws connect :8080/chat -m @photo.png -n 1 --raw -o reply.png",
        "rxws connect :8080/rpc --rpc -m 'add 1 2'",
    ],
)
@click.option(
    "messages",
    "-m",
    "--message",
    metavar="TEXT",
    multiple=True,
    help="Send this instead of the input: a text, a /command, @FILE, or @- for all of stdin.",
)
@message_count("End after N received messages.")
@click.option(
    "-w",
    "--wait",
    type=_SECONDS,
    metavar="SECONDS",
    help="Wait this long for replies after the last message, or 'inf'; by default 1, with -n inf.",
)
@click.option(
    "-t",
    "--timeout",
    type=_SECONDS,
    metavar="SECONDS",
    help="Fail with code 3 if it takes longer.",
)
@click.option(
    "chain",
    "-p",
    "--pipe",
    type=parse_chain,
    metavar="OPERATORS",
    default="",
    help="Apply operators to what arrives: 'ops.map(json.loads), ops.debounce(.2)'.",
)
@styles
@click.option(
    "--time",
    is_flag=True,
    help="Print the time of each message, and how long after the last sent one it came.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write messages to a file.",
)
@click.option("--binary", is_flag=True, help="Send the lines of the input as binary messages.")
@click.option("obey", "--commands", is_flag=True, help="Obey /commands and @FILE in piped input.")
@click.option("--rpc", is_flag=True, help="Call a JSON-RPC method with each line: add 1 2.")
@reconnect
@click.option("-v", "--verbose", is_flag=True, help="Show the handshake and the close.")
@connection_options
def command(
    target: Target, style: Style | None, time: bool, count: int | None, rpc: bool, **options: Any
) -> ExitCode:
    """Talk to a server, from the keyboard or in a pipe.

    At a terminal, type a message and press Enter; /help lists the commands, Ctrl-D closes. In a
    pipe, each line of the input is a message, and each received message is printed as a line.
    """
    if style == "raw" and time:
        raise click.UsageError("--raw prints messages unchanged: leave out --time, or use --json.")
    if rpc and (count is not None or options["chain"]):
        raise click.UsageError("--rpc shows the answers of calls: leave out -n and -p.")
    terminal = options["output"] is None and sys.stdout.isatty()
    plan = Plan(
        target=target,
        format=Format(style or ("pretty" if rpc else "text"), time=time, terminal=terminal),
        count=count,
        rpc=rpc,
        **options,
    )
    with ExitStack() as stack:
        file = None
        if plan.output is not None:
            try:
                # Before the connection, as it may wait for a reader.
                file = stack.enter_context(open_output(plan.output))
            except OSError as error:
                raise click.UsageError(
                    f"Cannot write to {plan.output}: {error.strerror}."
                ) from error
        return run(partial(talk, plan, file))
