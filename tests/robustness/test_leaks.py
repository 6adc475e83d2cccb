"""A connection that has ended, in whatever way and at either end, leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rxws
from support import TESTS
from support.processes.server import HAS_PROC, SOAK

CYCLES = 300 if SOAK else 10
UNOPENED = ("nobody listens", "answered with garbage")
NOISE = 5  # objects of the interpreter's caches


@pytest.fixture(scope="module", params=["push", "pull"])
def ways(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return what each way to end a connection leaves behind, on one read path."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "support.processes.leaks", str(CYCLES)],
        env={
            **os.environ,
            "RXWS_TRANSPORT": request.param,
            "PYTHONPATH": os.pathsep.join([str(Path(rxws.__file__).parents[1]), str(TESTS)]),
            "PYTHONASYNCIODEBUG": "",  # debug mode keeps tracebacks, and with them objects
        },
        capture_output=True,
        text=True,
        timeout=600 if SOAK else 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["path"] == request.param
    ways: dict[str, Any] = report["ways"]
    assert len(ways) > 30
    if SOAK:
        most = max(ways, key=lambda name: ways[name]["grown"])
        print(f"{request.param}: {CYCLES} cycles of {len(ways)} ways; most growth in objects:")
        print(f"{ways[most]['grown']}, {most!r}")
    return ways


pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not HAS_PROC, reason="descriptors are counted in /proc"),
]


def left(ways: dict[str, Any], what: str) -> dict[str, Any]:
    """Return the ways that leave something behind."""
    return {name: found[what] for name, found in ways.items() if found[what]}


@pytest.mark.promise("leaks")
def test_no_task_timer_or_descriptor_is_left(ways: dict[str, Any]) -> None:
    """No task, timer or descriptor is left, also after a failed handshake or an exception."""
    assert left(ways, "held") == {}


@pytest.mark.promise("leaks")
def test_no_object_of_a_connection_is_left(ways: dict[str, Any]) -> None:
    """One garbage collection frees all objects of rxws, reactivex and aiohttp, and all closures."""
    assert left(ways, "leaked") == {}


def test_the_count_of_all_objects_stays_flat(ways: dict[str, Any]) -> None:
    """The number of objects does not grow over many connections."""
    grown = {name: found["grown"] for name, found in ways.items() if found["grown"] > NOISE}
    assert grown == {}


@pytest.mark.promise("freed")
def test_a_closed_connection_is_freed_without_a_garbage_collection(ways: dict[str, Any]) -> None:
    """A closed connection is freed by reference counting, however it ended.

    Excluded are programs that create a reference cycle themselves, and failed attempts to connect:
    the exceptions in aiohttp's connector form a cycle.
    """
    left = {name: found["to collect"] for name, found in ways.items() if found["to collect"]}
    for name in [*left]:
        if "in a ring" in name or name.startswith("refused") or name in UNOPENED:
            del left[name]
    subject = left.pop("a WebSocketSubject reconnects", {})
    assert left == {}
    connection = ("rxws._session.session", "rxws._aiohttp.transport", "aiohttp")
    assert not [kind for kind in subject if kind.startswith(connection)]


@pytest.mark.promise("freed")
def test_even_a_cycle_of_the_user_keeps_no_compressor(ways: dict[str, Any]) -> None:
    """A program's reference cycle keeps only small objects alive, none of aiohttp or zlib."""
    for name, found in ways.items():
        if "in a ring" in name:
            assert not [kind for kind in found["to collect"] if kind.startswith("aiohttp")], name


def test_a_refused_handshake_creates_no_session(ways: dict[str, Any]) -> None:
    """A refused handshake leaves no object of rxws to the garbage collector."""
    refused = {name: found for name, found in ways.items() if name.startswith("refused")}
    assert len(refused) == 3
    for name, found in refused.items():
        assert not any("rxws" in kind for kind in found["to collect"]), (name, found)
