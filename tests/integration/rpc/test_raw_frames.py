"""JSON-RPC on the wire: raw frames, whole batches, and a client that does not read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import rxws
from rxws.rpc import Methods
from support.peers.raw import PATIENCE, RawClient
from support.subscriber import Subscriber


def methods(produced: list[int] | None = None) -> Methods:
    made = Methods()

    @made.add
    def add(a: int, b: int) -> int:
        return a + b

    @made.add
    async def later(value: Any) -> Any:
        await asyncio.sleep(0)
        return value

    @made.add
    async def blocks(count: int) -> AsyncIterator[str]:
        for number in range(count):
            if produced is not None:
                produced.append(number)
            yield "x" * 100_000

    return made


async def answers(peer: RawClient, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [json.loads(frame.payload) for frame in (await peer.messages(count))[:count]]


async def test_batches_of_raw_frames() -> None:
    """A batch in one frame gets one frame; a batch of notifications gets none."""
    async with rxws.serve(rxws.rpc.serve(methods())) as server:
        peer = await RawClient.connect(server.port)
        call = {"jsonrpc": "2.0", "method": "later"}
        batch = [
            {**call, "id": "slow", "params": [1]},
            {"jsonrpc": "2.0", "id": 2, "method": "add", "params": {"a": 1, "b": 2}},
            {**call, "params": ["no answer"]},
            {"jsonrpc": "2.0", "id": None, "method": "nope"},
            "text",
        ]
        await peer.text(json.dumps([{**call, "params": [0]}] * 3))
        await peer.text(json.dumps(batch))
        await peer.text("[")
        both = await answers(peer, 2)
        [whole] = [each for each in both if isinstance(each, list)]
        [broken] = [each for each in both if not isinstance(each, list)]
        assert broken["error"]["code"] == -32700
        assert [each["id"] for each in whole] == [2, None, None, "slow"]
        assert [each.get("result") for each in whole] == [3, None, None, 1]
        await peer.close(1000)
        await peer.until_ended()
        assert [frame.code for frame in peer.closes] == [1000]
        await peer.rst()


@pytest.mark.promise("rpc-slow")
async def test_a_client_that_does_not_read_stops_the_generator() -> None:
    """A generator is not resumed while the client does not read, so nothing piles up."""
    produced: list[int] = []
    writable: asyncio.Future[Subscriber[bool]] = asyncio.Future()

    def handler(conn: rxws.Connection) -> rxws.rpc.Peer:
        writable.set_result(Subscriber(conn.flow.writable))
        return rxws.rpc.Peer(conn, methods(produced))

    async with rxws.serve(handler) as server:
        peer = await RawClient.connect(server.port, receive_buffer=4096)
        await peer.stop_reading()
        params = {"count": 1000, "partialResultToken": "t"}
        request = {"jsonrpc": "2.0", "id": 1, "method": "blocks", "params": params}
        await peer.text(json.dumps(request))
        seen = await writable
        await seen.until(lambda: seen.values[-1:] == [False])
        assert 0 < len(produced) < 200
        peer.start_reading()
        *progress, end = await answers(peer, 1001)
        assert {each["method"] for each in progress} == {"$/progress"}
        assert end == {"jsonrpc": "2.0", "id": 1, "result": None}
        await peer.rst()


async def test_the_connection_waits_for_its_methods() -> None:
    """The server ends a connection when the `finally` blocks of its methods have run."""
    log: list[str] = []
    began = asyncio.Event()
    made = Methods()

    @made.add
    async def save() -> None:
        try:
            began.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.1)  # the work
            log.append("saved")

    @made.add
    async def rows() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0.1)
            log.append("closed")

    call = {"jsonrpc": "2.0", "id": 1, "method": "save"}
    stream = {**call, "id": 2, "method": "rows", "params": {"partialResultToken": 1}}
    async with rxws.serve(rxws.rpc.serve(made)) as server:
        peer = await RawClient.connect(server.port)
        await peer.text(json.dumps([call, stream]))
        async with asyncio.timeout(PATIENCE):
            await began.wait()
            await answers(peer, 1)
        await peer.rst()
    assert sorted(log) == ["closed", "saved"]
