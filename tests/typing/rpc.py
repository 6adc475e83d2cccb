"""The types that type checkers infer for `rxws.rpc`.

Nothing here runs: `make types` checks it with mypy and pyright.
"""

# pyright: strict, reportUnnecessaryTypeIgnoreComment=true

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, assert_type

from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws.rpc import Caller, Context, Methods, Peer, RpcStats

methods = Methods()


@dataclass
class Token:
    text: str


# --- methods keep their types -------------------------------------------------------------------


@methods.add
def add(a: int, b: int) -> int:
    return a + b


@methods.add(name="later")
async def add_later(a: int, b: int, context: Context) -> int:
    assert_type(context.caller, Caller[Any])
    assert_type(context.cancelled, bool)
    return a + b


@methods.add
async def tokens(prompt: str) -> AsyncIterator[Token]:
    yield Token(prompt)


async def decorated() -> None:
    """The decorator returns the function with its type."""
    assert_type(add(1, 2), int)
    assert_type(tokens("why?"), AsyncIterator[Token])
    methods.add(5)  # type: ignore[call-overload]
    methods.add()  # type: ignore[call-overload]


# --- callers ------------------------------------------------------------------------------------


async def calls(conn: rxws.Connection, feed: rxws.WebSocketSubject[str, str]) -> None:
    """The result is `Any`, or the type that `with_options` gets."""
    caller = Caller(conn)
    assert_type(caller, Caller[Any])
    assert_type(Caller(feed, max_calls=5), Caller[Any])
    assert_type(await caller.call("add", 1, 2), Any)
    numbers = caller.with_options(result=int, timeout=5)
    assert_type(numbers, Caller[int])
    assert_type(await numbers.call("add", a=1, b=2), int)
    assert_type(await numbers.with_options(idempotent=True).call("add"), int)
    items = caller.with_options(result=Token, when_full="hold").stream("tokens", prompt="why?")
    async for token in items:
        assert_type(token, Token)
    assert_type(items.pipe(ops.first()), Observable[Token])
    assert_type(numbers.notifications("n").pipe(ops.first()), Observable[int])
    caller.notify("hello")
    caller.stream("tokens", "why?")  # type: ignore[arg-type]
    caller.with_options(when_full="x")  # type: ignore[call-overload]


def peers(conn: rxws.Connection[str, str]) -> None:
    """A peer has a caller and counters; its options are checked."""
    peer = Peer(conn, methods, max_requests=5)
    assert_type(peer.caller, Caller[Any])
    assert_type(peer.stats, RpcStats)
    Peer(conn, methods, max_request=5)  # type: ignore[call-arg]
    Peer("ws://x")  # type: ignore[arg-type]


def routes() -> None:
    """`serve` is a handler of any connection."""
    rxws.websocket(rxws.rpc.serve(methods), codec=rxws.codecs.text)
    rxws.serve(rxws.rpc.serve(methods, queue_items=5))
