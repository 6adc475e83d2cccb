"""Profile peers under load with py-spy: CPU time per message, by component.

Run `python benchmarks/profile_time.py --peers aiohttp push` from the root of the repository, on
Linux, as root or with permission to trace other processes.
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
from benchmarks.harness.drive import ECHO_CASES, LoadedPeer, loaded_peer, serve_arguments
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.process import PeerProcess
from benchmarks.report.stacks import by_owner
from benchmarks.report.tables import format_number, markdown_table

RATE = 500  # samples per second
SPY_STARTUP = 1.0  # seconds until py-spy has read the symbols
REMEDY = "install it with `make .venv/.bench`"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=["aiohttp", "push", "pull"])
    parser.add_argument("--case", choices=ECHO_CASES, default="pipelined")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument(
        "--seconds", type=float, default=5.0, help="duration of sampling (default: 5)"
    )
    parser.add_argument(
        "--raw", type=Path, metavar="DIR", help="write the sampled stacks to DIR/PEER.txt"
    )
    parser.add_argument(
        "--flame", type=Path, metavar="DIR", help="write flame graphs to DIR/PEER.svg"
    )
    args = parser.parse_args()
    for path in (args.raw, args.flame):
        if path is not None:
            path.mkdir(parents=True, exist_ok=True)
    columns: dict[str, dict[str, float]] = {}
    try:
        for name in args.peers:
            columns[PEERS[name].title] = profile(name, CASES[args.case], args)
    except PeerFailed as error:
        sys.exit(f"no profile: {error}")
    print(f"`{args.case}`, {args.loop}: µs of CPU time per message\n")
    print(table(columns))


def profile(name: str, case: Case, args: argparse.Namespace) -> dict[str, float]:
    """Return the CPU time per message of each component, in µs."""
    with loaded_peer(case, PeerProcess(PEERS[name], serve_arguments(case, args.loop))) as peer:
        peer.keep_busy(args.seconds / 5)
        cost = peer.keep_busy(args.seconds)  # without the profiler, which slows the peer down
        with tempfile.TemporaryDirectory() as folder:
            raw = Path(folder) / "raw.txt"
            record(peer, raw, "raw", args.seconds)
            stacks = raw.read_text("utf-8")
        if args.raw:
            (args.raw / f"{name}.txt").write_text(stacks, "utf-8")
        if args.flame:
            record(peer, args.flame / f"{name}.svg", "flamegraph", args.seconds)
    samples = by_owner(stacks.splitlines())
    total = sum(samples.values())
    if not total:
        raise PeerFailed("py-spy took no samples")
    return {component: cost * count / total for component, count in samples.items()}


def record(peer: LoadedPeer, target: Path, form: str, seconds: float) -> None:
    """Sample the peer under load.

    Without `--native`, py-spy would count the work of the kernel for the Python caller.
    """
    command = [py_spy(), "record", "--native", "--rate", str(RATE), "--format", form]
    command += ["--output", str(target), "--pid", str(peer.process.popen.pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as spy:
        try:
            peer.keep_busy(SPY_STARTUP)
            peer.keep_busy(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                spy.send_signal(signal.SIGINT)  # py-spy then writes its result
            output, _ = spy.communicate()
    if not target.exists():
        raise PeerFailed(
            f"py-spy wrote no result: {output.decode().strip()}\n"
            "It needs root or the capability CAP_SYS_PTRACE, and x86-64 or ARM for --native"
        )


def py_spy() -> str:
    beside = Path(sys.executable).parent / "py-spy"
    path = str(beside) if beside.exists() else shutil.which("py-spy")
    if path is None:
        raise PeerFailed(f"py-spy is not installed: {REMEDY}")
    return path


def table(columns: dict[str, dict[str, float]]) -> str:
    """Return a table with a column for each peer and a row for each component, by cost."""
    most: dict[str, float] = {}
    for column in columns.values():
        for component, cost in column.items():
            most[component] = max(most.get(component, 0.0), cost)
    rows = [
        [component, *(format_number(column.get(component)) for column in columns.values())]
        for component in sorted(most, key=lambda component: -most[component])
    ]
    rows.append(["total", *(format_number(sum(column.values())) for column in columns.values())])
    return markdown_table(["component", *columns], rows)


if __name__ == "__main__":
    main()
