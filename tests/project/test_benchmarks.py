"""The benchmarks run whole, and report what they have measured. Nothing here is about speed."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import channels, viz_cost
from benchmarks.harness import results
from benchmarks.harness.cases import CASES, PEERS, PINGPONG, Goal
from benchmarks.harness.load import Compared, Counted, Messages, PeerFailed
from benchmarks.harness.results import Report, Result, per_map, ratio, reached
from benchmarks.harness.rounds import Round, Series
from benchmarks.report import checkout, docs_pages
from benchmarks.report.chart import chart
from benchmarks.report.stacks import by_owner, owner
from benchmarks.report.tables import NONE, asked, goals_table, markdown, met, said, table, text
from support import ROOT
from support.peers.frames import Op, deflate, frame

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="CPU clocks as Linux has them")
DEADLINE = 120.0  # seconds; the whole takes a tenth of it on a quiet machine
MESSAGES = 128


def speed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the benchmarks as a user does."""
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
            pytest.skip(f"{name} is not installed; `make .venv/.bench` brings it")


def test_every_case_measures_every_peer(tmp_path: Path) -> None:
    """One round of a few messages: each peer that is here has its row, and a chart is drawn."""
    found, image = tmp_path / "found.json", tmp_path / "chart.svg"
    done = speed("--rounds", 1, "--messages", MESSAGES, "--json", found, "--svg", image)
    assert done.returncode == 0, done.stderr
    report = results.load(found.read_text("utf-8"))
    here = {name: peer for name, peer in PEERS.items() if not peer.missing}
    assert [result.case for result in report.results] == list(CASES)
    for result in report.results:
        case = result.of
        rows = [(series.peer, series.maps) for series in result.series]
        assert rows == [(n, maps) for n, p in here.items() for maps in case.maps if case.takes(p)]
        for series in result.series:
            (one,) = series.rounds
            assert 0 < MESSAGES - one.messages < case.connections or one.messages == MESSAGES
            assert one.cpu > 0
            assert one.wall > 0
            assert (one.p50 is not None) == (case is PINGPONG)
        assert f"`{case.name}`: {case.title}" in done.stdout
        assert table(result) in done.stdout
    for peer in here.values():
        assert f"| {peer.title} " in done.stdout
    ET.fromstring(image.read_text("utf-8"))


def test_uvloop_is_measured_too(tmp_path: Path) -> None:
    """`--loop uvloop` runs the peers on it."""
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
    """There is a sentence, not a traceback, and nothing is run."""
    done = speed("--against", "no-such-commit", "--cases", "pingpong")
    assert done.returncode == 1
    assert done.stderr.startswith("no figures: git rev-parse")
    assert "Traceback" not in done.stderr


def test_another_commit_is_checked_out_beside(tmp_path: Path) -> None:
    """What is found there is rxws alone, and it goes away again."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no clone")
    with checkout.checked_out("HEAD") as library:
        assert [path.name for path in library.iterdir()] == ["rxws"]
        assert (library / "rxws/__init__.py").exists()
        tree = (library / "rxws").resolve()
        assert ROOT not in tree.parents
    assert not library.exists()
    assert str(tree.parent) not in checkout.git("worktree", "list")


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10, 100, 100_000])
@pytest.mark.parametrize("size", [0, 10])
def test_replies_are_counted_across_pieces(step: int, size: int) -> None:
    """However the bytes are cut, however long they are, and with pings and pongs among them."""
    replies = [frame(Op.TEXT, bytes(n)) for n in (8, 8, 8, 0, 5, 125, 126, 3000, 65536, 2, 8)]
    signs = frame(Op.PONG), frame(Op.PING, b"there?")
    data = b"".join([*replies[:2], signs[0], *replies[2:5], *signs, *replies[5:], signs[1]])
    counted = Counted(size)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    assert sum(counted.take(piece) for piece in pieces) == len(replies)
    assert (counted.rest, counted.skip) == (b"", 0)


@pytest.mark.parametrize("compress", [False, True])
def test_first_replies_are_compared(compress: bool) -> None:
    """They have to be what was sent, over and over."""
    payloads = (b"first", b"second")

    def reply(payload: bytes) -> bytes:
        return frame(Op.TEXT, deflate(payload), rsv=4) if compress else frame(Op.TEXT, payload)

    replies = Compared(payloads)
    three = reply(b"first") + frame(Op.PONG) + reply(b"second") + reply(b"first")
    assert replies.take(three) == 3
    with pytest.raises(PeerFailed, match="reply 3"):
        replies.take(reply(b"first"))


def test_messages_come_in_runs() -> None:
    """Any run of them is one piece, from any place on."""
    messages = Messages([b"a", b"bc", b"def"], compress=False, masked=False)
    plain = [frame(Op.TEXT, payload) for payload in (b"a", b"bc", b"def")]
    assert bytes(messages.run(0, 3)) == b"".join(plain)
    assert bytes(messages.run(5, 2)) == plain[2] + plain[0]
    assert bytes(messages.run(4, 0)) == b""


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


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A round that was disturbed for both does not count for one."""
    result = a_result()
    push, plain = result.find("push"), result.find("aiohttp")
    assert push is not None
    assert ratio(push, plain) == 0.5
    assert ratio(push, plain, "p50") == 0.9
    assert ratio(push, None) is None


