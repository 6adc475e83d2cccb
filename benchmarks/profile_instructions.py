"""Count the instructions per message of each peer with valgrind's callgrind.

Run `python benchmarks/profile_instructions.py --peers aiohttp push` from the root of the
repository, on Linux. Each peer runs twice, with N and with 2N messages; the difference excludes
startup and shutdown. It includes neither the work of the kernel nor the cost of cache misses. With
`--case cycles`, it counts connections that are opened and closed instead of messages; with
`--case fanout`, deliveries of a message to a connection.

Run it on an idle machine: the less time a peer gets, the fewer connections are ready in each turn
of the event loop, and the more turns a message costs. `--against REF` counts an older commit in
the same run. Under valgrind, a peer is about fifty times slower, so timers fire after fewer
messages. With many messages in flight, rxws yields to the event loop by the clock, and therefore
sends smaller batches than usual.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.harness.cases import CASES, GOAL_PEER, PEERS, Case, Peer
from benchmarks.harness.churn import churn
from benchmarks.harness.drive import ECHO_CASES, loaded_peer, serve_arguments
from benchmarks.harness.fanout import fan_out
from benchmarks.harness.feed import FeedServer
from benchmarks.harness.load import Messages, PeerFailed
from benchmarks.harness.process import PeerProcess, running
from benchmarks.harness.rounds import open_connections
from benchmarks.peers.runner import ACK
from benchmarks.report.checkout import CheckoutError, rxws_at
from benchmarks.report.tables import markdown_table

REMEDY = "install it (Debian: apt-get install valgrind)"
FAN_OUT_CONNECTIONS = 100
TOTALS = re.compile(r"^(?:totals|summary): (\d+)", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    others = ["client", "cycles", "fanout", "fanout-burst"]
    parser.add_argument("--case", choices=[*ECHO_CASES, *others], default="pingpong")
    parser.add_argument(
        "--messages", type=int, default=200, help="N, per connection (default: 200)"
    )
    parser.add_argument("--against", metavar="REF", help="also count rxws at this commit")
    args = parser.parse_args()
    if args.messages < 1:
        parser.error("--messages must be at least 1")
    case, size = CASES[args.case], args.messages
    if case.kind == "fanout":  # with more of them, heartbeats would time out under valgrind
        case = dataclasses.replace(case, connections=FAN_OUT_CONNECTIONS)
    if case.kind == "client":
        size = -(-size // ACK) * ACK  # the client acknowledges whole groups
    size = -(-size // case.burst) * case.burst
    rows: list[list[str]] = []
    try:
        with contextlib.ExitStack() as stack:
            peers = [PEERS[name] for name in args.peers if case.supports(PEERS[name])]
            if args.against:
                library = stack.enter_context(rxws_at(args.against))
                ours = PEERS["hub" if case.kind == "fanout" else GOAL_PEER]
                title = f"{ours.title} @{args.against}"
                peers.append(dataclasses.replace(ours, title=title, library=library))
            for peer in peers:
                print(f"{peer.title} ...", file=sys.stderr, flush=True)
                few, many = (count(peer, case, size * by) for by in (1, 2))
                each = (many - few) / (size * case.connections)
                rows.append([peer.title, f"{each:,.0f}"])
    except (PeerFailed, CheckoutError) as error:
        sys.exit(f"no results: {error}")
    print(f"`{args.case}`, asyncio: instructions per {case.unit}, without the kernel\n")
    print(markdown_table(["peer", "instructions"], rows))


def count(peer: Peer, case: Case, each: int) -> int:
    """Count the instructions of a peer from start to exit; `each`: messages per connection."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise PeerFailed(f"valgrind is not installed: {REMEDY}")
    # A fixed hash seed: sets of strings then have the same order on every run.
    peer = dataclasses.replace(peer, env={**peer.env, "PYTHONHASHSEED": "0"})
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        prefix = [valgrind, "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}"]
        LOADS[case.kind](case, peer, prefix, each)
        totals = TOTALS.findall(out.read_text("utf-8", errors="replace")) if out.exists() else []
    if not totals:
        raise PeerFailed(f"callgrind wrote no result for {peer.title}")
    return int(totals[-1])


def load_server(case: Case, peer: Peer, prefix: Sequence[str], each: int) -> None:
    """Exchange messages with a server that echoes them."""
    process = PeerProcess(peer, serve_arguments(case, "asyncio"), prefix)
    with loaded_peer(case, process) as server, server.connected() as connections:
        server.exchange(connections, each, server.messages.counted_replies)


def fan_out_server(case: Case, peer: Peer, prefix: Sequence[str], each: int) -> None:
    """Let a server send each message to all connections."""
    process = PeerProcess(peer, serve_arguments(case, "asyncio"), prefix)
    messages = Messages(case.payloads, compress=case.compress)
    with running([process]), open_connections(case, process, messages) as connections:
        for connection in connections:
            connection.replies = messages.counted_replies()
        fan_out(connections, each // case.burst, case.burst)


def feed_client(case: Case, peer: Peer, prefix: Sequence[str], count: int) -> None:
    """Send messages to a client."""
    messages = Messages(case.payloads, compress=case.compress, masked=False)
    with contextlib.closing(FeedServer(messages, case.window)) as feed:
        process = PeerProcess(peer, ["receive", str(feed.port), "--loop", "asyncio"], prefix)
        with running([process]):
            process.request_connection()
            with contextlib.closing(feed.accept()) as connection:
                connection.send(count)


def churn_server(case: Case, peer: Peer, prefix: Sequence[str], each: int) -> None:
    """Open and close connections to a server; `each` for each that is open at the same time."""
    with running([process := PeerProcess(peer, serve_arguments(case, "asyncio"), prefix)]):
        churn(process.port, each * case.connections, case.connections)


LOADS = {
    "echo": load_server,
    "client": feed_client,
    "cycles": churn_server,
    "fanout": fan_out_server,
}

if __name__ == "__main__":
    main()
