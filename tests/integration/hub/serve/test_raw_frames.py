"""`hub.serve` with a peer that sends any line."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from typing import Any

import pytest
from websockets.asyncio.client import connect

import rxws
from rxws.hub import Credentials, Keep, TokenExpired
from support.peers.hub_peer import HubPeer, ServeHub, until


async def subscribe(peer: HubPeer, channel: str, **fields: Any) -> Any:
    """Subscribe, and return the result."""
    return (await peer.call(subscribe={"channel": channel, **fields}))["subscribe"]


async def error_of(peer: HubPeer, **request: Any) -> int:
    """Send a command that must fail, and return the code."""
    return int((await peer.call(**request))["error"]["code"])


# --- malformed input --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x08\x01", 3501),
        ("", 3501),
        ("not json", 3501),
        ("[]", 3501),
        ('{"connect":{}}', 3501),
        ('{"id":"1","connect":{}}', 3501),
        ('{"id":1,"connect":{"token":5}}', 3501),
        ('{"id":1,"teleport":{}}', 3501),
        ('{"id":1,"subscribe":{"channel":"a"}}', 3501),
        ("{}", 3501),
        ('{"send":{"data":1}}', 3508),
        ("\n".join(["{}"] * 1001), 3013),
        ("[" * 60_000, 3501),
        ('"' + "x" * 70_000 + '"', 1009),
        ('{"id":1,"connect":{}}', 3500),
    ],
    ids=range(15),
)
@pytest.mark.promise("hub-hostile")
async def test_a_first_frame_that_is_no_connect_ends_the_connection(
    serve_hub: ServeHub, frame: str | bytes, code: int
) -> None:
    """A frame that cannot be answered closes the connection with the protocol's code."""
    async with serve_hub() as serving, HubPeer.open(serving.url, token=None) as peer:
        await peer.socket.send(frame)
        assert await peer.close_code() == code


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x08\x01", 3501),
        ("not json", 3501),
        ("null", 3501),
        ('{"id":2,"connect":{}}', 3501),
        ('{"subscribe":{"channel":"a"}}', 3501),
        ('{"id":-5,"subscribe":{"channel":"a"}}', 3501),
        ('{"id":5,"subscribe":{"channel":"\\ud800"}}', 3501),
    ],
    ids=range(7),
)
async def test_a_later_frame_that_is_none_of_the_protocol_ends_the_connection(
    serve_hub: ServeHub, frame: str | bytes, code: int
) -> None:
    """The same holds for a client that is connected."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        await peer.socket.send(frame)
        assert await peer.close_code() == code


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ({"teleport": {}}, 104),
        ({}, 104),
        ({"rpc": {"method": "a"}}, 108),
        ({"send": {"data": 1}}, 108),
        ({"ping": {}, "presence": {"channel": "a"}}, 107),
        ({"subscribe": {}}, 107),
        ({"subscribe": {"channel": 5}}, 107),
        ({"subscribe": {"channel": ""}}, 102),
        ({"subscribe": {"channel": "$rxws:user:bob"}}, 102),
        ({"subscribe": {"channel": "x" * 256}}, 107),
        ({"subscribe": {"channel": "a", "delta": "zip"}}, 107),
        ({"subscribe": {"channel": "a", "type": 1}}, 108),
        ({"subscribe": {"channel": "a", "tf": {"key": "x"}}}, 108),
        ({"publish": {"channel": "a"}}, 107),
        ({"publish": {"channel": "$rxws:user:bob", "data": 1}}, 102),
        ({"publish": {"channel": "a", "data": 1, "type": 1}}, 108),
        ({"history": {"channel": "a"}}, 108),
        ({"history": {"channel": "kept:a", "since": 5}}, 107),
        ({"presence": {"channel": []}}, 107),
        ({"presence_stats": {"channel": None}}, 107),
        ({"refresh": {}}, 107),
        ({"sub_refresh": {"channel": "a", "token": "b"}}, 103),
        ({"sub_refresh": {"channel": "a", "type": 1}}, 108),
    ],
    ids=range(23),
)
async def test_a_command_that_cannot_be_executed_is_answered_with_an_error(
    serve_hub: ServeHub, request_: dict[str, Any], code: int
) -> None:
    """A wrong command gets the protocol's error, and the connection goes on."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        assert await error_of(peer, **request_) == code
        assert await peer.call(ping={}) == {"ping": {}}


