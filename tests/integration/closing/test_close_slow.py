"""Peers that do not read: the outbound bound and the deadline for what waits."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from support.peers.endpoints import Link, Links

CHUNK = bytes(64 << 10)
KERNEL = 16 << 20  # bytes; more than the kernel's buffers of both ends take together


async def stuffed(link: Links, **options: Any) -> Link:
    """A connection whose peer has stopped reading; nothing is sent yet."""
    one = await link(receive_buffer=4096, **options)
    await one.peer.stop_reading()
    return one


async def push(one: Link, total: int = KERNEL) -> int:
    """Send so many bytes, giving the kernel time to take what it takes; the messages sent."""
    count = total // len(CHUNK)
    for _ in range(count):
        one.conn.outgoing.on_next(CHUNK)
        await asyncio.sleep(0)
    return count


@pytest.mark.promise("memory-out")
async def test_overflow_is_a_1013(link: Links) -> None:
    """Above `max_buffer` a connection closes with 1013, and `incoming` fails with the reason."""
    one = await stuffed(link, max_buffer=256 << 10, high_water=64 << 10)
    await push(one)
    one.peer.start_reading()
    got = await one.peer.answer_close()
    assert got.code == 1013
    await one.ended(1013, by="local", error=rxws.BufferOverflow)
    await one.wire(1013)
    assert one.conn.flow.stats.sent_messages == len(one.peer.data)


async def test_overflow_is_aborted_by_the_deadline(link: Links) -> None:
    """Where the peer reads on no more, an overflow still ends as 1013, and the socket is gone."""
    one = await stuffed(
        link, max_buffer=256 << 10, high_water=64 << 10, send_timeout=0.3, close_timeout=0.3
    )
    await push(one)
    await one.ended(1013, by="local", error=rxws.BufferOverflow)
    one.peer.start_reading()
    await one.peer.until_ended()
    # Whether the kernel had taken the close frame when the deadline came is not ours to say.
    assert [got.code for got in one.peer.closes] in ([], [1013])


@pytest.mark.promise("memory-out")
async def test_max_buffer_bounds_what_waits(link: Links) -> None:
    """While nothing has overflowed, no more than `max_buffer` waits outside the kernel."""
    one = await stuffed(link, max_buffer=512 << 10)
    most = 0
    for _ in range(KERNEL // len(CHUNK)):
        one.conn.outgoing.on_next(CHUNK)
        most = max(most, one.conn.flow.buffered)
        await asyncio.sleep(0)
    assert most <= (512 << 10) + len(CHUNK) + 128
    one.peer.start_reading()
    assert (await one.peer.answer_close()).code == 1013
    await one.ended(1013, by="local", error=rxws.BufferOverflow)


@pytest.mark.promise("small")
async def test_small_messages_are_bounded_too(link: Links) -> None:
    """Empty messages count 128 bytes each, so that they overflow as well."""
    one = await stuffed(link, max_buffer=KERNEL + (1 << 20))
    one.conn.outgoing.on_next(bytes(KERNEL))
    for _ in range((KERNEL + (1 << 20)) // 128):  # their frames are a quarter of a megabyte
        one.conn.outgoing.on_next("")
    await one.ended(1013, by="local", error=rxws.BufferOverflow)


async def test_send_timeout_aborts(link: Links) -> None:
    """What waits longer than `send_timeout` ends in an abort: 1006, our verdict."""
    one = await stuffed(link, max_buffer=64 << 20, send_timeout=0.3)
    await push(one)
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    await one.silent_wire()


@pytest.mark.promise("stuck")
async def test_send_timeout_spares_a_slow_peer(link: Links) -> None:
    """A peer that takes all within `send_timeout` is not aborted, however late it starts."""
    one = await stuffed(link, max_buffer=64 << 20, send_timeout=60.0)
    count = await push(one)
    one.conn.outgoing.on_completed()
    one.peer.start_reading()
    await one.peer.answer_close()
    assert len(one.peer.data) == count
    await one.ended(1000, by="local", error=None)


async def test_a_close_of_ours_does_not_wait_for_ever(link: Links) -> None:
    """A close behind messages that a peer does not take is given up after `send_timeout`."""
    one = await stuffed(link, max_buffer=64 << 20, send_timeout=0.3, close_timeout=0.3)
    await push(one)
    one.conn.outgoing.on_next(rxws.Close(4001))
    close = await one.seen.end()
    assert close.code in {1006, 4001}
    assert close.by == "local"
    await one.silent_wire()


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_stuck_peer_that_goes_is_lost(link: Links, how: str) -> None:
    """A peer that goes while messages wait for it is a 1006 by the network."""
    one = await stuffed(link, max_buffer=64 << 20)
    await push(one)
    if how == "fin":
        one.peer.fin()
        one.peer.start_reading()  # else reading is paused here, and EOF is not seen before it ends
    else:
        await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
