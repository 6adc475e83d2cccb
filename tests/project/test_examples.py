"""The examples over a real socket, with a peer that does not use rxws."""

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
from support.peers.fake_tcp import loop_turns
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
    "rpc": "/jsonrpc",
    "tokens": "/tokens",
    "typed_rpc": "/rpc",
    "auth": "/private?token=sesame",
    "price_feed": "/prices",
}
CLIENTS = ("client", "dashboard")
# Two programs, several channels, several rooms, several answers.
LARGER = {"price_feed", "rpc", "dashboard", "chat", "tokens"}


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    """Provide a plain aiohttp client."""
    async with aiohttp.ClientSession() as session:
        yield session


def test_every_example_is_tested() -> None:
    """Each example except three is tested here as a server or a client."""
    names = {path.stem for path in EXAMPLES.glob("*.py")}
    assert names == {*SERVERS, *CLIENTS, "chat_cluster", "demo", "monitored"}


@pytest.mark.parametrize("name", [*SERVERS, *CLIENTS])
def test_example_is_small_and_says_how_to_run_it(name: str) -> None:
    """An example has at most 40 lines (four have 90) and says how to run it."""
    source = (EXAMPLES / f"{name}.py").read_text()
    assert len(source.splitlines()) < (90 if name in LARGER else 40)
    assert "Run" in (ast.get_docstring(ast.parse(source)) or "")


