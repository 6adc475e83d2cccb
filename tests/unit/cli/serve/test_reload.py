"""The process that restarts a server when its source changes."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from watchfiles import Change

import rxws
from rxws.cli._exit_codes import ExitCode
from rxws.cli.serve import _reload
from rxws.cli.serve._application import RouteOptions
from rxws.cli.serve._server import Settings
from support.peers.raw import PATIENCE

UNUSED: Any = None


async def test_a_change_right_at_the_start_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It watches before it starts the server, since watching many directories takes long."""
    stop = asyncio.Event()
    ends: list[bool] = []

    class FirstChangesTheSource:
        def __init__(self, *_: object) -> None:
            if not ends:
                (tmp_path / "chat.py").write_text("")

        async def stop(self, *, restart: bool) -> None:
            ends.append(restart)
            stop.set()

        def kill(self) -> None:
            pass

    monkeypatch.setattr(_reload, "_Child", FirstChangesTheSource)
    with socket.socket() as sock:
        async with asyncio.timeout(PATIENCE):
            await _reload.serve_and_reload(UNUSED, UNUSED, sock, [tmp_path], stop)
    assert ends == [True, False]
    assert "chat.py changed: restarting" in capsys.readouterr().err


async def test_the_server_does_not_outlive_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, which cancels everything, kills the process that serves."""
    kills = 0
    started = asyncio.Event()

    class Child:
        def __init__(self, *_: object) -> None:
            started.set()

        def kill(self) -> None:
            nonlocal kills
            kills += 1

    monkeypatch.setattr(_reload, "_Child", Child)
    with socket.socket() as sock:
        running = asyncio.ensure_future(
            _reload.serve_and_reload(UNUSED, UNUSED, sock, [tmp_path], asyncio.Event())
        )
        await started.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    assert kills == 1


@pytest.mark.parametrize(
    ("files", "shown"),
    [
        (["chat.py"], "chat.py"),
        (["c.py", "a.py", "b.py"], "a.py, b.py, c.py"),
        (["e.py", "d.py", "c.py", "b.py", "a.py"], "a.py, b.py, c.py and 2 more"),
    ],
)
def test_the_note_names_up_to_three_files(files: list[str], shown: str) -> None:
    """They are relative to the current directory, and sorted."""
    changes = {(Change.modified, str(Path.cwd() / name)) for name in files}
    assert _reload._names(changes) == shown


# --- the process that serves ------------------------------------------------------------------


class FakeProcess:
    """A fake process of `multiprocessing`, which the test controls."""

    def __init__(self, target: object, args: tuple[Any, ...], daemon: bool) -> None:
        assert target is _reload._run
        assert not daemon, "it may start processes itself"
        self.exitcode: int | None = None
        self.obeys = True
        self.told: list[bool] = []
        self.waited: list[float | None] = []
        *_, self._parent = args

    def start(self) -> None:
        """Copy the end of the pipe, as a new process gets it."""
        self.handles_ctrl_c = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
        self.end = connection.Connection(os.dup(self._parent.fileno()))

    def join(self, timeout: float | None = None) -> None:
        self.waited.append(timeout)
        if self.obeys and self.exitcode is None:
            self.told.append(self.end.recv())
            self.exitcode = 0

    def kill(self) -> None:
        assert self.exitcode is None
        self.exitcode = -9


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Iterator[_reload._Child]:
    """A child whose process is a `FakeProcess`."""
    context = SimpleNamespace(Pipe=multiprocessing.Pipe, Process=FakeProcess)
    monkeypatch.setattr(multiprocessing, "get_context", lambda how: {"spawn": context}[how])
    settings = Settings("chat:room", RouteOptions(drain=2.0))
    child = _reload._Child(UNUSED, settings, UNUSED)
    yield child
    process_of(child).end.close()


def process_of(child: _reload._Child) -> FakeProcess:
    process: Any = child._process
    assert isinstance(process, FakeProcess)
    return process


@pytest.mark.parametrize("restart", [True, False])
async def test_a_child_is_told_how_to_close_its_connections(
    child: _reload._Child, restart: bool
) -> None:
    """It gets as long as its connections have to close, and some seconds more."""
    process = process_of(child)
    await child.stop(restart=restart)
    assert (process.told, process.waited, process.exitcode) == ([restart], [7.0], 0)
    child.kill()
    assert process.exitcode == 0, "it has ended"


async def test_a_child_that_does_not_end_is_killed(child: _reload._Child) -> None:
    """A handler that blocks its event loop does not stop the restart."""
    process = process_of(child)
    process.obeys = False
    await child.stop(restart=True)
    assert (process.waited, process.exitcode) == ([7.0, None], -9)


async def test_a_child_that_has_failed_needs_no_stop(child: _reload._Child) -> None:
    """It cannot be told anything: that is no error."""
    process = process_of(child)
    process.end.close()
    process.exitcode = 1
    await child.stop(restart=True)
    assert process.exitcode == 1


@pytest.mark.usefixtures("_keeps_handlers")
async def test_ctrl_c_does_not_interrupt_the_imports_of_a_child(child: _reload._Child) -> None:
    """It would print a traceback of rxws; the command still gets it, and stops the child."""
    assert not process_of(child).handles_ctrl_c
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


@pytest.fixture
def _keeps_handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, before)


def run_child(serve: Callable[[], ExitCode], *messages: bool) -> int:
    """Return the exit code of a process that serves, and has got messages."""
    theirs, ours = multiprocessing.Pipe(duplex=False)
    for message in messages:
        ours.send(message)
    with theirs, ours, pytest.raises(SystemExit) as exit_:
        _reload._run(lambda *_: serve(), UNUSED, UNUSED, theirs)
    code = exit_.value.code
    assert isinstance(code, int)
    return code


@pytest.mark.usefixtures("_keeps_handlers")
def test_a_child_may_be_stopped_before_it_serves() -> None:
    """If Ctrl-C comes while it starts, it does not import what it would serve."""

    def serve() -> ExitCode:
        raise AssertionError

    assert run_child(serve, False) == 0


@pytest.mark.usefixtures("_keeps_handlers")
def test_a_child_may_be_interrupted_while_it_imports_what_it_serves() -> None:
    """Ctrl-C works from then on."""

    def serve() -> ExitCode:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert run_child(serve) == 130


@pytest.mark.usefixtures("_keeps_handlers")
@pytest.mark.parametrize(
    ("error", "code", "shown"),
    [
        (None, 0, ""),
        (KeyboardInterrupt(), 130, ""),
        (click.Abort(), 130, ""),
        (click.UsageError("no such module"), 64, "Error: no such module\nwaiting for a change\n"),
        (rxws.ConnectError("no Redis"), 64, "Error: no Redis\nwaiting for a change\n"),
    ],
    ids=repr,
)
def test_a_child_reports_why_it_ends(
    capsys: pytest.CaptureFixture[str], error: BaseException | None, code: int, shown: str
) -> None:
    """The next change may mend what has failed; after Ctrl-C, nothing is said."""

    def serve() -> ExitCode:
        if error is not None:
            raise error
        return ExitCode.DONE

    assert run_child(serve) == code
    assert capsys.readouterr().err == shown


@pytest.mark.usefixtures("_keeps_handlers")
def test_a_defect_of_a_child_has_a_traceback() -> None:
    """It is not hidden by a short message."""

    def serve() -> ExitCode:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_child(serve)
