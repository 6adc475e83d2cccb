"""The process that restarts a server when its source changes."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from rxws.cli.serve import _reload
from support.peers.raw import PATIENCE


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
    unused: Any = None
    with socket.socket() as sock:
        async with asyncio.timeout(PATIENCE):
            await _reload.serve_and_reload(unused, unused, sock, [tmp_path], stop)
    assert ends == [True, False]
    assert "chat.py changed: restarting" in capsys.readouterr().err
