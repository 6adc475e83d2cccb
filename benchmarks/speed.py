"""Compare the CPU time and the latency of rxws with other WebSocket implementations.

Run `make bench`, or `python benchmarks/speed.py --help`, from the root of the repository, on Linux.
The results are in docs/quality/benchmarks.md. A missed goal is reported; it is not a failure.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.cases import CASES, PEERS, ROOT, Peer
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.results import Report, Result, dump, load, machine
from benchmarks.harness.rounds import run_case
from benchmarks.report import docs_pages
from benchmarks.report.chart import chart
from benchmarks.report.checkout import CheckoutError, rxws_at
from benchmarks.report.tables import report_text

REMEDY = "`make .venv/.bench` installs all packages for the benchmarks"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=positive, default=9, help="rounds per case (default: 9)")
    parser.add_argument(
        "--messages", type=positive, help="messages per round (default: depends on the case)"
    )
    choice: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument(
        "--cases", choices=CASES, default=list(CASES), **choice, help="only these cases"
    )
    parser.add_argument(
        "--peers", choices=PEERS, default=list(PEERS), **choice, help="only these peers"
    )
    parser.add_argument(
        "--loop",
        nargs="+",
        choices=docs_pages.LOOPS,
        default=["asyncio"],
        help="event loops to measure on (default: asyncio)",
    )
    parser.add_argument("--against", metavar="REF", help="also measure rxws at this commit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements as JSON")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a chart of the first loop")
    parser.add_argument("--docs", action="store_true", help="update the tables and charts in docs/")
    parser.add_argument(
        "--read", type=Path, metavar="FILE", help="report from a --json file; measure nothing"
    )
    parser.epilog = f"Cases: {', '.join(CASES)}. Peers: {', '.join(PEERS)}."
    return parser.parse_args()


def positive(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def main() -> None:
    args = arguments()
    failures: list[str] = []
    try:
        report = load(args.read.read_text("utf-8")) if args.read else measure(args, failures)
    except CheckoutError as error:
        sys.exit(f"no results: {error}")
    print(report_text(report))
    if args.json:
        args.json.write_text(dump(report), "utf-8")
    if args.svg:
        loop = next(iter(report.loops()), "asyncio")
        args.svg.write_text(chart(report.on_loop(loop), loop), "utf-8")
    if args.docs:
        missing = docs_pages.missing_results(report)
        if missing:
            sys.exit(f"docs/ is unchanged, because the run lacks {'; '.join(missing)}")
        for path in docs_pages.write(report, ROOT / "docs"):
            note(f"wrote {path.relative_to(ROOT)}")
    if failures:
        sys.exit("\n".join(failures))


def measure(args: argparse.Namespace, failures: list[str]) -> Report:
    """Run the selected cases. A case in which a peer fails is reported and left out."""
    if sys.platform != "linux":
        sys.exit(
            "the benchmarks need Linux: they read the CPU time of other processes in nanoseconds"
        )
    if "uvloop" in args.loop and find_spec("uvloop") is None:
        sys.exit(f"uvloop is not installed: {REMEDY}")
    with contextlib.ExitStack() as stack:
        peers = installed([*args.peers])
        if args.against:
            library = stack.enter_context(rxws_at(args.against))
            title = f"rxws @{args.against}"
            other = dataclasses.replace(PEERS["push"], title=title, library=library)
            peers[f"push@{args.against}"] = other
        report = Report(machine())
        for loop in args.loop:
            for name in args.cases:
                case = CASES[name]
                options = {"rounds": args.rounds, "messages": args.messages}
                try:
                    with OtherLoad() as other_load:
                        series = run_case(case, peers, loop=loop, log=note, **options)
                except PeerFailed as error:
                    failures.append(f"no results for {name} on {loop}: {error}")
                    note(failures[-1])
                else:
                    report.results.append(Result(name, loop, other_load.share, series))
    return report


def installed(names: list[str]) -> dict[str, Peer]:
    """Return the peers whose packages are installed."""
    for name in names:
        if PEERS[name].missing:
            note(f"skipping {name}: {PEERS[name].missing} is not installed; {REMEDY}")
    return {name: PEERS[name] for name in names if not PEERS[name].missing}


class OtherLoad:
    """Measures the CPU share of processes that are neither this one nor its children."""

    share = 0.0

    def __enter__(self) -> OtherLoad:
        self.before = time.monotonic(), busy_seconds(), own_seconds()
        return self

    def __exit__(self, *_: object) -> None:
        seconds, total, ours = (
            now - before
            for now, before in zip(
                (time.monotonic(), busy_seconds(), own_seconds()), self.before, strict=True
            )
        )
        # The kernel counts the two in different ways, so the difference may be slightly negative.
        self.share = max(total - ours, 0.0) / (seconds * (os.cpu_count() or 1))


def busy_seconds() -> float:
    """Return the seconds that the CPUs were not idle, including time stolen by the hypervisor."""
    user, nice, system, _, _, irq, softirq, steal, *_ = (
        int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds() -> float:
    """Return the CPU seconds of this process and its finished children."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
