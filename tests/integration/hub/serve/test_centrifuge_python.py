"""`hub.serve` with centrifuge-python as the client."""

from __future__ import annotations

from typing import Any

import pytest

import rxws
from rxws.hub import Credentials, TokenExpired
from support.peers.centrifuge_python import Events
from support.peers.hub_peer import ServeHub, until

OPTIONS: dict[str, Any] = {"join_leave": True, "recoverable": True, "positioned": True}


class ClientEvents(Events):
    """The events of a connection."""

    def __init__(self) -> None:
        self.codes: list[int] = []

    async def on_disconnected(self, ctx: Any) -> None:
        self.codes.append(ctx.code)


class SubscriptionEvents(Events):
    """The events of a subscription."""

    def __init__(self) -> None:
        self.publications: list[Any] = []
        self.joined: list[str] = []
        self.left: list[str] = []
        self.ended: list[int] = []

    async def on_publication(self, ctx: Any) -> None:
        self.publications.append((ctx.pub.offset, ctx.pub.data))

    async def on_join(self, ctx: Any) -> None:
        self.joined.append(ctx.info.user)

    async def on_leave(self, ctx: Any) -> None:
        self.left.append(ctx.info.user)

    async def on_unsubscribed(self, ctx: Any) -> None:
        self.ended.append(ctx.code)


@pytest.mark.promise("hub-peers")
async def test_centrifuge_python(serve_hub: ServeHub, centrifuge: Any) -> None:
    """centrifuge-python subscribes, publishes, reads history and presence, and sees joins."""
    async with serve_hub(user=lambda _, token: Credentials(token, info={"nick": token})) as serving:
        ends = ClientEvents()
        ann = centrifuge.Client(serving.url, ends, token="ann")
        bob = centrifuge.Client(serving.url, token="bob")
        events, others = SubscriptionEvents(), SubscriptionEvents()
        for client in (ann, bob):
            await client.connect()
            await client.ready()
        room = ann.new_subscription("kept:a", events, **OPTIONS)
        await room.subscribe()
        await room.ready()
        same = bob.new_subscription("kept:a", others)
        await same.subscribe()
        await until(lambda: events.joined == ["ann", "bob"])
        await room.publish({"text": "hi"})
        serving.hub.topic("kept:a").on_next([1.5, None])
        expected = [(1, {"text": "hi"}), (2, [1.5, None])]
        await until(lambda: events.publications == others.publications == expected)

        history = await same.history(limit=-1)
        assert [(one.offset, one.data) for one in history.publications] == expected
        since = centrifuge.StreamPosition(offset=1, epoch=history.epoch)
        assert len((await same.history(limit=5, since=since)).publications) == 1
        with pytest.raises(centrifuge.ReplyError) as caught:
            await same.history(limit=5, since=centrifuge.StreamPosition(offset=1, epoch="other"))
        assert caught.value.code == 112
        clients = (await same.presence()).clients
        assert {one.user: one.conn_info for one in clients.values()} == {
            "ann": {"nick": "ann"},
            "bob": {"nick": "bob"},
        }
        stats = await room.presence_stats()
        assert (stats.num_clients, stats.num_users) == (2, 2)

        await same.unsubscribe()
        await until(lambda: events.left == ["bob"])
        serving.hub.user("ann").revoke("*")
        await until(lambda: events.ended == [2000])
        serving.hub.user("ann").close(rxws.Close(4500, "logged out"))
        await until(lambda: ends.codes == [4500])
        await bob.disconnect()


async def test_centrifuge_python_is_refused(serve_hub: ServeHub, centrifuge: Any) -> None:
    """A refused connection ends for good; a refused action fails with the error's code."""
    async with serve_hub(allow=lambda _, *asked: asked == ("open", "subscribe")) as serving:
        ends = ClientEvents()
        nobody = centrifuge.Client(serving.url, ends)
        await nobody.connect()
        await until(lambda: ends.codes == [3500])
        ann = centrifuge.Client(serving.url, token="ann")
        await ann.connect()
        events = SubscriptionEvents()
        await ann.new_subscription("secret", events).subscribe()
        await until(lambda: events.ended == [103])
        room = ann.new_subscription("open")
        await room.subscribe()
        await room.ready()
        for call in (room.publish(1), room.history(), room.presence(), room.presence_stats()):
            with pytest.raises(centrifuge.ReplyError) as caught:
                await call
            assert caught.value.code == 103
        await ann.disconnect()


async def test_centrifuge_python_refreshes_tokens(serve_hub: ServeHub, centrifuge: Any) -> None:
    """centrifuge-python gets a new token when the old one expires."""

    def user(_: object, token: str) -> Credentials:
        if token == "old":
            raise TokenExpired
        return Credentials("ann", seconds=1.3)

    tokens: list[str] = []

    async def get_token() -> str:
        tokens.append("connection")
        return "new"

    async def get_subscription_token(channel: str) -> str:
        tokens.append(channel)
        return "new"

    async with serve_hub(user=user, allow=lambda *_: 1.3) as serving:
        ends, events = ClientEvents(), SubscriptionEvents()
        ann = centrifuge.Client(serving.url, ends, token="old", get_token=get_token)
        await ann.connect()
        room = ann.new_subscription("kept:a", events, get_token=get_subscription_token)
        await room.subscribe()
        await room.ready()
        await until(lambda: min(tokens.count("connection"), tokens.count("kept:a")) > 2)
        await room.publish(1)
        assert events.ended == ends.codes == []
        await ann.disconnect()
