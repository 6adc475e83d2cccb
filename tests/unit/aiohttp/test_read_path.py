"""Which way frames come in: what is chosen, what is said of it, and that it is true."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from importlib.metadata import version
from typing import Any, cast

import pytest

import rxws
from rxws._aiohttp.transport import read_path
from support import ROOT
from support.fixtures import Serve
from support.peers.fake_tcp import force_read_path, record_read_paths

LACK = "the parser is of wood"


@pytest.mark.parametrize(
    ("wanted", "lack", "path"),
    [
        (None, None, "push"),
        ("", None, "push"),
        ("push", None, "push"),
        ("pull", None, "pull"),
        (None, LACK, "pull"),
        ("", LACK, "pull"),
        ("push", LACK, "pull"),
        ("pull", LACK, "pull"),
    ],
)
def test_what_is_wanted_and_what_there_is(wanted: str | None, lack: str | None, path: str) -> None:
    """Push where it is there and nobody wants the other; the reason is the one that decided."""
    chosen, reason = read_path.choose(wanted, lack)
    assert chosen == path
    if wanted == "pull":
        assert reason == "RXWS_TRANSPORT=pull is set"
    elif lack is not None:
        assert reason == lack
    else:
        assert "all" in reason


@pytest.mark.parametrize("wanted", ["PUSH", " pull", "pushed", "0"])
@pytest.mark.parametrize("lack", [None, LACK])
def test_a_way_that_there_is_not(wanted: str, lack: str | None) -> None:
    """It is refused by name, with what may be asked for instead."""
    with pytest.raises(ValueError, match="RXWS_TRANSPORT") as caught:
        read_path.choose(wanted, lack)
    assert repr(wanted) in str(caught.value)
    assert "'push' or 'pull'" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "lack", "level", "says"),
    [
        (None, None, logging.DEBUG, "pushed"),
        ("push", None, logging.DEBUG, "pushed"),
        ("pull", None, logging.DEBUG, "pulled"),
        ("pull", LACK, logging.DEBUG, "pulled"),
        (None, LACK, logging.DEBUG, "pulled"),
        ("push", LACK, logging.WARNING, "pulled"),
    ],
)
def test_who_asks_for_push_and_does_not_get_it_is_warned(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str | None,
    lack: str | None,
    level: int,
    says: str,
) -> None:
    """And falls back; whoever gets what was asked for reads of it at the debug level only."""
    if wanted is None:
        monkeypatch.delenv("RXWS_TRANSPORT", raising=False)
    else:
        monkeypatch.setenv("RXWS_TRANSPORT", wanted)
    monkeypatch.setattr(read_path, "why_not_push", lambda: lack)
    with caplog.at_level(logging.DEBUG, "rxws"):
        info = read_path._choose_at_import()
    assert info.path == ("push" if says == "pushed" else "pull")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", level)
    assert record.getMessage() == f"frames are {says}: {info.reason}"


SCRIPT = """
import dataclasses, json, logging, sys
logging.basicConfig(level="DEBUG", stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
import rxws
print(json.dumps(dataclasses.asdict(rxws.transport_info())))
"""


def imported(
    script: str = SCRIPT, wanted: str | None = None, *, pure: bool = False
) -> subprocess.CompletedProcess[str]:
    """What a Python of its own does that imports rxws in such an environment."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RXWS_TRANSPORT", "AIOHTTP_NO_EXTENSIONS")
    }
    if wanted is not None:
        environ["RXWS_TRANSPORT"] = wanted
    if pure:
        environ["AIOHTTP_NO_EXTENSIONS"] = "1"
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("pure", [False, True], ids=["", "pure"])
@pytest.mark.parametrize("wanted", [None, "push", "pull"])
def test_what_an_import_finds(wanted: str | None, pure: bool) -> None:
    """`transport_info` says what the environment chose, also with aiohttp's parser in Python."""
    done = imported(wanted=wanted, pure=pure)
    assert done.returncode == 0, done.stderr
    info: dict[str, Any] = json.loads(done.stdout)
    path = "pull" if wanted == "pull" else "push"
    assert info["path"] == path
    assert info["aiohttp"] == version("aiohttp")
    if pure:
        assert info["parser"] == "pure"
    else:
        assert info["parser"] == rxws.transport_info().parser
    assert f"rxws DEBUG frames are {path}ed: {info['reason']}" in done.stderr


def test_an_import_with_a_way_that_there_is_not() -> None:
    """It fails at once, and names the variable."""
    done = imported(wanted="sideways")
    assert done.returncode == 1
    assert "ValueError: RXWS_TRANSPORT='sideways' is unknown" in done.stderr


@pytest.mark.parametrize("path", ["push", "pull"])
async def test_what_is_said_is_what_is_done(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Connections take the way that `transport_info` tells, at both ends."""
    force_read_path(monkeypatch, path)
    taken = record_read_paths(monkeypatch)
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with rxws.connect(f"ws://127.0.0.1:{port}/") as conn:
        conn.incoming.subscribe()
    assert taken == [path, path]


def test_what_was_found_does_not_change() -> None:
    """It is found once, and cannot be written to."""
    info = rxws.transport_info()
    assert info is rxws.transport_info()
    with pytest.raises(AttributeError):
        cast(Any, info).path = "pull"
