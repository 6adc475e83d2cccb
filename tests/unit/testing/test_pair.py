"""`pair`: two connections that are each other's peer, without sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, NoReturn, cast

import pytest
import reactivex as rx
from reactivex import operators as ops

import rxws
from rxws import Close, ConnectionClosed, codecs
from rxws._core.frames import Opcode
from rxws.closing import UNEXPECTED
from rxws.operators import map_async
from rxws.testing import Pair, pair
from support.subscriber import Subscriber

PATIENCE = 20.0  # seconds
AnyConnection = rxws.Connection[Any, Any]


def transports(ends: Pair[Any, Any, Any, Any]) -> tuple[Any, Any]:
    """The transports of the server's and of the client's connection."""
    return ends._ends[0], ends._ends[1]


def next_messages(conn: AnyConnection, count: int) -> asyncio.Future[list[Any]]:
    """A future of the next messages."""
    future: Any = conn.incoming.pipe(ops.take(count), ops.to_list(), cast(Any, ops.to_future()))
    return cast("asyncio.Future[list[Any]]", future)


async def loop_turns(count: int = 5) -> None:
    """Run some turns of the loop; a message arrives in the turn after it was sent."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_messages_arrive_in_order_both_ways() -> None:
    """Messages arrive in order at both ends, text as str and binary as bytes."""
    async with pair() as (server, client):
        at_server, at_client = Subscriber(server.incoming), Subscriber(client.incoming)
        for number in range(100):
            client.outgoing.on_next(str(number))
            server.outgoing.on_next(b"%d" % number)
        await loop_turns()
        assert at_server.values == [str(number) for number in range(100)]
        assert at_client.values == [b"%d" % number for number in range(100)]
        assert server.flow.stats.received_bytes == client.flow.stats.sent_bytes == 190
    assert (at_server.ends, at_client.ends) == ([None], [None])


async def test_the_handler_serves_the_first_connection() -> None:
    """The handler runs before the first message; the Observable that it returns is sent."""
    seen: list[AnyConnection] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        seen.append(conn)
        return conn.incoming.pipe(ops.map(str.upper))

    async with asyncio.timeout(PATIENCE), pair(handler) as (server, client):
        assert seen == [server]
        client.outgoing.on_next("hey")
        assert await client.incoming.pipe(ops.first()) == "HEY"
    assert await client.closed == await server.closed == Close(1000)
    assert ((await client.closed).by, (await server.closed).by) == ("local", "peer")


async def test_each_end_may_have_its_codec() -> None:
    """Each end may have its own codec."""
    async with (
        asyncio.timeout(PATIENCE),
        pair(
            lambda conn: conn.incoming.pipe(ops.map(lambda value: [value])),
            codec=codecs.json,
            peer_codec=codecs.text,
        ) as (_, client),
    ):
        client.outgoing.on_next('{"a": 1}')
        assert await client.incoming.pipe(ops.first()) == '[{"a":1}]'


async def test_either_end_may_close() -> None:
    """Either end may close: the messages before it, code and reason reach the other."""
    for place in (0, 1):
        async with asyncio.timeout(PATIENCE):
            async with pair() as ends:
                one, other = ends[place], ends[1 - place]
                seen = Subscriber(other.incoming)
                one.outgoing.on_next("last")
                one.outgoing.on_next(Close(4001, "why"))
                assert await other.closed == Close(4001, "why")
                assert (await other.closed).by == "peer"
                assert (await one.closed).by == "local"
                assert seen.values == ["last"]
                [error] = seen.ends
                assert isinstance(error, ConnectionClosed)
            assert ends.closed


async def test_closes_that_cross_keep_their_codes() -> None:
    """If closes cross, each end reports its own code."""
    async with asyncio.timeout(PATIENCE), pair() as (server, client):
        server.outgoing.on_next(Close(4001))
        client.outgoing.on_next(Close(4002))
        assert (await server.closed, await client.closed) == (Close(4001), Close(4002))
        assert ((await server.closed).by, (await client.closed).by) == ("local", "local")


async def test_a_fault_closes_both_ends() -> None:
    """A fault at one end closes both with its code."""
    async with asyncio.timeout(PATIENCE):
        async with pair(codec=codecs.text, peer_codec=codecs.raw) as ends:
            server, client = ends
            Subscriber(server.incoming)
            Subscriber(client.incoming)
            client.outgoing.on_next(b"binary")
            client.outgoing.on_next("late")
            assert (await server.closed).code == 1003
            assert (await client.closed).code == 1003
            assert (await client.closed).by == "peer"
        assert ends.closed


