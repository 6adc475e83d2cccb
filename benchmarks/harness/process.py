"""A peer in a process of its own, and the CPU time that it has used."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from typing import IO, Any

from benchmarks.harness.cases import ROOT, Peer
from benchmarks.harness.load import PeerFailed

START = 60.0  # seconds in which a peer must be there; valgrind makes it slow
END = 20.0


class Process:
    """A running peer.

    Args:
        prefix: The command that runs it, where it is not Python itself: a profiler.
    """

    def __init__(self, peer: Peer, arguments: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.peer = peer
        # -P: what is imported comes from PYTHONPATH, and nothing by chance from where one stands.
        # `library` is first, so rxws can be of another commit than the rest.
        command = [*prefix, sys.executable, "-P", "-m", f"benchmarks.peers.{peer.module}"]
        self.popen = subprocess.Popen(
            [*command, *arguments],
            cwd=ROOT,
            env={**os.environ, **peer.env, "PYTHONPATH": f"{peer.library}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.port = 0
        self.about: dict[str, Any] = {}

    def wait_until_ready(self, seconds: float = START) -> None:
        """Read what it says of itself."""
        deadline = time.monotonic() + seconds
        said = b""
        out = stream(self.popen.stdout)
        while said.count(b"\n") < 2:
            left = deadline - time.monotonic()
            data = os.read(out.fileno(), 4096) if select.select([out], [], [], left)[0] else None
            if not data:
                how = "ended" if data == b"" else f"was not there after {seconds:.0f} s"
                raise PeerFailed(f"{self.peer.title} {how}")
            said += data
        port, about = said.splitlines()
        self.port, self.about = int(port), json.loads(about)

    def order(self) -> None:
        """Have a client connect once more."""
        source = stream(self.popen.stdin)
        source.write(b"\n")
        source.flush()

    def cpu(self) -> int:
        """Nanoseconds of CPU time, user and system, of all its threads.

        This is the clock that clock_getcpuclockid(3) gives; Python has no name for it. It has the
        resolution of the scheduler's accounts, not that of the ticks of /proc/PID/stat.
        """
        return time.clock_gettime_ns((~self.popen.pid) << 3 | 2)

    def end(self) -> None:
        """End it by the end of its standard input, and by force if it does not."""
        with contextlib.suppress(BrokenPipeError):
            stream(self.popen.stdin).close()
        try:
            self.popen.wait(END)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        stream(self.popen.stdout).close()


def stream(found: IO[bytes] | None) -> IO[bytes]:
    assert found is not None  # a pipe was asked for
    return found


@contextlib.contextmanager
def running(processes: Sequence[Process]) -> Generator[Sequence[Process]]:
    """Have these ready, having started all at once; none is left over."""
    try:
        for process in processes:
            process.wait_until_ready()
        yield processes
    finally:
        for process in processes:
            process.end()
