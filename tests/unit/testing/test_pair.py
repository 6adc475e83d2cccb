"""Two connections that are each other's peer, without sockets."""

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


def wire(made: Pair[Any, Any, Any, Any]) -> tuple[Any, Any]:
    """What is below the server's end and the client's."""
    return made._ends[0], made._ends[1]


def taken(conn: AnyConnection, count: int) -> asyncio.Future[list[Any]]:
    """The next messages that come."""
    future: Any = conn.incoming.pipe(ops.take(count), ops.to_list(), cast(Any, ops.to_future()))
    return cast("asyncio.Future[list[Any]]", future)


async def turns(count: int = 5) -> None:
    """Let the loop turn: what one end sends arrives in the next."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_messages_arrive_in_order_both_ways() -> None:
    """Text as text, and bytes as bytes."""
    async with pair() as (server, client):
        at_server, at_client = Subscriber(server.incoming), Subscriber(client.incoming)
        for number in range(100):
            client.outgoing.on_next(str(number))
            server.outgoing.on_next(b"%d" % number)
        await turns()
        assert at_server.values == [str(number) for number in range(100)]
        assert at_client.values == [b"%d" % number for number in range(100)]
        assert server.flow.stats.received_bytes == client.flow.stats.sent_bytes == 190
    assert (at_server.ends, at_client.ends) == ([None], [None])


async def test_the_handler_is_the_server_s() -> None:
    """It runs before the first message, and what it returns feeds its outgoing."""
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
    """What one encodes the other decodes."""
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
    """The code and the reason reach the other, after all that was sent."""
    for place in (0, 1):
        async with asyncio.timeout(PATIENCE):
            async with pair() as made:
                one, other = made[place], made[1 - place]
                told = Subscriber(other.incoming)
                one.outgoing.on_next("last")
                one.outgoing.on_next(Close(4001, "why"))
                assert await other.closed == Close(4001, "why")
                assert (await other.closed).by == "peer"
                assert (await one.closed).by == "local"
                assert told.values == ["last"]
                [error] = told.ends
                assert isinstance(error, ConnectionClosed)
            assert made.closed


async def test_closes_that_cross_end_both() -> None:
    """Each keeps its own code."""
    async with asyncio.timeout(PATIENCE), pair() as (server, client):
        server.outgoing.on_next(Close(4001))
        client.outgoing.on_next(Close(4002))
        assert (await server.closed, await client.closed) == (Close(4001), Close(4002))
        assert ((await server.closed).by, (await client.closed).by) == ("local", "local")


async def test_a_violation_is_told_to_the_other() -> None:
    """What one end refuses it closes with its code, and reads on until the other has ended."""
    async with asyncio.timeout(PATIENCE):
        async with pair(codec=codecs.text, peer_codec=codecs.raw) as made:
            server, client = made
            Subscriber(server.incoming)
            Subscriber(client.incoming)
            client.outgoing.on_next(b"binary")
            client.outgoing.on_next("late")
            assert (await server.closed).code == 1003
            assert (await client.closed).code == 1003
            assert (await client.closed).by == "peer"
        assert made.closed


async def test_a_lost_end_is_lost_for_both() -> None:
    """With 1006 by the network; nothing is a clean completion."""
    async with asyncio.timeout(PATIENCE), pair() as made:
        server, client = made
        told = Subscriber(server.incoming)
        client.outgoing.on_next("on its way")
        wire(made)[1].abort()
        wire(made)[1].abort()  # of which the second does nothing
        for conn in (server, client):
            assert (await conn.closed).code == 1006
            assert (await conn.closed).by == "network"
        assert told.values == []
        assert isinstance(told.ends[0], ConnectionClosed)


async def test_an_end_that_is_gone_takes_nothing_more() -> None:
    """Who is paused learns by a send that fails, as over TCP."""
    async with asyncio.timeout(PATIENCE), pair() as made:
        server, client = made
        told = Subscriber(server.incoming)
        with server.flow.pause():
            wire(made)[1].abort()
            await turns()
            assert told.ends == []
            server.outgoing.on_next("x")
            await turns()
            server.outgoing.on_next("y")
            await turns()
            assert server.flow.stats.dropped == {"closed": 1}
        assert (await server.closed).code == 1006
        assert client.flow.stats.received_messages == 0


async def test_a_peer_that_pauses_holds_the_sender_back() -> None:
    """What is under way is bounded; then it waits at the sender, which is told, in its order."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=8 << 20, send_timeout=60.0) as made:
        server, client = made
        told = Subscriber(server.incoming)
        writable: list[bool] = []
        client.flow.writable.subscribe(writable.append)
        hold = server.flow.pause()
        for number in range(300):
            client.outgoing.on_next(f"{number:01024}")
        await turns()
        in_flight = wire(made)[1]._in_flight
        assert 50 < len(in_flight) < 70
        assert client.flow.buffered > 200 << 10
        assert writable == [True, False]
        assert told.values == []
        hold.dispose()
        await client.flow.drained()
        await turns()
        assert told.values == [f"{number:01024}" for number in range(300)]
        assert client.flow.buffered == 0
        assert writable[-1] is True


