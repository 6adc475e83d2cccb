"""The playground over its WebSocket, and its code as a program."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

import rxws
from rxws.cli.playground import _app, add_playground
from rxws.cli.playground._pipeline import Pipeline
from support import ROOT
from support.processes.redis_server import free_port

PATIENCE = 30.0  # seconds; how long anything is waited for before the test fails
Event = dict[str, Any]
LARGE = {"name": "pad", "size": 4096}


class Visit:
    """What an open page does."""

    def __init__(self, conn: rxws.Connection[Any, Any]) -> None:
        self.conn = conn
        self.events: list[Event] = []
        self.state: dict[str, Any] = {}
        self._caller = rxws.rpc.Caller(conn)
        self._changed = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def call(self, method: str, **params: Any) -> Any:
        return await asyncio.wait_for(self._caller.call(method, **params), PATIENCE)

    async def refused(self, method: str, **params: Any) -> str:
        """Return the message of a call that is answered with an error."""
        with pytest.raises(rxws.rpc.ResponseError) as raised:
            await self.call(method, **params)
        assert raised.value.code == -32602
        return str(raised.value)

    async def start(self, *steps: dict[str, Any], **options: Any) -> dict[str, Any]:
        """Start a pipeline, and wait until the client is connected."""
        started: dict[str, Any] = await self.call("start", steps=[*steps], options=options)
        await self.stop()
        self.events.clear()
        self._watching = asyncio.create_task(self._watch())
        await self.until(lambda: self.statuses()[-1:] == ["Open"])
        return started

    async def stop(self) -> None:
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watching

    async def _watch(self) -> None:
        async for batch in self._caller.stream("events"):
            self.events += batch["events"]
            self.state = batch["state"]
            self._changed.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until a condition on the events or the state holds."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def of(self, lane: str) -> list[Event]:
        return [event for event in self.events if event["lane"] == lane]

    def texts(self, lane: str) -> list[str]:
        return [event["text"] for event in self.of(lane) if event["type"] == "next"]

    def statuses(self) -> list[str]:
        return [event["status"] for event in self.of("status")]

    def stream(self, method: str, **params: Any) -> Any:
        return self._caller.stream(method, **params)


def make_app() -> web.Application:
    app = web.Application()
    add_playground(app, links={"Examples": "/examples"})
    rxws.setup(app)
    return app


@contextlib.asynccontextmanager
async def visiting(port: int) -> AsyncGenerator[Visit]:
    async with rxws.connect(f"ws://127.0.0.1:{port}/playground/ws") as conn:
        visit = Visit(conn)
        yield visit
        await visit.stop()


@pytest.fixture
async def port(serve: Any) -> int:
    """Serve the playground."""
    served: int = await serve(make_app())
    return served


@pytest.fixture
async def visit(port: int) -> AsyncGenerator[Visit]:
    """Open a page."""
    async with visiting(port) as visit:
        yield visit


async def test_messages_pass_all_lanes(visit: Visit) -> None:
    """The page gets what each step emits, and what the client receives."""
    started = await visit.start({"name": "keep", "part": "a"}, {"name": "upper"})
    assert [lane["id"] for lane in started["lanes"]] == [
        "incoming",
        "1",
        "2",
        "outgoing",
        "received",
    ]
    for text in ("apple", "fig", "banana"):
        await visit.call("send", text=text, count=1)
    await visit.until(lambda: len(visit.texts("received")) == 2)
    assert visit.texts("incoming") == ["apple", "fig", "banana"]
    assert visit.texts("1") == ["apple", "banana"]
    assert visit.texts("2") == visit.texts("outgoing") == ["APPLE", "BANANA"]
    assert visit.texts("received") == ["APPLE", "BANANA"]


async def test_bursts_and_rates_number_their_messages(visit: Visit) -> None:
    """In a burst and at a rate, # is the number of the message."""
    await visit.start()
    await visit.call("send", text="n#", count=3)
    await visit.until(lambda: len(visit.texts("received")) == 3)
    assert visit.texts("received") == ["n1", "n2", "n3"]
    await visit.call("rate", text="r#", rate=50)
    await visit.until(lambda: "r6" in visit.texts("received"))
    await visit.call("rate", text="", rate=0)
    await visit.call("send", text="end", count=1)
    await visit.until(lambda: "end" in visit.texts("received"))
    numbered = [text for text in visit.texts("received") if text.startswith("r")]
    assert numbered == [f"r{number}" for number in range(4, 4 + len(numbered))]


