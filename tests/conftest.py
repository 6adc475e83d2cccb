"""Fixtures for every test: an application on a free port, and the proof that nothing is left open.

- `serve`: `port = await serve(app)` runs a whole `web.Application`, `await serve(route_handler)`
  one handler at every path; all that was started is cleaned up after the test.
- `raw_client`: `peer = await raw_client(port, path, headers=…)` is `RawClient.connect`; it is gone
  after the test, if need be by a reset.
- `link`: a connection with a raw peer, once with the library at each end:
  `one = await link(max_buffer=…)`.
- `page`: a page in a headless Chromium, by the DevTools protocol; skipped where there is none.
- `nothing_left_open` needs no mention: at the end of each test no asyncio task of the test's loop
  and no socket of the process may be left that was not there when the test began. Both get a
  moment to go away. Nor may the loop have been told of an exception that nobody took. In asyncio's
  debug mode (`PYTHONASYNCIODEBUG=1` or `-X dev`) nothing but the test may have held the loop.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
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
from support.peers.raw import RawClient

# How fast an example is says nothing on a busy machine, and is asserted nowhere.
settings.register_profile("rxws", deadline=None)
settings.load_profile("rxws")

GRACE = 5.0  # seconds that what a test has closed may take to be gone
FDS = Path("/proc/self/fd")  # where there is none, sockets are not counted


UVLOOP = os.environ.get("RXWS_TEST_LOOP") == "uvloop"
if UVLOOP:
    uvloop: Any = importlib.import_module("uvloop")
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())

# As asyncio has it. pytest-asyncio makes its loops without.
DEBUG = sys.flags.dev_mode or bool(os.environ.get("PYTHONASYNCIODEBUG"))


@pytest.fixture(scope="session", autouse=True)
def _modules_are_no_garbage() -> None:
    """Take what is imported by now out of the collector's work, which each test waits for."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """At the end no task is running and no socket is open that the test has made."""
    if iscoroutinefunction(request.function):
        request.getfixturevalue("_loop_left_clean")
        yield
        return
    before = open_sockets()
    yield
    deadline = time.monotonic() + GRACE
    while (left := open_sockets() - before) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not left, f"sockets left open: {left}"


@pytest.fixture
async def _loop_left_clean() -> AsyncIterator[None]:
    before = open_sockets()
    unheard: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_debug(DEBUG)
    loop.set_exception_handler(lambda _, context: unheard.extend([context] * is_news(context)))
    with slow_callbacks(loop) as slow:
        yield
    gc.collect()  # what was forgotten unclosed says so now, in the test whose it is
    deadline = time.monotonic() + GRACE
    # Nothing tells when the kernel has dropped a socket, so there is no event to wait for.
    while (left := left_open(before)) and time.monotonic() < deadline:  # noqa: ASYNC110  # see above
        await asyncio.sleep(0.01)
    assert not left, f"left open: {left}"
    assert not unheard, f"exceptions that nobody took: {unheard}"
    assert not slow, f"callbacks that held the loop: {slow}"


def is_news(context: dict[str, Any]) -> bool:
    """Whether what the loop was told is told outside its debug mode, too.

    In debug mode it is also told of a client that broke off a TLS handshake.
    """
    return not context["message"].startswith("Error on transport creation for incoming connection")


def left_open(sockets_before: set[str]) -> list[str]:
    """What should not be open: tasks other than the current one, sockets other than these."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    return [repr(task) for task in tasks] + sorted(open_sockets() - sockets_before)


def open_sockets() -> set[str]:
    """The process's open sockets, by their inodes: a reused descriptor does not hide one."""
    if UVLOOP:  # has sockets of its own while it runs
        return set()
    found: set[str] = set()
    if FDS.is_dir():
        for name in os.listdir(FDS):
            try:
                target = os.readlink(FDS / name)
            except OSError:  # closed since it was listed
                continue
            if target.startswith("socket:"):
                found.add(target)
    return found


@pytest.fixture
async def raw_client(serve: Serve) -> AsyncIterator[Dial]:
    """Connect as a raw client, as `RawClient.connect` does."""
    del serve  # asked for so that the clients are gone before the servers are cleaned up
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
        # Short: a connection that a failing test leaves behind holds the runner for that long.
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


@pytest.fixture(scope="session")
def browser_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A headless Chromium for all tests that need one."""
    if find_chromium() is None:
        reason = "no Chromium on PATH (Debian: apt-get install chromium)"
        if os.environ.get("RXWS_REQUIRE_BROWSER") == "1":
            pytest.fail(f"{reason}, and RXWS_REQUIRE_BROWSER=1 asks for one")
        pytest.skip(f"{reason}; RXWS_REQUIRE_BROWSER=1 makes this a failure")
    with browser(tmp_path_factory.mktemp("browser")) as endpoint:
        yield endpoint


@pytest.fixture
async def page(browser_endpoint: str) -> AsyncIterator[Page]:
    """A page of a browser; at the end no script of it may have failed."""
    async with page_of(browser_endpoint) as page:
        yield page
        assert page.exceptions == []
        assert not [line for line in page.log if "Content Security Policy" in line]
