"""`rxws record`."""

from __future__ import annotations

import asyncio
import math
import os
import sys
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import IO, Any, cast

import click
from reactivex import operators as ops

import rxws
from rxws.operators import map_async

from ._command import Command, Number
from ._connection import Target, connection_options
from ._exit_codes import ExitCode
from ._failures import Failure
from ._lines import read_lines
from ._link import Link, describe, open_link
from ._options import first_messages, message_count, reconnect
from ._output import Output, note, open_output, open_stdout
from ._progress import Figures, progress
from ._recordings import recording_errors
from ._run import first_of, run, unless_stopped

__all__ = ["command"]

_STDOUT = "-"
_KEEP = 100  # events of each stream, until the file is open


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """The options; see the help."""

    target: Target
    output: str
    messages: tuple[str | bytes, ...]
    count: int | None
    seconds: float | None
    reconnect: bool
    append: bool


@click.command(
    "record",
    cls=Command,
    examples=[
        "rxws record :8080/prices -o prices.jsonl",
        'rxws record :8080/prices -o prices.jsonl -m \'{"subscribe": "ACME"}\' -n 3',
        "rxws record :8080/prices -o prices.jsonl --append --for 3600 --reconnect",
        "echo hi | rxws record :8080/chat -o - -n 1 | grep incoming",
    ],
)
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    required=True,
    help="The file to write, as lines of JSON; - for stdout.",
)
@first_messages("Send this text, or @FILE, first; with --reconnect, on each connection.")
@message_count("End after N received messages.")
@click.option(
    "seconds",
    "--for",
    type=Number(0, min_open=True),
    metavar="SECONDS",
    help="End after this time.",
)
@reconnect
@click.option("--append", is_flag=True, help="Continue the recording in the file, if it exists.")
@click.option("--force", is_flag=True, help="Overwrite the file, if it exists.")
@connection_options
def command(force: bool, **options: Any) -> ExitCode:
    """Record a connection in a file.

    Each message, in both directions, is in the file as soon as it arrives or is sent, so that the
    file is complete even if the command is killed. If the input is not a terminal, its lines are
    sent as messages. Ctrl-C closes the connection and ends the recording.

    Replay the file with `rxws replay`, draw it with `rxws draw`, or load it with `Recording.load`.
    """
    plan = _Plan(**options)
    if force and plan.append:
        raise click.UsageError("--force overwrites the file, and --append continues it: use one.")
    if os.path.isfile(plan.output) and not (force or plan.append):
        raise click.UsageError(
            f"{plan.output} exists: use --append to continue it, or --force to overwrite it."
        )
    with ExitStack() as stack:
        with recording_errors(plan.output):
            # Before the connection, as it may wait for a reader.
            pipe = stack.enter_context(_open_pipe(plan.output))
        return run(partial(_record, plan, pipe))


def _open_pipe(name: str) -> AbstractContextManager[Output | None]:
    """Return stdout, or a file that is there and may be slow, such as a named pipe."""
    if name == _STDOUT:
        return nullcontext(open_stdout())
    is_pipe = os.path.exists(name) and not os.path.isfile(name)
    return open_output(name) if is_pipe else nullcontext()


async def _record(plan: _Plan, pipe: Output | None, stop: asyncio.Event) -> ExitCode:
    """Record until the end, the count, the time, or `stop`.

    Raises:
        Failure: The connection ended abnormally or too early, or the file cannot be written.
        ConnectError: The connection could not be opened.
    """
    failure: Exception | None = None
    with ExitStack() as files:  # which are closed once the connection is
        async with AsyncExitStack() as connections:
            opening = open_link(plan.target, plan.reconnect, plan.messages)
            link = await unless_stopped(stop, connections.enter_async_context(opening))
            try:
                await _record_link(plan, link, pipe, files, stop)
            except Exception as error:  # out here it would close with 1011
                failure = error
    if pipe is not None:
        await _drained(pipe, plan)
    if failure is not None:
        raise failure
    return ExitCode.DONE


