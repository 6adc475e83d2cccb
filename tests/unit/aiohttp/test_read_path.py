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

DIFFERENCE = "the parser is different"


@pytest.mark.parametrize(
    ("requested", "difference", "path"),
    [
        (None, None, "push"),
        ("", None, "push"),
        ("push", None, "push"),
        ("pull", None, "pull"),
        (None, DIFFERENCE, "pull"),
        ("", DIFFERENCE, "pull"),
        ("push", DIFFERENCE, "pull"),
        ("pull", DIFFERENCE, "pull"),
    ],
)
def test_push_is_chosen_unless_missing_or_pull_is_requested(
    requested: str | None, difference: str | None, path: str
) -> None:
    """Push is chosen unless it is missing or pull is requested, with the deciding reason."""
    chosen, reason = read_path.choose(requested, difference)
    assert chosen == path
    if requested == "pull":
        assert reason == "RXWS_TRANSPORT=pull is set"
    elif difference is not None:
        assert reason == difference
    else:
        assert reason == "aiohttp supports the push path"


@pytest.mark.parametrize("requested", ["PUSH", " pull", "pushed", "0"])
@pytest.mark.parametrize("difference", [None, DIFFERENCE])
def test_an_unknown_read_path_is_refused(requested: str, difference: str | None) -> None:
    """An unknown read path raises a ValueError that lists the known ones."""
    with pytest.raises(ValueError, match="RXWS_TRANSPORT") as caught:
        read_path.choose(requested, difference)
    assert repr(requested) in str(caught.value)
    assert "'push' or 'pull'" in str(caught.value)


@pytest.mark.parametrize(
    ("requested", "difference", "level", "verb"),
    [
        (None, None, logging.DEBUG, "pushed"),
        ("push", None, logging.DEBUG, "pushed"),
        ("pull", None, logging.DEBUG, "pulled"),
        ("pull", DIFFERENCE, logging.DEBUG, "pulled"),
        (None, DIFFERENCE, logging.DEBUG, "pulled"),
        ("push", DIFFERENCE, logging.WARNING, "pulled"),
    ],
)
def test_a_request_for_push_that_fails_is_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    requested: str | None,
    difference: str | None,
    level: int,
    verb: str,
) -> None:
    """If push was requested but is missing, a warning is logged, else a debug message."""
    if requested is None:
        monkeypatch.delenv("RXWS_TRANSPORT", raising=False)
    else:
        monkeypatch.setenv("RXWS_TRANSPORT", requested)
    monkeypatch.setattr(read_path, "why_not_push", lambda: difference)
    with caplog.at_level(logging.DEBUG, "rxws"):
        info = read_path._choose_at_import()
    assert info.path == ("push" if verb == "pushed" else "pull")
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", level)
    assert record.getMessage() == f"rxws reads frames on the {info.path} path: {info.reason}"


SCRIPT = """
import dataclasses, json, logging, sys
logging.basicConfig(level="DEBUG", stream=sys.stderr, format="%(name)s %(levelname)s %(message)s")
import rxws
print(json.dumps(dataclasses.asdict(rxws.transport_info())))
"""


def run_with_rxws(
    script: str = SCRIPT, requested: str | None = None, *, pure: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a script in a new Python process that imports rxws in such an environment."""
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RXWS_TRANSPORT", "AIOHTTP_NO_EXTENSIONS")
    }
    if requested is not None:
        environ["RXWS_TRANSPORT"] = requested
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
@pytest.mark.parametrize("requested", [None, "push", "pull"])
def test_transport_info_after_an_import(requested: str | None, pure: bool) -> None:
    """`transport_info` reports the choice at import, also for aiohttp's pure Python parser."""
    done = run_with_rxws(requested=requested, pure=pure)
    assert done.returncode == 0, done.stderr
    info: dict[str, Any] = json.loads(done.stdout)
    path = "pull" if requested == "pull" else "push"
    assert info["path"] == path
    assert info["aiohttp"] == version("aiohttp")
    if pure:
        assert info["parser"] == "pure"
    else:
        assert info["parser"] == rxws.transport_info().parser
    assert f"rxws DEBUG rxws reads frames on the {path} path: {info['reason']}" in done.stderr


def test_an_import_with_an_unknown_read_path_fails() -> None:
    """An unknown RXWS_TRANSPORT makes the import fail with its name."""
    done = run_with_rxws(requested="sideways")
    assert done.returncode == 1
    assert "ValueError: RXWS_TRANSPORT='sideways' is unknown" in done.stderr


@pytest.mark.parametrize("path", ["push", "pull"])
async def test_connections_use_the_reported_read_path(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """Connections at both ends use the read path that `transport_info` reports."""
    force_read_path(monkeypatch, path)
    read_paths = record_read_paths(monkeypatch)
    port = await serve(rxws.websocket(lambda conn: conn.incoming))
    async with rxws.connect(f"ws://127.0.0.1:{port}/") as conn:
        conn.incoming.subscribe()
    assert read_paths == [path, path]


def test_transport_info_is_constant() -> None:
    """`transport_info` returns the same frozen object each time."""
    info = rxws.transport_info()
    assert info is rxws.transport_info()
    with pytest.raises(AttributeError):
        cast(Any, info).path = "pull"
