"""The same handlers with the same results in virtual time, on a pair and on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import pytest
import reactivex as rx
from reactivex import operators as ops

import rxws
from rxws import Close, ConnectionClosed, codecs
from rxws._aiohttp.transport import private_api, read_path
from rxws.operators import map_async
from rxws.testing import pair, serve, simulate

AnyConnection = rxws.Connection[Any, Any]
PATIENCE = 20.0  # seconds


@dataclass
class Case:
    """A handler, what its peer sends, and the expected result.

    Args:
        handler: The handler.
        sent: The messages that the peer sends.
        replies: The messages that the peer receives.
        close: How the handler closes. Without it the peer closes.
        needs_loop: Whether the handler needs an event loop.
        options: The options of the connection.
    """

    handler: Callable[[AnyConnection], Any]
    sent: tuple[Any, ...] = ()
    replies: tuple[Any, ...] = ()
    close: Close | None = None
    needs_loop: bool = False
    options: dict[str, Any] = field(default_factory=dict)


def by_hand(conn: AnyConnection) -> None:
    conn.incoming.subscribe(conn.outgoing)


def disposable(conn: AnyConnection) -> Any:
    return conn.incoming.pipe(ops.map(len), ops.map(str)).subscribe(
        conn.outgoing, scheduler=conn.scheduler
    )


async def composed(conn: AnyConnection) -> Any:
    return conn.incoming.pipe(ops.map(str.title))


async def iterated(conn: AnyConnection) -> None:
    async for message in conn.incoming:
        conn.outgoing.on_next(message * 2)
        if message == "end":
            conn.outgoing.on_next(Close(4002))


async def awaited(conn: AnyConnection) -> None:
    one = await conn.incoming.pipe(ops.first())
    two = await conn.incoming.pipe(ops.first())
    conn.outgoing.on_next(two + one)


def late(text: Any) -> bool:
    return bool(text > "b")


def one_more(value: Any) -> dict[str, int]:
    return {"n": value["n"] + 1}


def by_number(text: Any) -> None:
    int(text)


async def reverse(value: str) -> str:
    await asyncio.sleep(0)
    return value[::-1]


def send_names_of_faults(conn: AnyConnection) -> Any:
    conn.errors.pipe(ops.map(lambda error: type(error).__name__)).subscribe(conn.outgoing.on_next)
    return conn.incoming


def raise_closed(_: object) -> Any:
    raise ConnectionClosed(Close(4003, "gone"))


CASES = {
    "echo": Case(lambda conn: conn.incoming, ("a", b"b", "c"), ("a", b"b", "c")),
    "by hand": Case(by_hand, ("a", "b"), ("a", "b")),
    "disposable": Case(disposable, ("abc", "d"), ("3", "1")),
    "map": Case(lambda conn: conn.incoming.pipe(ops.map(str.upper)), ("a", "b"), ("A", "B")),
    "filter": Case(
        lambda conn: conn.incoming.pipe(ops.filter(late)),
        ("a", "c", "b", "d"),
        ("c", "d"),
    ),
    "scan": Case(
        lambda conn: conn.incoming.pipe(ops.scan(lambda all_, one: all_ + one)),
        ("a", "b", "c"),
        ("a", "ab", "abc"),
    ),
    "debounce": Case(lambda conn: conn.incoming.pipe(ops.debounce(0.2)), ("a", "b", "c"), ("c",)),
    "buffer": Case(
        lambda conn: conn.incoming.pipe(ops.buffer_with_count(2), ops.map("".join)),
        ("a", "b", "c", "d"),
        ("ab", "cd"),
    ),
    "merge of a push": Case(
        lambda conn: rx.merge(conn.incoming, rx.timer(0.05).pipe(ops.map(lambda _: "push"))),
        ("a",),
        ("a", "push"),
    ),
    "start with": Case(
        lambda conn: conn.incoming.pipe(ops.start_with("hello")), ("a",), ("hello", "a")
    ),
    "server push": Case(
        lambda conn: rx.interval(0.01).pipe(ops.take(3), ops.map(str)),
        (),
        ("0", "1", "2"),
        Close(1000),
    ),
    "json": Case(
        lambda conn: conn.incoming.pipe(ops.map(one_more)),
        ({"n": 1}, {"n": 2}),
        ({"n": 2}, {"n": 3}),
        options={"codec": codecs.json},
    ),
    "take": Case(
        lambda conn: conn.incoming.pipe(ops.take(2)), ("a", "b", "c"), ("a", "b"), Close(1000)
    ),
    "close": Case(
        lambda conn: conn.incoming.pipe(
            ops.map(lambda text: Close(4001, "why") if text == "stop" else text)
        ),
        ("a", "stop", "b"),
        ("a",),
        Close(4001, "why"),
    ),
    "raising mapper": Case(
        lambda conn: conn.incoming.pipe(ops.map(int), ops.map(str)),
        ("1", "x", "3"),
        ("1",),
        Close(1011, "Unexpected Error"),
    ),
    "raising with a close": Case(
        lambda conn: conn.incoming.pipe(ops.map(raise_closed)), ("a",), (), Close(4003, "gone")
    ),
    "raising at once": Case(raise_closed, ("a",), (), Close(4003, "gone")),
    "raising subscriber": Case(
        lambda conn: conn.incoming.subscribe(by_number),
        ("1", "x"),
        (),
        Close(1011, "Unexpected Error"),
    ),
    "wrong kind": Case(
        lambda conn: conn.incoming,
        ("a", b"b"),
        ("a",),
        Close(1003, "Unsupported Data"),
        options={"codec": codecs.text, "peer_codec": codecs.raw},
    ),
    "faults observed": Case(
        send_names_of_faults,
        ("a", b"b", "c"),
        ("a", "DecodeError", "c"),
        options={"codec": codecs.text, "peer_codec": codecs.raw},
    ),
    "pipeline": Case(rxws.pipeline(ops.distinct_until_changed()), ("a", "a", "b"), ("a", "b")),
    "a coroutine that composes": Case(composed, ("ab",), ("Ab",)),
    "a coroutine that iterates": Case(
        iterated, ("a", "end", "b"), ("aa", "endend"), Close(4002), needs_loop=True
    ),
    "a coroutine that awaits": Case(awaited, ("a", "b"), ("ba",), needs_loop=True),
    "map_async": Case(
        lambda conn: conn.incoming.pipe(map_async(reverse)),
        ("abc", "de"),
        ("cba", "ed"),
        needs_loop=True,
    ),
}


async def exchange(client: AnyConnection, case: Case) -> tuple[list[Any], Close]:
    """Send the messages, wait for the replies and the end; close if the handler does not."""
    replies: list[Any] = []
    enough = asyncio.Event()

    def on_reply(reply: Any) -> None:
        replies.append(reply)
        if len(replies) == len(case.replies):
            enough.set()

    client.incoming.subscribe(on_reply, lambda _: enough.set(), enough.set)
    for message in case.sent:
        client.outgoing.on_next(message)
    async with asyncio.timeout(PATIENCE):
        if case.close is None:
            await enough.wait()
            client.outgoing.on_completed()
        return replies, await client.closed


def check(case: Case, replies: list[Any], close: Close) -> None:
    """Check the replies and the end."""
    assert replies == list(case.replies)
    expected = case.close or Close(1000)
    assert (close.code, close.reason) == (expected.code, expected.reason)


@asynccontextmanager
async def connected(case: Case) -> AsyncGenerator[AnyConnection]:
    """Yield a client that is connected to the handler over TCP."""
    options = dict(case.options)
    peer_codec = options.pop("peer_codec", options.get("codec", codecs.raw))
    async with (
        serve(case.handler, **options) as server,
        rxws.connect(server.url, codec=peer_codec) as client,
    ):
        yield client


ALL = pytest.mark.parametrize("name", CASES)


@pytest.mark.promise("same")
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.needs_loop])
def test_the_handler_in_virtual_time(name: str) -> None:
    """A simulated handler sends the expected messages and ends as expected."""
    case = CASES[name]
    names = {f"m{at}": message for at, message in enumerate(case.sent)}
    end = "|" if case.close is None else ""
    sim = simulate(
        case.handler,
        f"({','.join(names)})" + "-" * 20 + end,
        step=0.01,
        values=names,
        **case.options,
    )
    assert sim.closed
    # All messages arrive at once here, and nothing is sent after a stream has ended.
    check(
        case, [value for value in sim.outgoing.values if not isinstance(value, Close)], sim.closed
    )
    assert sim.closed.by == ("peer" if case.close is None else "local")
    assert sim.open_subscriptions == 0


@pytest.mark.promise("same")
@ALL
async def test_the_handler_on_a_pair(name: str) -> None:
    """The client of a `pair`, without sockets, gets the expected messages and end."""
    case = CASES[name]
    async with pair(case.handler, **case.options) as (_, client):
        check(case, *await exchange(client, case))


@pytest.mark.promise("same")
@ALL
@pytest.mark.parametrize("path", ["push", "pull"])
async def test_the_handler_on_a_server(
    name: str, path: Literal["push", "pull"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peer over TCP gets the expected messages and end, on both read paths."""
    if path == "push" and (reason := private_api.why_not_push()):
        pytest.skip(reason)
    monkeypatch.setattr(read_path, "_INFO", replace(read_path.transport_info(), path=path))
    case = CASES[name]
    async with connected(case) as client:
        check(case, *await exchange(client, case))
