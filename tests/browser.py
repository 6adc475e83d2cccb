"""Headless Chromium driven over the DevTools protocol, with aiohttp as the only dependency.

`async with chromium(tmp_path) as page:` gives one blank page; `evaluate` runs JavaScript in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import aiohttp

PATIENCE = 60.0  # seconds; a loaded machine may take long to start a browser
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # containers often have 64 MB there, too little for a renderer
    "--remote-debugging-port=0",
)
WAIT = """new Promise((resolve) => {
    const look = () => { const value = %s; if (value) resolve(value); return value; };
    const watch = new MutationObserver(() => look() && watch.disconnect());
    const all = {subtree: true, childList: true, attributes: true, characterData: true};
    look() || watch.observe(document, all);
})"""


def find_chromium() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page of a browser, by calls of the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._session: str | None = None
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._loaded = asyncio.Event()
        self.exceptions: list[str] = []  # what scripts of the page threw and nobody caught
        self.log: list[str] = []  # what the browser complained about, a refused resource for one

    async def listen(self) -> None:
        async for message in self._socket:
            answer = message.json()
            if answer.get("method") == "Page.loadEventFired":
                self._loaded.set()
            if answer.get("method") == "Runtime.exceptionThrown":
                self.exceptions.append(str(answer["params"]["exceptionDetails"]))
            if answer.get("method") == "Log.entryAdded":
                self.log.append(answer["params"]["entry"]["text"])
            waiting = self._answers.pop(answer.get("id", 0), None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)
        for waiting in self._answers.values():
            waiting.cancel("the browser is gone")

    async def attach(self) -> None:
        target = await self.call("Target.createTarget", url="about:blank")
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        request: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            request["sessionId"] = self._session
        self._answers[self._number] = future = asyncio.get_running_loop().create_future()
        await self._socket.send_json(request)
        answer = await asyncio.wait_for(future, PATIENCE)
        assert "error" not in answer, f"{method}: {answer['error']}"
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is awaited."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def wait(self, condition: str) -> Any:
        """Wait until a JavaScript condition holds, looked at after every change of the document."""
        try:
            return await self.evaluate(WAIT % condition)
        except TimeoutError as error:
            text = await self.evaluate("document.body.innerText")
            raise AssertionError(f"{condition} never held; the page says:\n{text}") from error

    async def open(self, url: str) -> None:
        """Load an address and wait until it is loaded, scripts included."""
        # By way of an empty page: to another fragment of the same page would be no load at all.
        for address in ("about:blank", url):
            self._loaded.clear()
            answer = await self.call("Page.navigate", url=address)
            assert not answer.get("errorText"), f"{address}: {answer['errorText']}"
            await asyncio.wait_for(self._loaded.wait(), PATIENCE)


@contextlib.asynccontextmanager
async def chromium(directory: Path) -> AsyncGenerator[Page]:
    """Start a browser whose files all lie in `directory`, and end it."""
    path = find_chromium()
    assert path is not None, "no Chromium on PATH"
    flags = [*FLAGS, f"--user-data-dir={directory / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to run as root with it
    process = await asyncio.create_subprocess_exec(
        path,
        *flags,
        env={**os.environ, "HOME": str(directory)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # so that its children can be ended with it
    )
    try:
        async with asyncio.timeout(PATIENCE):
            endpoint, stderr = await _endpoint(process)
        async with (
            aiohttp.ClientSession() as client,
            client.ws_connect(endpoint, max_msg_size=0) as socket,
        ):
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            await page.attach()
            yield page
            page._session = None
            await page.call("Browser.close")
            await listening
        async with asyncio.timeout(PATIENCE):
            await process.wait()
            await stderr
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _endpoint(process: asyncio.subprocess.Process) -> tuple[str, asyncio.Task[None]]:
    """The address that the browser says it listens on; what it says later is read and dropped."""
    assert process.stderr is not None
    said = b""
    while line := await process.stderr.readline():
        said += line
        if line.startswith(b"DevTools listening on "):
            return line.decode().split()[-1], asyncio.create_task(_drain(process.stderr))
    raise AssertionError(f"the browser ended at its start:\n{said.decode(errors='replace')}")


async def _drain(stream: asyncio.StreamReader) -> None:
    while await stream.read(1 << 16):
        pass
