"""Attacks on an open connection: each is bounded, in memory and in what it holds of the loop.

What `fire.attack` checks is part of what each test says: RSS grows by less than 32 MiB, no callback
of the loop takes 150 ms of CPU, and nothing is logged. `make soak` takes the full numbers.
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
    """Send a frame so often."""
    block = frame * BLOCK
    for _ in range(count // BLOCK):
        await peer.send(block)


async def told(target: Target, messages: int) -> None:
    """Wait until the process has told so many messages."""
    async with asyncio.timeout(PATIENCE):
        # Nothing tells what goes on in another process.
        while (await target.report())["messages"] < messages:  # noqa: ASYNC110 # see above
            await asyncio.sleep(0.01)


async def end(peer: Peer, code: int = 1000) -> None:
    """Close, and see the close answered, with no reset."""
    await peer.close(code)
    assert (await peer.closing()).code == code
    peer.fin()
    await peer.until_ended()


async def ended_with(peer: Peer, code: int) -> None:
    """Wait for the verdict."""
    async with asyncio.timeout(PATIENCE):
        assert (await peer.closing()).code == code
        peer.fin()
        await peer.until_ended()


# --- deflate bombs ----------------------------------------------------------------------------


@functools.cache
def bomb(size: int) -> bytes:
    """So many zeros, deflated without ever having them all."""
    squeeze = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    parts = [squeeze.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*parts, squeeze.flush(zlib.Z_SYNC_FLUSH)]).removesuffix(b"\x00\x00\xff\xff")


@pytest.mark.promise("bomb")
@pytest.mark.parametrize("fragments", [1, 1000])
async def test_a_deflate_bomb_is_inflated_up_to_the_limit(target: Target, fragments: int) -> None:
    """What would be a gigabyte is a 1009 when `max_message_size` is passed, without the rest."""
    data = bomb((1024 if SOAK else 32) * MIB)
    async with attack(target):
        peer = await target.peer("sink", deflate=True)
        step = -(-len(data) // fragments)
        with suppress(ConnectionError):
            for at in range(0, len(data), step):
                last = at + step >= len(data)
                opcode = Op.CONT if at else Op.BINARY
                await peer.frame(opcode, data[at : at + step], fin=last, rsv=0 if at else 4)
        await ended_with(peer, 1009)


@pytest.mark.promise("bomb")
async def test_many_bombs_in_one_chunk_take_turns(target: Target) -> None:
    """Messages that inflate to `max_message_size` are inflated one at a time, whatever comes."""
    count = 1000 if SOAK else 60
    async with attack(target):
        peer = await target.peer("sink", deflate=True)
        await peer.send(peer.build(Op.BINARY, bomb(MIB), rsv=4) * count)
        await told(target, count)
        await end(peer)


async def test_a_bomb_within_a_bomb_is_inflated_once(target: Target) -> None:
    """A message that is deflate data itself is told as that."""
    async with attack(target) as cost:
        peer = await target.peer("echo", deflate=True)
        await peer.deflated(Op.BINARY, bomb(32 * MIB))
        await told(target, 1)
        await end(peer)
    assert cost.said["ends"] == {"peer 1000": 1}


# --- many of a kind ---------------------------------------------------------------------------


@pytest.mark.promise("size")
async def test_a_million_fragments_of_one_byte(target: Target) -> None:
    """They are one message, of as many bytes; what it holds is what `max_message_size` allows."""
    async with attack(target):
        peer = await target.peer("sink")
        await peer.frame(Op.BINARY, b"", fin=False)
        await send_many(peer, peer.build(Op.CONT, b"x", fin=False), MANY)
        await peer.frame(Op.CONT, b"")
        await told(target, 1)
        await end(peer)


async def test_fragments_of_nothing(target: Target) -> None:
    """A message that goes on without a byte takes no memory, and nobody has to stay for it."""
    async with attack(target):
        peer = await target.peer("sink")
        await peer.frame(Op.TEXT, b"", fin=False)
        await send_many(peer, peer.build(Op.CONT, b"", fin=False), MANY)
        await end(peer)


@pytest.mark.parametrize("payload", [b"", b"x"])
async def test_a_million_tiny_messages(target: Target, payload: bytes) -> None:
    """They are told at once: there is no queue that they could fill."""
    async with attack(target):
        peer = await target.peer("sink")
        await send_many(peer, peer.build(Op.TEXT, payload), MANY)
        await told(target, MANY)
        await end(peer)


async def test_echoes_that_nobody_reads(target: Target) -> None:
    """Above `high_water` unsent bytes nothing more is read from a peer that does not read."""
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
async def test_a_flood_of_control_frames_at_a_peer_that_does_not_read(
    target: Target, opcode: Op
) -> None:
    """Pings are read on and on, while one pong at most waits for the peer to take it."""
    async with attack(target):
        peer = await target.peer("sink", reads=False, heartbeat=600.0)
        await send_many(peer, peer.build(opcode, bytes(125)), MANY)
        await peer.text("over")
        await told(target, 1)  # all that came before it was read
        peer.start_reading()
        await end(peer)
    pongs = [one for one in peer.frames if one.opcode == Op.PONG]
    assert len(pongs) <= (MANY if opcode is Op.PING else 0)


def has_frames(peer: Peer, count: int) -> bool:
    """Whether a peer has got so many frames."""
    return len(peer.frames) == count


@pytest.mark.promise("size")
async def test_a_message_that_is_never_finished(target: Target) -> None:
    """It may take as long as its peer likes, but no more bytes than `max_message_size`.

    (Where messages may be compressed: an eighth more.) A bound in time there is none: pings are
    answered in between, as they are without a message.
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
        await ended_with(peer, 1009)
    assert cost.said["messages"] == 0


async def test_the_announced_length_is_not_allocated(target: Target) -> None:
    """Headers that announce 50 messages of 64 MiB take no memory before the messages come."""
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
    """It is answered when it is whole."""
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
async def test_an_answer_that_is_trickled(target: Target, answer: tuple[Op, bytes]) -> None:
    """Who does not answer our close within `close_timeout` is cut off, whatever else it sends."""
    async with attack(target) as cost:
        peer = await target.peer("leave", close_timeout=0.3)
        assert (await peer.closing()).code == 1000
        trickle = itertools.cycle(peer.build(*answer))
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                while not peer.ended:
                    await peer.send(bytes([next(trickle)]))
                    await asyncio.sleep(0.01)  # slow enough for a close not to be whole in time
            await peer.until_ended()
    assert cost.said["ends"] == {"local 1000": 1}


async def test_many_at_once(target: Target) -> None:
    """A hundred peers that all do their worst at once are bounded as one is."""
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
                    await ended_with(peer, 1009)
                else:
                    await end(peer)
                await peer.rst()
