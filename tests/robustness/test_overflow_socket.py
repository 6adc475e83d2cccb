"""The overflow policies on a real socket, with a peer that does not read for a while."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

import rxws
from support.peers.endpoints import Link, Links
from support.peers.frames import Op

KIB = 1 << 10
SIZE = 16 * KIB
COUNT = 1024  # messages; more than the kernel buffers of both ends hold together
BOUND = 256 * KIB


async def send_numbers(one: Link, count: int = COUNT) -> None:
    """Send numbered messages, alternately text and binary, to a peer that does not read."""
    await one.peer.stop_reading()
    for number in range(count):
        text = str(number).ljust(SIZE)
        one.conn.outgoing.on_next(text if number % 2 else text.encode())
        if number % 16 == 0:
            await asyncio.sleep(0)  # the kernel takes more only between turns
        assert one.conn.flow.buffered <= BOUND + 2 * SIZE


async def close_and_read(one: Link, close: rxws.Close, keys: int = 1) -> list[int]:
    """Close, let the peer read, and return the numbers that arrived, in order for each key."""
    one.conn.outgoing.on_next(close)
    one.peer.start_reading()
    assert (await one.peer.answer_close()).code == close.code
    await one.ended(close.code, by="local", error=None)
    numbers = [int(frame.payload) for frame in one.peer.data]
    for key in range(keys):
        of_key = [number for number in numbers if number % keys == key]
        assert of_key == sorted(set(of_key))
    kinds = [frame.opcode for frame in one.peer.data]
    assert kinds == [Op.TEXT if number % 2 else Op.BINARY for number in numbers]
    stats = one.conn.flow.stats
    assert stats.sent_messages == len(numbers)
    return numbers


async def link_with_policy(link: Links, policy: Any) -> Link:
    return await link(
        receive_buffer=4096, overflow=policy, max_buffer=BOUND, high_water=64 * KIB, heartbeat=None
    )


async def test_drop_oldest_keeps_the_newest(link: Links) -> None:
    """ "drop_oldest" leaves one gap; the newest messages and the close arrive."""
    one = await link_with_policy(link, "drop_oldest")
    await send_numbers(one)
    numbers = await close_and_read(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"overflow": COUNT - len(numbers)}
    assert len(numbers) < COUNT
    assert numbers[-4:] == list(range(COUNT - 4, COUNT))
    assert gaps(numbers) == 1


async def test_drop_newest_keeps_the_oldest(link: Links) -> None:
    """ "drop_newest" delivers the oldest messages and then the close."""
    one = await link_with_policy(link, "drop_newest")
    await send_numbers(one)
    numbers = await close_and_read(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"overflow": COUNT - len(numbers)}
    assert numbers[:4] == [0, 1, 2, 3]
    assert len(numbers) < COUNT
    assert numbers[-1] < COUNT - 1


async def test_latest_sends_the_newest_message(link: Links) -> None:
    """`latest()` sends only the newest of all queued messages."""
    one = await link_with_policy(link, rxws.overflow.latest())
    await send_numbers(one)
    numbers = await close_and_read(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"conflated": COUNT - len(numbers)}
    assert numbers[-1] == COUNT - 1
    assert gaps(numbers) == 1


async def test_latest_of_each_key(link: Links) -> None:
    """`latest(key)` sends the newest queued message of each key."""
    one = await link_with_policy(link, rxws.overflow.latest(lambda message: int(message) % 4))
    await send_numbers(one)
    # The key that was queued first comes first; it depends on how much the kernel takes.
    numbers = await close_and_read(one, rxws.Close(4001), keys=4)
    assert numbers[:-4] == sorted(numbers[:-4])
    assert dict(one.conn.flow.stats.dropped) == {"conflated": COUNT - len(numbers)}
    assert {number % 4 for number in numbers[-4:]} == {0, 1, 2, 3}
    assert min(numbers[-4:]) >= COUNT - 4


@pytest.mark.promise("queued")
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", rxws.overflow.latest()])
async def test_a_close_is_never_dropped(link: Links, policy: Any) -> None:
    """No policy drops a close, however many messages precede or follow it."""
    one = await link_with_policy(link, policy)
    await send_numbers(one)
    one.conn.outgoing.on_next(rxws.Close(4002, "enough"))
    for _ in range(COUNT):
        one.conn.outgoing.on_next("too late")
    one.peer.start_reading()
    got = await one.peer.answer_close()
    assert (got.code, got.reason) == (4002, "enough")
    await one.ended(4002, by="local", error=None)
    stats = one.conn.flow.stats
    assert stats.dropped["closed"] == COUNT
    assert stats.sent_messages + sum(stats.dropped.values()) == 2 * COUNT


@pytest.mark.promise("counted")
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", rxws.overflow.latest()])
async def test_every_message_is_sent_or_counted_when_tcp_ends(link: Links, policy: Any) -> None:
    """When TCP ends with messages queued, each message was sent or counts as dropped."""
    one = await link_with_policy(link, policy)
    await send_numbers(one)
    await one.peer.rst()
    while not one.seen.ends:  # a loss during a pause is reported when a send fails
        one.conn.outgoing.on_next("are you there?")
        await asyncio.sleep(0.01)
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    stats = one.conn.flow.stats
    assert stats.sent_messages + sum(stats.dropped.values()) >= COUNT
    assert one.conn.flow.buffered == 0


def gaps(numbers: list[int]) -> int:
    return sum(later != number + 1 for number, later in pairwise(numbers))
