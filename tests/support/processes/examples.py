"""Load the modules of `examples/`, and run servers of them as processes.

`examples/` is not a package, because users copy single files.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import re
import sys
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import Any

import aiohttp

from support import ROOT

EXAMPLES = ROOT / "examples"
PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails


def example(name: str) -> ModuleType:
    """Import `examples/<name>.py` anew, so that tests share no state."""
    sys.path.insert(0, str(EXAMPLES))
    try:
        sys.modules.pop(name, None)
        module = importlib.import_module(name)
    finally:
        sys.path.remove(str(EXAMPLES))
    assert module.__file__ == str(EXAMPLES / f"{name}.py"), f"{name} is another module's name"
    return module


async def receive(ws: aiohttp.ClientWebSocketResponse) -> aiohttp.WSMessage:
    """Return the next message of a peer."""
    return await asyncio.wait_for(ws.receive(), PATIENCE)


async def receive_text(ws: aiohttp.ClientWebSocketResponse) -> str:
    """Return the next message of a peer, which must be text."""
    message = await receive(ws)
    assert message.type is aiohttp.WSMsgType.TEXT, message
    data: str = message.data
    return data


async def receive_close(ws: aiohttp.ClientWebSocketResponse) -> tuple[int, str]:
    """Return the code and reason of the next close frame."""
    message = await receive(ws)
    assert message.type is aiohttp.WSMsgType.CLOSE, message
    return message.data, message.extra or ""


@dataclass
class ExampleServer:
    """A running example."""

    process: asyncio.subprocess.Process
    port: int
    greeting: str

    @property
    def url(self) -> str:
        """The address of its page."""
        return f"http://127.0.0.1:{self.port}/"

    async def end(self, signal: int) -> tuple[int, str]:
        """Send a signal; return the exit code and stderr."""
        self.process.send_signal(signal)
        _, stderr = await asyncio.wait_for(self.process.communicate(), PATIENCE)
        assert self.process.returncode is not None
        return self.process.returncode, stderr.decode()


async def start_example(
    name: str, *arguments: str, **environment: str
) -> asyncio.subprocess.Process:
    """Start `examples/<name>.py` as `make demo` does, from the root of the repository."""
    # In its debug mode asyncio writes to stderr, where tests expect nothing.
    unset = {"PORT", "PYTHONASYNCIODEBUG"}
    clean: dict[str, Any] = {k: v for k, v in os.environ.items() if k not in unset}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        f"examples/{name}.py",
        *arguments,
        cwd=ROOT,
        env={**clean, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@contextlib.asynccontextmanager
async def running_example(
    name: str, *arguments: str, port: int = 0
) -> AsyncGenerator[ExampleServer]:
    """Run an example that prints its address when it has started; kill it at the end."""
    process = await start_example(name, *arguments, "--port", str(port))
    assert process.stdout is not None
    try:
        greeting = (await asyncio.wait_for(process.stdout.readline(), PATIENCE)).decode()
        if not greeting:
            _, stderr = await asyncio.wait_for(process.communicate(), PATIENCE)
            raise AssertionError(f"{name} did not start:\n{stderr.decode()}")
        port = int(re.split(r"http://127.0.0.1:(\d+)", greeting)[1])
        yield ExampleServer(process, port, greeting)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


running_demo = partial(running_example, "demo")
