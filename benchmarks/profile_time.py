"""Where each microsecond goes: peers under load, sampled by py-spy, grouped by who does the work.

Run `python benchmarks/profile_time.py --peers aiohttp push` from the root of the repository, on
Linux, as root or with the right to trace other processes.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.cases import CASES, PEERS, Case
from benchmarks.harness.drive import ECHOES, Driven, driven, serving
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.process import Process
from benchmarks.report.stacks import by_owner
from benchmarks.report.tables import markdown, number

RATE = 500  # samples a second
SETTLE = 1.0  # seconds that py-spy takes to read the symbols
REMEDY = "`make .venv/.bench` installs it"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["aiohttp", "push", "pull"])
    parser.add_argument("--case", choices=ECHOES, default="pipelined")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--seconds", type=float, default=5.0, help="of load while sampling (5)")
    parser.add_argument("--raw", type=Path, metavar="DIR", help="keep the stacks as PEER.txt")
    parser.add_argument("--flame", type=Path, metavar="DIR", help="flame graphs, too, as PEER.svg")
    args = parser.parse_args()
    for path in (args.raw, args.flame):
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
    columns: dict[str, dict[str, float]] = {}
    try:
        for name in args.peers:
            columns[PEERS[name].title] = profiled(name, CASES[args.case], args)
    except PeerFailed as error:
        sys.exit(f"no profile: {error}")
    print(f"`{args.case}`, {args.loop}: µs of CPU time per message\n")
    print(table(columns))


def profiled(name: str, case: Case, args: argparse.Namespace) -> dict[str, float]:
    """The µs per message of each group."""
    with driven(case, Process(PEERS[name], serving(case, args.loop))) as peer:
        peer.keep_busy(args.seconds / 5)
        cost = peer.keep_busy(args.seconds)  # without the profiler, which makes all of it slower
        with tempfile.TemporaryDirectory() as made:
            raw = Path(made) / "raw.txt"
            record(peer, raw, "raw", args.seconds)
            stacks = raw.read_text("utf-8")
        if args.raw:
            (args.raw / f"{name}.txt").write_text(stacks, "utf-8")
        if args.flame:
            record(peer, args.flame / f"{name}.svg", "flamegraph", args.seconds)
    samples = by_owner(stacks.splitlines())
    total = sum(samples.values())
    if not total:
        raise PeerFailed("py-spy has not taken a sample")
    return {group: cost * count / total for group, count in samples.items()}


def record(peer: Driven, target: Path, form: str, seconds: float) -> None:
    """Sample the peer under load; `--native`, as the kernel's share would be its caller's else."""
    command = [py_spy(), "record", "--native", "--rate", str(RATE), "--format", form]
    command += ["--output", str(target), "--pid", str(peer.process.popen.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as spy:
        try:
            peer.keep_busy(SETTLE)
            peer.keep_busy(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                spy.send_signal(signal.SIGINT)  # it writes what it has, then
            said, _ = spy.communicate()
    if not target.exists():
        raise PeerFailed(
            f"py-spy has written nothing: {said.decode().strip()}\n"
            "It needs to be root, or the capability CAP_SYS_PTRACE, and x86-64 or ARM for --native"
        )


def py_spy() -> str:
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise PeerFailed(f"py-spy is not installed: {REMEDY}")
    return found


def table(columns: dict[str, dict[str, float]]) -> str:
    """A column for each peer, a row for each group, the most expensive first."""
    most: dict[str, float] = {}
    for column in columns.values():
        for group, cost in column.items():
            most[group] = max(most.get(group, 0.0), cost)
    rows = [
        [group, *(number(column.get(group)) for column in columns.values())]
        for group in sorted(most, key=lambda group: -most[group])
    ]
    rows.append(["in all", *(number(sum(column.values())) for column in columns.values())])
    return markdown(["where", *columns], rows)


if __name__ == "__main__":
    main()
