"""The examples, each over a real socket, with a peer that knows nothing of rxws."""

from __future__ import annotations

import ast
import asyncio
import json
import logging
import re
import runpy
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import aiohttp
import pytest
from aiohttp import web

from support.fixtures import Serve
from support.peers.raw import RawClient
from support.processes.examples import (
    EXAMPLES,
    PATIENCE,
    example,
    receive,
    receive_close,
    receive_text,
)

Peer = aiohttp.ClientWebSocketResponse
SERVERS = {
    "shout": "/shout",
    "echo": "/echo",
    "ticker": "/ticker",
    "latest": "/latest",
    "chat": "/chat",
    "typed_rpc": "/rpc",
    "auth": "/private?token=sesame",
    "price_feed": "/prices",
}
CLIENTS = ("client", "dashboard")
BOTH_ENDS = {"price_feed", "dashboard"}  # larger: it takes two to come back


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain client of aiohttp's."""
    async with aiohttp.ClientSession() as session:
        yield session


def test_every_example_is_tested() -> None:
    """Besides the demo, each file is one of the servers and clients tested here."""
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*SERVERS, *CLIENTS, "demo"}


@pytest.mark.parametrize("name", [*SERVERS, *CLIENTS])
def test_example_is_small_and_says_what_it_shows(name: str) -> None:
    """An example has some 40 lines, or twice that, and a docstring that says how to run it."""
    source = (EXAMPLES / f"{name}.py").read_text()
    assert len(source.splitlines()) < (90 if name in BOTH_ENDS else 40)
    assert "Run" in (ast.get_docstring(ast.parse(source)) or "")


@pytest.mark.parametrize("name", SERVERS)
def test_example_runs_as_a_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as a script, an example serves its app on the address that its docstring names."""
    ran: list[tuple[web.Application, str]] = []

    def run_app(app: web.Application, *, host: str, port: int) -> None:
        ran.append((app, f"{host}:{port}"))

    monkeypatch.setattr(web, "run_app", run_app)
    monkeypatch.setattr(sys, "argv", [f"{name}.py"])
    result = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    [(app, address)] = ran
    path = SERVERS[name].partition("?")[0]
    assert [resource.canonical for resource in app.router.resources()] == [path]
    assert f"ws://{address}{path}" in result["__doc__"]


@pytest.mark.parametrize("name", SERVERS)
async def test_example_answers_a_close(
    name: str, serve: Serve, client: aiohttp.ClientSession
) -> None:
    """Each server answers a peer's close with the peer's own code."""
    port = await serve(example(name).make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}{SERVERS[name]}") as ws:
        await asyncio.wait_for(ws.close(code=4321, message=b"enough"), PATIENCE)
        assert ws.close_code == 4321


async def test_shout(serve: Serve, client: aiohttp.ClientSession) -> None:
    """Text comes back in capitals, in order; a binary frame closes with 1003."""
    port = await serve(example("shout").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/shout") as ws:
        for word in ("hello", "", "straße"):
            await ws.send_str(word)
        assert [await receive_text(ws) for _ in range(3)] == ["HELLO", "", "STRASSE"]
        await ws.send_bytes(b"\x00")
        assert (await receive_close(ws))[0] == 1003


async def test_echo(serve: Serve, client: aiohttp.ClientSession) -> None:
    """A frame comes back as it was, with its type."""
    port = await serve(example("echo").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/echo") as ws:
        await ws.send_str("text")
        await ws.send_bytes(b"\x00\xff")
        assert [(await receive(ws)).data for _ in range(2)] == ["text", b"\x00\xff"]


async def test_ticker_pushes_samples(serve: Serve, client: aiohttp.ClientSession) -> None:
    """Quotes come unasked, four a second, timed by the loop; what the peer sends is dropped."""
    port = await serve(example("ticker").make_app())
    clock = asyncio.get_running_loop().time
    began = clock()
    async with client.ws_connect(f"ws://127.0.0.1:{port}/ticker") as ws:
        await ws.send_str("no JSON at all, and nobody to mind")
        quotes = [json.loads(await receive_text(ws)) for _ in range(3)]
        # The source ticks 200 times a second: without the sampling this took some 15 ms.
        assert clock() - began > 0.7
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())
        assert all(quote.keys() == {"ACME"} and 50 < quote["ACME"] < 150 for quote in quotes)


async def test_latest_is_new(serve: Serve) -> None:
    """Who did not read for a while has missed what is old, and goes on with what is new."""
    module = example("latest")
    plain, pushed = module.tick, asyncio.Event()

    def large(number: int) -> dict[str, object]:
        if number == 300:  # by now more than the kernel's buffers take
            pushed.set()
        return {**plain(number), "padding": "x" * 100_000}

    module.__dict__["tick"] = large
    port = await serve(module.make_app())
    peer = await RawClient.connect(port, "/latest", receive_buffer=4096, reads=False)
    await asyncio.wait_for(pushed.wait(), PATIENCE)
    peer.start_reading()

    def numbers() -> list[int]:
        return [json.loads(frame.payload)["number"] for frame in peer.data]

    await peer.until(lambda: peer.data and numbers()[-1] > 300)
    steps = [later - number for number, later in pairwise(numbers())]
    assert max(steps) > 50
    for symbol in range(3):
        own = [number for number in numbers() if number % 3 == symbol]
        assert own == sorted(own)
    await peer.rst()


@asynccontextmanager
async def joined(client: aiohttp.ClientSession, port: int, name: str) -> AsyncIterator[Peer]:
    """In the chat, from when everybody in the room can hear it."""
    async with client.ws_connect(f"ws://127.0.0.1:{port}/chat", params={"name": name}) as ws:
        await ws.send_str("hello")
        while await receive_text(ws) != f"{name}: hello":
            pass
        yield ws


async def test_chat_reaches_everybody(serve: Serve, client: aiohttp.ClientSession) -> None:
    """What one says goes to all, the speaker included, with the speaker's name."""
    port = await serve(example("chat").make_app())
    async with joined(client, port, "ann") as ann, joined(client, port, "bob") as bob:
        await bob.send_str("how are you?")
        await ann.send_str("well")
        assert [await receive_text(bob) for _ in range(2)] == ["bob: how are you?", "ann: well"]
        heard = [await receive_text(ann) for _ in range(3)]
        assert heard == ["bob: hello", "bob: how are you?", "ann: well"]


