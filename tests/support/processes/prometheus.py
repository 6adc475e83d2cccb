"""A Prometheus that scrapes one address, and answers queries."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from support.processes.parent import end_with_parent
from support.requirements import skip_peer

__all__ = ["Prometheus", "prometheus"]

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails
INTERVAL = 0.5  # seconds between two scrapes

Result = dict[tuple[str, ...], float]
"""The values of an instant query, by the values of the labels that have one, sorted by name."""


class Prometheus:
    """A running `prometheus`."""

    def __init__(self, client: aiohttp.ClientSession, port: int) -> None:
        self._client = client
        self._url = f"http://127.0.0.1:{port}"

    async def is_ready(self) -> bool:
        """Return whether it answers queries."""
        try:
            async with self._client.get(f"{self._url}/-/ready") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def query(self, query: str) -> Result:
        """Evaluate a query now."""
        async with self._client.get(f"{self._url}/api/v1/query", params={"query": query}) as answer:
            body: dict[str, Any] = await answer.json()
        assert body["status"] == "success", (query, body.get("error"))
        assert body["data"]["resultType"] == "vector"
        return {
            tuple(value for _, value in sorted(each["metric"].items()) if value): float(
                each["value"][1]
            )
            for each in body["data"]["result"]
        }

    async def until(self, query: str, check: Callable[[Result], bool]) -> Result:
        """Evaluate a query until the result is as it should be."""
        result: Result = {}
        try:
            async with asyncio.timeout(PATIENCE):
                while not check(result := await self.query(query)):
                    pass
        except TimeoutError:
            raise AssertionError(f"{query}\nreturns {result}") from None
        return result


@asynccontextmanager
async def prometheus(directory: Path, target: int) -> AsyncIterator[Prometheus]:
    """Start a Prometheus that scrapes `/metrics` at a port of this machine."""
    executable = shutil.which("prometheus")
    if executable is None:
        skip_peer("no prometheus was found (Debian: apt-get install prometheus)")
    config = directory / "prometheus.json"  # JSON is YAML
    config.write_text(
        json.dumps(
            {
                "global": {
                    "scrape_interval": f"{INTERVAL * 1000:.0f}ms",
                    "scrape_timeout": f"{INTERVAL * 1000:.0f}ms",
                },
                "scrape_configs": [
                    {
                        "job_name": "rxws",
                        "static_configs": [{"targets": [f"127.0.0.1:{target}"]}],
                    }
                ],
            }
        )
    )
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = await asyncio.create_subprocess_exec(
        executable,
        f"--config.file={config}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
        preexec_fn=end_with_parent,  # it calls nothing but prctl
    )
    try:
        async with aiohttp.ClientSession() as client, asyncio.timeout(None) as deadline:
            running = Prometheus(client, port)
            deadline.reschedule(asyncio.get_running_loop().time() + PATIENCE)
            while not await running.is_ready():
                assert process.returncode is None, "prometheus has ended"
                await asyncio.sleep(0.05)  # it has no event for it
            deadline.reschedule(None)
            yield running
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
