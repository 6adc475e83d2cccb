"""Protocol violations: the close code, and a close frame that reaches the peer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

import pytest

import rxws
from support.peers.endpoints import Links
from support.peers.frames import Op, deflate, frame, new_mask
from support.peers.raw import PATIENCE, Peer

Violation = Callable[[Peer], bytes]


def build_frame(opcode: int, rsv: int = 0) -> Violation:
    """Build one small frame."""
    return lambda peer: peer.build(opcode, b"x", rsv=rsv)


VIOLATIONS: dict[str, Violation] = {
    **{f"reserved opcode {opcode:#x}": build_frame(opcode) for opcode in (3, 7, 0xB, 0xF)},
    **{f"reserved bits {rsv}": build_frame(Op.TEXT, rsv) for rsv in (1, 2, 3, 4, 7)},
    "reserved bit on a ping": lambda peer: peer.build(Op.PING, b"x", rsv=4),
    "fragmented ping": lambda peer: peer.build(Op.PING, b"x", fin=False),
    "fragmented pong": lambda peer: peer.build(Op.PONG, b"x", fin=False),
    "fragmented close": lambda peer: peer.build(Op.CLOSE, b"\x03\xe8", fin=False),
    "long ping": lambda peer: peer.build(Op.PING, bytes(126)),
    "long close": lambda peer: peer.build(Op.CLOSE, b"\x03\xe8" + b"x" * 124),
    "continuation without a message": lambda peer: peer.build(Op.CONT, b"x"),
    "a message within a message": lambda peer: (
        peer.build(Op.TEXT, b"a", fin=False) + peer.build(Op.TEXT, b"b")
    ),
    "a fragment of a message within a message": lambda peer: (
        peer.build(Op.TEXT, b"a", fin=False) + peer.build(Op.BINARY, b"b", fin=False)
    ),
    "close of one byte": lambda peer: peer.build(Op.CLOSE, b"\x03"),
}


@pytest.mark.promise("violation")
@pytest.mark.parametrize("violation", VIOLATIONS.values(), ids=VIOLATIONS.keys())
async def test_a_violation_is_a_1002(link: Links, violation: Violation) -> None:
    """A protocol violation closes with 1002, after the messages that came before it."""
    one = await link()
    await one.peer.send(one.peer.build(Op.TEXT, b"fine") + violation(one.peer))
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == ["fine"]
    await one.wire(1002)


@pytest.mark.parametrize("rsv", [1, 2, 3, 5, 6, 7])
async def test_reserved_bits_with_compression(link: Links, rsv: int) -> None:
    """permessage-deflate uses one reserved bit; the others stay forbidden."""
    one = await link(deflate=True)
    await one.peer.frame(Op.TEXT, b"x", rsv=rsv)
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    await one.wire(1002)


@pytest.mark.promise("before-end")
async def test_messages_after_a_violation_are_ignored(link: Links) -> None:
    """Messages after a protocol violation are ignored, in the same write or later."""
    one = await link()
    await one.peer.send(one.peer.build(0x3) + one.peer.build(Op.TEXT, b"zombie"))
    await one.peer.text("zombie")
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == []
    await one.wire(1002)


@pytest.mark.promise("flood")
@pytest.mark.parametrize(
    ("head", "code"),
    [
        pytest.param(b"\x83\x80", 1002, id="reserved opcode"),
        pytest.param(b"\x81\x83", 1007, id="bad UTF-8"),
        pytest.param(b"\x82\xff", 1009, id="oversize"),
    ],
)
async def test_the_close_reaches_a_peer_that_floods(link: Links, head: bytes, code: int) -> None:
    """A peer that keeps sending gets our close frame and then EOF, not a reset."""
    one = await link(max_message_size=1000, close_timeout=1.0)
    payload = {1002: b"", 1007: b"\xff\xff\xff", 1009: bytes(100_000)}[code]
    mask = new_mask() if one.peer.masks else None
    await one.peer.stop_reading()  # a reset would destroy the unread close frame
    bad = frame(head[0] & 0xF, payload, mask=mask)
    # More than one read takes: closing a socket with unread data resets TCP.
    flood = one.peer.build(Op.BINARY, bytes(1 << 20))
    one.peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, len(flood))
    flooding = asyncio.create_task(one.peer.flood(flood, first=bad))
    await one.ended(code, by="local", error=rxws.ConnectionClosed)
    one.peer.start_reading()
    assert (await one.peer.closing()).code == code
    assert await one.peer.until_ended() == "eof"
    async with asyncio.timeout(PATIENCE):  # it sends until we stop waiting for its FIN
        assert await flooding > 0


async def test_we_end_tcp_when_the_peer_answers_our_1002(link: Links) -> None:
    """After the peer answers our 1002 and ends TCP, we end TCP without further waiting."""
    one = await link(close_timeout=60.0)
    await one.peer.frame(0x3)
    assert (await one.peer.answer_close()).code == 1002
    await one.ended(1002, by="local", error=rxws.ConnectionClosed)
    assert await one.peer.until_ended() == "eof"


SIZE = 10_000


@pytest.mark.promise("size")
@pytest.mark.parametrize("opcode", [Op.TEXT, Op.BINARY])
@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("deflated", [False, True], ids=["plain", "deflated"])
async def test_max_message_size_is_exact(
    link: Links, opcode: Op, fragments: int, deflated: bool
) -> None:
    """A message of `max_message_size` bytes is accepted; one byte more closes with 1009."""
    one = await link(max_message_size=SIZE, deflate=deflated)
    for size in (SIZE, SIZE + 1):
        await send_message(one.peer, opcode, b"x" * size, fragments, deflated)
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    assert [len(value) for value in one.seen.values] == [SIZE]
    await one.wire(1009)


async def send_message(
    peer: Peer, opcode: int, payload: bytes, fragments: int, deflated: bool
) -> None:
    """Send a message in `fragments` frames, compressed as a whole if `deflated`."""
    data = deflate(payload) if deflated else payload
    step = -(-len(data) // fragments)
    for number in range(fragments):
        await peer.frame(
            opcode if number == 0 else Op.CONT,
            data[number * step : (number + 1) * step],
            fin=number == fragments - 1,
            rsv=4 if deflated and number == 0 else 0,
        )


async def test_max_message_size_counts_bytes(link: Links) -> None:
    """The size of a text message is its length in UTF-8 bytes, not in characters."""
    one = await link(max_message_size=10)
    await one.peer.text("é" * 5)
    await one.peer.text("é" * 5 + "e")
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    assert one.seen.values == ["é" * 5]
    await one.wire(1009)


@pytest.mark.promise("size")
async def test_a_header_that_announces_terabytes(link: Links) -> None:
    """A frame header that announces terabytes closes with 1009 before any payload arrives."""
    one = await link(max_message_size=1000)
    mask = new_mask() if one.peer.masks else None
    await one.peer.send(frame(Op.BINARY, b"", mask=mask, claim=1 << 42))
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    await one.wire(1009)


@pytest.mark.promise("bomb")
async def test_a_deflate_bomb(link: Links) -> None:
    """A small frame that inflates beyond `max_message_size` closes with 1009."""
    one = await link(max_message_size=100_000, deflate=True)
    await one.peer.deflated(Op.BINARY, bytes(50_000_000))
    await one.ended(1009, by="local", error=rxws.ConnectionClosed)
    await one.wire(1009)


async def test_broken_deflate_data(link: Links) -> None:
    """A compressed frame that does not inflate is a protocol violation; no message is delivered."""
    one = await link(deflate=True)
    await one.peer.frame(Op.TEXT, b"\xff\xff\xff\xff\xff", rsv=4)
    close = await one.seen.end()
    assert (close.code in {1002, 1007}, close.by) == (True, "local")
    assert one.seen.values == []
    await one.wire(close.code)
