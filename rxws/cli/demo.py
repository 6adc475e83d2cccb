"""`rxws demo`."""

from __future__ import annotations

import asyncio
import webbrowser

import click
from aiohttp import web

import rxws

from ._command import Command
from ._failures import cannot_listen
from ._options import listening
from ._output import note
from ._run import run
from .playground import add_playground

__all__ = ["command"]


@click.command(
    "demo",
    cls=Command,
    examples=[
        "rxws demo",
        "rxws demo --open",
        "rxws demo --port 0",
        "rxws demo --host 0.0.0.0",
    ],
)
@listening(port=8765)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
def command(host: str, port: int, opens: bool) -> None:
    """Open the playground in a browser.

    On its page you compose a pipeline, send messages, and watch them as marbles. Ctrl-C stops it.
    """
    run(lambda stop: _serve(host, port, opens, stop))


async def _serve(host: str, port: int, opens: bool, stop: asyncio.Event) -> None:
    app = web.Application()
    add_playground(app)
    rxws.setup(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise cannot_listen(host, port, error) from error
        listening = runner.addresses[0][1]
        url = f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{listening}/"
        note(f"rxws playground: {url}   (press Ctrl+C to stop)")
        if opens and not webbrowser.open(url):
            note("no browser was found: open the address yourself")
        await stop.wait()
    finally:
        await runner.cleanup()
