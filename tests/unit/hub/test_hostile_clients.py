"""Clients of `hub.serve` that try to use more than their share, in virtual time."""

from __future__ import annotations

import json
import logging
import math
import sys
from typing import Any

import pytest

from rxws._core.frames import Opcode
from rxws.hub import Credentials
from rxws.hub._backplane import Member
from support.virtual.served_client import Client

pytestmark = pytest.mark.promise("hub-hostile")


def test_data_that_is_nested_too_deeply_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """JSON that can be decoded but not encoded again is an error of the client."""
    client = Client()
    codes: set[Any] = set()
    for depth in (*range(500, 1000, 3), *range(1000, 60_000, 100)):
        data = '{"a":' * depth + "1" + "}" * depth
        client.virtual.peer.message(f'{{"id":{depth},"publish":{{"channel":"a","data":{data}}}}}')
        if client.virtual.frames(Opcode.CLOSE):
            break
        codes |= {line.get("error", {}).get("code") for line in client.lines()}
    assert client.code == 3501
    if sys.version_info < (3, 12):  # newer ones can encode what they have decoded
        assert 107 in codes
    assert codes <= {None, 107}
    assert not caplog.records


@pytest.mark.parametrize("per_frame", [1, 7, 1000])
def test_a_flood_of_commands_leaves_others_their_turn(per_frame: int) -> None:
    """A connection executes 64 commands a turn, in whatever frames they come; all are answered."""
    client = Client()
    client.run(1)
    lines = [json.dumps({"id": n, "ping": {}}) for n in range(10, 1010)]
    frames = ["\n".join(lines[n : n + per_frame]) for n in range(0, 1000, per_frame)]
    most = 0
    while frames or client.virtual.transport.reading is False:
        before = len(client.virtual.messages)
        while frames and client.virtual.transport.reading:
            client.virtual.peer.message(frames.pop(0))
        client.virtual.clock.turn()
        most = max(most, len(client.virtual.messages) - before)
    assert most <= 2 * 64  # before the turn, and in it
    client.run(0.1)
    assert [line["id"] for line in client.lines()] == list(range(10, 1010))


def test_a_flood_of_commands_pauses_the_connection() -> None:
    """While commands wait, no further frame is read, so that memory is bounded."""
    client = Client(max_pending=8)
    client.backplane.holding.add("members")
    for _ in range(1000):
        lines = [json.dumps({"id": 5, "presence": {"channel": f"a{n}"}}) for n in range(100)]
        if client.virtual.transport.reading:
            client.virtual.peer.message("\n".join(lines))
    client.virtual.settle()
    assert not client.virtual.transport.reading
    assert len(client.backplane.held) == 8
    client.backplane.release()
    client.run(60)
    assert client.virtual.transport.reading


def test_a_flood_of_subscriptions_is_refused() -> None:
    """A client may subscribe twice as often in 5 s as it may have subscriptions: then 111."""
    client = Client(max_subscriptions=10)
    codes: list[int] = []
    for number in range(100):
        reply = client.call(subscribe={"channel": f"a{number}"})
        codes.append(reply.get("error", {}).get("code", 0))
        if "error" in reply:
            assert reply["error"]["temporary"]
        else:
            client.call(unsubscribe={"channel": f"a{number}"})
    assert codes == [0] * 20 + [111] * 80
    assert client.hub.stats.topics == 22  # those, and two of the hub itself
    client.run(5)
    assert "subscribe" in client.call(subscribe={"channel": "b"})


def test_too_many_members_for_a_reply() -> None:
    """The presence of a topic with 100,000 members is an error, not a reply that ends all."""
    client = Client()
    for number in range(100_000):
        client.backplane.join("crowd", Member(f"m{number}", f"user{number}", ""))
    error = client.call(presence={"channel": "crowd"})["error"]
    assert error["code"] == 106
    assert "presence_stats" in error["message"]
    stats = client.call(presence_stats={"channel": "crowd"})["presence_stats"]
    assert stats["num_users"] == 100_000
    info = "x" * 10_000
    for number in range(60):
        member = Member(f"m{number}", f"user{number}", json.dumps(info))
        client.backplane.join("infos", member)
    assert client.call(presence={"channel": "infos"})["error"]["code"] == 106


def test_an_allow_that_always_fails_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each command gets an error, but a client cannot fill the log."""
    client = Client()
    client.right = ValueError("broken")
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            assert client.call(publish={"channel": "a", "data": 1})["error"]["code"] == 100
    [record] = caplog.records
    assert "broken" in record.getMessage()


@pytest.mark.parametrize("seconds", [1e308, 10**400, math.inf, 1e10], ids=str)
def test_a_right_that_is_longer_than_any_timer(seconds: float) -> None:
    """It does not expire."""
    found = "ann" if seconds == math.inf else Credentials("ann", seconds=seconds)
    client = Client(connect=False, user=lambda *_: found)
    client.right = seconds
    assert "expires" not in client.call(connect={"token": "t"})["connect"]
    assert "expires" not in client.call(subscribe={"channel": "a", "token": "t"})["subscribe"]
    client.run(1000)
    assert client.lines() == []


def test_a_client_that_refreshes_later_is_asked_to_refresh_again() -> None:
    """A client that has connected without a token may send one later, and gets its ttl."""
    client = Client(connect=False, user=lambda *_: Credentials("ann", seconds=60))
    assert "ttl" not in client.call(connect={})["connect"]
    assert client.call(refresh={"token": "t"})["refresh"]["ttl"] == 45
    client.run(61)
    assert client.code == 3005


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"limit": 2**63}, 107),
        ({"limit": 1.5}, 107),
        ({"limit": True}, 107),
        ({"limit": -1, "since": {"offset": -1}}, 107),
        ({"limit": -1, "since": {"offset": 2**64}}, 107),
        ({"limit": -1, "since": {"offset": 2**64 - 1}}, 112),
        ({"limit": -1, "since": {"offset": 2**64 - 1}, "reverse": True}, 0),
        ({"limit": -1, "since": {"offset": 0, "epoch": "other"}, "reverse": True}, 112),
        ({"limit": -(2**31)}, 0),
    ],
    ids=str,
)
def test_odd_limits_and_positions_of_history(fields: dict[str, Any], code: int) -> None:
    """They are refused, or bounded by what the topic keeps."""
    client = Client()
    client.hub.topic("kept:a").on_next(1)
    client.virtual.settle()
    reply = client.call(history={"channel": "kept:a", **fields})
    assert reply.get("error", {}).get("code", 0) == code
    if not code:
        assert [pub["data"] for pub in reply["history"]["publications"]] == [1]


@pytest.mark.parametrize("offset", [-1, 1.5, True, 2**64, "1"], ids=str)
def test_odd_offsets_of_a_recovery(offset: Any) -> None:
    """They are a bad request."""
    client = Client()
    fields = {"channel": "kept:a", "recover": True, "epoch": "e", "offset": offset}
    assert client.call(subscribe=fields)["error"]["code"] == 107


@pytest.mark.parametrize("name", ["\n", "\0", "a\r\nb", "*", "\u202e", " "], ids=repr)
def test_topics_with_control_characters_are_names_like_others(name: str) -> None:
    """They are escaped in each frame."""
    client = Client()
    assert "subscribe" in client.call(subscribe={"channel": name})
    client.hub.topic(name).on_next(1)
    [line] = client.lines()
    assert line["push"] == {"channel": name, "pub": {"data": 1}}