async def _record_link(
    plan: _Plan, link: Link, pipe: Output | None, files: ExitStack, stop: asyncio.Event
) -> None:
    unwritable: asyncio.Future[OSError] = asyncio.get_running_loop().create_future()
    recording = rxws.Recording.of(link.source, keep=_KEEP)
    with recording_errors(plan.output):
        file = recording.stream_to(
            plan.output if pipe is None else cast("IO[bytes]", pipe),
            append=plan.append,
            on_error=unwritable.set_result,
        )
    files.callback(file.dispose)
    files.callback(recording.stop)
    shown = plan.output != _STDOUT or not sys.stdout.isatty()
    files.enter_context(
        progress(lambda: Figures(file.messages, file.size, plan.count), shown=shown)
    )
    if plan.reconnect:
        link.statuses.subscribe(lambda status: note(repr(status)))
    else:
        for message in plan.messages:
            link.send(message)
    await first_of(
        _receive(link, pipe, plan),
        _send_input(link, pipe, plan),
        stop.wait(),
        _raise_error(unwritable, plan),
        asyncio.sleep(math.inf if plan.seconds is None else plan.seconds),
    )


async def _receive(link: Link, pipe: Output | None, plan: _Plan) -> None:
    """Receive messages until the connection ends, or as many as wanted have come.

    The connection is paused while the reader of a pipe is behind.

    Raises:
        Failure: The connection ended abnormally or too early.
    """
    received, count = 0, plan.count

    def on_next(_: object) -> None:
        nonlocal received
        received += 1

    messages = link.incoming if count is None else link.incoming.pipe(ops.take(count))
    messages = messages.pipe(ops.do_action(on_next))
    if pipe is not None:
        messages = messages.pipe(map_async(lambda _: _drained(pipe, plan)))
    try:
        await messages.pipe(ops.last_or_default(None))
    except rxws.ConnectionClosed as error:
        raise _too_early(error.close, received, count) from error
    if count is not None and received < count and link.end is not None:
        raise _too_early(link.end, received, count)


def _too_early(close: rxws.Close, received: int, count: int | None) -> Failure:
    many = f"{received}" if count is None else f"{received} of {count}"
    return Failure(f"{describe(close)}, after {many} received messages", ExitCode.ABNORMAL_CLOSE)


async def _send_input(link: Link, pipe: Output | None, plan: _Plan) -> None:
    """Send the lines of the input, unless it is a terminal; then wait forever.

    Raises:
        click.UsageError: A line is not UTF-8.
    """
    if sys.stdin is not None and not sys.stdin.isatty():  # None if it is closed
        number = 0
        try:
            async for line in read_lines(sys.stdin.fileno()):
                number += 1
                await link.send_and_drain(line.decode())
                if pipe is not None:
                    await _drained(pipe, plan)
        except UnicodeDecodeError as error:
            raise click.UsageError(f"Line {number} of the input is not UTF-8: {error}.") from error
        except rxws.ConnectionClosed:
            pass  # `_receive` reports it, after the last message
    await asyncio.Future()


async def _drained(pipe: Output, plan: _Plan) -> None:
    """Wait until the reader of a pipe has what was recorded.

    Raises:
        Failure: It cannot be written; BrokenPipeError if nobody reads any more.
    """
    try:
        await pipe.drained()
    except OSError as error:
        raise _cannot_write(plan, error) from error


async def _raise_error(unwritable: asyncio.Future[OSError], plan: _Plan) -> None:
    error = await unwritable
    raise _cannot_write(plan, error) from error


def _cannot_write(plan: _Plan, error: OSError) -> Exception:
    if isinstance(error, BrokenPipeError):
        return error
    return Failure(
        f"{plan.output}: {error.strerror}: the recording ends here, and can be loaded.",
        ExitCode.ABNORMAL_CLOSE,
    )
