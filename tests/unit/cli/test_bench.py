"""The figures of `rxws bench`, and the servers that it refuses."""

from __future__ import annotations

import random
from typing import Any

import pytest
from click.testing import CliRunner

from rxws.cli._main import root
from rxws.cli.bench._load import is_loopback
from rxws.cli.bench._results import Histogram, Results, as_json, as_text


def test_percentiles_are_right_to_one_percent() -> None:
    """Those of a histogram differ from those of the sorted durations by 1 % at most."""
    rng = random.Random(5)
    durations = sorted(rng.lognormvariate(-7, 2) for _ in range(5000))
    histogram = Histogram()
    for each in durations:
        histogram.add(each)
    for percent in (1, 50, 90, 99, 99.9, 100):
        exact = durations[max(round(len(durations) * percent / 100 + 0.499) - 1, 0)]
        assert histogram.percentile(percent) == pytest.approx(exact, rel=0.011)
    figures = histogram.as_dict()
    assert figures is not None
    assert figures["max"] == pytest.approx(durations[-1] * 1000, abs=1e-3)
    assert figures["mean"] == pytest.approx(sum(durations) / 5000 * 1000, abs=1e-3)


def test_a_histogram_of_nothing_has_no_figures() -> None:
    """There is no latency without an answer."""
    assert Histogram().as_dict() is None


def test_one_duration_is_every_percentile() -> None:
    """The middle of a class is not shown where the exact figure is known."""
    histogram = Histogram()
    histogram.add(0.00123)
    assert {histogram.percentile(percent) for percent in (0, 50, 99.9)} == {0.00123}


@pytest.mark.parametrize(
    ("remote", "expected"),
    [
        ("localhost", True),
        ("shop.localhost", True),
        ("127.8.9.1", True),
        ("::1", True),
        (("127.0.0.1", 80), True),
        (("::1", 80, 0, 0), True),
        (("::ffff:127.0.0.1", 80, 0, 0), True),
        (("fe80::1%eth0", 80, 0, 3), False),
        (("192.0.2.1", 80), False),
        ("localhost.example.com", False),
        ("10.0.0.1", False),
        (None, False),
    ],
)
def test_this_machine_is_recognized(remote: Any, expected: bool) -> None:
    """A name counts by its text, an address by its number."""
    assert is_loopback(remote) is expected


def results() -> Results:
    made = Results(sent=3, received=4, answered=2, unexpected=2, seconds=0.5, cpu=0.25)
    made.sent_bytes, made.received_bytes = 3_000, 4_000_000
    for number in (1, 2):
        made.latency.add(number / 1000)
        made.opening.add(number * 10)
    made.failures["refused"] = 1
    made.closes[1000, "local"] = 1
    made.closes[4001, "peer"] = 1
    return made


def test_the_results_for_a_person() -> None:
    """One line for each kind of figure."""
    assert as_text(results(), one_way=False).splitlines() == [
        "connections  2 opened, 1 failed; p50 10.0 s  p99 20.0 s  max 20.0 s",
        "messages     3 sent, 2 answered, 2 other messages received in 0.5 s: 4/s",
        "bytes        3 kB sent, 4 MB received: 8.01 MB/s",
        "latency      p50 1 ms  p90 2 ms  p99 2 ms  p99.9 2 ms  max 2 ms",
        "closed       1 with 1000 (normal closure) by this client",
        "closed       1 with 4001 by the server",
        "failed       1: refused",
    ]
    assert "3 sent, 4 received in 0.5 s: 6/s" in as_text(results(), one_way=True)


def test_the_results_of_nothing() -> None:
    """A load that was interrupted before its first message has figures, too."""
    assert as_text(Results(), one_way=False).splitlines() == [
        "connections  0 opened",
        "messages     0 sent, 0 answered in 0.0 s: 0/s",
        "bytes        0 B sent, 0 B received: 0 B/s",
    ]


def test_the_results_for_a_program() -> None:
    """Durations are in milliseconds; figures that do not apply are null."""
    figures = as_json(results(), one_way=False)
    assert figures["connections"]["failed"] == {"refused": 1}
    assert figures["connections"]["closed"] == [
        {"code": 1000, "by": "local", "count": 1},
        {"code": 4001, "by": "peer", "count": 1},
    ]
    assert figures["messages"] == {
        "sent": 3,
        "received": 4,
        "answered": 2,
        "unexpected": 2,
        "per_second": 4.0,
    }
    assert figures["bytes"] == {"sent": 3000, "received": 4_000_000}
    assert figures["latency_ms"]["max"] == 2.0
    one_way = as_json(results(), one_way=True)["messages"]
    assert (one_way["answered"], one_way["unexpected"], one_way["per_second"]) == (None, None, 6.0)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ws://192.0.2.1"], "192.0.2.1 may be another machine, and this is load. If you are"),
        ([":80", "-c", "0"], "0 is not in the range"),
        ([":80", "--size", "15"], "15 is not in the range"),
        ([":80", "--rate", "0"], "0 is not in the range"),
    ],
)
def test_a_load_that_is_not_allowed_is_explained(args: list[str], message: str) -> None:
    """Nothing is sent, and the exit code is that of wrong usage."""
    result = CliRunner().invoke(root, ["bench", *args], prog_name="rxws")
    assert message in " ".join(result.stderr.split())
    assert (result.exit_code, result.stdout) == (64, "")
