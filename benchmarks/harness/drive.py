"""Keep one peer under the load of an echo case while a profiler watches it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence

from benchmarks.harness.cases import CASES, Case
from benchmarks.harness.load import LoadConnection, Messages, ReplyReader, exchange
from benchmarks.harness.process import PeerProcess, running

ECHO_CASES = [case.name for case in CASES.values() if case.kind == "echo" and len(case.maps) == 1]

CONNECTION_SECONDS = 5.0  # reconnect this often: before any peer sends a ping


class LoadedPeer:
    """A running server and the load of a case for it."""

    def __init__(self, case: Case, process: PeerProcess) -> None:
        self.case = case
        self.process = process
        self.messages = Messages(case.payloads, compress=case.compress)

    @contextlib.contextmanager
    def connected(self) -> Generator[Sequence[LoadConnection]]:
        """Open the connections of the case and check the first replies."""
        connections: list[LoadConnection] = []
        try:
            connections.extend(self.connect() for _ in range(self.case.connections))
            self.exchange(connections, self.case.window, self.messages.checked_replies)
            yield connections
            while connections:
                connections.pop().close()
        finally:
            for connection in connections:
                connection.sock.close()

    def connect(self) -> LoadConnection:
        return LoadConnection(self.process.port, self.messages)

    def exchange(
        self, connections: Sequence[LoadConnection], each: int, replies: Callable[[], ReplyReader]
    ) -> None:
        """Send `each` messages on every connection and wait for the replies."""
        for connection in connections:
            connection.begin(each, replies())
        exchange(connections, each, self.case.window)

    def keep_busy(self, seconds: float) -> float:
        """Exchange messages for some seconds; return the CPU time per message, in µs."""
        each = max(self.case.messages // self.case.connections // 10, 1)
        used = count = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.connected() as connections:
                before = self.process.cpu()
                reconnect_at = min(time.monotonic() + CONNECTION_SECONDS, end)
                while time.monotonic() < reconnect_at:
                    self.exchange(connections, each, self.messages.counted_replies)
                    count += each * len(connections)
                used += self.process.cpu() - before
        return used / max(count, 1) / 1000


@contextlib.contextmanager
def loaded_peer(case: Case, process: PeerProcess) -> Generator[LoadedPeer]:
    """Wait until the process is ready, and stop it at the end."""
    with running([process]):
        yield LoadedPeer(case, process)


def serve_arguments(case: Case, loop: str) -> Sequence[str]:
    """Return the command line arguments of a peer that serves a case."""
    options = ["--loop", loop, "--burst", str(case.burst)]
    return ["serve", *options, *["--compress"] * case.compress]
