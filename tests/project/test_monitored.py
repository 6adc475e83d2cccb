"""The example `monitored.py`, and the queries of the production page, with a real Prometheus."""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.trace import NoOpTracerProvider
from reactivex import operators as ops

import rxws
from rxws._core import instrumentation
from support import ROOT
from support.fixtures import Dial, Serve
from support.peers.frames import Op
from support.processes.examples import PATIENCE, example
from support.processes.prometheus import Result, prometheus
from support.virtual.two_hubs import TwoHubs

ROUNDS = 2  # after the one that creates all time series
LARGE = b"x" * 300_000  # more than the buffers of the kernel
TEXT = rxws.codecs.text
MINUTES_5 = 300

Check = Callable[[Result], bool]


def queries(title: str) -> dict[str, str]:
    """Return the queries of a table of the page, by the text of the other column."""
    page = (ROOT / "docs/howto/production.md").read_text("utf-8")
    section = page.partition(f"### {title}\n")[2].partition("\n### ")[0]
    found: dict[str, str] = {}
    for one, other in re.findall(r"^\| (.+) \| (.+) \|$", section, re.MULTILINE)[1:]:
        query, text = (one, other) if one.startswith("`") else (other, one)
        found[text] = query.strip("`")
    return found


class Load:
    """What the server and its clients do: in each round the same."""

    def __init__(self, raw_client: Dial) -> None:
        self.module = example("monitored")
        self.hubs = TwoHubs()
        self.hubs.collect(self.hubs.second.topic("kept:a").messages())
        self.port = 0
        self.scrapes = 0
        self.conns: list[rxws.Connection[Any, Any]] = []  # all but those of the example
        self._raw_client = raw_client
        self._opened: asyncio.Queue[rxws.Connection[Any, Any]] = asyncio.Queue()
        self._scraped = asyncio.Event()

    def make_app(self) -> web.Application:
        """Return the application of the example, with routes for failures."""

        def fail(_: rxws.Connection[Any, Any]) -> None:
            raise ValueError("this handler is broken")

        async def on_response(request: web.Request, _: web.StreamResponse) -> None:
            if request.path == "/metrics":
                self.scrapes += 1
                self._scraped.set()

        small: Any = {"kernel_buffer": 4096, "compress": False}
        app: web.Application = self.module.make_app()
        app.on_response_prepare.append(on_response)
        routes: dict[str, Any] = {
            "/slow": rxws.websocket(self._opened.put_nowait, **small),
            "/full": rxws.websocket(self._opened.put_nowait, max_buffer=10_000, **small),
            "/late": rxws.websocket(self._opened.put_nowait, send_timeout=0.1, **small),
            "/broken": rxws.websocket(fail),
        }
        app.add_routes([web.get(path, route) for path, route in routes.items()])
        return app

    async def scraped(self, times: int) -> None:
        """Wait until this number of scrapes is complete."""
        until = self.scrapes + times + 1
        async with asyncio.timeout(PATIENCE):
            while self.scrapes < until:
                self._scraped.clear()
                await self._scraped.wait()

    def url(self, path: str) -> str:
        return f"ws://127.0.0.1:{self.port}{path}"

    async def raw(self, path: str) -> tuple[Any, rxws.Connection[Any, Any]]:
        """Return a raw peer that does not read, and its connection."""
        peer = await self._raw_client(self.port, path, reads=False)
        conn = await self._opened.get()
        self.conns.append(conn)
        return peer, conn

    async def run(self) -> None:
        """Run one round."""
        async with rxws.connect(self.url("/rooms/lobby?name=ada"), codec=TEXT) as ada:
            self.conns.append(ada)
            for _ in range(3):
                ada.outgoing.on_next("hello")
                assert await ada.incoming.pipe(ops.first()) == "hello"
            ada.outgoing.on_next(rxws.Close(4001, "enough"))
        for _ in range(2):
            ada.outgoing.on_next("too late")
        with pytest.raises(rxws.HandshakeError):
            await rxws.connect(self.url("/rooms/lobby"), origin="https://evil.example")
        async with rxws.connect(self.url("/broken")) as broken:
            await broken.closed
        peer, conn = await self.raw("/slow")
        await peer.frame(Op.TEXT, b"", rsv=1)  # a reserved bit
        await conn.closed
        peer, conn = await self.raw("/slow")
        await peer.rst()
        await conn.closed
        for path in ("/full", "/late"):
            peer, conn = await self.raw(path)
            conn.outgoing.on_next(LARGE)
            conn.outgoing.on_next(LARGE)
            await conn.closed
            await peer.rst()
        client = rxws.WebSocketSubject("ws://127.0.0.1:1/", backoff=rxws.backoff.constant(600))
        with client.subscribe():
            await client.status.pipe(
                ops.first(lambda status: isinstance(status, rxws.status.Waiting))
            )
        self.hubs.faulty.go_away()
        self.hubs.publish(*range(20))
        self.hubs.faulty.come_back()
        self.hubs.clock.run(1)

    def hub_stat(self, name: str) -> int:
        """Return the sum of a count over all hubs."""
        hubs = (self.module.hub, self.hubs.first, self.hubs.second)
        return sum(getattr(hub.stats, name) for hub in hubs)


