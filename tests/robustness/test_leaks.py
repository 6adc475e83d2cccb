"""What a connection leaves behind when it has ended, in whatever way, at either end: nothing."""

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
NOISE = 5  # objects that come and go with the interpreter's own caches


@pytest.fixture(scope="module", params=["push", "pull"])
def ways(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What each way of `support.processes.leaks` has left, on one path."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "support.processes.leaks", str(CYCLES)],
        env={
            **os.environ,
            "RXWS_TRANSPORT": request.param,
            "PYTHONPATH": os.pathsep.join([str(Path(rxws.__file__).parents[1]), str(TESTS)]),
            "PYTHONASYNCIODEBUG": "",  # keeps tracebacks, and with them what is counted
        },
        capture_output=True,
        text=True,
        timeout=600 if SOAK else 120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert said["path"] == request.param
    ways: dict[str, Any] = said["ways"]
    assert len(ways) > 30
    if SOAK:
        most = max(ways, key=lambda name: ways[name]["grown"])
        print(f"{request.param}: {CYCLES} times each of {len(ways)} ways; most objects more:")
        print(f"{ways[most]['grown']}, {most!r}")
    return ways


pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not HAS_PROC, reason="descriptors are counted in /proc"),
]


def left(ways: dict[str, Any], what: str) -> dict[str, Any]:
    """The ways that have left something."""
    return {name: found[what] for name, found in ways.items() if found[what]}


@pytest.mark.promise("leaks")
def test_no_task_timer_or_descriptor_is_left(ways: dict[str, Any]) -> None:
    """Also where the connection never came about, or something raised."""
    assert left(ways, "held") == {}


@pytest.mark.promise("leaks")
def test_no_object_of_a_connection_is_left(ways: dict[str, Any]) -> None:
    """After one round of the collector none of rxws, reactivex or aiohttp is, and no closure."""
    assert left(ways, "leaked") == {}


def test_the_count_of_all_objects_stays_flat(ways: dict[str, Any]) -> None:
    """Over many connections, whatever the objects are."""
    grown = {name: found["grown"] for name, found in ways.items() if found["grown"] > NOISE}
    assert grown == {}


def test_what_is_left_to_the_collector_does_not_add_up(ways: dict[str, Any]) -> None:
    """A session, its adapter and its wire know one another, so it takes the collector to free them.

    It is one ring per connection, of one object of each kind or a few: its streams and bounds, and
    what aiohttp has below it, not the messages.
    """
    for name, found in ways.items():
        ring = {kind: count for kind, count in found["to collect"].items() if "rxws" in kind}
        assert all(count <= 3 for count in ring.values()), (name, ring)
        assert sum(ring.values()) < 40, (name, ring)


def test_a_refused_handshake_leaves_nothing_of_ours_to_the_collector(ways: dict[str, Any]) -> None:
    """No session is made before the request is right."""
    refused = {name: found for name, found in ways.items() if name.startswith("refused")}
    assert len(refused) == 3
    for name, found in refused.items():
        assert not any("rxws" in kind for kind in found["to collect"]), (name, found)
