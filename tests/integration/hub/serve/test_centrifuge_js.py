"""`hub.serve` with centrifuge-js as the client."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.hub import Credentials, TokenExpired
from support.peers.centrifuge_js import CentrifugeJs
from support.peers.hub_peer import ServeHub

MEMBER = {"joinLeave": True, "recoverable": True, "positioned": True}


async def publications(client: CentrifugeJs, count: int) -> list[Any]:
    """Wait for this number of publications, and return their positions and data."""
    await client.until(lambda: len(client.named("publication")) >= count)
    return [(one["offset"], one["data"]) for one in client.named("publication")]


@pytest.mark.promise("hub-peers")
async def test_centrifuge_js(serve_hub: ServeHub, node_scripts: Path) -> None:
    """centrifuge-js subscribes, publishes, reads history and presence, and sees joins."""
    async with (
        serve_hub(user=lambda _, token: Credentials(token, info={"nick": token})) as serving,
        CentrifugeJs.open(node_scripts, serving.url, token="ann") as ann,
        CentrifugeJs.open(node_scripts, serving.url, token="bob") as bob,
    ):
        assert await ann.call("connect") == {"result": None}
        assert await bob.call("connect") == {"result": None}
        assert await ann.call("subscribe", channel="kept:a", options=MEMBER) == {"result": None}
        [subscribed] = ann.named("subscribed")
        assert (subscribed["recoverable"], subscribed["wasRecovering"]) == (True, False)
        await bob.call("subscribe", channel="kept:a", options={})
        await ann.until(lambda: len(ann.named("join")) == 2)
        assert [event["info"]["user"] for event in ann.named("join")] == ["ann", "bob"]

        hello = {"text": "hi ä\n"}
        assert await ann.call("publish", channel="kept:a", data=hello) == {"result": {}}
        serving.hub.topic("kept:a").on_next([1.5, None])
        for client in (ann, bob):
            assert await publications(client, 2) == [(1, hello), (2, [1.5, None])]

        history = (await bob.call("history", channel="kept:a", options={"limit": -1}))["result"]
        assert [one["offset"] for one in history["publications"]] == [1, 2]
        assert history["offset"] == 2
        clients = (await bob.call("presence", channel="kept:a"))["result"]["clients"]
        assert {one["user"]: one["connInfo"] for one in clients.values()} == {
            "ann": {"nick": "ann"},
            "bob": {"nick": "bob"},
        }
        stats = await ann.call("presence_stats", channel="kept:a")
        assert stats == {"result": {"numClients": 2, "numUsers": 2}}

        await bob.call("unsubscribe", channel="kept:a")
        await ann.until(lambda: ann.named("leave"))
        assert ann.named("leave")[0]["info"]["user"] == "bob"

        serving.hub.user("ann").on_next({"hello": 1})
        await ann.until(lambda: ann.named("message"))
        assert ann.named("message")[0]["data"] == {"hello": 1}
        serving.hub.user("ann").revoke("kept:*")
        await ann.until(lambda: ann.named("unsubscribed"))
        assert ann.named("unsubscribed")[0]["code"] == 2000
        serving.hub.user("ann").close(rxws.Close(4501, "logged out"))
        await ann.until(lambda: ann.named("disconnected"))
        assert ann.named("disconnected")[0]["code"] == 4501
        assert not ann.named("error") + bob.named("error")


async def test_centrifuge_js_is_refused(serve_hub: ServeHub, node_scripts: Path) -> None:
    """A refused connection ends for good; a refused action fails with the error's code."""
    async with (
        serve_hub(
            allow=lambda _, topic, action: topic == "open" and action == "subscribe"
        ) as serving,
        CentrifugeJs.open(node_scripts, serving.url) as nobody,
        CentrifugeJs.open(node_scripts, serving.url, token="ann") as ann,
    ):
        assert "error" in await nobody.call("connect")
        assert [event["code"] for event in nobody.named("disconnected")] == [3500]
        await ann.call("connect")
        assert "error" in await ann.call("subscribe", channel="secret", options={})
        assert [event["code"] for event in ann.named("unsubscribed")] == [103]
        assert "result" in await ann.call("subscribe", channel="open", options=MEMBER)
        for op in ("publish", "history", "presence", "presence_stats"):
            answer = await ann.call(op, channel="open", data=1, options={})
            assert answer["error"]["code"] == 103


async def test_centrifuge_js_refreshes_tokens(serve_hub: ServeHub, node_scripts: Path) -> None:
    """centrifuge-js gets a new token when the old one expires, of connection and subscription."""

    def user(_: object, token: str) -> Credentials:
        if token == "old":
            raise TokenExpired
        return Credentials("ann", seconds=1.3)

    async with (
        serve_hub(user=user, allow=lambda *_: 1.3) as serving,
        CentrifugeJs.open(node_scripts, serving.url, token="old", tokens=["new", "newer"]) as ann,
    ):
        await ann.call("connect")
        await ann.call("subscribe", channel="kept:a", options={"tokens": ["first", "second"]})

        def tokens(of: str) -> list[Any]:
            return [one["token"] for one in ann.named("token") if one["of"] == of]

        await ann.until(lambda: len(tokens("connection")) >= 2 and len(tokens("kept:a")) >= 2)
        assert tokens("connection")[:2] == ["new", "newer"]
        assert tokens("kept:a")[:2] == ["first", "second"]
        assert "result" in await ann.call("publish", channel="kept:a", data=1)
        assert not ann.named("unsubscribed") + ann.named("disconnected")


async def test_centrifuge_js_with_delta(serve_hub: ServeHub, node_scripts: Path) -> None:
    """A client that offers delta compression gets whole messages, as the reply does not accept."""
    async with (
        serve_hub() as serving,
        CentrifugeJs.open(node_scripts, serving.url, token="ann") as ann,
    ):
        await ann.call("connect")
        await ann.call("subscribe", channel="kept:a", options={"delta": "fossil"})
        await ann.call("publish", channel="kept:a", data={"n": 1})
        await ann.until(lambda: ann.named("publication"))
        assert ann.named("publication")[0]["data"] == {"n": 1}