@asynccontextmanager
async def reporting() -> AsyncIterator[None]:
    provider = MeterProvider([PrometheusMetricReader()], shutdown_on_exit=False)
    try:
        with rxws.metrics.install(provider, NoOpTracerProvider()):
            yield
    finally:
        provider.shutdown()


def level(**expected: float) -> Check:
    """The result has these values, by the only label."""
    return lambda result: result == {(name,): value for name, value in expected.items()}


def number(expected: float) -> Check:
    """The result is a number without labels."""
    return lambda result: result == {(): expected}


def between(low: float, high: float) -> Check:
    """The result is a number without labels, in a range."""
    return lambda result: list(result) == [()] and low < result[()] <= high


def counted(expected: dict[Any, float], seconds: float = MINUTES_5) -> Check:
    """The result is the rate of these counts; Prometheus extrapolates, and so returns a bit more.

    Args:
        expected: The counts by the labels.
        seconds: The seconds over which the query averages; 1 if it does not.
    """

    def check(result: Result) -> bool:
        counts = {labels: value * seconds for labels, value in result.items()}
        return all(
            0.99 * expected.get(labels, 0) <= counts.get(labels, 0) <= 1.6 * expected.get(labels, 0)
            for labels in {*counts, *expected}
        )

    return check


def total(counts: Iterable[Any]) -> Counter[str]:
    """Add up dropped messages."""
    found: Counter[str] = Counter()
    for each in counts:
        found.update(each)
    return found


