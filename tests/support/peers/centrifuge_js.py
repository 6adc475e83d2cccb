"""centrifuge-js in a process of node, steered by the script `node/hub.js`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from support.peers.node_peer import node
from support.peers.raw import PATIENCE

__all__ = ["CentrifugeJs"]


class CentrifugeJs:
    """A client in another process. `events` has all its events, in order."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.events: list[dict[str, Any]] = []
        self._process = process
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self._changed = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def open(cls, scripts: Path, url: str, **options: Any) -> AsyncIterator[CentrifugeJs]:
        """Start a client with the options of centrifuge-js; `tokens` are for `getToken`."""
        process = await asyncio.create_subprocess_exec(
            node(), str(scripts / "hub.js"), url, json.dumps(options),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 22,
        )  # fmt: skip
        client = cls(process)
        reader = asyncio.create_task(client._read())
        try:
            yield client
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                async with asyncio.timeout(PATIENCE):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
            await reader
            # Otherwise the transport reports that it was not closed.
            process._transport.close()  # type: ignore[attr-defined]

    async def call(self, op: str, **args: Any) -> Any:
        """Do something, and return `{"result": ...}` or `{"error": ...}`."""
        id_ = len(self._answers)
        answer = self._answers[id_] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"id": id_, "op": op, **args}).encode() + b"\n")
        async with asyncio.timeout(PATIENCE):
            return await answer

    def named(self, name: str) -> list[dict[str, Any]]:
        """Return the events of one name."""
        return [event for event in self.events if event["event"] == name]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition holds, which is checked after each event."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            got = json.loads(line)
            if "event" in got:
                self.events.append(got)
            else:
                self._answers[got.pop("id")].set_result(got)
            self._changed.set()
