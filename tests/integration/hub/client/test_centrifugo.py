"""The client with an independent server that sends the frames of Centrifugo's documentation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

import rxws
from rxws.hub import Gap, HubClient, Message, NotPublished, Position, Refused, Unconfirmed
from support.peers.centrifugo import Centrifugo, CentrifugoConnection
from support.peers.hub_peer import until


@pytest.fixture
async def server() -> AsyncIterator[Centrifugo]:
    """Return a server whose frames the test writes."""
    async with Centrifugo.open() as server:
        yield server


def connect(server: Centrifugo, token: Any = None, **options: Any) -> HubClient:
    options.setdefault("backoff", rxws.backoff.constant(0.001))
    options.setdefault("close_timeout", 1.0)
    return rxws.hub.connect(server.url, token, **options)


def pub(channel: str, data: Any, offset: int = 0) -> Any:
    """Return the push of a publication, with fields that this client does not know."""
    body = {
        "data": data,
        "info": {"user": "u1", "client": "c1", "conn_info": {"name": "Ann"}, "chan_info": {}},
        "tags": {"a": "b"},
        "time": 1732654321000,
    }
    return {"push": {"channel": channel, "pub": {**body, "offset": offset} if offset else body}}


@asynccontextmanager
async def accepted(
    server: Centrifugo, client: HubClient, **result: Any
) -> AsyncIterator[CentrifugoConnection]:
    """Run a client, and accept its connection."""
    async with client:
        connection = await server.accept()
        await connection.connected(**result)
        yield connection


@pytest.mark.promise("hub-client")
async def test_subscribe_publish_and_recover(server: Centrifugo) -> None:
    """A frame may hold a reply and several pushes, and recovery goes on after the last of them."""
    client = connect(server, token="t")
    seen: list[Any] = []
    client.topic("news").messages().subscribe(seen.append)
    async with accepted(server, client, ping=25, pong=True) as connection:
        request = await connection.answer(
            "subscribe",
            pub("news", "one", 12),
            pub("news", "two", 13),
            {},
            recoverable=True, positioned=True, epoch="VuKn", offset=11, expires=False,
        )  # fmt: skip
        assert request == {"channel": "news", "positioned": True, "recoverable": True}
        assert await connection.receive() == {}  # the pong
        await connection.socket.close(3001, "shutdown")
        connection = await server.accept()
        assert (await connection.connected())["token"] == "t"
        request = await connection.answer(
            "subscribe",
            pub("news", "four", 15),
            recoverable=True, positioned=True, epoch="VuKn", offset=13, was_recovering=True,
            recovered=True, publications=[{"data": "three", "offset": 14, "tags": {"a": "b"}}],
        )  # fmt: skip
        assert request == {
            "channel": "news", "recover": True, "epoch": "VuKn", "offset": 13,
            "positioned": True, "recoverable": True,
        }  # fmt: skip
        await until(lambda: len(seen) == 4)
        values = ["one", "two", "three", "four"]
        assert seen == [
            Message(value, Position("VuKn", offset)) for offset, value in enumerate(values, 12)
        ]


async def test_a_position_that_is_lost(server: Centrifugo) -> None:
    """Centrifugo says `recovered: false` with the new position."""
    client = connect(server)
    seen: list[Any] = []
    client.topic("news").since(Position("VuKn", 11)).subscribe(seen.append)
    async with accepted(server, client) as connection:
        await connection.answer(
            "subscribe",
            pub("news", "x", 4),
            recoverable=True, positioned=True, epoch="Lw2d", offset=3, was_recovering=True,
        )  # fmt: skip
        await until(lambda: len(seen) == 2)
        gap = Gap(Position("VuKn", 11), Position("Lw2d", 4), "restarted")
        assert seen == [gap, Message("x", Position("Lw2d", 4))]


async def test_an_async_token_is_renewed(server: Centrifugo) -> None:
    """A coroutine function is awaited before the connection, and again for each refresh."""
    count = 0

    async def token() -> str:
        nonlocal count
        await asyncio.sleep(0)
        count += 1
        return f"t{count}"

    client = connect(server, token)
    client.topic("news", token=token).subscribe()
    async with client:
        connection = await server.accept()
        assert (await connection.connected(expires=True, ttl=1))["token"] == "t1"
        request = await connection.answer("subscribe", expires=True, ttl=3)
        assert request["token"] == "t2"
        assert await connection.answer("refresh", expires=True, ttl=3600) == {"token": "t3"}
        assert (await connection.answer("sub_refresh", expires=False))["token"] == "t4"


async def test_an_async_token_that_fails(server: Centrifugo) -> None:
    """A network error is retried, and any other exception fails the subscribers."""
    errors: list[Exception] = [TimeoutError("of the token server"), KeyError("user")]

    async def token() -> str:
        raise errors.pop(0)

    async with connect(server, token) as client:
        with pytest.raises(KeyError, match="user"):
            await client.topic("news")
    assert errors == []


async def test_an_async_token_of_a_topic_that_fails(server: Centrifugo) -> None:
    """The exception fails the topic; a client that leaves cancels the coroutine."""

    async def fail() -> str:
        raise KeyError("user")

    cancelled = asyncio.Event()

    async def wait() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            cancelled.set()
        raise AssertionError

    client = connect(server)
    failed: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
    client.topic("news", token=fail).subscribe(on_error=failed.set_result)
    waiting = client.topic("other", token=wait).subscribe()
    async with accepted(server, client):
        assert isinstance(await failed, KeyError)
        waiting.dispose()
        await cancelled.wait()


async def test_publish(server: Centrifugo) -> None:
    """A reply confirms, an error refuses, and a lost connection leaves it open."""
    client = connect(server)
    topic = client.topic("news")
    first = asyncio.create_task(topic.publish({"a": 1}))
    async with accepted(server, client) as connection:
        assert await connection.answer("publish") == {"channel": "news", "data": {"a": 1}}
        await first
        second = asyncio.create_task(topic.publish(2))
        command = await connection.receive()
        await connection.send(
            {"id": command["id"], "error": {"code": 103, "message": "permission denied"}}
        )
        with pytest.raises(Refused, match="publish of topic 'news' was refused with 103"):
            await second
        third = asyncio.create_task(topic.publish(3))
        await connection.receive()
        connection.socket.transport.abort()
        with pytest.raises(Unconfirmed, match="the connection was lost"):
            await third


async def test_the_end_of_a_block_waits_for_the_confirmations(server: Centrifugo) -> None:
    """At the end of `async with`, what was pushed is confirmed, and subscribers complete."""
    client = connect(server, close_timeout=10.0)
    completed = asyncio.Event()

    async def serve() -> int | None:
        connection = await server.accept()
        await connection.connected()
        await connection.answer("subscribe")
        for _ in range(100):
            await connection.answer("publish")
        return await connection.close_code()

    serving = asyncio.create_task(serve())
    async with client:
        topic = client.topic("news")
        topic.subscribe(on_completed=completed.set)
        for number in range(100):
            topic.on_next(number)
    assert client.stats.confirmed == 100
    assert completed.is_set()
    assert await serving == 1000


async def test_the_end_of_a_block_does_not_wait_forever(server: Centrifugo) -> None:
    """After `close_timeout` seconds, what was not sent fails."""
    client = connect(server, close_timeout=0.05)
    async with client:
        publishing = asyncio.create_task(client.topic("news").publish(1))
        await server.accept()  # and never answer
    with pytest.raises(NotPublished):
        await publishing


async def test_a_message_that_is_too_big_is_final(server: Centrifugo) -> None:
    """Reconnecting would bring the same message again: the error says how to receive it."""
    client = connect(server, max_message_size=1000)
    failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    client.topic("news").subscribe(on_error=failed.set_result)
    async with accepted(server, client) as connection:
        await connection.answer("subscribe")
        await connection.send(pub("news", "x" * 2000))
        error = await failed
        assert error.close.code == 1009


async def test_a_url_function(server: Centrifugo) -> None:
    """It is called for each attempt, after the token function."""
    calls: list[str] = []

    async def url() -> str:
        calls.append("url")
        return server.url

    def token() -> str:
        calls.append("token")
        return "t"

    client = rxws.hub.connect(url, token, backoff=rxws.backoff.constant(0.001))
    client.topic("news").subscribe()
    async with accepted(server, client) as connection:
        await connection.socket.close()
        await (await server.accept()).connected()
    assert calls == ["token", "url", "url"]


async def test_pushing_from_a_thread(server: Centrifugo) -> None:
    """Messages of one thread keep their order."""
    client = connect(server)
    topic = client.topic("news")
    topic.subscribe()
    async with accepted(server, client) as connection:
        await connection.answer("subscribe")

        def push() -> None:
            for number in range(50):
                topic.on_next(number)

        await asyncio.to_thread(push)
        received = [(await connection.answer("publish"))["data"] for _ in range(50)]
        assert received == list(range(50))


async def test_a_topic_is_async_iterable(server: Centrifugo) -> None:
    """A loop over it is a subscriber."""
    client = connect(server)

    async def first() -> Any:
        async for event in client.topic("news").messages():
            return event
        raise AssertionError

    receiving = asyncio.create_task(first())
    async with accepted(server, client) as connection:
        await connection.answer("subscribe", pub("news", "x", 4), epoch="e", offset=3)
        assert await receiving == Message("x", Position("e", 4))


async def test_a_slow_loop_pauses_the_connection(server: Centrifugo) -> None:
    """Messages wait at the server, not in memory, and none is lost."""
    client = connect(server)
    seen: list[Any] = []
    going_on = asyncio.Event()

    async def loop() -> None:
        async for value in client.topic("news"):
            seen.append(value)
            await going_on.wait()

    looping = asyncio.create_task(loop())
    async with accepted(server, client) as connection:
        await connection.answer("subscribe", pub("news", 0))
        await until(seen.__len__)
        for number in range(1, 100):
            await connection.send(pub("news", number))
        await (await connection.socket.ping())  # the client has read all frames before it
        assert client.stats.received < 10
        going_on.set()
        await until(lambda: len(seen) == 100)
        assert seen == list(range(100))
    await looping
