"""A client of a hub whose server breaks the protocol, or goes to its limits, in virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from support.virtual.hub_client import VirtualHubClient

pytestmark = pytest.mark.promise("hub-hostile")


@pytest.mark.parametrize(
    ("disconnect", "code"),
    [
        ({"code": 3503, "reason": "😀" * 100}, 3503),
        ({"code": 4500, "reason": "x" * 1000}, 4500),
    ],
    ids=["emoji", "long"],
)
def test_a_disconnect_with_a_long_reason(disconnect: Any, code: int) -> None:
    """The reason is cut to what a close frame can hold."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"disconnect": disconnect}})
    virtual.close_code()
    assert isinstance(seen.error, rxws.ConnectionClosed)
    assert seen.error.close.code == code
    virtual.check_nothing_left()


@pytest.mark.parametrize("code", [0, 1, 999, 5000, 70_000])
def test_a_disconnect_with_a_code_that_no_close_has(
    code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The client reconnects."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"disconnect": {"code": code}}})
    virtual.close_code()
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.publish("news", 1)
    assert seen.values == [1]
    assert seen.ends == []
    assert not caplog.records
    virtual.check_nothing_left()


@pytest.mark.parametrize("ttl", [0, 2**32 - 1])
def test_times_of_a_token_that_no_timer_can_have(ttl: int) -> None:
    """A ttl of 0 does not ask for tokens in a loop, and the largest one does not fail."""
    asked: list[int] = []

    def token() -> str:
        asked.append(1)
        return "t"

    virtual = VirtualHubClient(token)
    seen = virtual.subscribe(virtual.client.topic("news", token=token))
    virtual.answer("connect", client="c", expires=True, ttl=ttl, ping=2**32 - 1)
    virtual.subscribed(expires=True, ttl=ttl)
    for _ in range(30):
        virtual.run(0.1)
        for line in virtual.lines():
            for name in ("refresh", "sub_refresh"):
                if name in line:
                    virtual.send({"id": line["id"], name: {"expires": True, "ttl": ttl}})
    virtual.publish("news", 1)
    assert seen.values == [1]
    assert len(asked) <= 8
    virtual.check_nothing_left()


def test_publications_that_jump_back_are_dropped() -> None:
    """A position is delivered once, whatever the server repeats."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news").messages())
    virtual.answer("connect", client="c")
    virtual.subscribed("e", 5)
    virtual.publish("news", (6, "a"), (5, "b"), (1, "c"), (6, "d"), (7, "e"))
    assert [message.value for message in seen.values] == ["a", "e"]
    virtual.check_nothing_left()


def test_a_position_far_ahead_is_a_gap_and_not_the_end() -> None:
    """After a reconnect the client follows the server's positions again."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news").messages())
    virtual.answer("connect", client="c")
    virtual.subscribed("e", 5)
    virtual.publish("news", (2**64 - 1, "far"))
    virtual.answer("unsubscribe")
    virtual.subscribed("e", 6, recovered=True, publications=[{"data": "a", "offset": 6}])
    virtual.publish("news", (7, "b"))
    assert [message.value for message in seen.values] == ["a", "b"]
    virtual.check_nothing_left()


def test_pushes_before_the_replies_to_connect_and_subscribe() -> None:
    """They are ignored: the order of the topic is not known yet."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.run()
    virtual.send("{}", {"push": {"channel": "news", "pub": {"data": 0, "offset": 1}}})
    virtual.answer("connect", client="c", ping=25, pong=True)
    virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2000}}})
    virtual.send({"push": {"channel": "other", "join": {"info": {"client": "c"}}}})
    virtual.subscribed("e", 1)
    virtual.send("{}", "{}")
    assert virtual.lines() == [{}, {}]
    virtual.publish("news", (2, "a"))
    assert seen.values == ["a"]
    virtual.check_nothing_left()


def test_unsubscribe_floods_wait_longer_and_longer() -> None:
    """The client does not answer each push of unsubscribe with a new subscription at once."""
    virtual = VirtualHubClient(backoff=rxws.backoff.constant(5.0))
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed("e", 1)
    count = 0
    for _ in range(100):
        virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2500}}})
        for line in virtual.lines():
            if "subscribe" in line:
                count += 1
                virtual.send({"id": line["id"], "subscribe": {"recoverable": True, "epoch": "e"}})
    assert count == 1
    virtual.check_nothing_left()


def test_many_cuts_in_a_row_lose_nothing() -> None:
    """After 200 cuts the topic continues without a repeated message or a gap."""
    virtual = VirtualHubClient()
    seen = virtual.subscribe(virtual.client.topic("news").messages())
    virtual.answer("connect", client="c")
    virtual.subscribed("e", 0)
    for number in range(1, 201):
        virtual.publish("news", (2 * number - 1, "live"))
        virtual.reconnect()
        fields = virtual.subscribed(
            "e", 2 * number, recovered=True, publications=[{"data": "kept", "offset": 2 * number}]
        )
        assert fields["offset"] == 2 * number - 1
    assert [message.position.offset for message in seen.values] == list(range(1, 401))
    virtual.check_nothing_left()


@pytest.mark.parametrize("kind", ["stuck", "cancelled"])
async def test_a_token_function_without_an_answer(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is called again: a topic does not wait for ever without a word."""
    monkeypatch.setattr("rxws.hub._client.token.TIMEOUT", 0.05)
    asked: list[int] = []

    async def token() -> str:
        asked.append(1)
        if len(asked) > 1:
            return "t"
        waiting = asyncio.ensure_future(asyncio.Event().wait())
        if kind == "cancelled":
            waiting.cancel()
        await waiting
        return "never"

    source = rxws.hub._client.token.TokenSource(token)
    found: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    source.fetch(found.set_result)
    error = await found
    assert isinstance(error, TimeoutError)
    assert rxws.backoff.is_retryable(error)
    assert await source.get() == "t"
