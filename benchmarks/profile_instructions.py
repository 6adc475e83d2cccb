"""How many instructions a message takes: peers under valgrind's callgrind.

Run `python benchmarks/profile_instructions.py --peers aiohttp push` from the root of the
repository, on Linux. Each peer is run twice, with N messages and with 2N: the difference has
neither the start nor the end in it. Unlike time, it is nearly the same on every run, however busy
the machine; it is no time, though: the kernel's work is not in it, nor what a cache miss costs.

Valgrind makes a peer some fifty times slower, so what goes by the clock happens more often: where
many messages are in flight, rxws hands the loop back between them, and so makes more writes of
fewer messages than it does otherwise. Where one is in flight, there is nothing of that.
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
from benchmarks.harness.drive import ECHOES, driven, serving
from benchmarks.harness.load import PeerFailed
from benchmarks.harness.process import Process
from benchmarks.report.tables import markdown

REMEDY = "install it (Debian: apt-get install valgrind)"
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--case", choices=ECHOES, default="pingpong")
    parser.add_argument("--messages", type=int, default=200, help="N, on each connection (200)")
    args = parser.parse_args()
    if args.messages < 1:
        parser.error("--messages has to be 1 or more")
    rows: list[list[str]] = []
    try:
        for name in args.peers:
            print(f"{name} ...", file=sys.stderr, flush=True)
            few, many = (count(name, CASES[args.case], args.messages * by) for by in (1, 2))
            each = (many - few) / (args.messages * CASES[args.case].connections)
            rows.append([PEERS[name].title, f"{each:,.0f}"])
    except PeerFailed as error:
        sys.exit(f"no figures: {error}")
    print(f"`{args.case}`, asyncio: instructions per message, without the kernel's\n")
    print(markdown(["peer", "instructions"], rows))


def count(name: str, case: Case, each: int) -> int:
    """The instructions of a server's whole life, with so many messages on each connection."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise PeerFailed(f"valgrind is not here: {REMEDY}")
    # Sets of strings have one order on every run, then.
    peer = dataclasses.replace(PEERS[name], env={**PEERS[name].env, "PYTHONHASHSEED": "0"})
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "callgrind.out"
        prefix = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        process = Process(peer, serving(case, "asyncio"), prefix)
        with driven(case, process) as under, under.connected() as links:
            under.send(links, each, under.messages.replies)
        found = TOTALS.findall(out.read_text("utf-8", errors="replace")) if out.exists() else []
    if not found:
        raise PeerFailed(f"callgrind has written nothing about {PEERS[name].title}")
    return int(found[-1])


if __name__ == "__main__":
    main()
