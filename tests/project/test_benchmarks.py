"""The benchmarks run and report their measurements. No test depends on the speed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import channels, staleness, viz_cost
from benchmarks.harness import results
from benchmarks.harness.cases import CASES, PEERS, Goal
from benchmarks.harness.load import Messages, PeerFailed, ReplyChecker, ReplyCounter
from benchmarks.harness.results import Report, Result, achieved, cost_per_map, median_ratio
from benchmarks.harness.rounds import Round, Series
from benchmarks.report import checkout, docs_pages
from benchmarks.report.chart import chart
from benchmarks.report.stacks import by_owner, owner
from benchmarks.report.tables import (
    NO_VALUE,
    goal_mark,
    goal_target,
    goal_value,
    goals_table,
    markdown_table,
    report_text,
    table,
)
from support import ROOT
from support.peers.frames import Op, deflate, frame

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the benchmarks need the CPU clocks of Linux"
)
DEADLINE = 600.0  # seconds; about ten times what a quiet machine needs
MESSAGES = 128


def speed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run `benchmarks/speed.py` as a user does."""
    return subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/speed.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


def skip_without(*packages: str) -> None:
    for name in packages:
        if find_spec(name) is None:
            pytest.skip(f"{name} is not installed; `make .venv/.bench` installs it")


def test_every_case_measures_every_peer(tmp_path: Path) -> None:
    """A short run has a row for each installed peer in each case, and draws a chart."""
    found, image = tmp_path / "found.json", tmp_path / "chart.svg"
    done = speed("--rounds", 1, "--messages", MESSAGES, "--json", found, "--svg", image)
    assert done.returncode == 0, done.stderr
    report = results.load(found.read_text("utf-8"))
    here = {name: peer for name, peer in PEERS.items() if not peer.missing}
    assert [result.case for result in report.results] == list(CASES)
    for result in report.results:
        case = result.definition
        rows = [(series.peer, series.maps) for series in result.series]
        assert rows == [
            (n, maps) for n, p in here.items() for maps in case.maps if case.supports(p)
        ]
        for series in result.series:
            (one,) = series.rounds
            if case.kind == "fanout":
                assert one.messages == case.connections * case.burst  # one burst
            else:
                assert 0 <= MESSAGES - one.messages < case.connections
            assert one.cpu > 0
            assert one.wall > 0
            assert (one.p50 is not None) == (case.window == 1 and case.kind == "echo")
        assert f"`{case.name}`: {case.title}" in done.stdout
        assert table(result) in done.stdout
    for peer in here.values():
        assert f"| {peer.title} " in done.stdout
    ET.fromstring(image.read_text("utf-8"))


def test_peers_run_on_uvloop(tmp_path: Path) -> None:
    """`--loop uvloop` runs the peers on uvloop and reports its version."""
    skip_without("uvloop")
    options = ["--rounds", 1, "--messages", MESSAGES, "--cases", "pingpong", "client"]
    found = tmp_path / "found.json"
    done = speed(*options, "--peers", "aiohttp", "push", "--loop", "uvloop", "--json", found)
    assert done.returncode == 0, done.stderr
    report = results.load(found.read_text("utf-8"))
    assert [(result.case, result.loop) for result in report.results] == [
        ("pingpong", "uvloop"),
        ("client", "uvloop"),
    ]
    assert "uvloop" in report.packages()


def test_an_unknown_commit_is_refused() -> None:
    """`--against` an unknown commit prints an error, not a traceback, and runs nothing."""
    done = speed("--against", "no-such-commit", "--cases", "pingpong")
    assert done.returncode == 1
    assert done.stderr.startswith("no results: git rev-parse")
    assert "Traceback" not in done.stderr


