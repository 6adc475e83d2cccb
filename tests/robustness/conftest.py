"""The fixture `target`: a process under attack, for each end and each read path."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import rxws
from support import TESTS
from support.attack.attackers import Target
from support.peers.raw import RawServer
from support.processes.server import PATIENCE, Server

EndAndServer = tuple[str, Server]

ENDS_AND_PATHS = [(end, path) for path in ("push", "pull") for end in ("server", "client")]


@pytest.fixture(scope="session", params=ENDS_AND_PATHS, ids="-".join)
def process(request: pytest.FixtureRequest) -> Iterator[EndAndServer]:
    """Start one process for many tests, since its start takes longer than most of them."""
    end, path = request.param
    roots = [str(Path(rxws.__file__).parents[1]), str(TESTS)]
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "support.attack.target"],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(roots),
            "RXWS_TRANSPORT": path,
            "PYTHONASYNCIODEBUG": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as one:
        try:
            assert one.stdout is not None
            yield end, Server(cast(Any, one), int(one.stdout.readline()))
            one.terminate()
            _, err = one.communicate(timeout=PATIENCE)
            assert (one.returncode, err) == (0, "")
        finally:
            with contextlib.suppress(ProcessLookupError):
                one.kill()


@pytest.fixture
async def target(process: EndAndServer) -> AsyncIterator[Target]:
    """Attack the process with rxws at one end; afterwards reset the test's connections."""
    end, server = process
    async with RawServer() as listening:
        target = Target(end, server, listening)
        yield target
        for peer in target.peers:
            await peer.rst()
