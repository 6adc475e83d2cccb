"""A connection that is cut at any byte is never reported as a clean close."""

from __future__ import annotations

import random

import pytest

import rxws
from support.peers.endpoints import Links
from support.peers.frames import Op, close_body
from support.peers.raw import Peer

CUTS = 60
FIXED = [0, 1, -1, -7, -8, -9, -10]  # nothing sent; inside the header or code of the close frame
LONG = "long " * 200


def build_stream(peer: Peer) -> tuple[bytes, list[tuple[int, str | bytes]]]:
    """Return frames that end with a close, and the offset at which each message is complete."""
    stream = b""
    messages: list[tuple[int, str | bytes]] = []

    def add(data: bytes, message: str | bytes | None = None) -> None:
        nonlocal stream
        stream += data
        if message is not None:
            messages.append((len(stream), message))

    add(peer.build(Op.TEXT, b"first"), "first")
    add(peer.build(Op.BINARY, bytes(range(256))), bytes(range(256)))
    add(peer.build(Op.PING, b"are you there"))
    add(peer.build(Op.TEXT, b"one ", fin=False))
    add(peer.build(Op.PONG))
    add(peer.build(Op.CONT, b"of three ", fin=False))
    add(peer.build(Op.CONT, "pièces".encode()), "one of three pièces")
    add(peer.build(Op.BINARY), b"")
    add(peer.build(Op.TEXT, LONG.encode()), LONG)
    add(peer.build(Op.CLOSE, close_body(1000, "the end")))
    return stream, messages


def cut_offset(number: int, length: int, places: random.Random) -> int:
    """Return the offset of cut `number`: the fixed offsets first, then random ones."""
    return FIXED[number] % length if number < len(FIXED) else places.randrange(length)


@pytest.mark.promise("cut")
async def test_fin_at_any_byte_is_1006(link: Links) -> None:
    """FIN at any byte is reported as 1006, after all complete messages."""
    places = random.Random(1006)
    for number in range(CUTS):
        one = await link()
        stream, messages = build_stream(one.peer)
        cut = cut_offset(number, len(stream), places)
        await one.peer.send(stream[:cut])
        one.peer.fin()
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        whole = [message for end, message in messages if end <= cut]
        assert one.seen.values == whole, f"cut after {cut} bytes"
        await one.peer.until_ended()


@pytest.mark.promise("cut")
async def test_rst_at_any_byte_is_1006(link: Links) -> None:
    """RST at any byte is reported as 1006, and only complete messages are delivered, in order."""
    places = random.Random(1006)
    for number in range(CUTS):
        one = await link()
        stream, messages = build_stream(one.peer)
        cut = cut_offset(number, len(stream), places)
        await one.peer.send(stream[:cut])
        await one.peer.rst()
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        sent = [message for end, message in messages if end <= cut]
        assert one.seen.values == sent[: len(one.seen.values)], f"cut after {cut} bytes"


async def test_a_whole_stream_ends_with_its_close(link: Links) -> None:
    """A complete stream ends with its close frame, however it is split into writes."""
    pieces = random.Random(6455)
    for _ in range(10):
        one = await link()
        stream, messages = build_stream(one.peer)
        while stream:
            size = pieces.choice([1, 2, 7, 100, 2000])
            await one.peer.send(stream[:size])
            stream = stream[size:]
        one.peer.fin()
        await one.ended(1000, "the end", by="peer", error=None)
        assert one.seen.values == [message for _, message in messages]
        await one.wire(1000)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_tcp_that_ends_while_we_send_is_1006(link: Links, how: str) -> None:
    """TCP that ends while we are sending is reported as 1006."""
    one = await link()
    one.conn.outgoing.on_next("x" * 100_000)
    if how == "fin":
        one.peer.fin()
    else:
        await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
