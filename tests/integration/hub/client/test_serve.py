"""The client with `Hub.serve`."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from rxws.hub import Credentials, Message, Position, Refused, TokenExpired
from support.peers.hub_peer import ServeHub, until


def connect(url: str, token: Any, **options: Any) -> rxws.hub.HubClient:
    return rxws.hub.connect(url, token, backoff=rxws.backoff.constant(0.001), **options)


async def test_a_chat(serve_hub: ServeHub) -> None:
    """Two clients and the server's process see the same messages and the same members."""
    async with serve_hub() as serving:
        here: list[Any] = []
        seen: dict[str, list[Any]] = {"ann": [], "bob": [], "hub": []}
        async with connect(serving.url, "ann") as ann, connect(serving.url, "bob") as bob:
            for name, client in (("ann", ann), ("bob", bob), ("hub", serving.hub)):
                client.topic("kept:1").messages().subscribe(seen[name].append)
            ann.topic("kept:1").presence.subscribe(here.append)
            await until(lambda: here and here[-1] == {"ann", "bob"})
            await ann.topic("kept:1").publish({"from": "ann"})
            await serving.hub.topic("kept:1").publish({"from": "hub"})
            await bob.topic("kept:1").publish({"from": "bob"})
            await until(lambda: all(len(each) == 3 for each in seen.values()))
            assert seen["ann"] == seen["bob"] == seen["hub"]
            assert [each.value["from"] for each in seen["ann"]] == ["ann", "hub", "bob"]
            rewound: list[Any] = []
            ann.topic("kept:1").rewind(2).subscribe(rewound.append)
            await until(lambda: len(rewound) == 2)
            bob.dispose()
            await until(lambda: here[-1] == {"ann"})


async def test_a_restart_of_the_program(serve_hub: ServeHub) -> None:
    """A position that was saved as text continues where the program was."""
    async with serve_hub() as serving:
        topic = serving.hub.topic("kept:1")
        saved = str(await topic.publish(1))
        for run in range(3):
            await topic.publish(run)
            seen: list[Any] = []
            async with connect(serving.url, "ann") as client:
                client.topic("kept:1").since(Position.parse(saved)).subscribe(seen.append)
                await until(seen.__len__)
            [event] = seen
            assert isinstance(event, Message)
            assert event.value == run
            saved = str(event.position)


async def test_messages_to_a_user(serve_hub: ServeHub) -> None:
    """`hub.user(name)` reaches every connection of the user, and can close them for good."""
    async with serve_hub() as serving, connect(serving.url, "ann") as client:
        seen: list[Any] = []
        ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        client.messages.subscribe(seen.append, ended.set_result)
        await until(lambda: client._registry.ready)  # the server has registered the user
        serving.hub.user("ann").on_next({"type": "hello"})
        await until(lambda: seen)
        assert seen == [{"type": "hello"}]
        serving.hub.user("ann").close(rxws.Close(4501, "logged out"))
        error: Any = await ended
        assert (error.close.code, error.close.reason) == (4501, "logged out")


async def test_a_revoked_right(serve_hub: ServeHub) -> None:
    """The subscribers fail, and subscribing again is refused."""
    allowed = True
    async with (
        serve_hub(allow=lambda *_: allowed) as serving,
        connect(serving.url, "ann") as client,
    ):
        ended: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()
        here: list[Any] = []
        client.topic("kept:1").subscribe(on_error=ended.set_result)
        client.topic("kept:1").presence.subscribe(here.append, on_error=lambda _: None)
        await until(lambda: here and here[-1])
        allowed = False
        serving.hub.user("ann").revoke("kept:*")
        error: Any = await ended
        assert (error.topic, error.code) == ("kept:1", 2000)
        with pytest.raises(Refused, match="103"):
            await client.topic("kept:1")


async def test_a_token_that_expires(serve_hub: ServeHub) -> None:
    """The client refreshes in time, and a token that is too old is replaced."""
    tokens = iter(["old", *(f"t{number}" for number in range(1000))])
    seen: list[str] = []

    def login(_: object, token: str) -> Credentials:
        if token == "old":
            raise TokenExpired
        seen.append(token)
        return Credentials("ann", seconds=1.5)

    async with (
        serve_hub(user=login) as serving,
        connect(serving.url, lambda: next(tokens)) as client,
    ):
        received: list[Any] = []
        client.topic("kept:1").subscribe(received.append)
        await until(lambda: len(seen) >= 3)
        await client.topic("kept:1").publish(1)
        await until(lambda: received)
        assert client.stats.reconnects == 0
        assert seen[0] == "t0"
        await client.topic("kept:1").publish(2)


async def test_a_right_that_expires(serve_hub: ServeHub) -> None:
    """A topic with a token is refreshed in time."""
    asked: list[str] = []

    def allow(_: str, topic: str, action: str) -> float:
        if action == "subscribe":
            asked.append(topic)
        return 1.5

    tokens = iter(range(1000))
    async with serve_hub(allow=allow) as serving, connect(serving.url, "ann") as client:
        seen: list[Any] = []
        topic = client.topic("kept:1", token=lambda: f"t{next(tokens)}")
        topic.messages().subscribe(seen.append)
        await until(lambda: len(asked) >= 3)
        await topic.publish(1)
        await until(lambda: seen)
        assert len(seen) == 1


async def test_no_connection_and_no_topic_is_left(serve_hub: ServeHub) -> None:
    """300 clients that connect and close leave no observers at the server."""
    async with serve_hub() as serving:
        for _ in range(300):
            async with connect(serving.url, "ann") as client:
                received: list[Any] = []
                client.topic("last:1").subscribe(received.append)
                await client.topic("last:1").publish(1)
            assert client.stats.topics == 0
            assert client.connection is None
        await until(lambda: not serving.hub.topic("last:1").observers)
