"""Run a peer in a separate process and read its CPU time."""

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

START_TIMEOUT = 180.0  # seconds; under valgrind, peers start slowly
STOP_TIMEOUT = 20.0


class PeerProcess:
    """A running peer.

    Args:
        peer: The peer to start.
        arguments: Its command line, see `benchmarks.peers.runner`.
        prefix: A command to run Python under, for example a profiler.
    """

    def __init__(self, peer: Peer, arguments: Sequence[str], prefix: Sequence[str] = ()) -> None:
        self.peer = peer
        # -P: import from PYTHONPATH only, never from the current directory. `library` comes first,
        # so that rxws can be from another commit than the peers.
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

    def wait_until_ready(self, seconds: float = START_TIMEOUT) -> None:
        """Read the port and the description that the peer prints."""
        deadline = time.monotonic() + seconds
        output = b""
        out = pipe(self.popen.stdout)
        while output.count(b"\n") < 2:
            left = deadline - time.monotonic()
            data = os.read(out.fileno(), 4096) if select.select([out], [], [], left)[0] else None
            if not data:
                how = "exited" if data == b"" else f"did not start within {seconds:.0f} s"
                raise PeerFailed(f"{self.peer.title} {how}")
            output += data
        port, about = output.splitlines()
        self.port, self.about = int(port), json.loads(about)

    def request_connection(self) -> None:
        """Tell a client peer to connect again."""
        source = pipe(self.popen.stdin)
        source.write(b"\n")
        source.flush()

    def cpu(self) -> int:
        """Return the CPU time of all threads, user and system, in nanoseconds.

        This is the clock that clock_getcpuclockid(3) returns; Python has no function for it. It is
        as precise as the scheduler's accounting, unlike the ticks of /proc/PID/stat.
        """
        return time.clock_gettime_ns((~self.popen.pid) << 3 | 2)

    def stop(self) -> None:
        """Close standard input to stop the peer; kill it if that does not help."""
        with contextlib.suppress(BrokenPipeError):
            pipe(self.popen.stdin).close()
        try:
            self.popen.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        pipe(self.popen.stdout).close()


def pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None  # Popen was called with PIPE
    return stream


@contextlib.contextmanager
def running(processes: Sequence[PeerProcess]) -> Generator[Sequence[PeerProcess]]:
    """Wait until all processes are ready; stop them at the end."""
    try:
        for process in processes:
            process.wait_until_ready()
        yield processes
    finally:
        for process in processes:
            process.stop()