@pytest.mark.parametrize(
    ("side", "by_server", "by_client"), [("server", "local", "peer"), ("client", "peer", "local")]
)
async def test_either_end_closes_with_a_code(
    visit: Visit, side: str, by_server: str, by_client: str
) -> None:
    """Both ends report the code, the reason and who closed, and how their streams ended."""
    await visit.start()
    await visit.call("close", side=side, code=4001, reason="why")
    await visit.until(lambda: visit.of("closed") and visit.statuses()[-1] == "Closed")
    (closed, *_) = visit.of("closed")
    assert (closed["code"], closed["reason"], closed["by"]) == (4001, "why", by_server)
    status = visit.of("status")[-1]
    assert (status["code"], status["reason"], status["by"]) == (4001, "why", by_client)
    # The side that closes completes; the other fails, as 4001 is no normal end.
    assert status["error"] == ("ConnectionClosed" if side == "server" else None)
    ends = [event["type"] for event in visit.of("incoming")]
    assert ends == ["completed" if side == "server" else "error"]
    assert "no connection" in await visit.refused("close", side=side, code=1000, reason="")
    assert "no connection" in await visit.refused("cut")
    await visit.call("connect")
    await visit.until(lambda: visit.statuses()[-1] == "Open")


async def test_a_slow_call_pauses_the_incoming_messages(visit: Visit) -> None:
    """While `map_async` is busy, the server reads no further message, and the page shows it."""
    await visit.start({"name": "map_async", "seconds": 0.15, "calls": 1})
    await visit.call("send", text="n#", count=3)
    await visit.until(lambda: len(visit.texts("received")) == 3)
    assert visit.texts("received") == ["n1!", "n2!", "n3!"]
    await visit.until(lambda: visit.state["paused"] >= 0.2)


async def test_the_client_reconnects_after_a_cut(visit: Visit) -> None:
    """TCP ends without a close frame: both ends report 1006, and the client connects again."""
    await visit.start()
    await visit.call("cut")
    await visit.until(lambda: visit.statuses().count("Open") == 2)
    assert visit.statuses()[2:] == ["Open", "Closed", "Waiting", "Connecting", "Open"]
    waiting = next(event for event in visit.of("status") if event["status"] == "Waiting")
    assert 0 <= waiting["delay"] <= 1.5
    assert "1006" in waiting["text"]
    assert [event["code"] for event in visit.of("closed") if event["type"] == "close"] == [1006]


async def test_the_client_waits_for_a_killed_server(visit: Visit) -> None:
    """While the server is away, messages are queued; then the client connects and sends them."""
    await visit.start({"name": "upper"})
    await visit.call("server", running=False)
    await visit.call("server", running=False)
    await visit.until(lambda: visit.state["server"] is False)
    await visit.call("send", text="later", count=1)
    await visit.until(lambda: visit.state["queued"] == 1)
    await visit.until(lambda: any(event.get("attempt", 0) > 1 for event in visit.of("status")))
    await visit.call("server", running=True)
    await visit.until(lambda: visit.texts("received") == ["LATER"])
    assert visit.state["server"] is True


async def test_a_slow_reader_fills_the_send_buffer(visit: Visit) -> None:
    """The buffer fills, drops are counted, and the client gets the rest when it reads again."""
    await visit.start(LARGE, max_buffer=8, overflow="drop_oldest")
    await visit.call("speed", speed="stopped")
    await visit.call("rate", text="#", rate=50)
    await visit.until(lambda: visit.state["dropped"].get("overflow", 0) > 3)
    await visit.call("rate", text="", rate=0)
    assert visit.state["writable"] is False
    assert 0 < visit.state["buffered"] <= visit.state["max_buffer"] == 8192
    before = len(visit.texts("received"))
    await visit.call("speed", speed="slow")
    await visit.until(lambda: len(visit.texts("received")) > before)
    await visit.call("speed", speed="full")
    await visit.until(lambda: visit.state["buffered"] == 0 and visit.state["writable"])
    await visit.until(lambda: visit.texts("received")[-1:] == visit.texts("outgoing")[-1:])
    sent, dropped = len(visit.texts("outgoing")), visit.state["dropped"]["overflow"]
    assert len(visit.texts("received")) == sent - dropped


async def test_a_full_buffer_closes_with_1013(visit: Visit) -> None:
    """By default, nothing is dropped silently: the server closes the connection."""
    await visit.start(LARGE, max_buffer=8, overflow="close")
    await visit.call("speed", speed="stopped")
    await visit.call("send", text="x", count=60)
    await visit.until(lambda: [e for e in visit.of("closed") if e["type"] == "close"])
    assert visit.of("closed")[0]["code"] == 1013


async def test_a_killed_server_does_not_wait_for_a_reader_that_stopped(visit: Visit) -> None:
    """The kill switch works while the client does not read."""
    await visit.start(LARGE, max_buffer=256)
    await visit.call("speed", speed="stopped")
    await visit.call("send", text="x", count=40)
    await visit.until(lambda: not visit.state["writable"])
    await visit.call("server", running=False)
    await visit.until(lambda: not visit.state["server"])


