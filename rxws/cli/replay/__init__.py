"""`rxws replay`: play a recording again."""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import click
from reactivex import operators as ops
from yarl import URL

from rxws import Close, ConnectionClosed, Recording, codecs
from rxws._core.schedulers.loop_scheduler import LoopScheduler
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
from rxws.cli._output import note, to_terminal, write
from rxws.cli._progress import Figures, progress
from rxws.cli._recordings import load
from rxws.cli._run import run, unless_stopped

from ._client import play_client
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
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False))
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

    With FILE alone, print what arrived, with the original waits. With a URL, send there what the
    recorded client sent, and print what arrives. With --serve, send what arrived to each client
    that connects, and close as the recorded server did.
    """
    _check_mode(ctx, url is not None, serve)
    if url is None:
        refuse_connection_options("a URL")
    recording = load(file)
    if serve:
        return run(partial(play_server, recording, speed, Serving(**serving)))
    formatted = Format(style or "text", terminal=to_terminal())
    if url is None:
        if lane not in recording.lanes:
            names = ", ".join(recording.lanes)
            raise click.BadParameter(f"{lane!r} is not in {file}, which has: {names}.")
        return run(partial(_play, recording, speed, lane, formatted))
    return run(partial(play_client, recording, target_of(url), speed, wait, check, formatted))


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
    recording: Recording,
    speed: float,
    lane: str,
    formatted: Callable[[Any], str | bytes],
    stop: asyncio.Event,
) -> ExitCode:
    """Print the messages of a lane."""
    total = sum(event.type == "next" for event in recording.lanes[lane].events)
    printed = size = 0

    def show(value: Any) -> None:
        nonlocal printed, size
        if isinstance(value, Close):  # which the recorded client has sent
            note(describe(value))
            return
        text = formatted(value)
        write(text)
        printed, size = printed + 1, size + len(text)

    values = recording.replay(
        speed, lane=lane, codec=codecs.raw, scheduler=LoopScheduler.running()
    ).pipe(ops.do_action(show), ops.last_or_default(None))

    async def play() -> None:
        await values

    with progress(lambda: Figures(printed, size), total, shown=not sys.stdout.isatty()):
        try:
            await unless_stopped(stop, play())
        except click.Abort:  # Ctrl-C, with nothing to close
            return ExitCode.INTERRUPTED
        except ConnectionClosed as error:
            note(describe(error.close))
    return ExitCode.DONE