@pytest.mark.promise("hub-hostile")
async def test_random_commands_never_close_with_1011(
    serve_hub: ServeHub, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a client sends is answered, or closes with the protocol's codes."""
    rng = random.Random(17)
    names = ["connect", "subscribe", "unsubscribe", "publish", "presence", "presence_stats"]
    names += ["history", "refresh", "sub_refresh", "ping", "rpc", "send", "other"]
    fields = ["channel", "token", "data", "offset", "epoch", "recover", "limit", "since", "reverse"]
    fields += ["join_leave", "flag", "delta", "type", "tf", "name", "id", "headers"]
    values: list[Any] = [None, True, 0, 1, -1, 1.5, 2**53, 2**70, "", "a", "kept:a", "x" * 300]
    values += ["$rxws:user:a", [], [1], {}, {"offset": 3, "epoch": "e"}, "\ud800"]

    def command(number: int) -> dict[str, Any]:
        made: dict[str, Any] = {"id": rng.choice([number] * 30 + values)}
        for name in rng.sample(names, rng.choice([1] * 10 + [0, 2])):
            body = {rng.choice(fields): rng.choice(values) for _ in range(rng.randint(0, 6))}
            body["channel"] = rng.choice(["a", "kept:a", "kept:b", *values])
            made[name] = rng.choice([body] * 20 + values)
        return made

    async with serve_hub() as serving:
        codes: list[int | None] = []
        for _ in range(150):
            async with HubPeer.open(serving.url) as peer:
                count = rng.randint(1, 20)
                for number in range(count):
                    await peer.send(command(number + 10))
                await peer.send({"id": 9, "ping": {}}, "not json")
                codes.append(await peer.close_code())
        assert set(codes) <= {3500, 3501, 3508}
        await until(lambda: not serving.hub.stats.members)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_protobuf_is_not_offered(serve_hub: ServeHub) -> None:
    """A client that asks for the subprotocol of Protobuf does not get it."""
    async with (
        serve_hub() as serving,
        connect(serving.url, subprotocols=["centrifuge-protobuf"]) as socket,  # type: ignore[list-item]
    ):
        assert socket.subprotocol is None


# --- connect ----------------------------------------------------------------------------------


async def test_the_connect_reply(serve_hub: ServeHub) -> None:
    """The reply has a unique id, and the interval of the server's pings."""
    async with (
        serve_hub(ping=7) as serving,
        HubPeer.open(serving.url, None) as one,
        HubPeer.open(serving.url, None) as other,
    ):
        results = [(await peer.call(connect={"token": "a"}))["connect"] for peer in (one, other)]
        assert results[0]["ping"] == 7
        assert "expires" not in results[0]
        assert results[0]["client"] != results[1]["client"]


async def test_commands_sent_with_connect_wait_for_its_reply(serve_hub: ServeHub) -> None:
    """A frame with connect and other commands is answered in order, also if `user` takes time."""

    async def user(_: object, token: str) -> str:
        await asyncio.sleep(0)
        return token

    async with serve_hub(user=user) as serving, HubPeer.open(serving.url, None) as peer:
        await peer.send(
            {"id": 1, "connect": {"token": "ann"}},
            {"id": 2, "subscribe": {"channel": "kept:a"}},
            {"id": 3, "publish": {"channel": "kept:a", "data": 1}},
            {"id": 4, "ping": {}},
        )
        got = [await peer.receive() for _ in range(5)]
        assert [one.get("id") for one in got if "id" in one][:1] == [1]
        assert sorted(one["id"] for one in got if "id" in one) == [1, 2, 3, 4]
        assert {"push": {"channel": "kept:a", "pub": {"data": 1, "offset": 1}}} in got


async def test_the_user_comes_from_the_request(serve_hub: ServeHub) -> None:
    """`user` gets the request of the handshake, so that a cookie may name the user."""

    def user(request: Any, token: str) -> str | None:
        assert not token
        name: str | None = request.headers.get("x-user")
        return name

    seen: list[Any] = []

    def allow(*asked: str) -> bool:
        seen.append(asked)
        return True

    async with serve_hub(user=user, allow=allow) as serving:
        async with HubPeer.open(serving.url, None) as peer:
            await peer.send({"id": 1, "connect": {}})
            assert await peer.close_code() == 3500
        async with connect(serving.url, additional_headers={"x-user": "bob"}) as socket:
            peer = HubPeer(socket)
            await peer.call(connect={})
            await subscribe(peer, "a")
    assert seen == [("bob", "a", "subscribe"), ("bob", "a", "presence")]


async def test_without_user_all_are_anonymous(serve_hub: ServeHub) -> None:
    """Without `user=`, the name is empty, and such connections are no members."""
    seen: list[str] = []

    def allow(name: str, *_: str) -> bool:
        seen.append(name)
        return True

    async with (
        serve_hub(user=None, allow=allow) as serving,
        HubPeer.open(serving.url, "") as peer,
    ):
        await subscribe(peer, "a")
        assert (await peer.call(presence={"channel": "a"}))["presence"] == {}
    assert set(seen) == {""}


@pytest.mark.parametrize(
    ("result", "code"), [(None, 3500), ("", 3004), (5, 3004), (ValueError("no"), 3004)], ids=repr
)
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_refused_connection(
    serve_hub: ServeHub, result: Any, code: int, is_async: bool
) -> None:
    """None refuses for good; a failure is the server's, and the client tries again."""

    def user(*_: object) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    async def later(*args: object) -> Any:
        return user(*args)

    async with (
        serve_hub(user=later if is_async else user) as serving,
        HubPeer.open(serving.url, None) as peer,
    ):
        await peer.send({"id": 1, "connect": {"token": "x"}})
        assert await peer.close_code() == code


async def test_an_expired_token_asks_for_a_new_one(serve_hub: ServeHub) -> None:
    """`TokenExpired` is error 109, at connect and at refresh."""

    def user(_: object, token: str) -> str:
        if token == "old":
            raise TokenExpired
        return "ann"

    async with serve_hub(user=user) as serving:
        async with HubPeer.open(serving.url, None) as peer:
            assert await error_of(peer, connect={"token": "old"}) == 109
            assert await peer.close_code() == 3011
        async with HubPeer.open(serving.url, "new") as peer:
            assert await error_of(peer, refresh={"token": "old"}) == 109
            assert "refresh" in await peer.call(refresh={"token": "new"})


async def test_a_token_of_another_user_ends_the_connection(serve_hub: ServeHub) -> None:
    """A refresh cannot change the user, and a token that is not valid ends the connection."""
    async with serve_hub() as serving:
        for token, error in (("bob", 3500), ("", 107)):
            async with HubPeer.open(serving.url) as peer:
                if token:
                    await peer.send({"id": 5, "refresh": {"token": token}})
                    assert await peer.close_code() == error
                else:
                    assert await error_of(peer, refresh={"token": token}) == error


# --- rights -----------------------------------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("result", "code"),
    [
        (False, 103),
        (None, 103),
        (0, 103),
        (-1.0, 103),
        (math.nan, 100),
        ("yes", 100),
        (ValueError("no"), 100),
    ],
    ids=repr,
)
async def test_what_is_not_allowed_is_an_error(
    serve_hub: ServeHub, result: Any, code: int, is_async: bool
) -> None:
    """Without a right, all four actions are refused; a failure of `allow` is error 100."""

    def allow(*_: object) -> Any:
        if isinstance(result, Exception):
            raise result
        return result

    async def later(*args: object) -> Any:
        return allow(*args)

    async with (
        serve_hub(allow=later if is_async else allow) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        for request in (
            {"subscribe": {"channel": "kept:a"}},
            {"publish": {"channel": "kept:a", "data": 1}},
            {"presence": {"channel": "kept:a"}},
            {"presence_stats": {"channel": "kept:a"}},
            {"history": {"channel": "kept:a"}},
        ):
            assert await error_of(peer, **request) == code
        assert await peer.call(unsubscribe={"channel": "kept:a"}) == {"unsubscribe": {}}


async def test_presence_needs_its_right(serve_hub: ServeHub) -> None:
    """A user without the right to see members is none, and gets no joins."""
    async with (
        serve_hub(allow=lambda user, _, action: user == "bob" or action == "subscribe") as serving,
        HubPeer.open(serving.url, "ann") as ann,
        HubPeer.open(serving.url, "bob") as bob,
    ):
        await subscribe(ann, "a", join_leave=True)
        await subscribe(bob, "a", join_leave=True)
        assert (await bob.push())["join"]["info"]["user"] == "bob"
        stats = await bob.call(presence_stats={"channel": "a"})
        assert stats == {"presence_stats": {"num_clients": 1, "num_users": 1}}
        serving.hub.topic("a").on_next(1)
        assert await ann.push() == {"channel": "a", "pub": {"data": 1}}


@pytest.mark.promise("hub-rights")
async def test_a_revoked_right_ends_the_subscription(serve_hub: ServeHub) -> None:
    """`revoke` ends the subscriptions of the user that match, and no others."""
    async with (
        serve_hub() as serving,
        HubPeer.open(serving.url, "ann") as ann,
        HubPeer.open(serving.url, "bob") as bob,
    ):
        for peer in (ann, bob):
            for name in ("kept:a", "kept:b", "other"):
                await subscribe(peer, name)
        serving.hub.user("ann").revoke("kept:*")
        ended = [await ann.push() for _ in range(2)]
        assert sorted(one["channel"] for one in ended) == ["kept:a", "kept:b"]
        assert all(one["unsubscribe"]["code"] == 2000 for one in ended)
        serving.hub.topic("kept:a").on_next(1)
        serving.hub.topic("other").on_next(2)
        assert (await ann.push())["channel"] == "other"
        assert {(await bob.push())["channel"] for _ in range(2)} == {"kept:a", "other"}


async def test_a_right_that_is_revoked_while_allow_decides(serve_hub: ServeHub) -> None:
    """If the right is revoked while `allow` is running, its answer is outdated."""
    gate, asked = asyncio.Event(), asyncio.Event()

    async def allow(*_: str) -> bool:
        asked.set()
        await gate.wait()
        return True

    async with serve_hub(allow=allow) as serving, HubPeer.open(serving.url) as peer:
        await peer.send({"id": 20, "subscribe": {"channel": "kept:a"}})
        await asked.wait()
        serving.hub.user("ann").revoke("kept:a")
        serving.hub.user("ann").on_next("after it")
        assert await peer.push() == {"message": {"data": "after it"}}
        gate.set()
        assert (await until_reply(peer, 20))["error"]["code"] == 103


async def test_messages_and_closes_of_a_user(serve_hub: ServeHub) -> None:
    """A user gets messages on each connection, and `close` ends them with its code."""
    async with (
        serve_hub() as serving,
        HubPeer.open(serving.url) as one,
        HubPeer.open(serving.url) as other,
    ):
        serving.hub.user("ann").on_next({"type": "hello"})
        for peer in (one, other):
            assert await peer.push() == {"message": {"data": {"type": "hello"}}}
        serving.hub.user("ann").close(rxws.Close(4001, "logged out"))
        assert [await peer.close_code() for peer in (one, other)] == [4001, 4001]


async def test_a_right_that_expires_is_refreshed_by_the_client(serve_hub: ServeHub) -> None:
    """A client with tokens gets a ttl; without a refresh the right ends, with a code to retry."""
    async with (
        serve_hub(
            user=lambda _, token: Credentials(token, seconds=3600),
            allow=lambda *_: 0.2 if renewed else 60,
        ) as serving,
        HubPeer.open(serving.url, None) as peer,
    ):
        renewed: list[int] = []
        connected = (await peer.call(connect={"token": "ann"}))["connect"]
        assert connected["expires"]
        assert connected["ttl"] == 3585
        result = await subscribe(peer, "a", token="t")
        assert (result["expires"], result["ttl"]) == (True, 45)
        assert await error_of(peer, sub_refresh={"channel": "a"}) == 107
        renewed.append(1)
        answer = await peer.call(sub_refresh={"channel": "a", "token": "t"})
        assert answer == {"sub_refresh": {"expires": True, "ttl": 1}}
        assert await peer.push() == {
            "channel": "a",
            "unsubscribe": {"code": 2501, "reason": "subscription expired"},
        }
        refreshed = (await peer.call(refresh={"token": "ann"}))["refresh"]
        assert refreshed["ttl"] == 3585


@pytest.mark.promise("hub-rights")
async def test_a_right_that_expires_is_asked_for_again(serve_hub: ServeHub) -> None:
    """For a client without tokens the server asks again: it goes on, or ends for good."""
    asked: list[str] = []

    def allow(_: str, __: str, action: str) -> Any:
        asked.append(action)
        return 0.05 if asked.count("subscribe") < 4 else False

    async with serve_hub(allow=allow) as serving, HubPeer.open(serving.url) as peer:
        result = await subscribe(peer, "a")
        assert "expires" not in result
        assert (await peer.push())["unsubscribe"]["code"] == 2000
        assert asked.count("subscribe") == 4


async def test_a_user_that_expires_is_identified_again(serve_hub: ServeHub) -> None:
    """The same holds for the user of a connection: it goes on, or ends with 3005."""
    calls: list[str] = []

    def user(_: object, token: str) -> Any:
        calls.append(token)
        return Credentials("ann" if len(calls) < 4 else "bob", seconds=0.05)

    async with serve_hub(user=user) as serving, HubPeer.open(serving.url, None) as peer:
        assert "expires" not in (await peer.call(connect={}))["connect"]
        assert await peer.close_code() == 3005
    assert calls == [""] * 4


async def test_a_connection_that_is_not_refreshed_ends(serve_hub: ServeHub) -> None:
    """A client with a token must refresh it; otherwise the connection ends with 3005."""
    async with (
        serve_hub(user=lambda _, token: Credentials(token, seconds=0.05)) as serving,
        HubPeer.open(serving.url, "ann") as peer,
    ):
        assert await peer.close_code() == 3005


# --- subscriptions ----------------------------------------------------------------------------


async def test_a_subscription_without_history(serve_hub: ServeHub) -> None:
    """A topic that keeps nothing has no positions, and recovers nothing."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        assert await subscribe(peer, "a") == {}
        assert await subscribe(peer, "b", recover=True, epoch="x", offset=3, flag=2) == {
            "was_recovering": True
        }
        serving.hub.topic("a").on_next({"x": 1.5})
        assert await peer.push() == {"channel": "a", "pub": {"data": {"x": 1.5}}}


@pytest.mark.promise("hub-resume")
async def test_recovery(serve_hub: ServeHub) -> None:
    """A client gets what it has missed, or hears that this is not known."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        topic = serving.hub.topic("kept:a")
        first = await subscribe(peer, "kept:a")
        assert first == {
            "recoverable": True, "positioned": True, "epoch": first["epoch"],
        }  # fmt: skip
        epoch = first["epoch"]
        for value in range(1, 4):
            topic.on_next(value)
            assert await peer.push() == {
                "channel": "kept:a", "pub": {"data": value, "offset": value},
            }  # fmt: skip
        assert await error_of(peer, subscribe={"channel": "kept:a"}) == 105

        async def resubscribe(**fields: Any) -> Any:
            await peer.call(unsubscribe={"channel": "kept:a"})
            return await subscribe(peer, "kept:a", recover=True, **fields)

        known = {"recoverable": True, "positioned": True, "epoch": epoch, "was_recovering": True}
        one, two, three = ({"data": n, "offset": n} for n in (1, 2, 3))
        assert await resubscribe(epoch=epoch, offset=1) == {
            **known, "recovered": True, "offset": 1, "publications": [two, three],
        }  # fmt: skip
        assert await resubscribe(epoch=epoch, offset=3) == {**known, "recovered": True, "offset": 3}
        assert await resubscribe() == {
            **known, "recovered": True, "publications": [one, two, three],
        }  # fmt: skip
        unknown = {**known, "offset": 3}
        assert await resubscribe(epoch="other", offset=1) == unknown
        assert await resubscribe(epoch="other") == unknown
        assert await resubscribe(offset=2) == unknown
        await peer.call(unsubscribe={"channel": "kept:a"})
        fields = {"channel": "kept:a", "recover": True, "epoch": "other", "flag": 2}
        assert await error_of(peer, subscribe=fields) == 112
        assert "epoch" in await subscribe(peer, "kept:a")


async def test_recovery_of_what_was_trimmed(serve_hub: ServeHub) -> None:
    """What the topic does not keep any more is not recovered."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        epoch = (await subscribe(peer, "last:a"))["epoch"]
        await peer.call(unsubscribe={"channel": "last:a"})
        for value in (1, 2, 3):
            await peer.call(publish={"channel": "last:a", "data": value})
        result = await subscribe(peer, "last:a", recover=True, epoch=epoch, offset=2)
        assert result["publications"] == [{"data": 3, "offset": 3}]
        history = (await peer.call(history={"channel": "last:a", "limit": -1}))["history"]
        assert history["publications"] == [{"data": 3, "offset": 3}]
        since = {"channel": "last:a", "limit": -1, "since": {"offset": 1, "epoch": epoch}}
        assert await error_of(peer, history=since) == 112


async def test_a_recovery_that_is_too_large_is_not_recovered(serve_hub: ServeHub) -> None:
    """A reply that would not fit into the send buffer is not built."""
    async with (
        serve_hub(max_buffer=40_000) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        epoch = (await subscribe(peer, "kept:a"))["epoch"]
        for _ in range(30):
            await peer.call(publish={"channel": "kept:a", "data": "x" * 1000})
        await peer.call(unsubscribe={"channel": "kept:a"})
        result = await subscribe(peer, "kept:a", recover=True, epoch=epoch)
        assert "recovered" not in result
        assert result["offset"] == 30
        assert await error_of(peer, history={"channel": "kept:a", "limit": -1}) == 106


async def test_history(serve_hub: ServeHub) -> None:
    """History is read with a limit, after a position, and in reverse."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        for value in range(1, 6):
            await peer.call(publish={"channel": "kept:a", "data": value})

        async def history(**fields: Any) -> Any:
            result = (await peer.call(history={"channel": "kept:a", **fields}))["history"]
            assert result["offset"] == 5
            return [pub["data"] for pub in result.get("publications", [])]

        assert await history() == []
        assert await history(limit=-1) == [1, 2, 3, 4, 5]
        assert await history(limit=2) == [1, 2]
        assert await history(limit=2, reverse=True) == [5, 4]
        assert await history(limit=-1, since={"offset": 3}) == [4, 5]
        assert await history(limit=1, since={"offset": 3}) == [4]
        assert await history(limit=-1, since={"offset": 3}, reverse=True) == [2, 1]
        since = {"offset": 3, "epoch": "other"}
        assert await error_of(peer, history={"channel": "kept:a", "since": since}) == 112


async def test_an_unsubscribed_topic_sends_nothing(serve_hub: ServeHub) -> None:
    """After the reply to unsubscribe no message of the topic arrives, and nothing is left."""
    async with serve_hub() as serving, HubPeer.open(serving.url) as peer:
        await subscribe(peer, "a")
        await peer.call(unsubscribe={"channel": "a"})
        await subscribe(peer, "b")
        for name in ("a", "b"):
            serving.hub.topic(name).on_next(1)
        assert (await peer.push())["channel"] == "b"


async def test_commands_on_one_topic_run_in_order(serve_hub: ServeHub) -> None:
    """Commands on a topic wait for each other while `allow` takes time; others do not wait."""
    gate = asyncio.Event()

    async def allow(_: str, topic: str, __: str) -> bool:
        if topic == "slow":
            await gate.wait()
        return True

    async with serve_hub(allow=allow) as serving, HubPeer.open(serving.url) as peer:
        await peer.send(
            {"id": 11, "subscribe": {"channel": "slow"}},
            {"id": 12, "unsubscribe": {"channel": "slow"}},
            {"id": 13, "subscribe": {"channel": "fast"}},
        )
        assert (await peer.receive())["id"] == 13
        gate.set()
        assert [(await peer.receive())["id"] for _ in range(2)] == [11, 12]


async def test_many_commands_pause_the_connection(serve_hub: ServeHub) -> None:
    """Commands above `max_pending` wait, and all are answered in the end."""
    running: list[str] = []
    gate = asyncio.Event()

    async def allow(_: str, topic: str, __: str) -> bool:
        running.append(topic)
        await gate.wait()
        return True

    async with serve_hub(allow=allow, max_pending=3) as serving, HubPeer.open(serving.url) as peer:
        await peer.send(
            *({"id": n, "publish": {"channel": f"a{n}", "data": n}} for n in range(10, 30))
        )
        await until(lambda: len(running) == 3)
        gate.set()
        assert {(await peer.receive())["id"] for _ in range(20)} == set(range(10, 30))
        assert await peer.call(ping={}) == {"ping": {}}


async def test_the_number_of_subscriptions_is_bounded(serve_hub: ServeHub) -> None:
    """Above `max_subscriptions` a subscription is refused; an ended one makes room."""
    async with (
        serve_hub(max_subscriptions=2) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        for name in ("a", "b"):
            await subscribe(peer, name)
        assert await error_of(peer, subscribe={"channel": "c"}) == 106
        await peer.call(unsubscribe={"channel": "a"})
        await subscribe(peer, "c")


async def test_a_storm_of_subscribers_gets_a_temporary_error(serve_hub: ServeHub) -> None:
    """Above `max_starting` subscriptions of all connections, a client must try again."""
    gate = asyncio.Event()

    async def allow(_: str, topic: str, __: str) -> bool:
        if topic == "slow":
            await gate.wait()
        return True

    async with (
        serve_hub(allow=allow, max_starting=2) as serving,
        HubPeer.open(serving.url) as one,
        HubPeer.open(serving.url) as two,
        HubPeer.open(serving.url) as three,
    ):
        for peer in (one, two):
            await peer.send({"id": 9, "subscribe": {"channel": "slow"}})
        await one.call(ping={})
        await two.call(ping={})
        error = (await three.call(subscribe={"channel": "fast"}))["error"]
        assert (error["code"], error["temporary"]) == (100, True)
        gate.set()
        await until_reply(one, 9)
        await subscribe(three, "fast")


async def until_reply(peer: HubPeer, id_: int) -> Any:
    """Return the reply with an id."""
    while (got := await peer.receive()).get("id") != id_:
        pass
    return got


async def test_joins_and_leaves(serve_hub: ServeHub) -> None:
    """Members see who joins and leaves, with the information of `Credentials`."""
    async with (
        serve_hub(user=lambda _, token: Credentials(token, info={"nick": token})) as serving,
        HubPeer.open(serving.url, "ann") as ann,
    ):
        await subscribe(ann, "a", join_leave=True)
        assert (await ann.push())["join"]["info"]["user"] == "ann"
        async with HubPeer.open(serving.url, "bob") as bob:
            await subscribe(bob, "a")
            joined = await ann.push()
            info = joined["join"]["info"]
            assert (info["user"], info["conn_info"]) == ("bob", {"nick": "bob"})
            members = (await ann.call(presence={"channel": "a"}))["presence"]["presence"]
            assert members[info["client"]] == info
            assert {one["user"] for one in members.values()} == {"ann", "bob"}
        assert await ann.push() == {"channel": "a", "leave": {"info": info}}


# --- payloads ---------------------------------------------------------------------------------


async def test_payloads_of_text(serve_hub: ServeHub) -> None:
    """The payloads of a codec that is not JSON are JSON strings, in both directions."""
    async with (
        serve_hub(codec=rxws.codecs.text) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        await subscribe(peer, "kept:a")
        assert await error_of(peer, publish={"channel": "kept:a", "data": {"not": "text"}}) == 107
        await peer.send({"id": 20, "publish": {"channel": "kept:a", "data": '"hi"'}})
        assert (await peer.push())["pub"]["data"] == '"hi"'


async def test_a_binary_message_ends_the_connections(serve_hub: ServeHub) -> None:
    """A hub whose codec encodes to bytes cannot serve them as JSON: 3506, for good."""
    async with (
        serve_hub(codec=rxws.codecs.raw) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        await subscribe(peer, "a")
        serving.hub.topic("a").on_next("text")
        assert (await peer.push())["pub"]["data"] == "text"
        serving.hub.topic("a").on_next(b"binary")
        assert await peer.close_code() == 3506


async def test_a_codec_that_validates_refuses_what_clients_publish(serve_hub: ServeHub) -> None:
    """The hub's codec decodes what a client publishes, so that nothing wrong reaches a topic."""
    async with (
        serve_hub(codec=rxws.codecs.typed(dict[str, int])) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        await subscribe(peer, "kept:a")
        assert await error_of(peer, publish={"channel": "kept:a", "data": {"a": "text"}}) == 107
        await peer.send({"id": 20, "publish": {"channel": "kept:a", "data": {"a": 1}}})
        assert (await peer.push())["pub"] == {"data": {"a": 1}, "offset": 1}


# --- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"allow": None}, TypeError),
        ({"user": 5}, TypeError),
        ({"overflow": "drop_oldest"}, TypeError),
        ({"codec": rxws.codecs.text}, TypeError),
        ({"incoming": "discard"}, TypeError),
        ({"protocols": ["a"]}, TypeError),
        ({"max_pending": 0}, ValueError),
        ({"ping": 0}, ValueError),
        ({"ping": "5"}, TypeError),
        ({"unknown": 5}, TypeError),
    ],
    ids=repr,
)
async def test_wrong_options_fail_at_once(options: dict[str, Any], error: type[Exception]) -> None:
    """A mistake in the options of `hub.serve` raises when it is called, and names the option."""
    hub: Any = rxws.hub.Hub(codec=rxws.codecs.json, topics={"a": Keep(1)})
    with pytest.raises(error, match=next(iter(options))):
        hub.serve(**{"allow": lambda *_: True, **options})


async def test_a_binary_hub_cannot_serve() -> None:
    """A hub with `codecs.binary` says at once that JSON cannot carry its payloads."""
    with pytest.raises(TypeError, match="binary"):
        rxws.hub.Hub(codec=rxws.codecs.binary).serve(allow=lambda *_: True)


# --- what the backplane does ------------------------------------------------------------------


@pytest.mark.promise("hub-resume")
async def test_a_gap_ends_the_subscription_so_that_the_client_recovers(serve_hub: ServeHub) -> None:
    """After a restart of the backplane clients subscribe again, and hear what is unknown."""
    backplane = rxws.hub.LocalBackplane()
    async with serve_hub(backplane=backplane) as serving, HubPeer.open(serving.url) as peer:
        epoch = (await subscribe(peer, "kept:a"))["epoch"]
        serving.hub.topic("kept:a").on_next(1)
        assert (await peer.push())["pub"]["offset"] == 1
        backplane.restart()
        serving.hub.topic("kept:a").on_next(2)
        assert (await peer.push())["unsubscribe"]["code"] == 2500
        result = await subscribe(peer, "kept:a", recover=True, epoch=epoch, offset=1)
        assert result["epoch"] != epoch
        assert result["was_recovering"]
        assert "recovered" not in result


async def test_all_ends_with_the_connection(serve_hub: ServeHub) -> None:
    """A connection that ends, whatever it does just then, leaves no member and no subscription."""
    gate = asyncio.Event()

    async def allow(_: str, topic: str, __: str) -> bool:
        if topic == "slow":
            await gate.wait()
        return True

    async with serve_hub(allow=allow) as serving:
        for _ in range(20):
            async with HubPeer.open(serving.url) as peer:
                await subscribe(peer, "kept:a", join_leave=True)
                await peer.send(
                    {"id": 20, "subscribe": {"channel": "slow"}},
                    {"id": 21, "subscribe": {"channel": "b"}},
                    {"id": 22, "publish": {"channel": "kept:a", "data": 1}},
                    {"id": 23, "history": {"channel": "kept:a", "limit": -1}},
                    {"id": 24, "presence": {"channel": "kept:a"}},
                )
        served = serving.hub._served
        await until(lambda: not serving.hub.stats.members and not len(served))


@pytest.mark.promise("hub-rights")
async def test_a_user_who_is_closed_while_the_server_looks_it_up(serve_hub: ServeHub) -> None:
    """`close` ends connections whose `user` coroutine still runs, but not those of others."""
    asked, found = asyncio.Event(), asyncio.Event()

    async def user(_: Any, token: str) -> str:
        if token == "ann":
            asked.set()
        await found.wait()
        return token

    async with (
        serve_hub(user=user) as (hub, url),
        connect(url) as first,
        connect(url) as second,
    ):
        ann, bob = HubPeer(first), HubPeer(second)
        await bob.send({"id": 1, "connect": {"token": "bob"}})
        await ann.send({"id": 1, "connect": {"token": "ann"}})
        await asked.wait()
        hub.user("ann").close(rxws.Close(4001, "logged out"))
        await asyncio.sleep(0)
        await until(lambda: not hub.stats.queued)
        found.set()
        assert await ann.close_code() == 4001
        assert "connect" in await bob.receive()
