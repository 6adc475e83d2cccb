"""The pytest plugin in a user's test suite."""

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


def run_pytest(path: Path, tests: str, *arguments: str) -> str:
    """Run these tests in a new pytest process, with warnings as errors; return its output."""
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


def test_the_plugin_is_an_entry_point() -> None:
    """The plugin is an entry point, so that pytest finds it when rxws is installed."""
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

# --- each test from here on fails

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
    # Stop the server that the test before left. This test passes.
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
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The output of a test run without other plugins, shared by the tests of this module."""
    path = tmp_path_factory.mktemp("alone")
    return run_pytest(
        path, ALONE, "-p", "no:asyncio", "-p", "no:aiohttp", "-p", "no:hypothesispytest"
    )


def test_the_fixtures_work_without_other_plugins(output: str) -> None:
    """The fixtures need no other plugin and cause no warning."""
    assert "8 passed" in output, output
    assert "6 failed" in output, output
    assert "3 errors" in output, output


def test_a_failure_shows_two_marble_lines(output: str) -> None:
    """A failed comparison shows the expected line above the seen one, on either side of `==`."""
    shown = """
E         the timelines differ
E         differs at 0.6 s: expected 'C' at 0.6 s, seen 'C' at 0.7 s
E         expected  ------C---|
E         seen      -------C--|
E                         ^
E                   a character is 0.1 s
"""
    lines = [line.removeprefix("E").rstrip() for line in output.splitlines()]
    wanted = [line.removeprefix("E") for line in shown.strip().splitlines()]
    # pytest puts "assert" before the first line.
    bodies = [
        "\n".join(lines[at + 1 : at + 6])
        for at, one in enumerate(lines)
        if wanted[0].strip() in one
    ]
    assert bodies.count("\n".join(wanted[1:])) == 3, output


def test_a_comparison_with_plain_values_has_a_hint(output: str) -> None:
    """A comparison with plain values fails with a hint."""
    assert "a timeline can only be compared with a list" in output
    assert "'C' is not a notification with a time: compare with marbles(...)" in output


def test_a_test_that_leaves_something_open_fails(output: str) -> None:
    """A test that leaves a subscription, a timer, a pair or a server open fails."""
    assert "the handler left 1 subscriptions or timers open after the end of <Simulation" in output
    assert "a pair is still open: use `async with rxws_pair(...) as (server, client):`" in output
    assert "is still running: use `async with rxws_server(...) as server:`" in output


def test_the_fixtures_work_with_pytest_asyncio(tmp_path: Path) -> None:
    """The fixtures work in coroutine tests of pytest-asyncio."""
    output = run_pytest(
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
    assert "1 passed" in output, output


# --- in this process, for coverage -------------------------------------------------------------


def end_fixture(fixture: Any) -> None:
    """End a fixture as pytest does after its test."""
    assert next(fixture, None) is None


async def test_each_fixture_lets_a_tidy_test_pass() -> None:
    """Each fixture passes a test that leaves nothing open."""
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
        end_fixture(fixture)


async def test_each_fixture_fails_a_test_that_leaves_something() -> None:
    """Each fixture fails a test that leaves something open."""
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


def test_only_comparisons_of_timelines_are_explained() -> None:
    """Only comparisons of timelines by `==` are explained; plain lists get a hint."""
    compare = plugin.pytest_assertrepr_compare
    seen, expected = Timeline(marbles("a")), marbles("-a")
    lines = compare("==", seen, expected)
    assert lines == compare("==", expected, seen)
    assert lines is not None
    assert lines[2:4] == ["expected  -a", "seen      a-"]
    assert compare("!=", seen, expected) is None
    assert compare("==", "a", expected) is None
    assert compare("==", seen, "a") is None
    output = compare("==", seen, ["a"])
    assert output is not None
    assert "compare with marbles" in output[1]
