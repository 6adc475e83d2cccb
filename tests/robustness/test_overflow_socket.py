"""The overflow policies against a peer that does not read for a while: what arrives, and how."""

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
COUNT = 1024  # messages; more than the kernel's buffers of both ends take together
BOUND = 256 * KIB


async def offer(one: Link, count: int = COUNT) -> None:
    """Send numbered messages, text and binary by turns, to a peer that reads none of them."""
    await one.peer.stop_reading()
    for number in range(count):
        text = str(number).ljust(SIZE)
        one.conn.outgoing.on_next(text if number % 2 else text.encode())
        if number % 16 == 0:
            await asyncio.sleep(0)  # the kernel takes more only between turns
        assert one.conn.flow.buffered <= BOUND + 2 * SIZE


async def arrived(one: Link, close: rxws.Close) -> list[int]:
    """Close, let the peer read on; the numbers that came, in order and each as its kind."""
    one.conn.outgoing.on_next(close)
    one.peer.start_reading()
    assert (await one.peer.answer_close()).code == close.code
    await one.ended(close.code, by="local", error=None)
    numbers = [int(frame.payload) for frame in one.peer.data]
    assert numbers == sorted(set(numbers))
    kinds = [frame.opcode for frame in one.peer.data]
    assert kinds == [Op.TEXT if number % 2 else Op.BINARY for number in numbers]
    stats = one.conn.flow.stats
    assert stats.sent_messages == len(numbers)
    return numbers


async def behind(link: Links, policy: Any) -> Link:
    return await link(
        receive_buffer=4096, overflow=policy, max_buffer=BOUND, high_water=64 * KIB, heartbeat=None
    )


async def test_drop_oldest_keeps_the_newest(link: Links) -> None:
    """There is one gap, after what the kernel had taken; the last messages and the close arrive."""
    one = await behind(link, "drop_oldest")
    await offer(one)
    numbers = await arrived(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"overflow": COUNT - len(numbers)}
    assert len(numbers) < COUNT
    assert numbers[-4:] == list(range(COUNT - 4, COUNT))
    assert gaps(numbers) == 1


async def test_drop_newest_keeps_the_oldest(link: Links) -> None:
    """What found room arrives without the later ones, and the close behind it."""
    one = await behind(link, "drop_newest")
    await offer(one)
    numbers = await arrived(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"overflow": COUNT - len(numbers)}
    assert numbers[:4] == [0, 1, 2, 3]
    assert len(numbers) < COUNT
    assert numbers[-1] < COUNT - 1


async def test_latest_sends_what_is_new(link: Links) -> None:
    """Of all that had to wait, only the last message arrives."""
    one = await behind(link, rxws.overflow.latest())
    await offer(one)
    numbers = await arrived(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"conflated": COUNT - len(numbers)}
    assert numbers[-1] == COUNT - 1
    assert gaps(numbers) == 1


async def test_latest_of_each_key(link: Links) -> None:
    """Of all that had to wait, the last of each key arrives, in the order of the keys' turns."""
    one = await behind(link, rxws.overflow.latest(lambda message: int(message) % 4))
    await offer(one)
    numbers = await arrived(one, rxws.Close(4001))
    assert dict(one.conn.flow.stats.dropped) == {"conflated": COUNT - len(numbers)}
    assert {number % 4 for number in numbers[-4:]} == {0, 1, 2, 3}
    assert min(numbers[-4:]) >= COUNT - 4


@pytest.mark.promise("queued")
@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", rxws.overflow.latest()])
async def test_a_close_is_never_dropped(link: Links, policy: Any) -> None:
    """However much is offered before it, and after it."""
    one = await behind(link, policy)
    await offer(one)
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
async def test_a_peer_that_never_reads_again_costs_no_more(link: Links, policy: Any) -> None:
    """It is reset while messages wait: each one offered was sent or dropped."""
    one = await behind(link, policy)
    await offer(one)
    await one.peer.rst()
    while not one.seen.ends:  # a loss during a pause is told when a send fails
        one.conn.outgoing.on_next("are you there?")
        await asyncio.sleep(0.01)
    await one.ended(1006, by="network", error=rxws.ConnectionClosed)
    stats = one.conn.flow.stats
    assert stats.sent_messages + sum(stats.dropped.values()) >= COUNT
    assert one.conn.flow.buffered == 0


def gaps(numbers: list[int]) -> int:
    return sum(later != number + 1 for number, later in pairwise(numbers))