async def test_a_failing_pipeline_closes_with_1011(visit: Visit) -> None:
    """The exception is shown in the lane of the step that raised it."""
    await visit.start({"name": "double"})
    await visit.call("send", text="x", count=1)
    await visit.until(lambda: visit.statuses().count("Open") == 2)
    errors = [event for event in visit.events if event["type"] == "error" and event["lane"] == "1"]
    assert [event["error"] for event in errors] == ["ValueError"]
    assert next(e for e in visit.of("closed") if e["type"] == "close")["code"] == 1011


async def test_a_new_prompt_cancels_the_answer_before_it(visit: Visit) -> None:
    """Tokens of an answer stop when another message arrives, and “stop” starts no answer."""
    await visit.start({"name": "tokens"})
    await visit.call("send", text="rain", count=1)
    await visit.until(lambda: visit.texts("received") == ["You"])
    await visit.call("send", text="snow", count=1)
    await visit.until(lambda: visit.texts("received")[-1:] == ["weather."])
    tokens = visit.texts("received")
    assert "rain:" not in tokens
    assert "snow:" in tokens
    await visit.call("send", text="ice", count=1)
    await visit.until(lambda: visit.texts("received")[-1:] == ["You"])
    await visit.call("send", text="stop", count=1)
    await visit.until(lambda: visit.texts("incoming")[-1:] == ["stop"])
    assert "ice:" not in visit.texts("received")


@pytest.mark.parametrize(
    ("method", "params", "message"),
    [
        ("start", {"steps": [{"name": "eval"}], "options": {}}, "there is no step 'eval'"),
        ("send", {"text": "x", "count": 101}, "1 to 100 messages, not 101"),
        ("send", {"text": "x", "count": "1"}, "1 to 100 messages, not '1'"),
        ("send", {"text": "x" * 1001, "count": 1}, "at most 1000 characters"),
        ("send", {"text": 5, "count": 1}, "message must be a text"),
        ("rate", {"text": "x", "rate": 51}, "0 to 50 messages per second, not 51"),
        ("rate", {"text": "x", "rate": None}, "not None"),
        ("speed", {"speed": "light"}, "full, slow, stopped, not 'light'"),
        ("speed", {"speed": []}, "full, slow, stopped"),
        ("close", {"side": "middle", "code": 1000, "reason": ""}, "client or server"),
        ("close", {"side": "server", "code": 1006, "reason": ""}, "1006"),
        ("close", {"side": "client", "code": 1006, "reason": ""}, "1006"),
        ("close", {"side": "client", "code": 99, "reason": ""}, "99"),
        ("close", {"side": "client", "code": "1000", "reason": ""}, "'1000'"),
        ("close", {"side": "client", "code": 1000, "reason": "é" * 62}, "123 bytes"),
        ("join", {"name": " "}, "name must not be empty"),
        (
            "say",
            {"name": "Ann", "text": "x" * 301},
            "at most 300 characters, not 301",
        ),
    ],
)
async def test_a_wrong_value_gets_a_clear_message(
    visit: Visit, method: str, params: dict[str, Any], message: str
) -> None:
    """The answer names the value and what is allowed; the pipeline goes on."""
    await visit.start()
    assert message in await visit.refused(method, **params)
    await visit.call("send", text="still here", count=1)
    await visit.until(lambda: visit.texts("received") == ["still here"])


async def test_rates_are_limited(visit: Visit) -> None:
    """Above 200 messages at once, a burst is refused."""
    await visit.start()
    for _ in range(2):
        await visit.call("send", text="x", count=100)
    assert "wait a moment" in await visit.refused("send", text="x", count=100)


async def test_calls_before_a_pipeline_is_chosen(visit: Visit) -> None:
    """Without a pipeline, the answer says so."""
    assert await visit.refused("send", text="x", count=1) == "no pipeline is running (-32602)"
    catalogue = await visit.call("catalogue")
    assert catalogue["links"] == {"Examples": "/examples"}


async def test_the_picture_is_that_of_a_recording(visit: Visit) -> None:
    """The page can save the diagram that rxws draws."""
    await visit.start({"name": "upper"})
    await visit.call("send", text="hello", count=1)
    await visit.until(lambda: visit.texts("received") == ["HELLO"])
    picture = await visit.call("picture")
    assert picture.startswith("<svg")
    assert "HELLO" in picture


