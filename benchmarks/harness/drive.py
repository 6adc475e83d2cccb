"""One peer under the load of an echo case, for as long as somebody looks at it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Generator, Sequence

from benchmarks.harness.cases import CASES, Case
from benchmarks.harness.load import Compared, Link, Messages, Replies, exchange
from benchmarks.harness.process import Process, running

ECHOES = [case.name for case in CASES.values() if case.kind == "echo" and len(case.maps) == 1]

STINT = 5.0  # seconds that connections are kept: no peer sends a ping by then


class Driven:
    """A server that is ready, and the load of a case for it."""

    def __init__(self, case: Case, process: Process) -> None:
        self.case = case
        self.process = process
        self.messages = Messages(case.payloads, compress=case.compress)

    @contextlib.contextmanager
    def connected(self) -> Generator[Sequence[Link]]:
        """The connections of the case, with the first messages behind them."""
        links: list[Link] = []
        try:
            links.extend(
                Link(self.process.port, self.messages) for _ in range(self.case.connections)
            )
            self.send(links, self.case.window, lambda: Compared(self.messages.payloads))
            yield links
            while links:
                links.pop().close()
        finally:
            for link in links:
                link.sock.close()

    def send(self, links: Sequence[Link], each: int, replies: Callable[[], Replies]) -> None:
        """Exchange so many messages on each connection."""
        for link in links:
            link.begin(each, replies())
        exchange(links, each, self.case.window)

    def keep_busy(self, seconds: float) -> float:
        """The µs of CPU time per message, of so many seconds."""
        each = max(self.case.messages // self.case.connections // 10, 1)
        used = count = 0
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self.connected() as links:
                began, stint = self.process.cpu(), min(time.monotonic() + STINT, end)
                while time.monotonic() < stint:
                    self.send(links, each, self.messages.replies)
                    count += each * len(links)
                used += self.process.cpu() - began
        return used / max(count, 1) / 1000


@contextlib.contextmanager
def driven(case: Case, process: Process) -> Generator[Driven]:
    """A process that is starting, once it is ready; it is ended at the end."""
    with running([process]):
        yield Driven(case, process)


def serving(case: Case, loop: str) -> Sequence[str]:
    """The arguments of a server for a case."""
    return ["serve", "--loop", loop, *["--compress"] * case.compress]
