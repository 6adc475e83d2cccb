"""`rxws serve`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rxws import closing, codecs
from rxws._core.close_codes import CLOSE_CODES
from rxws._core.connection import Close
from rxws._session.options import Options
from rxws.cli._command import Command, Number
from rxws.cli._exit_codes import ExitCode
from rxws.cli._options import listening, message_count
from rxws.cli._output import note, write
from rxws.cli._run import run

from . import _builtin
from ._application import RouteOptions, make_application
from ._load import load
from ._log import log_connections
from ._server import Settings, listen, run_application, url_of

__all__ = ["command"]

_RESTART = Close(1012, CLOSE_CODES[1012].reason)
_BUILTIN: dict[str, Any] = {"--echo": _builtin.echo, "--broadcast": _builtin.broadcast}
_CODECS = {
    "raw": codecs.raw,
    "text": codecs.text,
    "binary": codecs.binary,
    "json": codecs.json,
}
_DEFAULTS = Options()
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    "serve",
    cls=Command,
    examples=[
        "rxws serve chat:room",
        "rxws serve examples/chat.py:room --port 0 --reload -v",
        "rxws serve shop.app:make_app --host 0.0.0.0 --tls cert.pem",
        "rxws serve prices:feed --path /prices --codec json --origin https://example.com",
        "rxws serve --echo --port 9000",
        "rxws serve --broadcast",
        "echo hi | rxws serve -n 1",
    ],
)
@click.argument("target", metavar="[MODULE:NAME]", required=False)
@click.option("builtin", "--echo", flag_value="--echo", help="Send each message back.")
@click.option(
    "builtin", "--broadcast", flag_value="--broadcast", help="Send each message to all clients."
)
@listening(port=8080)
@click.option("--path", metavar="PATH", help="The path of the handler's URL.  [default: /]")
@click.option(
    "--codec",
    type=click.Choice(list(_CODECS)),
    help="What the handler's messages are: JSON values, text only, …",
)
@click.option(
    "protocols",
    "-s",
    "--subprotocol",
    metavar="NAME",
    multiple=True,
    help="Accept a subprotocol.",
)
@click.option(
    "origins",
    "--origin",
    metavar="ORIGIN",
    multiple=True,
    help="Let pages of this origin connect, too, such as https://example.com; '*' for all.",
)
@click.option(
    "heartbeat",
    "--heartbeat",
    type=Number(0),
    metavar="SECONDS",
    help=f"Ping clients this often; 0 disables it.  [default: {_DEFAULTS.heartbeat:g}]",
)
@click.option(
    "max_message_size",
    "--max-size",
    type=click.IntRange(1),
    metavar="BYTES",
    help=f"Close if a message is larger.  [default: {_DEFAULTS.max_message_size}]",
)
@click.option("compress", "--no-compress", flag_value=False, help="Do not compress messages.")
@click.option(
    "certificate",
    "--tls",
    type=_FILE,
    metavar="FILE",
    help="Serve wss:// with the certificate in this PEM file.",
)
@click.option(
    "key",
    "--tls-key",
    type=_FILE,
    metavar="FILE",
    help="The key of --tls, unless that file contains it.",
)
@click.option(
    "--drain",
    type=Number(0),
    metavar="SECONDS",
    default=2.0,
    show_default=True,
    help="At the end, wait so long for the clients' close frames.",
)
@click.option("--reload", is_flag=True, help="Restart when a Python file changes.")
@click.option(
    "watched",
    "--watch",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    multiple=True,
    help="With --reload: watch these directories or files.  [default: the current directory, and "
    "that of FILE]",
)
@message_count("Without MODULE:NAME: end after N received messages.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line about each connection.")
def command(
    target: str | None,
    builtin: str | None,
    host: str,
    port: int,
    path: str | None,
    certificate: Path | None,
    key: Path | None,
    drain: float,
    reload: bool,
    watched: tuple[Path, ...],
    verbose: bool,
    count: int | None,
    **options: Any,
) -> ExitCode:
    """Serve a handler.

    MODULE:NAME or FILE:NAME names a handler, a dict of handlers by path, a route of aiohttp, an
    aiohttp application, or a function that returns one of these. The URL is printed on stdout.
    Ctrl-C closes the connections with 1001.

    Without it, what you type goes to all clients, and their messages go to stdout.
    """
    if target is not None and builtin is not None:
        raise click.UsageError(f"{builtin} serves no {target}: use one of them.")
    if count is not None and (target or builtin):
        raise click.UsageError("-n is for a server at which you type: omit it.")
    if key is not None and certificate is None:
        raise click.UsageError(f"--tls-key={key} needs --tls.")
    if watched and not reload:
        raise click.UsageError("--watch needs --reload.")
    if reload and target is None:
        raise click.UsageError("--reload needs a MODULE:NAME to watch.")
    ctx = click.get_current_context()
    flags = {each.name: each.opts[-1] for each in ctx.command.params}
    given = [
        name for name in options if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    routes = RouteOptions(
        path,
        _route_options({name: options[name] for name in given}),
        [flags[name] for name in given],
        drain,
    )
    if target is None and builtin is None and "codec" in given:
        raise click.UsageError("--codec is for a handler: omit it.")
    settings = Settings(target or builtin or "rxws serve", routes, certificate, key, verbose)
    settings.tls()  # fail early
    with listen(host, port) as sock:
        if target is None and builtin is None:
            return _run_talk(settings, sock, count)
        if not reload:
            return _serve(settings, sock)
        from ._reload import serve_and_reload

        # The second one is the file's directory; of a module, it is the current one again.
        paths = watched or {Path.cwd(), Path(settings.target).resolve().parent}

        async def main(stop: asyncio.Event) -> None:
            write(f"{url_of(sock, settings)}\n")
            await serve_and_reload(_serve, settings, sock, paths, stop)

        run(main)
        return ExitCode.DONE


def _route_options(options: dict[str, Any]) -> dict[str, Any]:
    if "codec" in options:
        options["codec"] = _CODECS[options["codec"]]
    if "origins" in options and "*" in options["origins"]:
        options["origins"] = "*"
    if options.get("heartbeat") == 0:
        options["heartbeat"] = None
    return options


def _serve(settings: Settings, sock: socket.socket, parent: Connection | None = None) -> ExitCode:
    """Serve until Ctrl-C, or until the process that restarts this one says so."""
    target = settings.target
    value = _BUILTIN[target] if target in _BUILTIN else load(target)
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")  # unless the module did

    async def main(stop: asyncio.Event) -> None:
        async def until() -> Close:
            if parent is None:
                write(f"{url_of(sock, settings)}\n")
            else:
                note(f"serving {target}")
            return await _stopped(stop, parent)

        app = await make_application(value, target, settings.routes)
        await run_application(app, settings, sock, until)

    with log_connections() if settings.verbose else contextlib.nullcontext():
        run(main)
    return ExitCode.DONE


def _run_talk(settings: Settings, sock: socket.socket, count: int | None) -> ExitCode:
    """Serve those to whom a person types."""
    from ._talk import Talk

    async def main(stop: asyncio.Event) -> None:
        talk = Talk(count, stop)
        app = await make_application(talk.handler, settings.target, settings.routes)
        until = partial(talk.until, url_of(sock, settings))
        await run_application(app, settings, sock, until)

    run(main)
    return ExitCode.DONE


async def _stopped(stop: asyncio.Event, parent: Connection | None) -> Close:
    """Wait for the end; return how to close the open connections."""
    if parent is None:
        await stop.wait()
        return closing.GOING_AWAY
    loop = asyncio.get_running_loop()
    message: asyncio.Future[bool] = loop.create_future()

    def set_message(restart: bool) -> None:
        if not message.done():
            message.set_result(restart)

    def read() -> None:
        try:
            restart = bool(parent.recv())
        except (EOFError, OSError):  # it was killed
            restart = False
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(set_message, restart)

    threading.Thread(target=read, daemon=True).start()
    waiting = [message, interrupted := asyncio.ensure_future(_wait(stop))]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        interrupted.cancel()
    return _RESTART if message.done() and message.result() else closing.GOING_AWAY


async def _wait(stop: asyncio.Event) -> bool:
    return await stop.wait()
