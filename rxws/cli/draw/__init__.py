"""`rxws draw`: draw a recording as a marble diagram."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

import click
from yarl import URL

from rxws.cli._command import Command, Number
from rxws.cli._connection import (
    TargetOf,
    client_options,
    parse_url,
    refuse_connection_options,
)
from rxws.cli._exit_codes import ExitCode
from rxws.cli._options import first_messages
from rxws.cli._output import write
from rxws.cli._recordings import STDIN, load
from rxws.cli._run import run

from ._follow import follow_file, follow_url
from ._picture import Picture
from ._screen import FileScreen, open_screen

__all__ = ["command"]

_LATEST = 10.0  # seconds that are shown while they happen
_SUFFIXES = (".svg", ".txt")


def _source(text: str) -> URL | str:
    """Return a URL, or the name of a file."""
    if text == STDIN or Path(text).is_file():
        return text
    if "://" in text or re.match(r"[\w.-]*:\d", text):
        return parse_url(text)
    raise click.BadParameter(f"{text!r} is not a file, nor a URL such as ws://{text}.")


def _output(text: str) -> str:
    if text != "-" and not text.endswith(_SUFFIXES):
        raise click.BadParameter(f"{text!r} does not end with {' or '.join(_SUFFIXES)}.")
    return text


@click.command(
    "draw",
    cls=Command,
    examples=[
        "rxws draw prices.jsonl",
        "rxws draw prices.jsonl -o prices.svg",
        "rxws draw prices.jsonl --lane incoming --from 10 --to 12.5",
        "rxws draw prices.jsonl --follow --last 30",
        "rxws draw :8080/chat -m hi",
        "echo hi | rxws record :8080/chat -o - -n 1 | rxws draw -",
    ],
)
@click.argument("source", metavar="FILE|URL", type=_source)
@click.option(
    "-o",
    "--output",
    type=_output,
    metavar="FILE",
    help="Write an .svg or a .txt file, or the SVG to stdout with -; by default, text to stdout.",
)
@click.option(
    "lanes",
    "--lane",
    metavar="NAME",
    multiple=True,
    help="Draw only this lane, such as incoming; use it several times for several lanes.",
)
@click.option("start", "--from", type=float, metavar="SECONDS", help="Begin at this time.")
@click.option("stop", "--to", type=float, metavar="SECONDS", help="Stop at this time.")
@click.option(
    "--last",
    type=Number(0, min_open=True),
    metavar="SECONDS",
    help="Draw the latest seconds only; while they happen, 10 by default.",
)
@click.option(
    "--width",
    type=click.IntRange(24),
    help="The width in pixels (760 by default), or in columns (by default that of the terminal).",
)
@click.option("-f", "--follow", is_flag=True, help="Redraw while the recording grows.")
@first_messages("Send this text, or @FILE, to the URL.")
@client_options
def command(
    source: URL | str,
    target_of: TargetOf,
    output: str | None,
    lanes: tuple[str, ...],
    start: float | None,
    stop: float | None,
    last: float | None,
    width: int | None,
    follow: bool,
    messages: tuple[str | bytes, ...],
) -> ExitCode:
    """Draw a recording as a marble diagram.

    Each stream is a line from left to right, and each message is a mark on it. Draw a file that
    `rxws record` or `Recording.save` wrote, - for stdin, or a connection to a URL while it runs.
    With --follow, the picture changes while the recording grows, until Ctrl-C.
    """
    between = start is not None or stop is not None
    if last is not None and between:
        raise click.UsageError("Use either --last, or --from and --to.")
    if between and (follow or isinstance(source, URL)):
        raise click.UsageError("--from and --to are for a finished recording: use --last.")
    picture = Picture(
        lanes=lanes,
        is_svg=output is not None and not output.endswith(".txt"),
        width=width,
        window=last,
    )
    if isinstance(source, URL):
        screen = open_screen(output)
        picture.window = last or (_LATEST if output is None else None)
        return run(partial(follow_url, target_of(source), messages, picture, screen))
    refuse_connection_options("a URL")
    if messages:
        raise click.UsageError("--message needs a URL.")
    if follow:
        screen = open_screen(output)
        picture.window = last or (_LATEST if output is None else None)
        return run(partial(follow_file, source, picture, screen))
    if between:
        picture.window = (start or 0.0, math.inf if stop is None else stop)
    drawn = picture.draw(load(source, picture.window))
    if output is None or output == "-":
        write(drawn + "\n")
    else:
        FileScreen(output).show(drawn)
    return ExitCode.DONE