async def test_each_query_of_the_page_returns_the_figures_of_a_known_load(
    serve: Serve, raw_client: Dial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prometheus scrapes the example, and each query of the page returns what has happened."""
    monkeypatch.setattr(instrumentation, "hubs", set())
    load = Load(raw_client)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(reporting())
        load.port = await serve(load.make_app())
        quiet = await stack.enter_async_context(
            rxws.connect(load.url("/rooms/quiet?name=bob"), heartbeat=1)
        )
        stack.enter_context(quiet.flow.pause())
        _, slow = await load.raw("/slow")
        slow.outgoing.on_next(LARGE)
        waiting = rxws.WebSocketSubject("ws://127.0.0.1:1/", backoff=rxws.backoff.constant(600))
        stack.enter_context(waiting.subscribe())
        await load.run()  # creates all time series, so that the next rounds increase them
        server = await stack.enter_async_context(prometheus(tmp_path, load.port))
        await load.scraped(2)
        for query in queries("Alerts").values():
            assert await server.query(query) == {}, query

        load.conns.clear()
        names = ("published", "confirmed", "received", "reconnects")
        before = {name: load.hub_stat(name) for name in names}
        for _ in range(ROUNDS):
            await load.run()
        load.hubs.faulty.go_away()
        load.hubs.second.topic("kept:b").on_next("waits")
        load.hubs.clock.run(3)
        hub = {name: load.hub_stat(name) - before[name] for name in names}
        stats = [conn.flow.stats for conn in load.conns]
        binary = sum(each.sent_messages for each in stats) - 3 * ROUNDS
        sent = sum(each.sent_bytes for each in stats)
        dropped = total(each.dropped for each in stats)
        checks: dict[str, Check] = {
            "open connections by route": lambda result: (
                result
                == {("client",): 1, ("/rooms/{room}", "server"): 1, ("/slow", "server"): 1}
                | {key: 0 for key in result if key[0] in ("/full", "/late", "/broken")}
            ),
            "messages per second by direction and type": counted(
                {
                    ("receive", "text"): 6 * ROUNDS,
                    ("transmit", "text"): 6 * ROUNDS,
                    ("transmit", "binary"): binary,
                }
            ),
            "bytes per second by direction": counted(
                {("receive",): 30 * ROUNDS, ("transmit",): 15 * ROUNDS + sent}
            ),
            "dropped messages per second by reason": counted(
                {(reason,): count for reason, count in dropped.items()}
            ),
            "ends per second by close code and by who closed": counted(
                {
                    ("peer", "4001"): ROUNDS,
                    ("local", "4001"): ROUNDS,
                    ("local", "1011"): ROUNDS,
                    ("peer", "1011"): ROUNDS,
                    ("local", "1002"): ROUNDS,
                    ("network", "1006"): ROUNDS,
                    ("local", "1006"): ROUNDS,
                    ("local", "1013"): ROUNDS,
                }
            ),
            "refused handshakes and failed attempts per second": counted(
                {
                    ("403", "server"): ROUNDS,
                    ("403", "client"): ROUNDS,
                    ("ClientConnectorError", "client"): ROUNDS,
                }
            ),
            "how long half of the connections last, in seconds": between(0, 10),
            "share of the time in which the delivery to a connection is held": between(0, 0.2),
            "unsent bytes by route": lambda result: (
                result.get(("/slow",)) == slow.flow.buffered > 0
                and sum(result.values()) == slow.flow.buffered
            ),
            "round trip of 99 % of all heartbeats, in seconds": between(0, 1),
            "reconnecting clients by state": level(connecting=0, open=0, waiting=1),
            "attempts to reconnect per second": counted({(): ROUNDS}),
            "hubs by state": level(connected=2, away=1),
            "published messages per second": counted({(): hub["published"]}),
            "confirmed messages per second": counted({(): hub["confirmed"]}),
            "messages that may be lost, per second": number(0),
            "refused messages per second": number(0),
            "messages that never reached the backplane, per second": number(0),
            "messages delivered to topics, per second": counted({(): hub["received"]}),
            "messages that were missed first, per second": lambda result: list(result) == [()],
            "gaps per second by reason": counted({("trimmed",): ROUNDS}),
            "how often a backplane has come back, in an hour": counted({(): ROUNDS}, seconds=1),
            "messages that wait to be published": number(1),
            "the longest wait for a confirmation, in seconds": number(3),
            "topics that are received": number(load.hub_stat("topics")),
            "members in all topics": number(1),
        }
        assert hub["published"] >= 23 * ROUNDS
        assert dropped["closed"] >= 2 * ROUNDS
        figures = queries("What to show")
        assert figures.keys() == checks.keys()
        await load.scraped(2)
        for figure, query in figures.items():
            await server.until(query, checks[figure])
        for query in queries("Alerts").values():
            await server.until(query, bool)


# Runs the example on a free port, whose number it prints.
SCRIPT = """
import runpy, socket
from aiohttp import web

def run_app(app, *, host, port, run=web.run_app):
    assert (host, port) == ("127.0.0.1", 8080)
    sock = socket.create_server((host, 0))
    print(sock.getsockname()[1], flush=True)
    run(app, sock=sock, print=None)

web.run_app = run_app
runpy.run_path("examples/monitored.py", run_name="__main__")
"""


async def test_the_example_runs_as_a_script() -> None:
    """As a script, the example serves its rooms, and its metrics for Prometheus."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE), aiohttp.ClientSession() as client:
            url = f"http://127.0.0.1:{int(await process.stdout.readline())}"
            async with client.ws_connect(f"{url}/rooms/lobby?name=ada") as ws:
                await ws.send_str("hello")
                assert await ws.receive_str() == "hello"
                async with client.get(f"{url}/metrics") as response:
                    assert response.content_type == "text/plain"
                    text = await response.text()
    finally:
        process.terminate()
        await process.communicate()
    values = dict(re.findall(r"^(rxws_\w+){.*} (.+)$", text, re.MULTILINE))
    assert values["rxws_active_connections"] == values["rxws_hub_members"] == "1.0"
    assert values["rxws_hub_published_messages_total"] == "1.0"
