"""The cluster of `examples/cluster/`, with Redis and nginx, but without containers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from support import ROOT
from support.peers.browser import Page
from support.processes.examples import EXAMPLES, PATIENCE
from support.processes.redis_server import free_port
from support.requirements import skip_peer

CLUSTER = EXAMPLES / "cluster"
yaml: Any = importlib.import_module("yaml")


@dataclass
class Cluster:
    """A running cluster: its script, nginx's port, and the ports of the chat by their pids."""

    process: asyncio.subprocess.Process
    port: int
    apps: dict[int, int]

    def enter(self, name: str) -> connect:
        """Connect to the room through nginx."""
        return connect(f"ws://127.0.0.1:{self.port}/room?name={name}")

    async def end(self, how: int) -> tuple[int | None, str]:
        """Send a signal to the script; return its exit code and stderr."""
        self.process.send_signal(how)
        _, error = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        return self.process.returncode, error.decode()


async def start_script(*arguments: str, **environment: str) -> asyncio.subprocess.Process:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONASYNCIODEBUG"}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        CLUSTER / "run.py",
        *arguments,
        env={**clean, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@contextlib.asynccontextmanager
async def running_cluster() -> AsyncGenerator[Cluster]:
    """Run the cluster on free ports; end it by SIGTERM."""
    for program in ("redis-server", "nginx"):
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            skip_peer(f"no {program} (Debian: apt-get install {program})")
    port = free_port()
    process = await start_script("--port", str(port))
    assert process.stdout is not None
    try:
        apps: dict[int, int] = {}
        while line := (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode():
            if line.startswith("nginx: "):
                break
            pid, app_port = re.findall(r"\d+", line.replace("127.0.0.1", ""))
            apps[int(pid)] = int(app_port)
        else:
            _, error = await process.communicate()
            raise AssertionError(f"the cluster did not start:\n{error.decode()}")
        assert len(apps) == 2
        assert line == f"nginx: http://127.0.0.1:{port}/   (press Ctrl+C to stop)\n"
        yield Cluster(process, port, apps)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def until(socket: ClientConnection, message: object) -> list[object]:
    """Return the messages before a message."""
    before: list[object] = []
    async with asyncio.timeout(PATIENCE):
        while (received := json.loads(await socket.recv())) != message:
            before.append(received)
    return before


async def say(socket: ClientConnection, text: str) -> None:
    await socket.send(json.dumps({"text": text}))


def line(name: str, text: str) -> dict[str, str]:
    return {"text": text, "name": name}


def connections(port: int) -> int:
    """Return how many connections a server on a port has."""
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local.endswith(f":{port:04X}") and state == "01" for _, local, _, state, *_ in rows)


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_a_killed_process_is_replaced_by_the_other() -> None:
    """nginx spreads people over both processes; if one is killed, they meet at the other."""
    async with running_cluster() as cluster:
        async with cluster.enter("ann") as ann, cluster.enter("bob") as bob:
            await until(ann, {"here": ["ann", "bob"]})
            await until(bob, {"here": ["ann", "bob"]})
            await say(ann, "hello")
            await until(bob, line("ann", "hello"))
            assert [connections(port) for port in cluster.apps.values()] == [1, 1]
            killed, (_, left) = next(iter(cluster.apps)), cluster.apps.values()
            os.kill(killed, signal.SIGKILL)
            waits = [asyncio.create_task(person.wait_closed()) for person in (ann, bob)]
            done, open_ = await asyncio.wait(
                waits, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED
            )
            assert (len(done), len(open_)) == (1, 1)
            for wait in open_:
                wait.cancel()
            assert connections(left) == 1
            async with cluster.enter("cleo") as cleo, cluster.enter("dave") as dave:
                assert connections(left) == 3
                await until(cleo, line("ann", "hello"))  # from the history
                await say(dave, "who is there?")
                await until(cleo, line("dave", "who is there?"))
        code, error = await cluster.end(signal.SIGTERM)
        assert code == 0
        assert "Connection refused" in error  # nginx logs that it has tried the killed process


async def test_the_page_continues_at_the_other_process(page: Page) -> None:
    """Through nginx the page is of the same origin; if its process is killed, it goes on."""
    async with running_cluster() as cluster, cluster.enter("bob") as bob:
        port = next(port for port in cluster.apps.values() if not connections(port))
        await page.open(f"http://127.0.0.1:{cluster.port}/?name=ann")
        await page.wait("document.querySelector('#here').textContent === 'Here: ann, bob'")
        [pid] = [pid for pid, each in cluster.apps.items() if each == port]
        assert connections(port) == 1
        await say(bob, "before")
        await page.wait("document.querySelector('#lines').innerText.includes('before')")
        os.kill(pid, signal.SIGKILL)
        await say(bob, "after")
        await page.wait("document.querySelector('#lines').innerText.includes('after')")
        await page.wait("document.querySelector('#state').textContent === 'connected'")
        text = await page.evaluate("document.querySelector('#lines').innerText")
        assert text.split("\n") == ["bob before", "bob after"]
        [left] = set(cluster.apps.values()) - {port}
        assert connections(left) == 2


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_stopping_ends_everything(how: signal.Signals) -> None:
    """Ctrl+C and SIGTERM close connections with 1001, and end all programs."""
    async with running_cluster() as cluster, cluster.enter("ann") as ann:
        assert await cluster.end(how) == (0, "")
        await ann.wait_closed()
        assert ann.close_code == 1001
        assert not any(is_open(port) for port in (cluster.port, *cluster.apps.values()))
        assert not any(map(is_running, cluster.apps))


async def run_script(*arguments: str, **environment: str) -> tuple[int | None, str, str]:
    """Return the exit code, stdout and stderr of a script that ends by itself."""
    process = await start_script(*arguments, **environment)
    out, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), error.decode()


async def test_a_port_in_use_is_reported() -> None:
    """If nginx's port is in use, the script says so in one line, and starts nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        result = await run_script("--port", str(port))
    error = f"cannot use port {port}: choose another one with --port\n"
    assert result == (1, "", error)


async def test_a_missing_program_is_reported(tmp_path: Path) -> None:
    """Without Redis the script says how to install it."""
    error = "redis-server is not installed: try `apt-get install redis-server`\n"
    assert await run_script(PATH=str(tmp_path)) == (1, "", error)


def test_the_compose_file_fits_the_other_files() -> None:
    """The compose file sets each variable of nginx's template, and names existing files."""
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    assert services.keys() == {"app-1", "app-2", "redis", "nginx"}
    template = (CLUSTER / "chat.conf.template").read_text()
    assert services["nginx"]["environment"].keys() == set(re.findall(r"\$\{(\w+)\}", template))
    [mount] = services["nginx"]["volumes"]
    assert (CLUSTER / mount.split(":")[0]).is_file()
    build = services["app-1"]["build"]
    assert (CLUSTER / build["context"]).resolve() == ROOT
    for copied in re.findall(r"COPY (.+) \S+", build["dockerfile_inline"]):
        for pattern in copied.split():
            assert list(ROOT.glob(pattern)), pattern