async def test_an_abort_is_a_loss_for_both_ends() -> None:
    """An abort of one end is a 1006 by the network for both."""
    async with asyncio.timeout(PATIENCE), pair() as ends:
        server, client = ends
        seen = Subscriber(server.incoming)
        client.outgoing.on_next("in flight")
        transports(ends)[1].abort()
        transports(ends)[1].abort()  # the second call has no effect
        for conn in (server, client):
            assert (await conn.closed).code == 1006
            assert (await conn.closed).by == "network"
        assert seen.values == []
        assert isinstance(seen.ends[0], ConnectionClosed)


async def test_a_send_detects_an_aborted_peer_during_a_pause() -> None:
    """A paused end detects by a failing send that its peer is gone, as over TCP."""
    async with asyncio.timeout(PATIENCE), pair() as ends:
        server, client = ends
        seen = Subscriber(server.incoming)
        with server.flow.pause():
            transports(ends)[1].abort()
            await loop_turns()
            assert seen.ends == []
            server.outgoing.on_next("x")
            await loop_turns()
            server.outgoing.on_next("y")
            await loop_turns()
            assert server.flow.stats.dropped == {"closed": 2}
        assert (await server.closed).code == 1006
        assert client.flow.stats.received_messages == 0


async def test_a_paused_end_applies_back_pressure() -> None:
    """While one end is paused, a bounded number is in flight and the rest is buffered."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=8 << 20, send_timeout=60.0) as ends:
        server, client = ends
        seen = Subscriber(server.incoming)
        writable: list[bool] = []
        client.flow.writable.subscribe(writable.append)
        pause = server.flow.pause()
        client.outgoing.on_next("x" * (64 << 10))  # fills the read-ahead
        await loop_turns()
        writable.clear()
        for number in range(300):
            client.outgoing.on_next(f"{number:01024}")
        await loop_turns()
        in_flight = transports(ends)[1]._in_flight
        assert 50 < len(in_flight) < 70
        assert client.flow.buffered > 200 << 10
        assert writable == [False]
        assert seen.values == []
        pause.dispose()
        await client.flow.drained()
        await loop_turns()
        assert seen.values[1:] == [f"{number:01024}" for number in range(300)]
        assert client.flow.buffered == 0
        assert writable[-1] is True


async def test_tiny_messages_are_bounded_too() -> None:
    """The number of tiny messages in flight is bounded."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=8 << 20) as ends:
        server, client = ends
        Subscriber(server.incoming)
        with server.flow.pause():
            for _ in range(5000):
                client.outgoing.on_next("")
            await loop_turns()
            assert len(transports(ends)[1]._in_flight) < 600
        await client.flow.drained()
        await loop_turns()
        assert server.flow.stats.received_messages == 5000


async def test_a_sender_that_ignores_back_pressure_overflows() -> None:
    """A sender that ignores `writable` overflows and closes with 1013."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=64 << 10) as ends:
        server, client = ends
        seen = Subscriber(client.incoming)
        Subscriber(server.incoming)
        with server.flow.pause():
            while not seen.ends:
                client.outgoing.on_next("x" * 4096)
            assert isinstance(seen.ends[0], rxws.BufferOverflow)
            assert (await client.closed).code == 1013
        assert (await server.closed).code == 1013


async def test_endless_echoes_do_not_starve_the_loop() -> None:
    """Two ends that echo each other let the loop run other tasks."""
    async with asyncio.timeout(PATIENCE), pair(lambda conn: conn.incoming) as (_, client):
        client.incoming.subscribe(client.outgoing.on_next)
        client.outgoing.on_next("ball")
        await loop_turns(100)
        received = client.flow.stats.received_messages
        assert 10 < received < 200


async def test_heartbeats_cross_and_are_answered() -> None:
    """Heartbeats of both ends are answered."""
    async with asyncio.timeout(PATIENCE), pair(heartbeat=0.05) as (server, client):
        latency = await server.flow.latency.pipe(ops.first())
        assert 0 <= latency < PATIENCE
        assert await client.flow.latency.pipe(ops.first()) >= 0


async def test_messages_from_threads_arrive_in_order() -> None:
    """Messages from threads arrive in the order of each thread."""
    async with asyncio.timeout(PATIENCE), pair() as (server, client):
        all_there = next_messages(server, 200)

        def push(name: str) -> None:
            for number in range(100):
                client.outgoing.on_next(f"{name}{number}")

        threads = [threading.Thread(target=push, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        found = await all_there
        for thread in threads:
            thread.join()
        for name in "ab":
            of_thread = [one for one in found if one[0] == name]
            assert of_thread == [f"{name}{number}" for number in range(100)]


def test_a_message_from_a_thread_after_the_loop_ended_is_dropped() -> None:
    """A message from a thread after the loop has ended is dropped without an exception."""
    kept: list[AnyConnection] = []

    async def main() -> None:
        async with pair() as (_, client):
            kept.append(client)

    asyncio.run(main())
    raised: list[BaseException] = []

    def push() -> None:
        try:
            kept[0].outgoing.on_next("late")
        except BaseException as exc:
            raised.append(exc)

    thread = threading.Thread(target=push)
    thread.start()
    thread.join()
    assert raised == []


async def test_a_handler_s_coroutine_runs_and_is_cancelled_at_the_end() -> None:
    """A handler's coroutine runs as a task and is cancelled at the end."""
    left: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        try:
            async for message in conn.incoming:
                conn.outgoing.on_next(message)
                await asyncio.sleep(3600)
        finally:
            left.append("left")

    async with asyncio.timeout(PATIENCE):
        async with pair(handler) as (_, client):
            client.outgoing.on_next("one")
            assert await client.incoming.pipe(ops.first()) == "one"
        assert left == ["left"]