@pytest.mark.parametrize("name", SERVERS)
def test_example_runs_as_a_script(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script, an example serves its app on the address in its docstring."""
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
    """Each server echoes the code of a peer's close."""
    port = await serve(example(name).make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}{SERVERS[name]}") as ws:
        await asyncio.wait_for(ws.close(code=4321, message=b"enough"), PATIENCE)
        assert ws.close_code == 4321


async def test_shout(serve: Serve, client: aiohttp.ClientSession) -> None:
    """Text comes back in capitals and in order; a binary frame closes with 1003."""
    port = await serve(example("shout").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/shout") as ws:
        for word in ("hello", "", "straße"):
            await ws.send_str(word)
        assert [await receive_text(ws) for _ in range(3)] == ["HELLO", "", "STRASSE"]
        await ws.send_bytes(b"\x00")
        assert (await receive_close(ws))[0] == 1003


async def test_echo(serve: Serve, client: aiohttp.ClientSession) -> None:
    """A frame comes back unchanged with its type."""
    port = await serve(example("echo").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/echo") as ws:
        await ws.send_str("text")
        await ws.send_bytes(b"\x00\xff")
        assert [(await receive(ws)).data for _ in range(2)] == ["text", b"\x00\xff"]


async def test_ticker_pushes_samples(serve: Serve, client: aiohttp.ClientSession) -> None:
    """Quotes arrive four times a second, timed by the loop; incoming messages are ignored."""
    port = await serve(example("ticker").make_app())
    clock = asyncio.get_running_loop().time
    began = clock()
    async with client.ws_connect(f"ws://127.0.0.1:{port}/ticker") as ws:
        await ws.send_str("not JSON, but ignored")
        quotes = [json.loads(await receive_text(ws)) for _ in range(3)]
        # The source ticks 200 times a second: without sampling, three quotes take 15 ms.
        assert clock() - began > 0.7
        assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())
        assert all(quote.keys() == {"ACME"} and 50 < quote["ACME"] < 150 for quote in quotes)


async def test_latest_skips_old_values(serve: Serve) -> None:
    """A peer that did not read for a while skips old values and gets the latest."""
    module = example("latest")
    plain, pushed = module.tick, asyncio.Event()

    def large(number: int) -> dict[str, object]:
        if number == 300:  # by now more than the kernel buffers hold
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
async def joined_chat(client: aiohttp.ClientSession, port: int, name: str) -> AsyncIterator[Peer]:
    """Connect to the chat, and join the room "kitchen"."""
    async with client.ws_connect(f"ws://127.0.0.1:{port}/chat", params={"name": name}) as ws:
        await ws.send_json({"join": "kitchen"})
        assert await receive_json(ws) == {"room": "kitchen", "joined": name}
        yield ws


async def receive_json(ws: Peer) -> object:
    """Return the next message of a peer."""
    return json.loads(await receive_text(ws))


def said(room: str, name: str, text: str | None) -> dict[str, object]:
    return {"room": room, "name": name, "text": text}


async def test_chat_reaches_everybody_in_a_room(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """Everybody in a room gets its messages with the author's name, and nobody else does."""
    port = await serve(example("chat").make_app())
    async with joined_chat(client, port, "ann") as ann, joined_chat(client, port, "bob") as bob:
        assert await receive_json(ann) == {"room": "kitchen", "joined": "bob"}
        await bob.send_json({"join": "cellar"})
        assert await receive_json(bob) == {"room": "cellar", "joined": "bob"}
        await bob.send_json({"room": "cellar", "text": "only me"})
        await bob.send_json({"room": "kitchen", "text": None})
        await bob.send_json({"room": "kitchen", "text": "hello"})
        kitchen = [said("kitchen", "bob", None), said("kitchen", "bob", "hello")]
        assert [await receive_json(ann) for _ in range(2)] == kitchen
        heard = [await receive_json(bob) for _ in range(3)]
        assert heard == [said("cellar", "bob", "only me"), *kitchen]


async def test_chat_refuses_what_a_member_may_not_do(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """A message to a room that was not joined, or was left, gets an error; so does a ninth room."""
    port = await serve(example("chat").make_app())
    async with joined_chat(client, port, "ann") as ann:
        for bad in [
            {"room": "cellar", "text": "?"},
            {"leave": "cellar"},
            {"join": "kitchen"},
            {"join": 1},
            [],
        ]:
            await ann.send_json(bad)
            assert "cannot do that" in str(await receive_json(ann))
        for number in range(7):
            await ann.send_json({"join": str(number)})
            assert await receive_json(ann) == {"room": str(number), "joined": "ann"}
        await ann.send_json({"join": "7"})
        assert "cannot do that" in str(await receive_json(ann))
        await ann.send_str("not JSON")
        assert "not JSON" in str(await receive_json(ann))
        await ann.send_json({"leave": "kitchen"})
        await ann.send_json({"room": "kitchen", "text": "?"})
        assert "cannot do that" in str(await receive_json(ann))
        await ann.send_json({"join": "7"})
        assert await receive_json(ann) == {"room": "7", "joined": "ann"}


async def test_chat_continues_when_somebody_leaves(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """A room continues when a member leaves, closes or is lost; an empty one is freed."""
    module = example("chat")
    port = await serve(module.make_app())
    async with joined_chat(client, port, "ann") as ann:

        async def leaves(name: str, leave: Callable[[Peer], Awaitable[object]]) -> object:
            async with joined_chat(client, port, name) as peer:
                assert await receive_json(ann) == {"room": "kitchen", "joined": name}
                await leave(peer)
                return await receive_json(ann)

        for name, leave in {
            "member": lambda peer: peer.send_json({"leave": "kitchen"}),
            "polite": lambda peer: peer.close(),
            "angry": lambda peer: peer.close(code=4002),
        }.items():
            assert await leaves(name, leave) == {"room": "kitchen", "left": name}
        lost = await RawClient.connect(port, "/chat?name=lost")
        await lost.text('{"join": "kitchen"}')
        assert await receive_json(ann) == {"room": "kitchen", "joined": "lost"}
        await lost.rst()
        assert await receive_json(ann) == {"room": "kitchen", "left": "lost"}

        await ann.send_json({"room": "kitchen", "text": "who is still here?"})
        assert await receive_json(ann) == said("kitchen", "ann", "who is still here?")
        assert list(module.rooms) == ["kitchen"]
        await ann.send_json({"leave": "kitchen"})
        await ann.send_json([])
        assert "cannot do that" in str(await receive_json(ann))
        assert list(module.rooms) == []


async def test_rpc_calls_and_streams(serve: Serve, capsys: pytest.CaptureFixture[str]) -> None:
    """The client of the JSON-RPC example prints a result, a part of a stream, and an error."""
    module = example("rpc")
    port = await serve(module.make_app())
    await asyncio.wait_for(module.call(f"ws://127.0.0.1:{port}/jsonrpc"), PATIENCE)
    printed = capsys.readouterr().out.splitlines()
    assert printed[:4] == ["1 + 2 = 3.0", "5", "4", "3"]
    assert printed[4:] == ["Invalid params: Expected `float`, got `str` - at `$[1]` (-32602)"]


class FakeModel:
    """A model whose answers end only when a test says so, or when they are closed.

    Attributes:
        prompts: Those of the answers that have begun.
        closed: Those of the answers whose `finally` block has run.
    """

    def __init__(self, size: int = 1) -> None:
        self.prompts: list[str] = []
        self.closed: list[str] = []
        self.requested = 0  # tokens
        self._size = size
        self._complete = asyncio.Event()
        self._changed = asyncio.Event()

    async def __call__(self, prompt: str) -> AsyncIterator[str]:
        self.prompts.append(prompt)
        try:
            if self._size > 1:
                while not self._complete.is_set():
                    self.requested += 1
                    self._changed.set()
                    yield prompt * self._size
                    await asyncio.sleep(0)
            yield prompt
            await self._complete.wait()
            if prompt == "bad":
                raise RuntimeError("the model failed")
        finally:
            self.closed.append(prompt)
            self._changed.set()

    def complete(self) -> None:
        """Let the answers end."""
        self._complete.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until a condition on this model holds."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


def tokens_with(model: FakeModel) -> web.Application:
    """Return the app of the tokens with another model."""
    module = example("tokens")
    module.__dict__["model"] = model
    app: web.Application = module.make_app()
    return app


async def test_tokens_streams_an_answer(serve: Serve, client: aiohttp.ClientSession) -> None:
    """The tokens of an answer arrive one by one, and its end after them."""
    module = example("tokens")
    module.__dict__["PAUSE"] = 0
    port = await serve(module.make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/tokens") as ws:
        await ws.send_json({"id": 7, "prompt": "rain"})
        parts: list[dict[str, object]] = []
        while not parts or "done" not in parts[-1]:
            parts.append(json.loads(await receive_text(ws)))
        assert parts[-1] == {"id": 7, "done": True}
        assert all(part.keys() == {"id", "token"} and part["id"] == 7 for part in parts[:-1])
        assert "".join(str(part["token"]) for part in parts[:-1]).startswith("You ask about rain. ")


async def test_tokens_cancels_one_of_several_answers(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """A cancel stops the model of its answer only; the other answers go on to their end."""
    model = FakeModel()
    port = await serve(tokens_with(model))
    async with client.ws_connect(f"ws://127.0.0.1:{port}/tokens") as ws:
        for number, prompt in enumerate(("rain", "snow")):
            await ws.send_json({"id": number, "prompt": prompt})
            assert await receive_json(ws) == {"id": number, "token": prompt}
        await ws.send_json({"cancel": 0})
        assert await receive_json(ws) == {"id": 0, "done": True}
        await model.until(lambda: model.closed)
        assert model.closed == ["rain"]

        await ws.send_json({"id": 0, "prompt": "hail"})  # the id is free again
        assert await receive_json(ws) == {"id": 0, "token": "hail"}
        model.complete()
        ends = [await receive_json(ws) for _ in range(2)]
        assert sorted(map(str, ends)) == ["{'id': 0, 'done': True}", "{'id': 1, 'done': True}"]


async def test_tokens_stops_the_models_of_a_lost_client(serve: Serve) -> None:
    """If a client is lost, the models of its answers are closed."""
    model = FakeModel()
    port = await serve(tokens_with(model))
    lost = await RawClient.connect(port, "/tokens")
    for number in range(2):
        await lost.text(json.dumps({"id": number, "prompt": f"prompt {number}"}))
    await lost.messages(2)
    await lost.rst()
    await model.until(lambda: len(model.closed) == 2)
    assert sorted(model.closed) == ["prompt 0", "prompt 1"]


async def test_tokens_holds_the_model_of_a_slow_client(serve: Serve) -> None:
    """While a client does not read, the model is asked for no more tokens; then it continues."""
    model = FakeModel(size=100_000)
    port = await serve(tokens_with(model))
    peer = await RawClient.connect(port, "/tokens", receive_buffer=4096, reads=False)
    await peer.text(json.dumps({"id": 1, "prompt": "x"}))
    await model.until(lambda: model.requested)
    held = 0
    async with asyncio.timeout(PATIENCE):
        while held < model.requested:  # until the kernel's buffers are full
            held = model.requested
            await loop_turns(200)
    peer.start_reading()
    await model.until(lambda: model.requested > held)
    await peer.messages(held)
    assert not peer.closes
    await peer.rst()
    await model.until(lambda: model.closed)


async def test_tokens_answers_what_it_refuses(serve: Serve, client: aiohttp.ClientSession) -> None:
    """A fifth answer, an id in use and an invalid message get an error; an unknown cancel none."""
    model = FakeModel()
    port = await serve(tokens_with(model))
    async with client.ws_connect(f"ws://127.0.0.1:{port}/tokens") as ws:
        for number in range(3):
            await ws.send_json({"id": number, "prompt": "good"})
            assert await receive_json(ws) == {"id": number, "token": "good"}
        await ws.send_json({"cancel": 9})
        refused: list[object] = [{"id": 0, "prompt": "again"}, {"id": 3, "prompt": 3}, []]
        for message in refused:
            await ws.send_json(message)
            assert "cannot do that" in str(await receive_json(ws))
        await ws.send_str("not JSON")
        assert "not JSON" in str(await receive_json(ws))
        await ws.send_json({"id": 3, "prompt": "good"})
        assert await receive_json(ws) == {"id": 3, "token": "good"}
        await ws.send_json({"id": 4, "prompt": "too many"})
        assert await receive_json(ws) == {"id": 4, "error": "too many answers at once"}
        assert model.prompts == ["good"] * 4


async def test_tokens_reports_an_error_of_the_model(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """An error of the model ends its answer only, and is sent with its id."""
    model = FakeModel()
    port = await serve(tokens_with(model))
    async with client.ws_connect(f"ws://127.0.0.1:{port}/tokens") as ws:
        await ws.send_json({"id": 1, "prompt": "bad"})
        assert await receive_json(ws) == {"id": 1, "token": "bad"}
        model.complete()
        assert await receive_json(ws) == {"id": 1, "error": "the model failed"}
        await ws.send_json({"id": 1, "prompt": "good"})
        assert await receive_json(ws) == {"id": 1, "token": "good"}


async def test_rpc_answers_bad_messages(serve: Serve, client: aiohttp.ClientSession) -> None:
    """An invalid request is answered in turn with an error; the connection stays open."""
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
    """Without the token the response is a 401, and no WebSocket opens."""
    port = await serve(example("auth").make_app())
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await client.ws_connect(f"ws://127.0.0.1:{port}/private{query}")
    assert refused.value.status == 401


async def test_auth_closes_from_the_pipeline(serve: Serve, client: aiohttp.ClientSession) -> None:
    """With the token the pipeline answers, until it closes with 4003 and a reason."""
    port = await serve(example("auth").make_app())
    async with client.ws_connect(f"ws://127.0.0.1:{port}/private?token=sesame") as ws:
        await ws.send_str("look around")
        assert await receive_text(ws) == "done: look around"
        await ws.send_str("open the box")
        assert await receive_close(ws) == (4003, "you may look, not open")


async def test_client_gets_answers(serve: Serve) -> None:
    """The client returns the answers to its words in order."""
    port = await serve(example("shout").make_app())
    answers = await asyncio.wait_for(
        example("client").ask(f"ws://127.0.0.1:{port}/shout", "hello", "world"), PATIENCE
    )
    assert answers == ["HELLO", "WORLD"]


async def test_client_as_a_script(serve: Serve) -> None:
    """As a script the client prints the answers; if refused, it prints one line, exit code 1."""
    port = await serve(example("shout").make_app())
    url = f"ws://127.0.0.1:{port}/shout"
    assert await run_script("client.py", url, "a", "b") == (0, "A\nB\n", "")
    code, out, error = await run_script("client.py", f"ws://127.0.0.1:{port}/nothing-here", "a")
    assert (code, out) == (1, "")
    assert error.startswith("HandshakeError: ")
    assert "404" in error
    assert len(error.splitlines()) == 1


async def test_price_feed_sends_subscribed_symbols(
    serve: Serve, client: aiohttp.ClientSession
) -> None:
    """Only prices of subscribed symbols are sent; invalid messages are ignored."""
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
async def running_price_feed(port: int = 0) -> AsyncIterator[int]:
    """Run the price feed with frequent prices, on a given port to restart it."""
    module = example("price_feed")
    module.__dict__["PERIOD"] = 0.01
    runner = web.AppRunner(module.make_app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    yield runner.addresses[0][1]
    await runner.cleanup()


class Output(logging.Handler):
    """Records the lines that an example prints or logs, in place of `print`."""

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
        """Wait for a new line that contains a text."""
        seen = len(self.lines)
        async with asyncio.timeout(PATIENCE):
            while not any(text in line for line in self.lines[seen:]):
                self._came.clear()
                await self._came.wait()


async def interrupt(task: asyncio.Task[None]) -> None:
    """Stop an example as Ctrl-C does."""
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()


async def test_price_feed_client_survives_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client prints prices, logs its status, and continues after a restart of the server."""
    module, printed, log = example("price_feed"), Output(), Output()
    module.__dict__["print"] = printed
    monkeypatch.setattr(logging.root, "handlers", [log])
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    async with running_price_feed() as port:
        watching = asyncio.create_task(module.watch(f"ws://127.0.0.1:{port}/prices", "A", "B"))
        await printed.until("B ")
    await log.until("Waiting")
    async with running_price_feed(port):
        await printed.until("A ")
        await interrupt(watching)
    states = [line.split()[0].strip(",") for line in log.lines]
    assert states[:5] == ["Closed", "Connecting", "Open", "Closed", "Waiting"]
    assert states[-3:] == ["Connecting", "Open", "Closed"]
    assert "Closed 1001 'Going Away' by peer" in log.lines


@pytest.mark.parametrize("terminal", [True, False])
async def test_dashboard(terminal: bool) -> None:
    """In a terminal each symbol has a row, also after a restart; elsewhere each price a line."""
    module, printed = example("dashboard"), Output()
    module.__dict__["print"] = printed
    async with running_price_feed() as port:
        url = f"ws://127.0.0.1:{port}/prices"
        showing = asyncio.create_task(module.show(url, "A", "B", terminal=terminal))
        await printed.until("B     ")
    await printed.until("Waiting")
    async with running_price_feed(port):
        await printed.until("Open")  # before, the table shows old prices of A
        await printed.until("A     ")
        await interrupt(showing)
    if terminal:
        assert all(line.startswith("\x1b[H") for line in printed.lines)
        *_, status, a, b = printed.lines[-1].splitlines()
        assert status.endswith(f"Open {url}")
        assert re.fullmatch(r"A +\d+\.\d\d  [▁-█]+", a)
        assert re.fullmatch(r"B +\d+\.\d\d  [▁-█]+", b)
    else:
        assert printed.lines[:3] == ["Closed", "Connecting, attempt 1", f"Open {url}"]
        prices = [line for line in printed.lines if re.fullmatch(r"\w +\d+\.\d\d", line)]
        assert {line[0] for line in prices} == {"A", "B"}


@pytest.mark.parametrize("name", ["price_feed.py", "dashboard.py"])
async def test_feed_clients_report_a_final_refusal(name: str) -> None:
    """After a final refusal, a client prints one line and exits with 1."""

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
        code, _, error = await run_script(name, url, "ACME")
    finally:
        await runner.cleanup()
    assert code == 1
    assert error.splitlines()[-1].startswith("HandshakeError: ")
    assert "Traceback" not in error


async def run_script(name: str, *arguments: str) -> tuple[int | None, str, str]:
    """Return the exit code, stdout and stderr of an example run as a script."""
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
