"""Peers that do not read: the bound on the send buffer, and `send_timeout`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from support.peers.endpoints import Link, Links

CHUNK = bytes(64 << 10)
KERNEL = 16 << 20  # bytes; more than the kernel buffers of both ends hold together


async def link_that_does_not_read(link: Links, **options: Any) -> Link:
    """Return a connection whose peer has stopped reading; nothing is sent yet."""
    one = await link(receive_buffer=4096, **options)
    await one.peer.stop_reading()
    return one


async def send_chunks(one: Link, total: int = KERNEL) -> int:
    """Send `total` bytes, giving the kernel time to take them; return the number of messages."""
    count = total // len(CHUNK)
    for _ in range(count):
        one.conn.outgoing.on_next(CHUNK)
        await asyncio.sleep(0)
    return count


@pytest.mark.promise("memory-out")
async def test_overflow_is_a_1013(link: Links) -> None:
    """Above `max_buffer` a connection closes with 1013, and `incoming` fails."""
    one = await link_that_does_not_read(link, max_buffer=256 << 10, high_water=64 << 10)
    await send_chunks(one)
    one.peer.start_reading()
    got = await one.peer.answer_close()
    assert got.code == 1013
    await one.ended(1013, by="local", error=rxws.BufferOverflow)
    await one.wire(1013)
    assert one.conn.flow.stats.sent_messages == len(one.peer.data)


async def test_overflow_is_aborted_by_the_deadline(link: Links) -> None:
    """If the peer never reads again, an overflow still ends as 1013, and the socket is aborted."""
    one = await link_that_does_not_read(
        link, max_buffer=256 << 10, high_water=64 << 10, send_timeout=0.3, close_timeout=0.3
    )
    await send_chunks(one)
    await one.ended(1013, by="local", error=rxws.BufferOverflow)
    one.peer.start_reading()
    await one.peer.until_ended()
    # The kernel may or may not have taken the close frame before the deadline.
    assert [got.code for got in one.peer.closes] in ([], [1013])


@pytest.mark.promise("memory-out")
async def test_max_buffer_bounds_the_send_buffer(link: Links) -> None:
    """Until it overflows, the send buffer holds at most `max_buffer` bytes."""
    one = await link_that_does_not_read(link, max_buffer=512 << 10)
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
async def test_empty_messages_overflow_too(link: Links) -> None:
    """Each message counts 128 bytes more than its payload, so that empty messages overflow, too."""
    one = await link_that_does_not_read(link, max_buffer=KERNEL + (1 << 20))
    one.conn.outgoing.on_next(bytes(KERNEL))
    for _ in range((KERNEL + (1 << 20)) // 128):  # their frames are a quarter of a megabyte
        one.conn.outgoing.on_next("")
    await one.ended(1013, by="local", error=rxws.BufferOverflow)


async def test_send_timeout_aborts(link: Links) -> None:
    """Data that waits longer than `send_timeout` aborts the connection with 1006."""
    one = await link_that_does_not_read(link, max_buffer=64 << 20, send_timeout=0.3)
    await send_chunks(one)
    await one.ended(1006, by="local", error=rxws.SendTimeout)
    await one.silent_wire()


@pytest.mark.promise("stuck")
async def test_send_timeout_spares_a_slow_peer(link: Links) -> None:
    """A slow peer that reads everything within `send_timeout` is not aborted."""
    one = await link_that_does_not_read(link, max_buffer=64 << 20, send_timeout=60.0)
    count = await send_chunks(one)
    one.conn.outgoing.on_completed()
    one.peer.start_reading()
    await one.peer.answer_close()
    assert len(one.peer.data) == count
    await one.ended(1000, by="local", error=None)


async def test_a_queued_close_is_bounded_by_send_timeout(link: Links) -> None:
    """A close queued behind unread messages is given up after `send_timeout`."""
    one = await link_that_does_not_read(
        link, max_buffer=64 << 20, send_timeout=0.3, close_timeout=0.3
    )
    await send_chunks(one)
    one.conn.outgoing.on_next(rxws.Close(4001))
    close = await one.seen.end()
    assert close.code in {1006, 4001}
    assert close.by == "local"
    await one.silent_wire()


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_tcp_that_ends_with_messages_queued_is_1006(link: Links, how: str) -> None:
    """TCP that ends while messages are queued is reported as 1006 with `by="network"`."""
    one = await link_that_does_not_read(link, max_buffer=64 << 20)
    await send_chunks(one)
    if how == "fin":
        one.peer.fin()
        one.peer.start_reading()  # otherwise our reading is paused, and we do not see EOF
    else:
        await one.peer.rst()
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