async def test_leaving_waits_for_the_handlers_coroutine() -> None:
    """Leaving the context waits until a cancelled coroutine has cleaned up."""
    tidy: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            tidy.append("done")

    async with asyncio.timeout(PATIENCE):
        async with pair(handler):
            await loop_turns()
        assert tidy == ["done"]


async def test_map_async_applies_back_pressure() -> None:
    """`map_async` pauses a connection of a pair."""
    most = 0
    inside = 0

    async def answer(value: Any) -> Any:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0)
        inside -= 1
        return value

    async with asyncio.timeout(PATIENCE):
        async with pair(lambda conn: conn.incoming.pipe(map_async(answer))) as (_, client):
            replies = next_messages(client, 20)
            for number in range(20):
                client.outgoing.on_next(str(number))
            assert await replies == [str(number) for number in range(20)]
    assert most == 1


async def test_leaving_by_an_exception_closes_with_1011() -> None:
    """An exception in the context closes with 1011 and is raised."""
    pairs: list[Pair[Any, Any, Any, Any]] = []

    async def leave() -> NoReturn:
        async with pair() as ends:
            pairs.append(ends)
            raise KeyError("mine")

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(KeyError):
            await leave()
    server, client = pairs[0]
    assert pairs[0].closed
    assert await server.closed == await client.closed == UNEXPECTED
    assert (await server.closed).by == "peer"


@pytest.mark.parametrize("held", ["server", "client", "unsubscribed"])
async def test_leaving_does_not_wait_for_pauses_or_subscribers(held: str) -> None:
    """Leaving does not hang if a pause is never disposed or messages have no subscriber."""
    async with asyncio.timeout(PATIENCE):
        async with pair(close_timeout=0.05) as ends:
            server, client = ends
            if held != "unsubscribed":
                Subscriber(server.incoming)
                Subscriber(client.incoming)
                (server if held == "server" else client).flow.pause()
            client.outgoing.on_next("x")
            server.outgoing.on_next("y")
            await loop_turns()
        assert ends.closed


async def test_cancelling_aclose_aborts_both_ends() -> None:
    """Cancelling `aclose` aborts both ends."""
    left: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        conn.flow.pause()
        try:
            await asyncio.sleep(3600)
        finally:
            left.append("left")

    ends = pair(handler, close_timeout=3600.0)
    await loop_turns()
    leaving = asyncio.create_task(ends.aclose())
    await loop_turns()
    assert not leaving.done()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert left == ["left"]
    await loop_turns()
    assert ends.closed


async def test_aclose_may_be_called_twice() -> None:
    """`aclose` may be called by hand, and twice."""
    ends = pair(lambda conn: conn.incoming)
    assert not ends.closed
    async with asyncio.timeout(PATIENCE):
        await ends.aclose()
        await ends.aclose()
    assert ends.closed
    assert await ends[0].closed == Close(1000)


async def test_nothing_is_read_after_a_close_frame() -> None:
    """A message after the close frame is ignored."""
    async with asyncio.timeout(PATIENCE), pair() as ends:
        server, client = ends
        seen = Subscriber(server.incoming)
        client.outgoing.on_next("a")
        client.outgoing.on_next(Close(4001))
        transports(ends)[1].write(Opcode.TEXT, b"late")
        assert await server.closed == Close(4001)
        await loop_turns()
        assert seen.values == ["a"]


def test_pair_needs_a_running_loop() -> None:
    """`pair` without a running event loop raises RuntimeError."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        pair()


async def test_invalid_arguments_are_refused() -> None:
    """An invalid handler or option raises at once."""
    with pytest.raises(TypeError, match="not callable"):
        pair(3)  # type: ignore[call-overload] # on purpose
    with pytest.raises(ValueError, match="max_message_size"):
        pair(max_message_size=0)
