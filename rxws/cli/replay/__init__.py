"""`rxws replay`: play a recording again."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from yarl import URL

from rxws import ConnectionClosed
from rxws.cli._command import Command, Number
from rxws.cli._connection import (
    TargetOf,
    client_options,
    parse_url,
    refuse_connection_options,
)
from rxws.cli._exit_codes import ExitCode
from rxws.cli._format import Format, Style
from rxws.cli._link import describe
from rxws.cli._options import listening, styles
from rxws.cli._output import note, to_terminal, write_soon
from rxws.cli._progress import Figures, progress
from rxws.cli._run import run, unless_stopped

from ._client import play_client
from ._recorded import LaneReader, Recorded, open_recorded
from ._server import Serving, play_server

__all__ = ["command"]


def _speed(text: str) -> float:
    """Return how many times as fast as the recording."""
    if text == "max":
        return math.inf
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise click.BadParameter(f"{text!r} is not a speed: use a number such as 10, or max.")
    return speed


@click.command(
    "replay",
    cls=Command,
    examples=[
        "rxws replay prices.jsonl",
        "rxws replay prices.jsonl --speed 10 --json",
        "rxws replay prices.jsonl :8080/prices --check",
        "rxws replay prices.jsonl --serve --port 9000",
        "rxws replay prices.jsonl --speed max --lane outgoing",
    ],
)
@click.argument(
    "file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, allow_dash=True)
)
@click.argument("url", metavar="[URL]", required=False, type=parse_url)
@click.option(
    "--speed",
    type=_speed,
    metavar="N",
    default="1",
    show_default=True,
    help="How many times as fast as the recording, or 'max' to leave out all waits.",
)
@click.option(
    "--lane",
    metavar="NAME",
    default="incoming",
    show_default=True,
    help="What to print: incoming, outgoing, or the name of a tap.",
)
@styles
@click.option(
    "--check",
    is_flag=True,
    help="Compare what the server sends with the recording; end with 1 at the first difference.",
)
@click.option(
    "-w",
    "--wait",
    type=Number(0),
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="How long to wait for messages of the server that are late.",
)
@click.option("serve", "--serve", is_flag=True, help="Serve the recording to those who connect.")
@listening(port=8080)
@click.option("--once", is_flag=True, help="End after the first connection.")
@click.option(
    "origins",
    "--allow-origin",
    metavar="ORIGIN",
    multiple=True,
    help="Let pages of this origin connect, such as http://localhost:3000, or '*' for all.",
)
@client_options
@click.pass_context
def command(
    ctx: click.Context,
    /,
    file: str,
    url: URL | None,
    target_of: TargetOf,
    speed: float,
    lane: str,
    style: Style | None,
    check: bool,
    wait: float,
    serve: bool,
    **serving: Any,
) -> ExitCode:
    """Replay a recording, as a client or as a server.

    With FILE alone, or - for stdin, print what arrived, with the original waits. With a URL, send
    there what the recorded client sent, and print what arrives. With --serve, send what arrived to
    each client that connects, and close as the recorded server did.
    """
    _check_mode(ctx, url is not None, serve)
    if url is None:
        refuse_connection_options("a URL")
    formatted = Format(style or "text", terminal=to_terminal())
    if serve:
        with open_recorded(file, "incoming") as recorded:
            return run(partial(play_server, recorded, speed, Serving(**serving)))
    if url is None:
        with open_recorded(file) as recorded:
            return run(partial(_play, recorded, speed, lane, formatted))
    target = target_of(url)
    with open_recorded(file, "outgoing") as recorded:
        return run(partial(play_client, recorded, target, speed, wait, check, formatted))


_ONLY_WITH = {
    "--serve": ("host", "port", "once", "origins"),
    "a URL": ("check", "wait"),
    "FILE alone": ("lane",),
}


def _check_mode(ctx: click.Context, url: bool, serve: bool) -> None:
    """Refuse options that would have no effect."""
    if url and serve:
        raise click.UsageError("Use either a URL, to be the client, or --serve, to be the server.")
    mode = "--serve" if serve else "a URL" if url else "FILE alone"
    for needed, names in _ONLY_WITH.items():
        for name in names:
            if needed != mode and ctx.get_parameter_source(name) is not _DEFAULT:
                option = next(each.opts[-1] for each in ctx.command.params if each.name == name)
                raise click.UsageError(f"{option} is for {needed}.")


_DEFAULT = click.core.ParameterSource.DEFAULT


async def _play(
    recorded: Recorded,
    speed: float,
    lane: str,
    formatted: Callable[[Any], str | bytes],
    stop: asyncio.Event,
) -> ExitCode:
    """Print the messages of a lane.

    Raises:
        click.BadParameter: There is no such lane.
        RxwsError: The lane ended with an error.
    """
    printed = size = 0

    async def play(reader: LaneReader) -> None:
        nonlocal printed, size
        async for event in reader.due(speed):
            match event.type, event.data:
                case "error", ConnectionClosed(close=close):
                    note(describe(close))
                case "error", error:
                    raise error
                case "next", value:
                    text = formatted(value if event.frame is None else event.frame)
                    await write_soon(text)
                    printed, size = printed + 1, size + len(text)
                case "close", close:  # which the recorded client has sent
                    note(describe(close))
                case _:
                    return
        if lane not in reader.lanes:
            names = ", ".join(reader.lanes)
            raise click.BadParameter(f"{lane!r} is not in {recorded.name}, which has: {names}.")

    with (
        LaneReader(recorded, lane) as reader,
        progress(
            lambda: Figures(printed, size, share=reader.progress), shown=not sys.stdout.isatty()
        ),
    ):
        try:
            await unless_stopped(stop, play(reader))
        except click.Abort:  # Ctrl-C, with nothing to close
            return ExitCode.INTERRUPTED
    return ExitCode.DONE
