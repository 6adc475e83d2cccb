"""Measure a case in rounds. The peers take turns, so that disturbances affect all of them alike."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness.cases import Case, Peer
from benchmarks.harness.churn import churn
from benchmarks.harness.fanout import fan_out
from benchmarks.harness.feed import FeedServer
from benchmarks.harness.load import LoadConnection, Messages, PeerFailed, exchange
from benchmarks.harness.process import PeerProcess, running
from benchmarks.peers.runner import ACK

Log = Callable[[str], None]


@dataclass(frozen=True)
class Round:
    """The measurements of one peer in one round."""

    messages: int
    cpu: float  # µs of CPU time per message
    wall: float  # µs per message
    p50: float | None = None  # µs; latency, only with one message in flight
    p99: float | None = None


@dataclass(frozen=True)
class Series:
    """All rounds of one peer in one case."""

    peer: str
    title: str
    maps: int = 1
    rounds: list[Round] = field(default_factory=list[Round])
    about: dict[str, Any] = field(default_factory=dict[str, Any])


def run_case(
    case: Case, peers: Mapping[str, Peer], *, loop: str, rounds: int, messages: int | None, log: Log
) -> list[Series]:
    """Measure a case. Each peer is one process, which runs until the case is finished.

    Args:
        case: The case to measure.
        peers: The peers by name; those that do not support the case are left out.
        loop: The event loop of the peers: `asyncio` or `uvloop`.
        rounds: Number of rounds, without the first one, which is discarded.
        messages: Messages per round; None for the default of the case.
        log: Called with a line after each round.

    Raises:
        PeerFailed: A peer closed, stalled or sent something unexpected.
    """
    count = messages or case.messages
    runs = [
        (name, peer, maps)
        for name, peer in peers.items()
        if case.supports(peer)
        for maps in case.maps
    ]
    masked = case.kind != "client"
    echoed, answered = (
        Messages(case.payloads, compress=case.compress, masked=masked, replies=replies)
        for replies in (case.payloads, case.replies)
    )
    with contextlib.ExitStack() as stack:
        feeds = [FeedServer(echoed, case.window) if case.kind == "client" else None for _ in runs]
        processes: list[PeerProcess] = []
        stack.enter_context(running(processes))
        for (_, peer, maps), feed in zip(runs, feeds, strict=True):
            command = ["serve"]
            if feed is not None:
                stack.callback(feed.close)
                command = ["receive", str(feed.port)]
            options = ["--loop", loop, "--maps", str(maps), "--burst", str(case.burst)]
            options += ["--compress"] * case.compress
            processes.append(PeerProcess(peer, [*command, *options]))
        for process in processes:
            process.wait_until_ready()
        results = [
            Series(name, peer.title, maps, [], process.about)
            for (name, peer, maps), process in zip(runs, processes, strict=True)
        ]
        stack.enter_context(garbage_collection_off())
        for number in range(rounds + 1):
            for turn in range(len(runs)):
                # Vary the order, so that no peer is always the first.
                index = (turn + number) % len(runs)
                # Round 0 warms up: the first messages of a process cost more than the others.
                peer = runs[index][1]
                frames = answered if peer.calls or peer.fans_out else echoed
                size = count if number else max(count // 5, 1)
                try:
                    done = measure(case, processes[index], frames, feeds[index], size)
                except (PeerFailed, OSError) as error:
                    raise PeerFailed(f"{case.name}, {runs[index][1].title}: {error}") from error
                if number:
                    results[index].rounds.append(done)
            log(f"{case.name}, {loop}: round {number} of {rounds}")
    return results


@contextlib.contextmanager
def garbage_collection_off() -> Generator[None]:
    """Disable the garbage collector of this process: its pauses would add to the latencies."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(
    case: Case, process: PeerProcess, messages: Messages, feed: FeedServer | None, count: int
) -> Round:
    if feed is not None:
        return measure_client(process, feed, count)
    if case.kind == "cycles":
        return measure_cycles(case, process, count)
    if case.kind == "fanout":
        return measure_fanout(case, process, messages, count)
    return measure_echo(case, process, messages, count)


def measure_echo(case: Case, process: PeerProcess, messages: Messages, count: int) -> Round:
    each = max(count // case.connections, 1)
    latencies: list[int] | None = [] if case.window == 1 else None
    with open_connections(case, process, messages) as connections:
        warm_up = max(each // 20, case.window)
        for connection in connections:
            connection.begin(warm_up, messages.checked_replies())
        exchange(connections, warm_up, case.window)
        for connection in connections:
            connection.begin(each, messages.counted_replies())
        with Stopwatch(process) as watch:
            exchange(connections, each, case.window, latencies)
    return watch.round(each * case.connections, latencies)


def measure_client(process: PeerProcess, feed: FeedServer, count: int) -> Round:
    count = -(-count // ACK) * ACK
    process.request_connection()
    connection = feed.accept()
    try:
        connection.send(-(-count // 20 // ACK) * ACK)
        with Stopwatch(process) as watch:
            connection.send(count)
        connection.close()
    finally:
        connection.sock.close()
    return watch.round(count)


def measure_cycles(case: Case, process: PeerProcess, count: int) -> Round:
    churn(process.port, max(count // 20, 1), case.connections)
    with Stopwatch(process) as watch:
        churn(process.port, count, case.connections)
    return watch.round(count)


def measure_fanout(case: Case, process: PeerProcess, messages: Messages, count: int) -> Round:
    bursts = max(count // case.connections // case.burst, 1)
    with open_connections(case, process, messages) as connections:
        for connection in connections:
            connection.replies = messages.checked_replies()
        fan_out(connections, max(bursts // 20, 1), case.burst)
        for connection in connections:
            connection.replies = messages.counted_replies()
        with Stopwatch(process) as watch:
            fan_out(connections, bursts, case.burst)
    return watch.round(bursts * case.burst * case.connections)


@contextlib.contextmanager
def open_connections(
    case: Case, process: PeerProcess, messages: Messages
) -> Generator[Sequence[LoadConnection]]:
    """Open the connections of a case, and perform the close handshake of each at the end."""
    connections: list[LoadConnection] = []
    try:
        connections.extend(LoadConnection(process.port, messages) for _ in range(case.connections))
        yield connections
        while connections:
            connections.pop().close()
    finally:
        for connection in connections:
            connection.sock.close()


class Stopwatch:
    """Measures the CPU time of a process and the elapsed time, in ns."""

    def __init__(self, process: PeerProcess) -> None:
        self.process = process
        self.cpu = self.wall = 0

    def __enter__(self) -> Stopwatch:
        self.cpu, self.wall = self.process.cpu(), time.perf_counter_ns()
        return self

    def __exit__(self, *_: object) -> None:
        self.cpu = self.process.cpu() - self.cpu
        self.wall = time.perf_counter_ns() - self.wall

    def round(self, count: int, latencies: list[int] | None = None) -> Round:
        """Divide the times by the number of messages."""
        p50 = p99 = None
        if latencies:
            latencies.sort()
            p50 = latencies[len(latencies) // 2] / 1000
            p99 = latencies[len(latencies) * 99 // 100] / 1000
        return Round(count, self.cpu / count / 1000, self.wall / count / 1000, p50, p99)
