"""The pytest plugin, as a test suite of a user's meets it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx

from rxws.testing import Timeline, marbles, plugin
from support import ROOT

HEAD = """
import asyncio

import pytest
from reactivex import operators as ops
import rxws
from rxws.testing import marbles

def shout(conn):
    return conn.incoming.pipe(ops.debounce(0.3, conn.scheduler), ops.map(str.upper))
"""


def run(path: Path, tests: str, *arguments: str) -> str:
    """The output of a test session of its own; warnings are errors there."""
    (path / "test_it.py").write_text(HEAD + tests, encoding="utf-8")
    installed = "rxws" in {each.name for each in entry_points(group="pytest11")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", "-p", "no:cacheprovider", "-q"]
        + ([] if installed else ["-p", "rxws.testing.plugin"])
        + list(arguments),
        cwd=path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout


def test_it_is_an_entry_point() -> None:
    """Whoever installs rxws has it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["pytest11"] == {"rxws": "rxws.testing.plugin"}


ALONE = """
import reactivex as rx

def test_in_virtual_time(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == marbles("-------C--|", step=0.1)

def test_with_a_pair(rxws_pair):
    async def main():
        async with rxws_pair(lambda conn: conn.incoming) as (_, client):
            client.outgoing.on_next("hey")
            assert await client.incoming.pipe(ops.first()) == "hey"
    asyncio.run(main())

def test_with_a_server(rxws_server):
    async def main():
        async with rxws_server(lambda conn: conn.incoming) as server:
            async with rxws.connect(server.url) as client:
                client.outgoing.on_next("hey")
                assert await client.incoming.pipe(ops.first()) == "hey"
    asyncio.run(main())

def interval(conn):
    rx.interval(1.0).subscribe(lambda _: None, scheduler=conn.scheduler)

def test_still_open_is_no_leak(rxws_simulate):
    rxws_simulate(interval, "--")

# --- from here on each fails

def test_timer(rxws_simulate):
    assert rxws_simulate(interval, "--|").open_subscriptions == 1

def test_pair(rxws_pair):
    async def main():
        rxws_pair()
    asyncio.run(main())

kept = []

def test_server(rxws_server):
    async def main():
        running = rxws_server(lambda conn: None)
        kept.append(running)
        await running.__aenter__()
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    kept.append(loop)

def test_the_end():
    # What the test before left: a server, in good order. This one passes.
    running, loop = kept
    loop.run_until_complete(running.__aexit__(None, None, None))
    loop.close()

def test_seen_first(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == marbles("------C---|", step=0.1)

def test_expected_first(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert marbles("------C---|", step=0.1) == sim.outgoing

def test_a_list_of_rxpy_s(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == list(marbles("------C---|", step=0.1))

def test_a_list_of_values(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == ["C"]

def test_other_operators_and_values_are_pytest_s(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing == "C"

def test_unequal(rxws_simulate):
    sim = rxws_simulate(shout, "a-b-c-----|", step=0.1)
    assert sim.outgoing != marbles("-------C--|", step=0.1)
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a session that has no other plugin than ours, for all tests to look at."""
    path = tmp_path_factory.mktemp("alone")
    return run(path, ALONE, "-p", "no:asyncio", "-p", "no:aiohttp", "-p", "no:hypothesispytest")


def test_its_fixtures_work_without_any_other_plugin(told: str) -> None:
    """No asyncio plugin is needed, and nothing warns."""
    assert "8 passed" in told, told
    assert "6 failed" in told, told
    assert "3 errors" in told, told


def test_a_failure_shows_two_marble_lines(told: str) -> None:
    """The expected above the seen, whichever stands left of the `==`."""
    shown = """
E         the timelines differ
E         differs at 0.6 s: expected 'C' at 0.6 s, seen 'C' at 0.7 s
E         expected  ------C---|
E         seen      -------C--|
E                         ^
E                   a character is 0.1 s
"""
    lines = [line.removeprefix("E").rstrip() for line in told.splitlines()]
    wanted = [line.removeprefix("E") for line in shown.strip().splitlines()]
    # The first comes behind "assert" on pytest's own line.
    bodies = [
        "\n".join(lines[at + 1 : at + 6])
        for at, one in enumerate(lines)
        if wanted[0].strip() in one
    ]
    assert bodies.count("\n".join(wanted[1:])) == 3, told