def test_what_each_further_operator_takes() -> None:
    """The difference of the two pipelines, by the number of operators between them."""
    assert per_map(operators(), "push") == [0.5, 0.4]
    assert per_map(operators(), "naive") == []


def test_goals_are_said_and_never_enforced() -> None:
    """A goal is met or not, and one that was not measured is left out."""
    report = Report("a machine", [a_result(), operators()])
    shown = goals_table(report)
    assert "CPU against aiohttp" in shown
    assert "against picows" not in shown
    assert "≤ 0.85 |     0.50 |   ✓" in shown
    assert "≤ 0.60 µs |  0.45 µs |   ✓" in shown
    rate = Goal("connections per CPU second", "aiohttp", 1 / 0.85, per_second=True)
    assert (asked(rate), said(rate, 2.0), met(rate, 2.0)) == ("≥ 0.85", "0.50", NONE)
    assert reached(operators(), rate) is None


def test_a_report_survives_its_json() -> None:
    """What is written is what is read."""
    report = Report("a machine", [a_result(), operators()])
    again = results.load(results.dump(report))
    assert again == report
    assert text(again) == text(report)
    assert "aiohttp 3.14" in text(report)


def test_a_transport_that_rxws_tells_of_is_reported() -> None:
    """So that nobody takes the one for the other."""
    result = a_result()
    result.series[1].about["transport"] = "pushing"
    assert "rxws push: pushing." in text(Report("a machine", [result]))


def test_a_table_lines_up() -> None:
    """Each line of Markdown is as wide as the others."""
    shown = markdown(["peer", "µs"], [["raw aiohttp", "1.00"], ["x", "100"]])
    assert len({len(line) for line in shown.splitlines()}) == 1
    assert shown.splitlines()[1].endswith(": |")


def test_a_chart_has_a_bar_for_each_peer() -> None:
    """It is well-formed, within its width, and can be heard."""
    strange = series("push@<ref> & more", 3.0)
    result = Result("client", "uvloop", 0.0, [series("aiohttp", 4.0, 6.0), strange])
    drawn = ET.fromstring(chart([result, operators()], "uvloop"))
    bars = [one for one in drawn.iter() if (one.get("class") or "").startswith("bar")]
    assert len(bars) == 3
    width = float((drawn.get("viewBox") or "").split()[2])
    assert all(float(bar.get("x", 0)) + float(bar.get("width", 0)) < width for bar in bars)
    spoken = "".join(one.text or "" for one in drawn if one.tag.endswith("desc"))
    assert "raw aiohttp 5.00 µs, push@<ref> & more 3.00 µs" in spoken
    # What is noise may be below 0; a bar is not.
    rows = [series("naive", 5.0, maps=1), series("naive", 4.0, maps=11)]
    drawn = ET.fromstring(chart([Result("operators", "asyncio", 0.0, rows)], "asyncio"))
    assert all(float(one.get("width", 0)) >= 0 for one in drawn.iter() if one.get("width"))


def test_only_a_whole_run_goes_into_the_documentation() -> None:
    """Else figures of different runs would stand side by side."""
    missing = docs_pages.lacking(Report("a machine", [a_result()]))
    assert "websockets in pingpong on asyncio" in missing
    assert "pingpong on uvloop" in missing
    assert not [one for one in missing if one.startswith("aiohttp in pingpong")]


def test_a_page_is_changed_between_its_markers_only(tmp_path: Path) -> None:
    """The prose stays."""
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
    with pytest.raises(ValueError, match="the page has no"):
        docs_pages.between("no markers", "")


def test_the_page_has_its_markers() -> None:
    """`--docs` finds where to write."""
    page = (ROOT / "docs/quality/benchmarks.md").read_text("utf-8")
    assert page.count(docs_pages.BEGIN) == page.count(docs_pages.END) == 1


@pytest.mark.parametrize(
    ("stack", "whose"),
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
        ("f (aiohttp_peer.py:33)", "the echo itself"),
        ("f (/home/x/rxws/benchmarks/peers/rxws_peer.py:33)", "the echo itself"),
        ("0x7f1117be624a (libc.so.6)", "other"),
        ("not a frame", "other"),
    ],
)
def test_a_stack_belongs_to_who_does_the_work(stack: str, whose: str) -> None:
    """The innermost frame that somebody owns decides, and what is waited for is the kernel's."""
    assert owner(stack.split(";")) == whose


def test_samples_add_up() -> None:
    """Lines of py-spy's raw format, whatever else is among them."""
    found = by_owner(
        ["f (rxws/a.py:1) 3", "g (x.py:1);f (rxws/a.py:9) 4", "", "f (asyncio/b.py:1) 2"]
    )
    assert found == {"rxws/a": 7, "asyncio": 2}


def test_what_seeing_costs_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for each size of a picture and each kind of frame, and one for a tap."""
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


def test_what_channels_cost_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A line for few channels and for many; that each frame came is asserted on the way."""
    monkeypatch.setattr(channels, "FRAMES", 100)
    monkeypatch.setattr(channels, "ROUNDS", 1)
    channels.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["10", "1000"]