async def test_tiny_messages_are_bounded_too() -> None:
    """A frame costs something even if there is nothing in it."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=8 << 20) as made:
        server, client = made
        Subscriber(server.incoming)
        with server.flow.pause():
            for _ in range(5000):
                client.outgoing.on_next("")
            await turns()
            assert len(wire(made)[1]._in_flight) < 600
        await client.flow.drained()
        await turns()
        assert server.flow.stats.received_messages == 5000


async def test_a_sender_that_cannot_be_held_back_overflows() -> None:
    """With 1013, as with sockets."""
    async with asyncio.timeout(PATIENCE), pair(max_buffer=64 << 10) as made:
        server, client = made
        told = Subscriber(client.incoming)
        Subscriber(server.incoming)
        with server.flow.pause():
            while not told.ends:
                client.outgoing.on_next("x" * 4096)
            assert isinstance(told.ends[0], rxws.BufferOverflow)
            assert (await client.closed).code == 1013
        assert (await server.closed).code == 1013


async def test_echoes_without_end_do_not_starve_the_loop() -> None:
    """Two ends that answer each other's answers leave turns to others."""
    async with asyncio.timeout(PATIENCE), pair(lambda conn: conn.incoming) as (_, client):
        client.incoming.subscribe(client.outgoing.on_next)
        client.outgoing.on_next("ball")
        await turns(100)
        received = client.flow.stats.received_messages
        assert 10 < received < 200


async def test_heartbeats_cross_and_are_answered() -> None:
    """Pings and pongs are frames as all others."""
    async with asyncio.timeout(PATIENCE), pair(heartbeat=0.05) as (server, client):
        latency = await server.flow.latency.pipe(ops.first())
        assert 0 <= latency < PATIENCE
        assert await client.flow.latency.pipe(ops.first()) >= 0


async def test_pushes_from_threads_arrive() -> None:
    """In the order of each thread; after the loop's end they are dropped."""
    async with asyncio.timeout(PATIENCE), pair() as (server, client):
        all_there = taken(server, 200)

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
            mine = [one for one in found if one[0] == name]
            assert mine == [f"{name}{number}" for number in range(100)]


def test_a_push_from_a_thread_after_the_loop_s_end_is_dropped() -> None:
    """It does not raise in that thread."""
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
    """As a task; what it sleeps through is cut off."""
    left: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        try:
            async for message in rxws.iterate(conn.incoming):
                conn.outgoing.on_next(message)
                await asyncio.sleep(3600)
        finally:
            left.append("left")

    async with asyncio.timeout(PATIENCE):
        async with pair(handler) as (_, client):
            client.outgoing.on_next("one")
            assert await client.incoming.pipe(ops.first()) == "one"
        assert left == ["left"]


async def test_a_coroutine_that_outlives_the_connection_is_waited_for() -> None:
    """Leaving the context leaves no task, also one that has to tidy up."""
    tidy: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.01)
            tidy.append("done")

    async with asyncio.timeout(PATIENCE):
        async with pair(handler):
            await turns()
        assert tidy == ["done"]


async def test_coroutines_in_a_pipeline_hold_the_flow() -> None:
    """`map_async` finds the connection of a pair as any other."""
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
            replies = taken(client, 20)
            for number in range(20):
                client.outgoing.on_next(str(number))
            assert await replies == [str(number) for number in range(20)]
    assert most == 1


async def test_leaving_by_an_exception_closes_with_1011() -> None:
    """As `rxws.connect` does; the exception goes on."""
    made: list[Pair[Any, Any, Any, Any]] = []

    async def leave() -> NoReturn:
        async with pair() as both:
            made.append(both)
            raise KeyError("mine")

    async with asyncio.timeout(PATIENCE):
        with pytest.raises(KeyError):
            await leave()
    server, client = made[0]
    assert made[0].closed
    assert await server.closed == await client.closed == UNEXPECTED
    assert (await server.closed).by == "peer"


@pytest.mark.parametrize("held", ["server", "client", "unsubscribed"])
async def test_leaving_does_not_wait_for_what_holds_the_flow(held: str) -> None:
    """A hold that is forgotten, or messages that nobody subscribes, are no reason to hang."""
    async with asyncio.timeout(PATIENCE):
        async with pair(close_timeout=0.05) as made:
            server, client = made
            if held != "unsubscribed":
                Subscriber(server.incoming)
                Subscriber(client.incoming)
                (server if held == "server" else client).flow.pause()
            client.outgoing.on_next("x")
            server.outgoing.on_next("y")
            await turns()
        assert made.closed


async def test_who_is_cancelled_while_leaving_waits_no_longer() -> None:
    """Both ends are aborted then."""
    left: list[str] = []

    async def handler(conn: AnyConnection) -> None:
        conn.flow.pause()
        try:
            await asyncio.sleep(3600)
        finally:
            left.append("left")

    made = pair(handler, close_timeout=3600.0)
    await turns()
    leaving = asyncio.create_task(made.aclose())
    await turns()
    assert not leaving.done()
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert left == ["left"]
    await turns()
    assert made.closed


async def test_it_may_be_closed_by_hand_and_twice() -> None:
    """For those whose pair is a fixture."""
    made = pair(lambda conn: conn.incoming)
    assert not made.closed
    async with asyncio.timeout(PATIENCE):
        await made.aclose()
        await made.aclose()
    assert made.closed
    assert await made[0].closed == Close(1000)


async def test_what_comes_after_a_close_frame_is_not_read() -> None:
    """As on a socket: the close is the last frame."""
    async with asyncio.timeout(PATIENCE), pair() as made:
        server, client = made
        told = Subscriber(server.incoming)
        client.outgoing.on_next("a")
        client.outgoing.on_next(Close(4001))
        wire(made)[1].write(Opcode.TEXT, b"late")
        assert await server.closed == Close(4001)
        await turns()
        assert told.values == ["a"]


def test_it_needs_a_running_loop() -> None:
    """And a handler that can be called, and options in their range."""
    with pytest.raises(RuntimeError, match="no running event loop"):
        pair()


async def test_mistakes_are_refused() -> None:
    """At once, by name."""
    with pytest.raises(TypeError, match="not callable"):
        pair(3)  # type: ignore[call-overload] # that is the point
    with pytest.raises(ValueError, match="max_message_size"):
        pair(max_message_size=0)
