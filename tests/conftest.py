"""Fixtures for every test: servers on free ports, raw peers, and a check for leaks.

- `serve`: `port = await serve(app)` runs a `web.Application`, `await serve(route_handler)` runs a
  handler at every path. Both are cleaned up after the test.
- `raw_client`: `peer = await raw_client(port, path, headers=…)` is `RawClient.connect`; the
  connection is reset after the test.
- `link`: a connection with a raw peer, `one = await link(max_buffer=…)`; the test runs with rxws as
  the server and as the client.
- `read_path`: the test runs once on each read path, "push" and "pull".
- `page`: a page in a headless Chromium, by the DevTools protocol; skipped without Chromium.
- `nothing_left_open` runs for every test. At the end of a test, after a grace period, no new
  asyncio task and no new socket may be open, and the loop must not have reported an unhandled
  exception. In asyncio's debug mode (`PYTHONASYNCIODEBUG=1` or `-X dev`) no callback may have
  blocked the loop.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import settings

from support.fixtures import Dial, RouteHandler, Serve
from support.loop_watchdog import slow_callbacks
from support.peers.browser import Page, browser, find_chromium, page_of
from support.peers.endpoints import Links, open_links
from support.peers.fake_tcp import force_read_path
from support.peers.raw import RawClient

# No deadline: the duration of an example means nothing on a busy machine.
settings.register_profile("rxws", deadline=None)
settings.load_profile("rxws")

GRACE = 5.0  # seconds for closed tasks and sockets to disappear
FDS = Path("/proc/self/fd")  # without it, sockets are not counted


# A shell that runs the tests in the background makes them ignore SIGINT, and the programs that they
# start would ignore it as well.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

UVLOOP = os.environ.get("RXWS_TEST_LOOP") == "uvloop"
if UVLOOP:
    uvloop: Any = importlib.import_module("uvloop")
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

# As asyncio determines it; pytest-asyncio's loops ignore it.
DEBUG = sys.flags.dev_mode or bool(os.environ.get("PYTHONASYNCIODEBUG"))


@pytest.fixture(scope="module", autouse=True)
def _freeze_what_stays() -> None:
    """Exclude modules and pytest's reports from garbage collection, which each test runs."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Assert that the test leaves no task and no socket open."""
    if iscoroutinefunction(request.function):
        request.getfixturevalue("_loop_is_clean")
        yield
        return
    before = open_sockets()
    yield
    deadline = time.monotonic() + GRACE
    while (left := open_sockets() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"sockets left open: {left}"


@pytest.fixture
async def _loop_is_clean() -> AsyncIterator[None]:
    before = open_sockets()
    unhandled: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(DEBUG)
    loop.set_exception_handler(lambda _, context: unhandled.extend([context] * is_failure(context)))
    with slow_callbacks(loop) as slow:
        yield
    gc.collect()  # report unclosed objects in the test that created them
    deadline = time.monotonic() + GRACE
    # The kernel has no event for a dropped socket.
    while (left := left_open(before)) and time.monotonic() < deadline:  # noqa: ASYNC110  # see above
        await asyncio.sleep(0.01)
    assert not left, f"left open: {left}"
    assert not unhandled, f"unhandled exceptions: {unhandled}"
    assert not slow, f"callbacks that blocked the loop: {slow}"


def is_failure(context: dict[str, Any]) -> bool:
    """Return whether the exception handler's context is a failure.

    In debug mode asyncio also reports a client that aborted a TLS handshake.
    """
    return not context["message"].startswith("Error on transport creation for incoming connection")


def left_open(sockets_before: set[str]) -> list[str]:
    """Return open tasks other than the current one, and sockets other than these."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return [repr(task) for task in tasks] + sorted(open_sockets() - sockets_before)


def open_sockets() -> set[str]:
    """Return the process's open sockets by inode, since descriptors are reused."""
    if UVLOOP:  # it has internal sockets while it runs
        return set()
    found: set[str] = set()
    if FDS.is_dir():
        for name in os.listdir(FDS):
            try:
                target = os.readlink(FDS / name)
            except OSError:  # closed meanwhile
                continue
            if target.startswith("socket:"):
                found.add(target)
    return found


@pytest.fixture
async def raw_client(serve: Serve) -> AsyncIterator[Dial]:
    """Connect raw clients, as `RawClient.connect` does."""
    del serve  # requested so that clients disconnect before the servers are cleaned up
    clients: list[RawClient] = []

    async def connect(port: int, path: str = "/", **options: Any) -> RawClient:
        clients.append(client := await RawClient.connect(port, path, **options))
        return client

    yield connect
    for client in clients:
        await client.rst()


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Run an application (or one route handler, at every path) on 127.0.0.1 and return its port."""
    runners: list[web.AppRunner] = []

    async def start(what: web.Application | RouteHandler) -> int:
        if isinstance(what, web.Application):
            app = what
        else:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", what)
        # Short, since a connection left by a failing test delays the cleanup for that long.
        runner = web.AppRunner(app, shutdown_timeout=1.0, access_log=None)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port: int = runner.addresses[0][1]
        return port

    yield start
    for runner in reversed(runners):
        await runner.cleanup()


@pytest.fixture(params=["server", "client"])
async def link(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Links]:
    """Open a connection with a raw peer: `one = await link(max_buffer=…)`."""
    async with open_links(request.param, serve) as links:
        yield links


@pytest.fixture(params=["push", "pull"])
def read_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once on each read path."""
    path: str = request.param
    force_read_path(monkeypatch, path)
    return path


@pytest.fixture(scope="session")
def browser_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a headless Chromium for all tests that need one."""
    if find_chromium() is None:
        reason = "no Chromium on PATH (Debian: apt-get install chromium)"
        if os.environ.get("RXWS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, but RXWS_REQUIRE_BROWSER=1 requires it")
        pytest.skip(f"{reason}; RXWS_REQUIRE_BROWSER=1 makes this a failure")
    with browser(tmp_path_factory.mktemp("browser")) as endpoint:
        yield endpoint


@pytest.fixture
async def page(browser_endpoint: str) -> AsyncIterator[Page]:
    """Open a page in a browser; at the end no script may have failed."""
    async with page_of(browser_endpoint) as page:
        yield page
        assert page.exceptions == []
        assert not [line for line in page.log if "Content Security Policy" in line]