def test_what_cannot_be_compared_is_told(told: str) -> None:
    """With what to compare instead."""
    assert "a timeline can only be compared with a list" in told
    assert "'C' is not a notification with a time: compare with marbles(...)" in told


def test_what_a_test_leaves_open_fails_it(told: str) -> None:
    """A subscription or a timer of the handler's, a pair, a server."""
    assert "the handler left 1 subscriptions or timers open after the end of <Simulation" in told
    assert "a pair is still open: use `async with rxws_pair(...) as (server, client):`" in told
    assert "is still running: use `async with rxws_server(...) as server:`" in told


def test_its_fixtures_go_with_pytest_asyncio(tmp_path: Path) -> None:
    """In tests that are coroutines."""
    told = run(
        tmp_path,
        """
pytestmark = pytest.mark.asyncio

async def test_all(rxws_simulate, rxws_pair, rxws_server):
    assert rxws_simulate(shout, "a---|", step=0.1).outgoing == marbles("---A|", step=0.1)
    async with rxws_pair(shout) as (_, client):
        client.outgoing.on_next("a")
        assert await client.incoming.pipe(ops.first()) == "A"
    async with rxws_server(shout) as server, rxws.connect(server.url) as client:
        client.outgoing.on_next("a")
        assert await client.incoming.pipe(ops.first()) == "A"
""",
        *("-o", "asyncio_mode=strict", "-p", "no:hypothesispytest"),
        *("-o", "asyncio_default_fixture_loop_scope=function"),
    )
    assert "1 passed" in told, told


# --- the same within this process, where coverage sees it -------------------------


def leave(fixture: Any) -> None:
    """The end of the test that has the fixture."""
    assert next(fixture, None) is None


async def test_each_fixture_lets_a_tidy_test_pass() -> None:
    """And gives the function of its name."""
    simulating = plugin.simulating()
    simulate = next(simulating)
    assert simulate(lambda conn: conn.incoming, "a|").outgoing == marbles("a|")
    pairing = plugin.pairing()
    async with next(pairing)() as (_, client):
        client.outgoing.on_completed()
    serving = plugin.serving()
    async with next(serving)(lambda conn: None) as server:
        assert server.url.startswith("ws://127.0.0.1:")
    for fixture in (simulating, pairing, serving):
        leave(fixture)


async def test_each_fixture_fails_a_test_that_leaves_something() -> None:
    """At its end."""
    simulating = plugin.simulating()

    def handler(conn: Any) -> None:
        rx.interval(1.0).subscribe(lambda _: None, scheduler=conn.scheduler)

    next(simulating)(handler, "|")
    with pytest.raises(pytest.fail.Exception, match="1 subscriptions or timers"):
        next(simulating)
    pairing = plugin.pairing()
    pair = next(pairing)()
    with pytest.raises(pytest.fail.Exception, match="a pair is still open"):
        next(pairing)
    await pair.aclose()
    serving = plugin.serving()
    async with next(serving)(lambda conn: None):
        with pytest.raises(pytest.fail.Exception, match="is still running"):
            next(serving)


def test_only_timelines_are_compared_here() -> None:
    """The rest is pytest's; of lists of other things it is told what to do."""
    compare = plugin.pytest_assertrepr_compare
    seen, expected = Timeline(marbles("a")), marbles("-a")
    lines = compare("==", seen, expected)
    assert lines == compare("==", expected, seen)
    assert lines is not None
    assert lines[2:4] == ["expected  -a", "seen      a-"]
    assert compare("!=", seen, expected) is None
    assert compare("==", "a", expected) is None
    assert compare("==", seen, "a") is None
    told = compare("==", seen, ["a"])
    assert told is not None
    assert "compare with marbles" in told[1]
