"""`rxws serve --verbose`, in virtual time."""

from __future__ import annotations

import gc
import sys
import weakref
from types import SimpleNamespace as Namespace
from typing import Any

import pytest

from rxws._core import instrumentation
from rxws._core.connection import Connection
from rxws.cli.serve._log import log_connections
from support.telemetry import installed
from support.virtual.session import VirtualSession


def connected() -> VirtualSession:
    """A session of a server that reports."""
    match: Any = Namespace(route=Namespace(resource=None))
    request: Any = Namespace(
        method="GET", scheme="http", path="/", remote=None, headers={}, match_info=match
    )
    with instrumentation.active.server(request) as telemetry:
        return VirtualSession(telemetry=telemetry, watch=True)


def test_the_log_and_the_metrics_of_an_application_go_together(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An application may install metrics when it starts, and remove them when it ends."""
    with log_connections():
        with installed() as telemetry:
            virtual = connected()
            assert telemetry.values("active_connections") == {"server": 1}
            virtual.peer.close(1000)
            assert telemetry.values("closed_connections") == {"server": 1}
        connected()
    connected()
    shown = [line.split(" ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert shown == [
        "client opened /",
        "client closed with 1000 (normal closure) by the client; 0 received, 0 sent",
        "client opened /",
    ]


def test_a_server_needs_no_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """`rxws serve -v … 2>&1 | head -1` serves on when nobody reads its lines any more."""

    class Gone:
        def write(self, _: str) -> None:
            raise BrokenPipeError

        flush = isatty = lambda self: False

    monkeypatch.setattr(sys, "stderr", Gone())
    with log_connections():
        virtual = connected()
        virtual.peer.message("a")
        virtual.peer.close(1000)
    assert virtual.incoming.values == ["a"]
    assert [close.code for close in virtual.closed.values] == [1000]


def test_a_connection_that_has_ended_is_not_kept() -> None:
    """Python frees it at once, as without the log."""

    def end() -> weakref.ref[Connection[str, str]]:
        virtual = connected()
        virtual.peer.close(1000)
        virtual.settle()
        virtual.session.on_released()
        return weakref.ref(virtual.conn)

    gc.collect()
    gc.disable()
    try:
        with log_connections():
            assert end()() is None
    finally:
        gc.enable()