async def test_visitors_share_the_room_only(port: int) -> None:
    """Each page has its own pipeline, and all pages are in one room, with presence."""
    async with visiting(port) as ann, visiting(port) as bob:
        await ann.start()
        await bob.start({"name": "upper"})
        await bob.call("send", text="mine", count=1)
        await bob.until(lambda: bob.texts("received") == ["MINE"])
        assert ann.texts("incoming") == []
        seen: asyncio.Queue[Any] = asyncio.Queue()
        joined = ann.stream("join", name=" Ann ").subscribe(seen.put_nowait)

        async def next_item() -> Any:
            return await asyncio.wait_for(seen.get(), PATIENCE)

        assert await next_item() == {"here": ["Ann"]}
        other = bob.stream("join", name="Bob").subscribe()
        assert await next_item() == {"here": ["Ann", "Bob"]}
        await bob.call("say", name="Bob", text="hello")
        assert await next_item() == {"name": "Bob", "text": "hello"}
        other.dispose()
        assert await next_item() == {"here": ["Ann"]}
        for _ in range(9):
            await bob.call("say", name="Bob", text="again")
        assert "too fast" in await bob.refused("say", name="Bob", text="again")
        joined.dispose()


async def test_the_number_of_visitors_is_limited(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One page too many is closed with 1013, and may come when another one has left."""
    monkeypatch.setattr(_app, "MAX_VISITORS", 1)
    async with visiting(port) as first:
        await first.start()
        async with rxws.connect(f"ws://127.0.0.1:{port}/playground/ws") as second:
            close = await asyncio.wait_for(second.closed, PATIENCE)
            assert (close.code, close.by) == (1013, "peer")
    async with visiting(port) as third:
        await third.start()


async def test_a_page_that_leaves_early_leaves_nothing_behind(port: int) -> None:
    """Pages close while a pipeline starts, changes or is killed; no server or socket stays open.

    The fixtures of all tests check the sockets and tasks.
    """
    start = '{"jsonrpc":"2.0","id":1,"method":"start","params":{"steps":[],"options":{}}}'
    kill = '{"jsonrpc":"2.0","id":2,"method":"server","params":{"running":false}}'
    url = f"ws://127.0.0.1:{port}/playground/ws"
    for calls in ([start], [start, start], [start, kill], [start, kill, start]):
        for turns in (0, 1, 3, 10, 30):
            async with rxws.connect(url, codec=rxws.codecs.text) as conn:
                for call in calls:
                    conn.outgoing.on_next(call)
                for _ in range(turns):
                    await asyncio.sleep(0)
    async with visiting(port) as visit:
        await visit.start()


async def test_files_have_a_strict_policy(port: int) -> None:
    """All files are served with a policy that allows this server only, and no inline script."""
    async with aiohttp.ClientSession() as client:
        for path in ("", "playground/main.js", "playground/playground.css", "playground/icon.svg"):
            async with client.get(f"http://127.0.0.1:{port}/{path}") as answer:
                assert answer.status == 200
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
                assert "unsafe" not in policy
                assert "http" not in (await answer.text()).replace(
                    "http://www.w3.org/", ""
                ).replace("/^http/", "")
        async with client.get(f"http://127.0.0.1:{port}/playground/_app.py") as answer:
            assert answer.status == 404


async def test_a_page_of_another_origin_is_refused(port: int) -> None:
    """The WebSocket is for the playground's own page."""
    with pytest.raises(rxws.HandshakeError) as raised:
        await rxws.connect(
            f"ws://127.0.0.1:{port}/playground/ws", headers={"Origin": "https://example.com"}
        )
    assert raised.value.status == 403


@pytest.mark.parametrize(
    ("step", "sent", "received"),
    [
        ({"name": "map_async", "seconds": 0.05}, ["a", "b"], ["a!", "b!"]),
        ({"name": "tokens"}, ["rain"], ["You", "ask", "about", "rain:", "it"]),
        ({"name": "upper"}, ["a"], ["A"]),
    ],
)
async def test_the_shown_code_runs_as_a_program(
    tmp_path: Path, step: dict[str, Any], sent: list[str], received: list[str]
) -> None:
    """A user copies the code into a file, runs it, and gets what the playground shows."""
    port = free_port()
    code = Pipeline.parse([step], {}).code()
    program = tmp_path / "program.py"
    program.write_text(code.replace("port=8080", f"port={port}"), encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", str(program), cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    try:
        url = f"ws://127.0.0.1:{port}/"
        options: Any = {"codec": rxws.codecs.text, "backoff": rxws.backoff.constant(0.05)}
        async with (
            asyncio.timeout(PATIENCE),
            rxws.WebSocketSubject(url, **options) as feed,
        ):
            for text in sent:
                feed.on_next(text)
            seen: list[str] = []
            async for text in feed:
                seen.append(text)
                if len(seen) == len(received):
                    break
        assert seen == received
    finally:
        process.kill()
        await process.communicate()
