"""Attackers on raw sockets. The process that they attack runs `support.attack.target`."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

from support.attack.mutations import LIMIT, Mutant, digest, flipped, mutant, noise, truncated
from support.peers.frames import Decoder, Op
from support.peers.handshake import Head, accept_key, encode_head
from support.peers.raw import Peer, RawClient, RawServer
from support.processes.server import MIB, PATIENCE, Server, running

GROWTH = 32 * MIB  # bytes that RSS may grow by under any attack
HELD = 0.150  # seconds of CPU that one callback of the loop may take
EXTENSION = "Sec-WebSocket-Extensions"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, section 1.3; any key serves
CODECS = ("raw", "text", "json")
RESET = struct.pack("ii", 1, 0)  # `struct linger`: on, and for no time at all


@dataclass
class Target:
    """The attacked process: rxws as server or as client.

    Attributes:
        end: What rxws is: "server" or "client".
        process: The process.
        server: The attacker's server, for rxws as client.
    """

    end: str
    process: Server
    server: RawServer
    peers: list[Peer] = field(default_factory=list[Peer])
    accepting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def _ask(self, path: str) -> Any:
        async with (
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
            session.get(f"http://127.0.0.1:{self.process.port}{path}") as response,
        ):
            assert response.status == 200, await response.text()
            return await response.json() if response.content_type == "application/json" else None

    async def report(self) -> dict[str, Any]:
        """Return the report since `forget`: see `target.Report`."""
        found: dict[str, Any] = await self._ask("/report")
        return found

    async def forget(self) -> None:
        """Start a new report."""
        await self._ask("/forget")

    async def dial(self, handler: str, count: int = 1, width: int = 1, **options: Any) -> None:
        """Make the process connect to our server."""
        order = {
            "url": self.server.url,
            "handler": handler,
            "count": count,
            "width": width,
            "options": options,
        }
        await self._ask(f"/dial?order={quote(json.dumps(order))}")

    async def peer(
        self, handler: str, *, deflate: bool = False, reads: bool = True, **options: Any
    ) -> Peer:
        """Return a raw peer of a new connection."""
        headers = {EXTENSION: "permessage-deflate" if deflate else None}
        if self.end == "client":
            await self.dial(handler, **options)
            return await self.server.accept(headers, reads=reads)
        path = self.process.path(handler, **options)
        peer = await RawClient.connect(self.process.port, path, headers=headers, reads=reads)
        self.peers.append(peer)
        return peer

    async def calm(self) -> dict[str, Any]:
        """Wait until no client is left, and return the report."""
        async with asyncio.timeout(PATIENCE):
            # There is no event for a socket that another process closes.
            while (said := await self.report())["dialling"]:  # noqa: ASYNC110 # see above
                await asyncio.sleep(0.02)
        return said


@asynccontextmanager
async def attacked_process(end: str, path: str = "push") -> AsyncGenerator[Target]:
    """Run the attacked process; fail the test if it does not shut down cleanly."""
    async with (
        running(1.0, "support.attack.target", RXWS_TRANSPORT=path) as process,
        RawServer() as server,
    ):
        target = Target(end, process, server)
        try:
            yield target
        finally:
            for peer in target.peers:
                await peer.rst()


@dataclass
class Cost:
    """The cost of an attack.

    Attributes:
        grown: The peak growth of RSS, in bytes.
        said: The report.
    """

    grown: int = 0
    said: dict[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        held = self.said.get("longest", 0.0) * 1000
        return f"RSS +{self.grown / MIB:.1f} MiB, longest callback {held:.1f} ms of CPU"


@asynccontextmanager
async def attack(target: Target) -> AsyncGenerator[Cost]:
    """Measure an attack; check memory, the longest callback and the report."""
    await target.forget()
    target.process.forget_peak()
    before = target.process.rss
    cost = Cost()
    yield cost
    cost.said = await target.calm()
    cost.grown = target.process.peak - before
    print(f"\n{target.end}: {cost} {dict(cost.said['ends'])}")
    assert not cost.said["faults"], cost.said["faults"]
    assert not cost.said["logged"], cost.said["logged"]
    assert not cost.said["unheard"], cost.said["unheard"]
    assert cost.grown < GROWTH, cost
    assert cost.said["longest"] < HELD, (cost, cost.said["callback"])


# --- streams of bytes -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Case:
    """A mutant and the end that receives it."""

    mutant: Mutant
    codec: str
    deflate: bool
    echo: bool
    tampered: bool = False  # whether the handshake is, too

    @property
    def query(self) -> str:
        """Return the query of a request to the process."""
        kinds: dict[str, tuple[type, ...]] = {"raw": (str, bytes), "text": (str,), "json": ()}
        due = tuple(each for each in self.mutant.due if isinstance(each, kinds[self.codec]))
        options = {"max_message_size": LIMIT, "close_timeout": 2.0}
        return json.dumps(
            {
                "case": self.mutant.number,
                "due": len(due),
                "crc": digest(due),
                "codec": self.codec,
                "echo": self.echo,
                "options": options,
            }
        )


def case(number: int, end: str, handshakes: bool = True) -> Case:
    """Return the case with this number."""
    deflate = number % 2 == 0
    # A client is given its codec before it knows the case.
    codec = "raw" if end == "client" else CODECS[number // 2 % 3]
    one = mutant(number, masks=end == "server", deflate=deflate)
    return Case(one, codec, deflate, number % 5 == 0, handshakes and number % 8 == 7)


def tampered(head: bytes, number: int) -> bytes:
    """Return a head with an error in it."""
    rng = random.Random(f"head {number}")
    for _ in range(rng.choice([1, 1, 3])):
        at, rest = rng.choice([flipped, noise, truncated])(rng, head or b"\r\n")
        head = head[:at] + rest
    return head


def request(one: Case) -> bytes:
    """Return the request of a case."""
    headers = {
        "Host": "127.0.0.1",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        EXTENSION: "permessage-deflate" if one.deflate else None,
    }
    if one.tampered:
        return tampered(encode_head("GET /sink HTTP/1.1", headers), one.mutant.number)
    return encode_head(f"GET /fire?case={quote(one.query)} HTTP/1.1", headers)


def response(one: Case, key: str) -> bytes:
    """Return the response of a case."""
    headers = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Accept": accept_key(key),
        EXTENSION: "permessage-deflate" if one.deflate else None,
        "X-Case": None if one.tampered else one.query,
    }
    head = encode_head("HTTP/1.1 101 Switching Protocols", headers)
    return tampered(head, one.mutant.number) if one.tampered else head


async def exchange(sock: socket.socket, first: bytes, one: Case) -> bytes | None:
    """Send a case, half-close, and return what arrived until EOF; None after a reset."""
    loop = asyncio.get_running_loop()
    chunks = [first, *one.mutant.chunks]
    if one.mutant.number % 3 == 0:  # with the head, in one write
        chunks[:2] = [chunks[0] + chunks[1]]
    received = b""
    try:
        for at, chunk in enumerate(chunks):
            await loop.sock_sendall(sock, chunk)
            # A server's connection is there before the rest comes; a client says nothing first.
            if at == 0 and first.startswith(b"GET") and not one.tampered:
                while b"\r\n\r\n" not in received:
                    if not (more := await loop.sock_recv(sock, 1 << 16)):
                        return received
                    received += more
            await asyncio.sleep(0)
        if one.mutant.number % 11 == 10 and not one.mutant.due:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            return None
        sock.shutdown(socket.SHUT_WR)
        while more := await loop.sock_recv(sock, 1 << 16):
            received += more
    except OSError:  # reset, or gone
        return None
    return received


def check_answer(received: bytes, one: Case) -> None:
    """Check that the process sent whole frames and at most one close frame, as the last."""
    decoder = Decoder()
    frames = decoder.feed(received)
    what = (one.mutant.number, one.mutant.kinds)
    assert not decoder.rest, what
    closes = [each for each in frames if each.opcode == Op.CLOSE]
    assert closes in ([], frames[-1:]), what
    assert all(each.opcode in tuple(Op) and each.fin for each in frames), what
    for close in closes:
        assert close.code is None or close.code in WIRE, (what, close)


WIRE = {1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)}  # RFC 6455, section 7.4


async def send_as_client(target: Target, number: int) -> None:
    """Send a case to rxws as server."""
    one = case(number, "server")
    with socket.socket() as sock:
        sock.setblocking(False)
        async with asyncio.timeout(PATIENCE):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", target.process.port))
            received = await exchange(sock, request(one), one)
    if received is None or one.tampered:
        return
    head, _, rest = received.partition(b"\r\n\r\n")
    assert Head.parse(head).status == 101, head
    check_answer(rest, one)


async def send_as_server(target: Target, number: int) -> None:
    """Send a case to rxws as client."""
    one = case(number, "client")
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        async with target.accepting:  # asyncio has one waiter for each socket
            sock, _ = await loop.sock_accept(target.server.sock)
        with sock:
            head = b""
            while b"\r\n\r\n" not in head:
                head += (more := await loop.sock_recv(sock, 1 << 16))
                assert more, "TCP ended within the request"
            key = Head.parse(head.partition(b"\r\n\r\n")[0]).headers["sec-websocket-key"]
            received = await exchange(sock, response(one, key), one)
    if received is not None and not one.tampered:
        check_answer(received, one)


async def send_mutants(target: Target, numbers: Iterable[int], width: int = 16) -> None:
    """Send the cases with these numbers, `width` at a time."""
    numbers = list(numbers)
    if target.end == "client":
        await target.dial("fire", len(numbers), width, max_message_size=LIMIT, close_timeout=2.0)
    shoot = send_as_client if target.end == "server" else send_as_server
    left = iter(numbers)

    async def work() -> None:
        for number in left:
            try:
                await shoot(target, number)
            except Exception as exc:
                exc.add_note(f"case {number} at the {target.end}")
                raise

    async with asyncio.TaskGroup() as group:
        for _ in range(width):
            group.create_task(work())
    if target.end == "client":
        await close_pending_dials(target)


async def close_pending_dials(target: Target) -> None:
    """Close pending dials: aiohttp retries when a server ends within its response."""

    async def refuse() -> None:
        while True:
            sock, _ = await asyncio.get_running_loop().sock_accept(target.server.sock)
            sock.close()

    refusing = asyncio.create_task(refuse())
    await target.calm()
    refusing.cancel()
    await asyncio.wait([refusing])
