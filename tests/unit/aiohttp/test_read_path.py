"""The read path: which one is chosen and reported, and that it is used."""

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

LACK = "the parser lacks something"


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
def test_push_is_chosen_unless_missing_or_pull_is_requested(
    wanted: str | None, lack: str | None, path: str
) -> None:
    """Push is chosen unless it is missing or pull is requested, with the deciding reason."""
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
def test_an_unknown_read_path_is_refused(wanted: str, lack: str | None) -> None:
    """An unknown read path raises a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="RXWS_TRANSPORT") as caught:
        read_path.choose(wanted, lack)
    assert repr(wanted) in str(caught.value)
    assert "'push' or 'pull'" in str(caught.value)


@pytest.mark.parametrize(
    ("wanted", "lack", "level", "verb"),
    [
        (None, None, logging.DEBUG, "pushed"),
        ("push", None, logging.DEBUG, "pushed"),
        ("pull", None, logging.DEBUG, "pulled"),
        ("pull", LACK, logging.DEBUG, "pulled"),
        (None, LACK, logging.DEBUG, "pulled"),
        ("push", LACK, logging.WARNING, "pulled"),
    ],
)
def test_a_request_for_push_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    wanted: str | None,
    lack: str | None,
    level: int,
    verb: str,
) -> None:
    """If push was requested but is missing, a warning is logged, else a debug message."""
    if wanted is None:
        monkeypatch.delenv("RXWS_TRANSPORT", raising=False)
    else:
        monkeypatch.setenv("RXWS_TRANSPORT", wanted)
    monkeypatch.setattr(read_path, "why_not_push", lambda: lack)
    with caplog.at_level(logging.DEBUG, "rxws"):
        info = read_path._choose_at_import()
    assert info.path == ("push" if verb == "pushed" else "pull")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", level)
    assert record.getMessage() == f"frames are {verb}: {info.reason}"


SCRIPT = """
import dataclasses, json, logging, sys
logging.basicConfig(level="DEBUG", stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
import rxws
print(json.dumps(dataclasses.asdict(rxws.transport_info())))
"""


def run_with_rxws(
    script: str = SCRIPT, wanted: str | None = None, *, pure: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in a new Python process that imports rxws in such an environment."""
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
def test_transport_info_after_an_import(wanted: str | None, pure: bool) -> None:
    """`transport_info` reports the choice at import, also for aiohttp's pure Python parser."""
    done = run_with_rxws(wanted=wanted, pure=pure)
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


def test_an_import_with_an_unknown_read_path_fails() -> None:
    """An unknown RXWS_TRANSPORT makes the import fail with its name."""
    done = run_with_rxws(wanted="sideways")
    assert done.returncode == 1
    assert "ValueError: RXWS_TRANSPORT='sideways' is unknown" in done.stderr


@pytest.mark.parametrize("path", ["push", "pull"])
async def test_connections_use_the_reported_read_path(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Connections at both ends use the read path that `transport_info` reports."""
    force_read_path(monkeypatch, path)
    taken = record_read_paths(monkeypatch)
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with rxws.connect(f"ws://127.0.0.1:{port}/") as conn:
        conn.incoming.subscribe()
    assert taken == [path, path]


def test_transport_info_is_constant() -> None:
    """`transport_info` returns the same frozen object each time."""
    info = rxws.transport_info()
    assert info is rxws.transport_info()
    with pytest.raises(AttributeError):
        cast(Any, info).path = "pull"