async def test_chat_survives_those_who_leave(serve: Serve, client: aiohttp.ClientSession) -> None:
    """The room goes on for the rest, be it that one closes well, with an error, or is lost."""
    port = await serve(example("chat").make_app())
    async with joined(client, port, "ann") as ann:

        async def leaves(name: str, leave: Callable[[Peer], Awaitable[object]]) -> str:
            async with joined(client, port, name) as peer:
                assert await receive_text(ann) == f"{name}: hello"
                await leave(peer)
                return await receive_text(ann)

        assert await leaves("polite", lambda peer: peer.close()) == "* polite left (1000)"
        assert await leaves("angry", lambda peer: peer.close(code=4002)) == "* angry left (4002)"
        assert await leaves("binary", lambda peer: peer.send_bytes(b"?")) == "* binary left (1003)"
        lost = await RawClient.connect(port, "/chat?name=lost")
        await lost.text("hello")
        assert await receive_text(ann) == "lost: hello"
        await lost.rst()
        assert await receive_text(ann) == "* lost left (1006)"

        await ann.send_str("who is still here?")
        assert await receive_text(ann) == "ann: who is still here?"
        async with joined(client, port, "bob"):
            assert await receive_text(ann) == "bob: hello"


async def test_rpc_answers_bad_messages(serve: Serve, client: aiohttp.ClientSession) -> None:
    """What is no Request is answered with an error, in its turn, and the connection goes on."""
    port = await serve(example("typed_rpc").make_app())
    good = json.dumps({"id": 1, "sum": [1, 2, 3.5]})
    bad = ["no JSON", "{}", json.dumps({"id": 1, "sum": "none"}), json.dumps([good])]
    async with client.ws_connect(f"ws://127.0.0.1:{port}/rpc") as ws:
        for message in [good, *bad]:
            await ws.send_str(message)
        await ws.send_bytes(good.encode())
        await ws.send_str(good)
        answers = [json.loads(await receive_text(ws)) for _ in range(len(bad) + 3)]
        assert answers[0] == answers[-1] == {"id": 1, "result": 6.5}
        assert all(answer.keys() == {"error"} and answer["error"] for answer in answers[1:-1])


@pytest.mark.parametrize("query", ["", "?token=", "?token=wrong", "?token=%C3%A9%FF"])
async def test_auth_refuses_before_the_upgrade(
    query: str, serve: Serve, client: aiohttp.ClientSession
) -> None:
    """Without the token the answer is 401, and no WebSocket is opened."""
    port = await serve(example("auth").make_app())
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"ws://127.0.0.1:{port}/private{query}")
    assert refused.value.status == 401


