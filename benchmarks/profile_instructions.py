"""Count the instructions per message of each peer with valgrind's callgrind.

Run `python benchmarks/profile_instructions.py --peers aiohttp push` from the root of the
repository, on Linux. Each peer runs twice, with N and with 2N messages; the difference excludes
startup and shutdown. Unlike CPU time, the count is nearly the same on every run, however busy the
machine is. It includes neither the work of the kernel nor the cost of cache misses.

Under valgrind, a peer is about fifty times slower, so timers fire after fewer messages. With many
messages in flight, rxws yields to the event loop by the clock, and therefore sends smaller batches
than usual. With one message in flight, this makes no difference.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.cases import CASES, PEERS, Case
from benchmarks.harness.drive import ECHO_CASES, loaded_peer, serve_arguments
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.process import PeerProcess
from benchmarks.report.tables import markdown_table

REMEDY = "install it (Debian: apt-get install valgrind)"
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--case", choices=ECHO_CASES, default="pingpong")
    parser.add_argument(
        "--messages", type=int, default=200, help="N, per connection (default: 200)"
    )
    args = parser.parse_args()
    if args.messages < 1:
        parser.error("--messages must be at least 1")
    rows: list[list[str]] = []
    try:
        for name in args.peers:
            print(f"{name} ...", file=sys.stderr, flush=True)
            few, many = (count(name, CASES[args.case], args.messages * by) for by in (1, 2))
            each = (many - few) / (args.messages * CASES[args.case].connections)
            rows.append([PEERS[name].title, f"{each:,.0f}"])
    except PeerFailed as error:
        sys.exit(f"no results: {error}")
    print(f"`{args.case}`, asyncio: instructions per message, without the kernel\n")
    print(markdown_table(["peer", "instructions"], rows))


def count(name: str, case: Case, each: int) -> int:
    """Count the instructions of a server from start to exit; `each`: messages per connection."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise PeerFailed(f"valgrind is not installed: {REMEDY}")
    # A fixed hash seed: sets of strings then have the same order on every run.
    peer = dataclasses.replace(PEERS[name], env={**PEERS[name].env, "PYTHONHASHSEED": "0"})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        prefix = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        process = PeerProcess(peer, serve_arguments(case, "asyncio"), prefix)
        with loaded_peer(case, process) as server, server.connected() as connections:
            server.exchange(connections, each, server.messages.counted_replies)
        totals = TOTALS.findall(out.read_text("utf-8", errors="replace")) if out.exists() else []
    if not totals:
        raise PeerFailed(f"callgrind wrote no result for {PEERS[name].title}")
    return int(totals[-1])


if __name__ == "__main__":
    main()
