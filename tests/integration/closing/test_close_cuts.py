"""A connection cut anywhere is never taken for one that was closed."""

from __future__ import annotations

import random

import pytest

import rxws
from support.peers.endpoints import Links
from support.peers.frames import Op, close_body
from support.peers.raw import Peer

CUTS = 60
FIXED = [0, 1, -1, -7, -8, -9, -10]  # nothing sent; within the head and the code of the close
LONG = "long " * 200


def recorded(peer: Peer) -> tuple[bytes, list[tuple[int, str | bytes]]]:
    """A stream of frames that ends with a close, and after how many bytes a message is whole."""
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


def place(number: int, length: int, places: random.Random) -> int:
    """Where to cut a stream of this length: a few fixed places first, then random ones."""
    return FIXED[number] % length if number < len(FIXED) else places.randrange(length)


@pytest.mark.promise("cut")
async def test_fin_anywhere_is_a_loss(link: Links) -> None:
    """FIN at any point of a stream is a 1006, after all messages that were whole."""
    places = random.Random(1006)
    for number in range(CUTS):
        one = await link()
        stream, messages = recorded(one.peer)
        cut = place(number, len(stream), places)
        await one.peer.send(stream[:cut])
        one.peer.fin()
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        whole = [message for end, message in messages if end <= cut]
        assert one.seen.values == whole, f"cut after {cut} bytes"
        await one.peer.until_ended()


@pytest.mark.promise("cut")
async def test_rst_anywhere_is_a_loss(link: Links) -> None:
    """RST at any point of a stream is a 1006; nothing is told that was not sent."""
    places = random.Random(1006)
    for number in range(CUTS):
        one = await link()
        stream, messages = recorded(one.peer)
        cut = place(number, len(stream), places)
        await one.peer.send(stream[:cut])
        await one.peer.rst()
        await one.ended(1006, by="network", error=rxws.ConnectionClosed)
        sent = [message for end, message in messages if end <= cut]
        assert one.seen.values == sent[: len(one.seen.values)], f"cut after {cut} bytes"


async def test_fin_after_a_close_is_a_close(link: Links) -> None:
    """The same streams, whole, end as their close frame says, in however many pieces they come."""
    pieces = random.Random(6455)
    for _ in range(10):
        one = await link()
        stream, messages = recorded(one.peer)
        while stream:
            size = pieces.choice([1, 2, 7, 100, 2000])
            await one.peer.send(stream[:size])
            stream = stream[size:]
        one.peer.fin()
        await one.ended(1000, "the end", by="peer", error=None)
        assert one.seen.values == [message for _, message in messages]
        await one.wire(1000)


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_loss_with_our_data_under_way(link: Links, how: str) -> None:
    """A peer that leaves while we send to it is lost, too."""
    one = await link()
    one.conn.outgoing.on_next("x" * 100_000)
    if how == "fin":
        one.peer.fin()
    else:
        await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
