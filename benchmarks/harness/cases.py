"""The benchmark cases, the peers that are compared, and the goals for rxws."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).parents[2]
GOAL_PEER = "push"  # the peer that the goals apply to


@dataclass(frozen=True)
class Peer:
    """A WebSocket implementation to measure: a module in `benchmarks.peers`."""

    title: str
    module: str
    needs: tuple[str, ...]  # packages that must be installed
    env: Mapping[str, str] = field(default_factory=dict[str, str])
    library: Path = ROOT  # the directory to import rxws from
    compresses: bool = True
    streams: bool = False  # whether it applies operators to a stream
    calls: bool = False  # whether it answers JSON-RPC requests
    fans_out: bool = False  # whether it sends each message to all connections; all others echo

    @property
    def missing(self) -> str | None:
        """The first required package that is not installed, or None."""
        return next((name for name in self.needs if find_spec(name) is None), None)


PUSH = {"RXWS_TRANSPORT": "push"}
PEERS: dict[str, Peer] = {
    "aiohttp": Peer("raw aiohttp", "aiohttp_peer", ("aiohttp",)),
    "naive": Peer("Subject and Queue", "naive_peer", ("aiohttp", "reactivex"), streams=True),
    "websockets": Peer("websockets", "websockets_peer", ("websockets",)),
    "picows": Peer("picows", "picows_peer", ("picows",), compresses=False),
    "push": Peer("rxws push", "rxws_peer", ("rxws",), PUSH, streams=True),
    "rpc": Peer("rxws.rpc", "rpc_peer", ("rxws", "msgspec"), PUSH, calls=True),
    "aiohttp-rpc": Peer("JSON-RPC on aiohttp", "aiohttp_rpc_peer", ("aiohttp",), calls=True),
    "pull": Peer("rxws pull", "rxws_peer", ("rxws",), {"RXWS_TRANSPORT": "pull"}, streams=True),
    "broadcast": Peer(
        "websockets.broadcast", "fanout.websockets_peer", ("websockets",), fans_out=True
    ),
    "aiohttp-loop": Peer("aiohttp loop", "fanout.aiohttp_peer", ("aiohttp",), fans_out=True),
    "write": Peer("transport.write", "fanout.floor_peer", ("aiohttp",), fans_out=True),
    "subject": Peer("rxws with a Subject", "fanout.subject_peer", ("rxws",), PUSH, fans_out=True),
    "hub": Peer("rxws.Hub", "fanout.hub_peer", ("rxws",), PUSH, fans_out=True),
}

Kind = Literal["echo", "client", "cycles", "fanout"]
Quantity = Literal["cpu", "p50", "p99", "map"]


@dataclass(frozen=True)
class Goal:
    """An upper limit for rxws: a ratio to another peer, or a number of µs."""

    text: str
    against: str | None  # name of a peer; None if `at_most` is in µs
    at_most: float
    quantity: Quantity = "cpu"
    peer: str = GOAL_PEER
    per_second: bool = False  # report it as a rate, so as a ratio of at least 1/at_most


@dataclass(frozen=True)
class Case:
    """One kind of load and the size of a round."""

    name: str
    title: str
    connections: int
    window: int  # messages in flight per connection
    payloads: tuple[bytes, ...]
    messages: int  # per round, over all connections
    kind: Kind = "echo"
    answers: tuple[bytes, ...] = ()  # to payloads that are JSON-RPC requests
    compress: bool = False
    maps: tuple[int, ...] = (1,)
    burst: int = 1  # messages that a peer sends to all connections for each one that it receives
    goals: tuple[Goal, ...] = ()

    @property
    def unit(self) -> str:
        """The name of the thing that a round counts."""
        return {"cycles": "connection", "fanout": "delivery"}.get(self.kind, "message")

    @property
    def units(self) -> str:
        """The plural of `unit`."""
        return "deliveries" if self.kind == "fanout" else f"{self.unit}s"

    @property
    def replies(self) -> tuple[bytes, ...]:
        """The payloads that a peer sends if it does not echo."""
        return self.answers or tuple(one for one in self.payloads for _ in range(self.burst))

    def supports(self, peer: Peer) -> bool:
        """Return whether the peer can run this case."""
        return (
            (peer.compresses or not self.compress)
            and (peer.streams or len(self.maps) == 1)
            and (bool(self.answers) or not peer.calls)
            and peer.fans_out == (self.kind == "fanout")
        )


def sentences(count: int, size: int) -> tuple[bytes, ...]:
    """Return `count` different texts of `size` bytes."""
    return tuple(f"{number:03} ".encode() + b"x" * (size - 4) for number in range(count))


def records(count: int, size: int) -> tuple[bytes, ...]:
    """Return `count` JSON documents of about `size` bytes that compress as typical API data does.

    Use enough of them to exceed the compressor's window of 32 KiB, so that a document that is sent
    again is no longer in the window.
    """
    rng = random.Random(7)
    words = ("station", "north", "harbour", "pressure", "nominal", "offset", "drift", "level")

    def record() -> dict[str, object]:
        return {
            "id": rng.getrandbits(32),
            "name": "-".join(rng.sample(words, 2)),
            "value": round(rng.uniform(-50, 50), 3),
            "ok": rng.random() < 0.9,
        }

    def text() -> bytes:
        items: list[dict[str, object]] = []
        while len(data := json.dumps(items).encode()) < size:
            items.append(record())
        return data

    return tuple(text() for _ in range(count))


SMALL = sentences(64, 32)
PINGPONG = Case(
    "pingpong",
    "echo, 20 connections, one message in flight on each, 32 bytes",
    connections=20,
    window=1,
    payloads=SMALL,
    messages=20_000,
    goals=(
        Goal("CPU", "aiohttp", 0.85),
        Goal("CPU", "picows", 1.35),
        Goal("CPU", "websockets", 1 / 1.5),
        Goal("latency p50", "aiohttp", 1.1, "p50"),
        Goal("latency p99", "aiohttp", 1.1, "p99"),
    ),
)
PIPELINED = Case(
    "pipelined",
    "echo, 8 connections, 64 messages in flight on each, 32 bytes",
    connections=8,
    window=64,
    payloads=SMALL,
    messages=40_000,
    goals=(
        Goal("CPU", "aiohttp", 0.38),
        Goal("CPU", "picows", 0.75),
        Goal("CPU", "websockets", 1 / 5),
    ),
)
LARGE = Case(
    "large",
    "echo, 4 connections, 4 messages in flight on each, 64 KiB",
    connections=4,
    window=4,
    payloads=sentences(4, 64 << 10),
    messages=3_000,
    goals=(Goal("CPU", "aiohttp", 0.8), Goal("CPU", "picows", 1.1)),
)
DEFLATE = Case(
    "deflate",
    "echo, 4 connections, 4 messages in flight on each, 1 KiB of JSON, permessage-deflate",
    connections=4,
    window=4,
    payloads=records(64, 1 << 10),
    messages=8_000,
    compress=True,
    goals=(Goal("CPU", "aiohttp", 1.0),),
)
CLIENT = Case(
    "client",
    "client that receives, 64 messages in flight, 32 bytes",
    connections=1,
    window=64,
    payloads=SMALL,
    messages=80_000,
    kind="client",
    goals=(Goal("CPU", "aiohttp", 0.6),),
)
CYCLES = Case(
    "cycles",
    "connections opened and closed, 16 in parallel",
    connections=16,
    window=1,
    payloads=(),
    messages=600,
    kind="cycles",
    goals=(Goal("connections per CPU second", "aiohttp", 1 / 0.85, per_second=True),),
)
OPERATORS = Case(
    "operators",
    "echo as in `pipelined`, with 1 and with 11 `ops.map` in the pipeline",
    connections=8,
    window=64,
    payloads=SMALL,
    messages=20_000,
    maps=(1, 11),
    goals=(Goal("CPU of each additional `ops.map`", None, 0.6, "map"),),
)


def requests(count: int) -> tuple[bytes, ...]:
    """Return `count` JSON-RPC requests to add two numbers, all of the same size."""
    return tuple(
        b'{"jsonrpc":"2.0","id":%d,"method":"add","params":[%d,%d]}' % (number, number, 1000)
        for number in range(100, 100 + count)
    )


def answers(count: int) -> tuple[bytes, ...]:
    """Return the answers to `requests(count)`."""
    return tuple(
        b'{"jsonrpc":"2.0","id":%d,"result":%d}' % (number, number + 1000)
        for number in range(100, 100 + count)
    )


RPC = Case(
    "rpc",
    "JSON-RPC call of a plain function, or echo of the request; 20 connections, one call each",
    connections=20,
    window=1,
    payloads=requests(64),
    answers=answers(64),
    messages=20_000,
    goals=(
        Goal("CPU of a call", "push", 2.5, peer="rpc"),
        Goal("CPU of a call", "aiohttp-rpc", 1.0, peer="rpc"),
    ),
)
RPC_PIPELINED = Case(
    "rpc-pipelined",
    "the same with 8 connections, 64 calls in flight on each",
    connections=8,
    window=64,
    payloads=requests(64),
    answers=answers(64),
    messages=40_000,
)

FANOUT = Case(
    "fanout",
    "one message to 500 connections, 32 bytes, without compression",
    connections=500,
    window=1,
    payloads=SMALL,
    messages=50_000,
    kind="fanout",
    goals=(
        Goal("CPU", "broadcast", 0.75, peer="hub"),
        Goal("CPU", "aiohttp-loop", 1.0, peer="hub"),
    ),
)
FANOUT_BURST = Case(
    "fanout-burst",
    "the same with bursts of 10 messages",
    connections=500,
    window=10,
    payloads=SMALL,
    messages=100_000,
    kind="fanout",
    burst=10,
    goals=(
        Goal("CPU", "broadcast", 0.25, peer="hub"),
        Goal("CPU", "aiohttp-loop", 0.25, peer="hub"),
    ),
)

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        PINGPONG,
        PIPELINED,
        LARGE,
        DEFLATE,
        CLIENT,
        CYCLES,
        OPERATORS,
        RPC,
        RPC_PIPELINED,
        FANOUT,
        FANOUT_BURST,
    )
}
