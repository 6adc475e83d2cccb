"""Rounds of a case, all peers in turn, so that what disturbs the machine disturbs them alike."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.harness.cases import Case, Peer
from benchmarks.harness.churn import cycle
from benchmarks.harness.feed import Feed
from benchmarks.harness.load import Compared, Link, Messages, PeerFailed, exchange
from benchmarks.harness.process import Process, running
from benchmarks.peers.runner import ACK

Say = Callable[[str], None]


@dataclass(frozen=True)
class Round:
    """What one peer used in one round."""

    messages: int
    cpu: float  # µs of CPU time per message
    wall: float  # µs per message
    p50: float | None = None  # µs; latencies where there is one message in flight
    p99: float | None = None


@dataclass(frozen=True)
class Series:
    """The rounds of one peer in one case."""

    peer: str
    title: str
    maps: int = 1
    rounds: list[Round] = field(default_factory=list[Round])
    about: dict[str, Any] = field(default_factory=dict[str, Any])


def run_case(
    case: Case, peers: Mapping[str, Peer], *, loop: str, rounds: int, messages: int | None, say: Say
) -> list[Series]:
    """Measure a case; each peer's process lives as long as the case."""
    count = messages or case.messages
    chosen = [(name, peer, maps) for name, peer in peers.items() for maps in case.maps]
    chosen = [one for one in chosen if case.takes(one[1])]
    made = Messages(case.payloads, compress=case.compress, masked=case.kind != "client")
    with contextlib.ExitStack() as stack:
        feeds = [Feed(made, case.window) if case.kind == "client" else None for _ in chosen]
        processes: list[Process] = []
        stack.enter_context(running(processes))
        for (_, peer, maps), feed in zip(chosen, feeds, strict=True):
            what = ["serve"]
            if feed is not None:
                stack.callback(feed.close)
                what = ["receive", str(feed.port)]
            options = ["--loop", loop, "--maps", str(maps), *["--compress"] * case.compress]
            processes.append(Process(peer, [*what, *options]))
        for process in processes:
            process.wait_until_ready()
        found = [
            Series(name, peer.title, maps, [], process.about)
            for (name, peer, maps), process in zip(chosen, processes, strict=True)
        ]
        stack.enter_context(no_collector())
        for number in range(rounds + 1):
            for turn in range(len(chosen)):
                index = (turn + number) % len(chosen)  # none is always the first, or after another
                # Round 0 is thrown away: the first messages of a process cost more than the rest.
                size = count if number else max(count // 5, 1)
                try:
                    done = measure(case, processes[index], made, feeds[index], size)
                except (PeerFailed, OSError) as error:
                    raise PeerFailed(f"{case.name}, {chosen[index][1].title}: {error}") from error
                if number:
                    found[index].rounds.append(done)
            say(f"{case.name}, {loop}: round {number} of {rounds}")
    return found


@contextlib.contextmanager
def no_collector() -> Generator[None]:
    """Without the garbage collector in this process, the load: its pauses would be nobody's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def measure(
    case: Case, process: Process, messages: Messages, feed: Feed | None, count: int
) -> Round:
    if feed is not None:
        return measure_client(process, feed, count)
    if case.kind == "cycles":
        return measure_cycles(case, process, count)
    return measure_echo(case, process, messages, count)


def measure_echo(case: Case, process: Process, messages: Messages, count: int) -> Round:
    each = max(count // case.connections, 1)
    latencies: list[int] | None = [] if case.window == 1 else None
    links: list[Link] = []
    try:
        links.extend(Link(process.port, messages) for _ in range(case.connections))
        warm_up = max(each // 20, case.window)
        for link in links:
            link.begin(warm_up, Compared(messages.payloads))
        exchange(links, warm_up, case.window)
        for link in links:
            link.begin(each, messages.replies())
        with clocked(process) as clock:
            exchange(links, each, case.window, latencies)
        while links:
            links.pop().close()
    finally:
        for link in links:
            link.sock.close()
    return clock.round(each * case.connections, latencies)


def measure_client(process: Process, feed: Feed, count: int) -> Round:
    count = -(-count // ACK) * ACK
    process.order()
    fed = feed.accept()
    try:
        fed.feed(-(-count // 20 // ACK) * ACK)
        with clocked(process) as clock:
            fed.feed(count)
        fed.close()
    finally:
        fed.sock.close()
    return clock.round(count)


def measure_cycles(case: Case, process: Process, count: int) -> Round:
    cycle(process.port, max(count // 20, 1), case.connections)
    with clocked(process) as clock:
        cycle(process.port, count, case.connections)
    return clock.round(count)


class Clock:
    """The CPU time of a process, and the time, between two points."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.cpu, self.wall = process.cpu(), time.perf_counter_ns()

    def stop(self) -> None:
        self.cpu = self.process.cpu() - self.cpu
        self.wall = time.perf_counter_ns() - self.wall

    def round(self, count: int, latencies: list[int] | None = None) -> Round:
        p50 = p99 = None
        if latencies:
            latencies.sort()
            p50 = latencies[len(latencies) // 2] / 1000
            p99 = latencies[len(latencies) * 99 // 100] / 1000
        return Round(count, self.cpu / count / 1000, self.wall / count / 1000, p50, p99)


def clocked(process: Process) -> AbstractContextManager[Clock]:
    @contextlib.contextmanager
    def measured() -> Generator[Clock]:
        clock = Clock(process)
        yield clock
        clock.stop()

    return measured()
