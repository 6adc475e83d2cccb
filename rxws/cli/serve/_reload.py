"""Restart a server when its source changes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import click
from watchfiles import Change, PythonFilter, awatch  # pyright: ignore[reportUnknownVariableType]

from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import as_failure
from rxws.cli._output import note

from ._server import Settings

__all__ = ["Serve", "serve_and_reload"]

Serve = Callable[[Settings, socket.socket, Connection], ExitCode]
"""Serves until something arrives on the connection: whether the server will start again."""

_PATIENCE = 5.0  # seconds in addition to `drain`


class _Child:
    """A process that serves. Its socket belongs to the parent: clients wait during a restart."""

    def __init__(self, serve: Serve, settings: Settings, sock: socket.socket) -> None:
        context = multiprocessing.get_context("spawn")
        theirs, self._ours = context.Pipe(duplex=False)
        self._process: SpawnProcess = context.Process(
            target=_run, args=(serve, settings, sock, theirs), daemon=False
        )
        self._patience = settings.routes.drain + _PATIENCE
        # While the process imports, Ctrl-C would print a traceback. It inherits this; see `_run`.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            self._process.start()
        finally:
            signal.signal(signal.SIGINT, handler)
        theirs.close()

    async def stop(self, *, restart: bool) -> None:
        """Let it close its connections; kill it if it does not end."""
        with self._ours, suppress(OSError):  # it has ended already
            self._ours.send(restart)
        await asyncio.to_thread(self._process.join, self._patience)
        self.kill()

    def kill(self) -> None:
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


async def serve_and_reload(
    serve: Serve,
    settings: Settings,
    sock: socket.socket,
    watched: Collection[Path],
    stop: asyncio.Event,
) -> None:
    """Serve in a process that is replaced whenever a Python file changes.

    Connections are closed with 1012 then, so that clients reconnect. If the process fails, the next
    change starts another one.
    """
    watch = awatch(*watched, watch_filter=PythonFilter(), stop_event=stop)
    while True:
        next_changes = asyncio.ensure_future(anext(watch, None))
        # Start to watch before the server says that it serves, so that no change is missed.
        await asyncio.sleep(0)
        child = _Child(serve, settings, sock)
        try:
            changes = await next_changes
            if changes is None:  # `stop` is set
                await child.stop(restart=False)
                return
            note(f"{_names(changes)} changed: restarting")
            await child.stop(restart=True)
        finally:
            child.kill()


def _names(changes: set[tuple[Change, str]]) -> str:
    names = sorted(os.path.relpath(path) for _, path in changes)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _run(serve: Serve, settings: Settings, sock: socket.socket, parent: Connection) -> None:
    """Serve, in the new process; report a failure, which the next change may mend."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if parent.poll():  # the parent has asked it to end meanwhile
        sys.exit(ExitCode.DONE)
    try:
        sys.exit(serve(settings, sock, parent))
    except (click.Abort, KeyboardInterrupt):
        sys.exit(ExitCode.INTERRUPTED)
    except click.ClickException as error:
        error.show()
    except Exception as error:
        if (failure := as_failure(error)) is None:
            raise
        failure.show()
    note("waiting for a change")
    sys.exit(ExitCode.USAGE)