def test_another_commit_is_checked_out(tmp_path: Path) -> None:
    """The directory contains only rxws of that commit, and is removed afterwards."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git clone")
    with checkout.rxws_at("HEAD") as library:
        assert [path.name for path in library.iterdir()] == ["rxws"]
        assert (library / "rxws/__init__.py").exists()
        tree = (library / "rxws").resolve()
        assert ROOT not in tree.parents
    assert not library.exists()
    assert str(tree.parent) not in checkout.git("worktree", "list")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10, 100, 100_000])
@pytest.mark.parametrize("size", [0, 10])
def test_replies_are_counted_across_chunks(step: int, size: int) -> None:
    """The count is right for any chunks, any sizes, and with pings and pongs in between."""
    replies = [frame(Op.TEXT, bytes(n)) for n in (8, 8, 8, 0, 5, 125, 126, 3000, 65536, 2, 8)]
    signs = frame(Op.PONG), frame(Op.PING, b"there?")
    data = b"".join([*replies[:2], signs[0], *replies[2:5], *signs, *replies[5:], signs[1]])
    counted = ReplyCounter(size)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert sum(counted.feed(piece) for piece in pieces) == len(replies)
    assert (counted.rest, counted.skip) == (b"", 0)


@pytest.mark.parametrize("compress", [False, True])
def test_first_replies_are_compared(compress: bool) -> None:
    """A reply that differs from the payload raises PeerFailed."""
    payloads = (b"first", b"second")

    def reply(payload: bytes) -> bytes:
        return frame(Op.TEXT, deflate(payload), rsv=4) if compress else frame(Op.TEXT, payload)

    replies = ReplyChecker(payloads)
    three = reply(b"first") + frame(Op.PONG) + reply(b"second") + reply(b"first")
    assert replies.feed(three) == 3
    with pytest.raises(PeerFailed, match="reply 3"):
        replies.feed(reply(b"first"))


def test_messages_come_in_batches() -> None:
    """A batch of any length, from any position, is contiguous."""
    messages = Messages([b"a", b"bc", b"def"], compress=False, masked=False)
    plain = [frame(Op.TEXT, payload) for payload in (b"a", b"bc", b"def")]
    assert bytes(messages.batch(0, 3)) == b"".join(plain)
    assert bytes(messages.batch(5, 2)) == plain[2] + plain[0]
    assert bytes(messages.batch(4, 0)) == b""


def series(peer: str, *costs: float, maps: int = 1, p50: float | None = None) -> Series:
    rounds = [Round(100, cost, cost + 1, p50, None if p50 is None else 2 * p50) for cost in costs]
    about = {"python": "3.11.0", "packages": {"aiohttp": "3.14"}, "transport": None}
    title = PEERS[peer].title if peer in PEERS else peer
    return Series(peer, title, maps, rounds, about)


def a_result() -> Result:
    rows = [
        series("aiohttp", 10.0, 20.0, 30.0, p50=100.0),
        series("push", 5.0, 16.0, 15.0, p50=90.0),
    ]
    return Result("pingpong", "asyncio", 0.125, rows)


def operators() -> Result:
    rows = [series("push", 2.0, 4.0, maps=1), series("push", 7.0, 8.0, maps=11)]
    return Result("operators", "asyncio", 0.0, rows)


def test_a_ratio_is_the_median_of_the_ratios_of_each_round() -> None:
    """A round in which both peers were slow does not change the ratio."""
    result = a_result()
    push, plain = result.find("push"), result.find("aiohttp")
    assert push is not None
    assert median_ratio(push, plain) == 0.5
    assert median_ratio(push, plain, "p50") == 0.9
    assert median_ratio(push, None) is None


def test_cost_of_each_additional_operator() -> None:
    """The cost is the difference of the two pipelines, divided by the number of operators."""
    assert cost_per_map(operators(), "push") == [0.5, 0.4]
    assert cost_per_map(operators(), "naive") == []


def test_goals_are_reported_and_not_enforced() -> None:
    """The table marks goals that are met, and leaves out goals that were not measured."""
    report = Report("a machine", [a_result(), operators()])
    shown = goals_table(report)
    assert "CPU compared with aiohttp" in shown
    assert "compared with picows" not in shown
    assert "≤ 0.85 |     0.50 |   ✓" in shown
    assert "≤ 0.60 µs |  0.45 µs |   ✓" in shown
    rate = Goal("connections per CPU second", "aiohttp", 1 / 0.85, per_second=True)
    assert (goal_target(rate), goal_value(rate, 2.0), goal_mark(rate, 2.0)) == (
        "≥ 0.85",
        "0.50",
        NO_VALUE,
    )
    assert achieved(operators(), rate) is None


def test_a_report_survives_its_json() -> None:
    """A report that is written and read again is equal."""
    report = Report("a machine", [a_result(), operators()])
    again = results.load(results.dump(report))
    assert again == report
    assert report_text(again) == report_text(report)
    assert "aiohttp 3.14" in report_text(report)


def test_the_read_path_of_rxws_is_reported() -> None:
    """The report names the read path of each rxws peer."""
    result = a_result()
    result.series[1].about["transport"] = "pushing"
    assert "rxws push: pushing." in report_text(Report("a machine", [result]))


def test_a_table_lines_up() -> None:
    """All lines of a Markdown table have the same width."""
    shown = markdown_table(["peer", "µs"], [["raw aiohttp", "1.00"], ["x", "100"]])
    assert len({len(line) for line in shown.splitlines()}) == 1
    assert shown.splitlines()[1].endswith(": |")


def test_a_chart_has_a_bar_for_each_peer() -> None:
    """The SVG is well-formed, the bars fit, and a description exists for screen readers."""
    strange = series("push@<ref> & more", 3.0)
    result = Result("client", "uvloop", 0.0, [series("aiohttp", 4.0, 6.0), strange])
    drawn = ET.fromstring(chart([result, operators()], "uvloop"))
    bars = [one for one in drawn.iter() if (one.get("class") or "").startswith("bar")]
    assert len(bars) == 3
    width = float((drawn.get("viewBox") or "").split()[2])
    assert all(float(bar.get("x", 0)) + float(bar.get("width", 0)) < width for bar in bars)
    description = "".join(one.text or "" for one in drawn if one.tag.endswith("desc"))
    assert "raw aiohttp 5.00 µs, push@<ref> & more 3.00 µs" in description
    # Noise can make a difference negative; a bar then has width 0.
    rows = [series("naive", 5.0, maps=1), series("naive", 4.0, maps=11)]
    drawn = ET.fromstring(chart([Result("operators", "asyncio", 0.0, rows)], "asyncio"))
    assert all(float(one.get("width", 0)) >= 0 for one in drawn.iter() if one.get("width"))


def test_only_a_complete_run_goes_into_the_documentation() -> None:
    """An incomplete run would mix measurements of different runs on one page."""
    missing = docs_pages.missing_results(Report("a machine", [a_result()]))
    assert "websockets in pingpong on asyncio" in missing
    assert "pingpong on uvloop" in missing
    assert not [one for one in missing if one.startswith("aiohttp in pingpong")]


def test_a_page_is_changed_between_its_markers_only(tmp_path: Path) -> None:
    """Text outside the markers is unchanged."""
    page = tmp_path / "quality" / "benchmarks.md"
    page.parent.mkdir()
    page.write_text(f"before\n{docs_pages.BEGIN}\nold\n{docs_pages.END}\nafter\n", "utf-8")
    (tmp_path / "images").mkdir()
    written = docs_pages.write(Report("a machine", [a_result()]), tmp_path)
    assert [path.name for path in written] == ["benchmarks.md", "benchmarks-asyncio.svg"]
    shown = page.read_text("utf-8")
    assert shown.startswith(f"before\n{docs_pages.BEGIN}\n\nMeasured with")
    assert shown.endswith(f"\n{docs_pages.END}\nafter\n")
    assert "old" not in shown
    with pytest.raises(ValueError, match="the page lacks"):
        docs_pages.replace_generated("no markers", "")


def test_the_page_has_its_markers() -> None:
    """The page contains each marker of `--docs` once."""
    page = (ROOT / "docs/quality/benchmarks.md").read_text("utf-8")
    assert page.count(docs_pages.BEGIN) == page.count(docs_pages.END) == 1


@pytest.mark.parametrize(
    ("stack", "component"),
    [
        (
            "write (asyncio/selector_events.py:1057);send (libc.so.6) ",
            "kernel: send",
        ),
        (
            "a (aiohttp/web_ws.py:788);sock_recv (socketmodule.c:1);__recv (libc.so.6)",
            "kernel: receive",
        ),
        ("f (rxws/session.py:10);malloc (libc.so.6)", "rxws/session"),
        ("f (/home/x/rxws/rxws/_session/flow.py:10)", "rxws/_session/flow"),
        ("f (rxws/session.py:10);Py_DECREF (object.h:538)", "rxws/session"),
        ("f (rxws/session.py:10);on_next (reactivex/observer/observer.py:3)", "reactivex"),
        ("f (/home/x/rxws/session.py:1);feed (reader_c.c:8788)", "aiohttp: parser"),
        ("f (aiohttp/_websocket/writer.py:177)", "aiohttp: writer"),
        ("f (aiohttp/web.py:1);task_step (_asynciomodule.c:2990)", "asyncio"),
        ("f (aiohttp_peer.py:33)", "echo handler"),
        ("f (/home/x/rxws/benchmarks/peers/rxws_peer.py:33)", "echo handler"),
        ("0x7f1117be624a (libc.so.6)", "other"),
        ("not a frame", "other"),
    ],
)
def test_a_stack_counts_for_the_component_that_does_the_work(stack: str, component: str) -> None:
    """The innermost frame with a known owner decides; system calls count for the kernel."""
    assert owner(stack.split(";")) == component


def test_samples_add_up() -> None:
    """Samples in py-spy's raw format are summed by component; other lines are skipped."""
    found = by_owner(
        ["f (rxws/a.py:1) 3", "g (x.py:1);f (rxws/a.py:9) 4", "", "f (asyncio/b.py:1) 2"]
    )
    assert found == {"rxws/a": 7, "asyncio": 2}


def test_viz_cost_prints_its_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output has a line for each diagram size and each kind of frame, and one for a tap."""
    monkeypatch.setattr(viz_cost, "SIZES", (5, 20))
    monkeypatch.setattr(viz_cost, "ROUNDS", 1)
    monkeypatch.setattr(viz_cost, "EVENTS", 100)
    viz_cost.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line] == [
        *("events", "5", "20"),
        *("200", "words", "JSON", "nested", "300"),
        "a",
    ]


def test_channels_prints_its_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The output has a row for 10 and for 1000 channels."""
    monkeypatch.setattr(channels, "FRAMES", 100)
    monkeypatch.setattr(channels, "ROUNDS", 1)
    channels.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["10", "1000"]


async def test_the_staleness_of_data_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped client gets outdated values first, and then current ones."""
    monkeypatch.setattr(staleness, "WARM_UP", 0.2)
    monkeypatch.setattr(staleness, "AFTER", 1.0)
    measured = await staleness.staleness(0.5)
    assert measured.outdated > 0
    assert measured.outdated_bytes > 100 * measured.outdated
    assert measured.seconds > 0
