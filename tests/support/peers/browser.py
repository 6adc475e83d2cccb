"""Headless Chromium driven over the DevTools protocol, with aiohttp as the only dependency.

`browser` starts one, and `async with page_of(endpoint) as page:` gives a blank page of it;
`evaluate` runs JavaScript there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import IO, Any

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
    """Return the path of a Chromium, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Page:
    """One page of a browser, driven by the DevTools protocol."""

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

    async def attach(self) -> str:
        """Open the page in its own context, and return the context's id."""
        context: str = (await self.call("Target.createBrowserContext"))["browserContextId"]
        target = await self.call("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.call(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")
        return context

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
        """Return the value of a JavaScript expression; await a promise."""
        answer = await self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, f"{expression}: {answer['exceptionDetails']}"
        return answer["result"].get("value")

    async def wait(self, condition: str) -> Any:
        """Wait until a JavaScript condition holds; check it after each change of the document."""
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


@contextlib.contextmanager
def browser(directory: Path) -> Generator[str]:
    """Run a browser whose files are in `directory`, and yield its address."""
    path = find_chromium()
    assert path is not None, "no Chromium on PATH"
    flags = [*FLAGS, f"--user-data-dir={directory / 'profile'}"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to run as root with it
    process = subprocess.Popen(
        [path, *flags],
        env={**os.environ, "HOME": str(directory)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,  # so that its children can be ended with it
    )
    assert process.stderr is not None
    reading = Reading(process.stderr)
    try:
        yield reading.endpoint()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reading.join()
        process.stderr.close()


@contextlib.asynccontextmanager
async def page_of(endpoint: str) -> AsyncGenerator[Page]:
    """Open a page that shares no state with other pages."""
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(endpoint, max_msg_size=0) as socket,
    ):
        page = Page(socket)
        listening = asyncio.create_task(page.listen())
        context = await page.attach()
        yield page
        page._session = None
        await page.call("Target.disposeBrowserContext", browserContextId=context)
        await socket.close()
        await listening


@contextlib.asynccontextmanager
async def chromium(directory: Path) -> AsyncGenerator[Page]:
    """Run a browser for one page."""
    with browser(directory) as endpoint:
        async with page_of(endpoint) as page:
            yield page


class Reading(threading.Thread):
    """Read the browser's output: the address it listens on; the rest is discarded."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._said = b""
        self._found: queue.Queue[str | None] = queue.Queue()
        self.start()

    def run(self) -> None:
        for line in self._stream:
            self._said += line
            if line.startswith(b"DevTools listening on "):
                self._found.put(line.decode().split()[-1])
                break
        for _ in self._stream:
            pass
        self._found.put(None)

    def endpoint(self) -> str:
        """The address."""
        found = self._found.get(timeout=PATIENCE)
        said = self._said.decode(errors="replace")
        assert found is not None, f"the browser ended at its start:\n{said}"
        return found
