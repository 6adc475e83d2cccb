"""How fast rxws is, beside its peers: docs/quality/benchmarks.md has the figures.

Run `make bench`, or `python benchmarks/speed.py --help`, from the root of the repository, on Linux.
It says what was measured and never fails for it.
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

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.cases import CASES, PEERS, ROOT, Peer
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.results import Report, Result, dump, load, machine
from benchmarks.harness.rounds import run_case
from benchmarks.report import docs_pages
from benchmarks.report.chart import chart
from benchmarks.report.checkout import NoSuchCommit, checked_out
from benchmarks.report.tables import text

REMEDY = "`make .venv/.bench` installs what the benchmarks need"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=positive, default=9, help="of each case (9)")
    parser.add_argument("--messages", type=positive, help="in a round, instead of each case's own")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), metavar="PEER")
    parser.add_argument("--loop", nargs="+", choices=docs_pages.LOOPS, default=["asyncio"])
    parser.add_argument("--against", metavar="REF", help="rxws of this commit, beside the present")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="a chart of the first loop")
    parser.add_argument("--docs", action="store_true", help="put it all into docs/")
    parser.add_argument("--read", type=Path, metavar="FILE", help="report what --json has written")
    parser.epilog = f"Cases: {', '.join(CASES)}. Peers: {', '.join(PEERS)}."
    return parser.parse_args()


def positive(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is below 1")
    return value


def main() -> None:
    args = arguments()
    failures: list[str] = []
    try:
        report = load(args.read.read_text("utf-8")) if args.read else measured(args, failures)
    except NoSuchCommit as error:
        sys.exit(f"no figures: {error}")
    print(text(report))
    if args.json:
        args.json.write_text(dump(report), "utf-8")
    if args.svg:
        loop = next(iter(report.loops()), "asyncio")
        args.svg.write_text(chart(report.on(loop), loop), "utf-8")
    if args.docs:
        missing = docs_pages.lacking(report)
        if missing:
            sys.exit(f"docs/ is left as it is, as this was not measured: {'; '.join(missing)}")
        for path in docs_pages.write(report, ROOT / "docs"):
            note(f"written: {path.relative_to(ROOT)}")
    if failures:
        sys.exit("\n".join(failures))


def measured(args: argparse.Namespace, failures: list[str]) -> Report:
    """Run what is asked for. A case in which a peer fails is left out, and told of."""
    if sys.platform != "linux":
        sys.exit("only Linux tells the CPU time of another process to the nanosecond: run it there")
    if "uvloop" in args.loop and find_spec("uvloop") is None:
        sys.exit(f"uvloop is not installed: {REMEDY}")
    with contextlib.ExitStack() as stack:
        peers = present([*args.peers])
        if args.against:
            library = stack.enter_context(checked_out(args.against))
            title = f"rxws @{args.against}"
            then = dataclasses.replace(PEERS["push"], title=title, library=library)
            peers[f"push@{args.against}"] = then
        report = Report(machine())
        for loop in args.loop:
            for name in args.cases:
                case = CASES[name]
                options = {"rounds": args.rounds, "messages": args.messages}
                try:
                    with Others() as others:
                        series = run_case(case, peers, loop=loop, say=note, **options)
                except PeerFailed as error:
                    failures.append(f"no figures for {name} on {loop}: {error}")
                    note(failures[-1])
                else:
                    report.results.append(Result(name, loop, others.share, series))
    return report


def present(names: list[str]) -> dict[str, Peer]:
    """Those peers whose packages are here."""
    for name in names:
        if PEERS[name].missing:
            note(f"{name} is left out, as {PEERS[name].missing} is not installed: {REMEDY}")
    return {name: PEERS[name] for name in names if not PEERS[name].missing}


class Others:
    """How busy the machine is with what is neither this process nor a child of it."""

    share = 0.0

    def __enter__(self) -> Others:
        self.began = time.monotonic(), busy(), own()
        return self

    def __exit__(self, *_: object) -> None:
        seconds, total, ours = (
            now - then
            for now, then in zip((time.monotonic(), busy(), own()), self.began, strict=True)
        )
        # The two are counted in different ways, so a quiet machine may come out below 0.
        self.share = max(total - ours, 0.0) / (seconds * (os.cpu_count() or 1))


def busy() -> float:
    """Seconds that the machine's CPUs have not been idle, or were taken away from it."""
    user, nice, system, _, _, irq, softirq, steal, *_ = (
        int(field) for field in Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    )
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own() -> float:
    """Seconds of CPU that this process and its children that have ended have used."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def note(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
