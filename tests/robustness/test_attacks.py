"""Attacks on an open connection: memory and time on the event loop stay bounded.

Each test uses `attack`, which checks that RSS grows by less than 32 MiB, no callback of the loop
takes 150 ms of CPU, and nothing is logged. `make soak` runs the full numbers.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import zlib
from contextlib import suppress

import pytest

from support.attack.attackers import Target, attack
from support.peers.frames import Op, close_body, deflate, frame
from support.peers.raw import Peer
from support.processes.server import HAS_PROC, KIB, MIB, PATIENCE, SOAK

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc"),
]

MANY = 1_000_000 if SOAK else 20_000
BLOCK = 1000  # frames in one write


async def send_many(peer: Peer, frame: bytes, count: int) -> None:
    """Send a frame `count` times."""
    block = frame * BLOCK
    for _ in range(count // BLOCK):
        await peer.send(block)


async def until_delivered(target: Target, messages: int) -> None:
    """Wait until the process has delivered this many messages."""
    async with asyncio.timeout(PATIENCE):
        while (await target.report())["messages"] < messages:  # noqa: ASYNC110 # another process
            await asyncio.sleep(0.01)


async def close_cleanly(peer: Peer, code: int = 1000) -> None:
    """Close, and assert that the close is answered without a reset."""
    await peer.close(code)
    assert (await peer.closing()).code == code
    peer.fin()
    await peer.until_ended()


async def assert_closed_with(peer: Peer, code: int) -> None:
    """Wait for a close frame with this code."""
    async with asyncio.timeout(PATIENCE):
        assert (await peer.closing()).code == code
        peer.fin()
        await peer.until_ended()


# --- deflate bombs ----------------------------------------------------------------------------


@functools.cache
def bomb(size: int) -> bytes:
    """Deflate `size` zeros without holding them all in memory."""
    compressor = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [compressor.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, compressor.flush(zlib.Z_SYNC_FLUSH)]).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.promise("bomb")
@pytest.mark.parametrize("fragments", [1, 1000])
async def test_a_deflate_bomb_is_inflated_up_to_the_limit(target: Target, fragments: int) -> None:
    """A message that inflates to 1 GiB closes with 1009 at `max_message_size`."""
    data = bomb((1024 if SOAK else 32) * MIB)
    async with attack(target):
        peer = await target.peer("sink", deflate=True)
        step = -(-len(data) // fragments)
        with suppress(ConnectionError):
            for at in range(0, len(data), step):
                last = at + step >= len(data)
                opcode = Op.CONT if at else Op.BINARY
                await peer.frame(opcode, data[at : at + step], fin=last, rsv=0 if at else 4)
        await assert_closed_with(peer, 1009)


@pytest.mark.promise("bomb")
async def test_many_bombs_in_one_chunk_are_inflated_one_at_a_time(target: Target) -> None:
    """Many messages that inflate to `max_message_size` are inflated one at a time."""
    count = 1000 if SOAK else 60
    async with attack(target):
        peer = await target.peer("sink", deflate=True)
        await peer.send(peer.build(Op.BINARY, bomb(MIB), rsv=4) * count)
        await until_delivered(target, count)
        await close_cleanly(peer)


async def test_a_bomb_within_a_bomb_is_inflated_once(target: Target) -> None:
    """A message that inflates to deflate data is delivered as that data."""
    async with attack(target) as cost:
        peer = await target.peer("echo", deflate=True)
        await peer.deflated(Op.BINARY, bomb(32 * MIB))
        await until_delivered(target, 1)
        await close_cleanly(peer)
    assert cost.said["ends"] == {"peer 1000": 1}


# --- many of a kind ---------------------------------------------------------------------------


@pytest.mark.promise("size")
async def test_a_million_fragments_of_one_byte(target: Target) -> None:
    """`max_message_size` also limits a message of a million fragments of one byte."""
    async with attack(target):
        peer = await target.peer("sink")
        await peer.frame(Op.BINARY, b"", fin=False)
        await send_many(peer, peer.build(Op.CONT, b"x", fin=False), MANY)
        await peer.frame(Op.CONT, b"")
        await until_delivered(target, 1)
        await close_cleanly(peer)


async def test_a_million_empty_fragments(target: Target) -> None:
    """Empty fragments take no memory."""
    async with attack(target):
        peer = await target.peer("sink")
        await peer.frame(Op.TEXT, b"", fin=False)
        await send_many(peer, peer.build(Op.CONT, b"", fin=False), MANY)
        await close_cleanly(peer)


@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_a_million_tiny_messages(target: Target, payload: bytes) -> None:
    """Tiny messages are delivered at once and fill no queue."""
    async with attack(target):
        peer = await target.peer("sink")
        await send_many(peer, peer.build(Op.TEXT, payload), MANY)
        await until_delivered(target, MANY)
        await close_cleanly(peer)


async def test_an_echo_stops_reading_above_high_water(target: Target) -> None:
    """Above `high_water` unsent bytes, nothing more is read from a peer that does not read."""
    async with attack(target):
        peer = await target.peer("echo", reads=False, send_timeout=1.0, heartbeat=600.0)
        block = peer.build(Op.BINARY, bytes(16 * KIB)) * 16
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while True:
                    await peer.send(block)  # until `send_timeout` ends it


# --- control frames ---------------------------------------------------------------------------


@pytest.mark.promise("pings")
@pytest.mark.parametrize("opcode", [Op.PING, Op.PONG])
async def test_a_flood_of_control_frames_from_a_peer_that_does_not_read(
    target: Target, opcode: Op
) -> None:
    """All control frames are read, and at most one pong waits for a peer that does not read."""
    async with attack(target):
        peer = await target.peer("sink", reads=False, heartbeat=600.0)
        await send_many(peer, peer.build(opcode, bytes(125)), MANY)
        await peer.text("over")
        await until_delivered(target, 1)  # everything before it was read
        peer.start_reading()
        await close_cleanly(peer)
    pongs = [one for one in peer.frames if one.opcode == Op.PONG]
    assert len(pongs) <= (MANY if opcode is Op.PING else 0)


def has_frames(peer: Peer, count: int) -> bool:
    """Return whether a peer has received this many frames."""
    return len(peer.frames) == count


@pytest.mark.promise("size")
async def test_a_message_that_is_never_finished(target: Target) -> None:
    """A message that never ends uses at most `max_message_size` bytes of memory.

    With compression it holds up to an eighth more. There is no time limit: pings are answered
    between fragments.
    """
    async with attack(target) as cost:
        peer = await target.peer("sink", max_message_size=MIB)
        await peer.frame(Op.BINARY, b"", fin=False)
        for number in range(100):
            more = peer.build(Op.CONT, bytes(10), fin=False)
            await peer.send(more + peer.build(Op.PING, str(number).encode()))
            await peer.until(functools.partial(has_frames, peer, number + 1))
        assert {one.opcode for one in peer.frames} == {Op.PONG}
        with suppress(ConnectionError):
            for _ in range(19):
                await peer.frame(Op.PING, b"more")
                await peer.frame(Op.CONT, bytes(64 * KIB), fin=False)
        await assert_closed_with(peer, 1009)
    assert cost.said["messages"] == 0


async def test_the_announced_length_is_not_allocated(target: Target) -> None:
    """Headers that announce 50 messages of 64 MiB take no memory before the payload arrives."""
    limit, count = 64 * MIB, 50
    async with attack(target) as cost:
        for _ in range(count):
            peer = await target.peer("sink", max_message_size=limit)
            mask = b"mask" if peer.masks else None
            await peer.send(frame(Op.BINARY, b"some of it", mask=mask, claim=limit))
        for peer in target.peers or target.server.peers:
            peer.fin()
            await peer.until_ended()
    assert cost.said["ends"] == {"network 1006": count}


# --- closing ----------------------------------------------------------------------------------


async def test_a_close_frame_byte_by_byte(target: Target) -> None:
    """A close frame that arrives byte by byte is answered when it is complete."""
    async with attack(target) as cost:
        peer = await target.peer("sink")
        for at, byte in enumerate(data := peer.build(Op.CLOSE, close_body(4001, "bye"))):
            assert not peer.closes, at
            await peer.send(bytes([byte]))
            await asyncio.sleep(0)
        assert data
        assert (await peer.closing()).code == 4001
        peer.fin()
        await peer.until_ended()
    assert cost.said["ends"] == {"peer 4001": 1}


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((Op.CLOSE, close_body(1000, "x" * 123)), id="close"),
        pytest.param((Op.PING, b"x"), id="pings"),
        pytest.param((Op.BINARY, bytes(1000)), id="messages"),
    ],
)
async def test_a_peer_that_trickles_instead_of_answering_a_close(
    target: Target, answer: tuple[Op, bytes]
) -> None:
    """A peer that does not answer our close within `close_timeout` is cut off."""
    async with attack(target) as cost:
        peer = await target.peer("leave", close_timeout=0.3)
        assert (await peer.closing()).code == 1000
        trickle = itertools.cycle(peer.build(*answer))
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while not peer.ended:
                    await peer.send(bytes([next(trickle)]))
                    await asyncio.sleep(0.01)  # too slow to complete a close in time
            await peer.until_ended()
    assert cost.said["ends"] == {"local 1000": 1}


async def test_many_attacks_at_once(target: Target) -> None:
    """Fifty attacks at once stay within the same bounds as one."""
    rounds = 100 if SOAK else 1
    async with attack(target):
        for _ in range(rounds):
            peers = [
                await target.peer("sink", deflate=True, max_message_size=MIB) for _ in range(50)
            ]
            bad = bomb(4 * MIB)
            for number, peer in enumerate(peers):
                with suppress(ConnectionError):
                    if number % 2:
                        await peer.frame(Op.BINARY, bad, rsv=4)
                    else:
                        await peer.frame(Op.BINARY, deflate(os.urandom(100)), fin=False, rsv=4)
            for number, peer in enumerate(peers):
                if number % 2:
                    await assert_closed_with(peer, 1009)
                else:
                    await close_cleanly(peer)
                await peer.rst()
