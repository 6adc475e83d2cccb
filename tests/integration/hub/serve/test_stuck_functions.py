"""`user` and `allow` of `hub.serve` that take too long, or are cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rxws.hub import Credentials
from support.peers.hub_peer import HubPeer, ServeHub, until

pytestmark = pytest.mark.promise("hub-hostile")


async def never(*_: object) -> Any:
    """Wait for ever."""
    await asyncio.Event().wait()


async def cancelled(*_: object) -> Any:
    """Await a task that somebody has cancelled."""
    task = asyncio.ensure_future(asyncio.Event().wait())
    task.cancel()
    await task


@pytest.mark.parametrize("allow", [never, cancelled])
async def test_an_allow_without_an_answer_is_a_temporary_error(
    serve_hub: ServeHub, allow: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Each command is answered, and no subscription counts as beginning for ever."""
    async with (
        serve_hub(allow=allow, subscribe_timeout=0.1) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        for request in (
            {"subscribe": {"channel": "kept:a"}},
            {"publish": {"channel": "kept:a", "data": 1}},
            {"presence": {"channel": "kept:a"}},
            {"history": {"channel": "kept:a"}},
        ):
            error = (await peer.call(**request))["error"]
            assert (error["code"], error["temporary"]) == (100, True)
        assert await peer.call(ping={}) == {"ping": {}}
    [record] = caplog.records
    assert "user= or allow= of hub.serve failed" in record.getMessage()


@pytest.mark.parametrize("user", [never, cancelled])
async def test_a_user_without_an_answer_is_a_fault_of_the_server(
    serve_hub: ServeHub, user: Any
) -> None:
    """The client may reconnect: it has sent its connect command in time."""
    async with (
        serve_hub(user=user, connect_timeout=0.1) as serving,
        HubPeer.open(serving.url, None) as peer,
    ):
        await peer.send({"id": 1, "connect": {"token": "ann"}})
        assert await peer.close_code() == 3004


@pytest.mark.promise("hub-rights")
async def test_a_right_that_nobody_confirms_ends(serve_hub: ServeHub) -> None:
    """If `allow` is stuck when a right expires, the subscription ends a second later."""
    asked: list[str] = []

    async def allow(_: str, __: str, action: str) -> float:
        asked.append(action)
        if asked.count("subscribe") > 1:
            await never()
        return 0.05

    async with (
        serve_hub(allow=allow, subscribe_timeout=60.0) as serving,
        HubPeer.open(serving.url) as peer,
    ):
        assert "subscribe" in await peer.call(subscribe={"channel": "a"})
        assert (await peer.push())["unsubscribe"]["code"] == 2501
        assert serving.hub.stats.members == 0


@pytest.mark.promise("hub-rights")
async def test_a_user_that_nobody_confirms_ends(serve_hub: ServeHub) -> None:
    """If `user` is stuck when a user expires, the connection ends a second later."""
    asked: list[str] = []

    async def user(_: object, token: str) -> Credentials:
        asked.append(token)
        if len(asked) > 1:
            await never()
        return Credentials("ann", seconds=0.05)

    async with serve_hub(user=user) as serving, HubPeer.open(serving.url, None) as peer:
        assert "connect" in await peer.call(connect={})
        assert await peer.close_code() == 3005


async def test_the_newest_of_several_refreshes_decides(serve_hub: ServeHub) -> None:
    """Refresh commands run one after the other, also if `user` is slow for the first one."""
    gate, asked = asyncio.Event(), list[str]()

    async def user(_: object, token: str) -> Credentials:
        asked.append(token)
        if token == "60":
            await gate.wait()
        return Credentials("ann", seconds=int(token))

    async with serve_hub(user=user) as serving, HubPeer.open(serving.url, None) as peer:
        assert "connect" in await peer.call(connect={"token": "1000"})
        await peer.send(
            {"id": 8, "refresh": {"token": "60"}}, {"id": 9, "refresh": {"token": "600"}}
        )
        await until(lambda: "60" in asked)
        assert "600" not in asked
        gate.set()
        assert [(await peer.receive())["refresh"]["ttl"] for _ in range(2)] == [45, 585]