async def test_auth_closes_from_inside(serve: Serve, client: aiohttp.ClientSession) -> None:
    """With the token the pipeline answers, until it closes with 4003 and its reason."""
    port = await serve(example("auth").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/private?token=sesame") as ws:
        await ws.send_str("look around")
        assert await receive_text(ws) == "done: look around"
        await ws.send_str("open the box")
        assert await receive_close(ws) == (4003, "you may look, not open")


async def test_client_asks(serve: Serve) -> None:
    """The client's words come back, answered and in order."""
    port = await serve(example("shout").make_app())
    answers = await asyncio.wait_for(
        example("client").ask(f"ws://127.0.0.1:{port}/shout", "hello", "world"), PATIENCE
    )
    assert answers == ["HELLO", "WORLD"]


async def test_client_as_a_script(serve: Serve) -> None:
    """As a script the client prints the answers; refused, it says so in a line and exits with 1."""
    port = await serve(example("shout").make_app())
    url = f"ws://127.0.0.1:{port}/shout"
    assert await script("client.py", url, "a", "b") == (0, "A\nB\n", "")
    code, out, error = await script("client.py", f"ws://127.0.0.1:{port}/nothing-here", "a")
    assert (code, out) == (1, "")
    assert error.startswith("HandshakeError: ")
    assert "404" in error
    assert len(error.splitlines()) == 1


async def test_price_feed_sends_what_is_subscribed(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """Prices come of the symbols that were asked for, on the loop; nonsense is passed over."""
    module = example("price_feed")
    module.__dict__["PERIOD"] = 0.01
    port = await serve(module.make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/prices") as ws:
        sent: list[object] = [
            {"subscribe": "A"},
            {"subscribe": 1},
            {},
            [],
            None,
            {"subscribe": "B"},
        ]
        for message in sent:
            await ws.send_json(message)
        ticks = [json.loads(await receive_text(ws)) for _ in range(20)]
        assert {tick["symbol"] for tick in ticks} == {"A", "B"}
        assert all(50 < tick["price"] < 150 for tick in ticks)
        await ws.send_json({"unsubscribe": "A"})
        async with asyncio.timeout(PATIENCE):
            while [json.loads(await receive_text(ws))["symbol"] for _ in range(4)] != ["B"] * 4:
                pass
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


@asynccontextmanager
async def restarted(port: int = 0) -> AsyncIterator[int]:
    """The price feed, with many prices, on a port that it may be started on again."""
    module = example("price_feed")
    module.__dict__["PERIOD"] = 0.01
    runner = web.AppRunner(module.make_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


class Told(logging.Handler):
    """What an example prints, in the place of `print`, and what it logs."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self._came = asyncio.Event()

    def __call__(self, line: str, *, flush: bool) -> None:
        self.lines.append(line)
        self._came.set()

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "root":
            self(record.getMessage(), flush=True)

    async def until(self, text: str) -> None:
        """Wait for a line with some text that was not here before."""
        seen = len(self.lines)
        async with asyncio.timeout(PATIENCE):
            while not any(text in line for line in self.lines[seen:]):
                self._came.clear()
                await self._came.wait()


async def end(task: asyncio.Task[None]) -> None:
    """Stop an example as ctrl-C does."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_price_feed_is_watched_over_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client prints prices, logs where it stands, and goes on when the server is back."""
    module, told, log = example("price_feed"), Told(), Told()
    module.__dict__["print"] = told
    monkeypatch.setattr(logging.root, "handlers", [log])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    async with restarted() as port:
        watching = asyncio.create_task(module.watch(f"ws://127.0.0.1:{port}/prices", "A", "B"))
        await told.until("B ")
    await log.until("Waiting")
    async with restarted(port):
        await told.until("A ")
        await end(watching)
    states = [line.split()[0].strip(",") for line in log.lines]
    assert states[:5] == ["Closed", "Connecting", "Open", "Closed", "Waiting"]
    assert states[-3:] == ["Connecting", "Open", "Closed"]
    assert "Closed 1001 'Going Away' by peer" in log.lines


@pytest.mark.parametrize("terminal", [True, False])
async def test_dashboard(terminal: bool) -> None:
    """Each symbol has a row, over a restart; elsewhere than in a terminal each price has a line."""
    module, told = example("dashboard"), Told()
    module.__dict__["print"] = told
    async with restarted() as port:
        url = f"ws://127.0.0.1:{port}/prices"
        showing = asyncio.create_task(module.show(url, "A", "B", terminal=terminal))
        await told.until("B     ")
    await told.until("Waiting")
    async with restarted(port):
        await told.until("A     ")
        await end(showing)
    if terminal:
        assert all(line.startswith("\x1b[H") for line in told.lines)
        *_, status, a, b = told.lines[-1].splitlines()
        assert status.endswith(f"Open {url}")
        assert re.fullmatch(r"A +\d+\.\d\d  [▁-█]+", a)
        assert re.fullmatch(r"B +\d+\.\d\d  [▁-█]+", b)
    else:
        assert told.lines[:3] == ["Closed", "Connecting, attempt 1", f"Open {url}"]
        assert {line[0] for line in told.lines if re.fullmatch(r"\w +\d+\.\d\d", line)} == {*"AB"}


@pytest.mark.parametrize("name", ["price_feed.py", "dashboard.py"])
async def test_feed_clients_say_why_they_end(name: str) -> None:
    """Refused for good, a client says so in a line and exits with 1."""

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=403)

    app = web.Application()
    app.add_routes([web.get("/prices", refuse)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        url = f"ws://127.0.0.1:{runner.addresses[0][1]}/prices"
        code, _, error = await script(name, url, "ACME")
    finally:
        await runner.cleanup()
    assert code == 1
    assert error.splitlines()[-1].startswith("HandshakeError: ")
    assert "Traceback" not in error


async def script(name: str, *arguments: str) -> tuple[int | None, str, str]:
    """Exit code, stdout and stderr of an example run with these arguments."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        EXAMPLES / name,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), error.decode()
