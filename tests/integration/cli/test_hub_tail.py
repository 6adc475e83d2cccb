"""`rxws hub tail` in real processes, on Redis and on a server."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.hub import Hub, Keep, Position, RedisBackplane
from support.processes.command_line import end_rxws, read_line, run_rxws, running_rxws
from support.processes.redis_server import RedisServer, StartRedis, redis_servers


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    """Start Redis servers."""
    with redis_servers(tmp_path) as start:
        yield start


@pytest.fixture
def redis(start_redis: StartRedis) -> RedisServer:
    return start_redis()


@pytest.fixture
async def hub(redis: RedisServer) -> AsyncIterator[Hub]:
    """A hub on Redis."""
    backplane = RedisBackplane(redis.url, probe_interval=0.2, timeout=0.4, lease=1.0)
    hub = Hub(codec=rxws.codecs.json, backplane=backplane, topics={"kept:*": Keep(5)})
    async with hub:
        yield hub


def allow(user: str, topic: str, action: str) -> bool:
    return topic != "secret" and (action != "presence" or user == "ann")


@pytest.fixture
async def url(hub: Hub) -> AsyncIterator[str]:
    """The URL of a server of this hub; the token is the user's name."""
    route = hub.serve(allow=allow, user=lambda _, token: token or "nobody")
    async with rxws.serve(route) as server:
        yield server.url


async def publish(hub: Hub, *values: Any, topic: str = "kept:a") -> Position:
    """Publish values, and return the position of the last one."""
    position = None
    for value in values:
        position = await hub.topic(topic).publish(value)
    assert position is not None
    return position


async def test_topics_in_redis_are_followed(hub: Hub, redis: RedisServer) -> None:
    """The newest messages come first, then live ones; presence and positions go to stderr."""
    last = await publish(hub, {"a": 1}, "two")
    arguments = ("hub", "tail", "kept:a", "--redis", redis.url, "--last", "9", "-n", "3")
    async with running_rxws(*arguments) as process:
        assert await read_line(process.stdout) == '{"a":1}'
        assert await read_line(process.stdout) == '"two"'
        assert await read_line(process.stderr) == "kept:a: 0 here"
        joined = hub.topic("kept:a").joined("ann").subscribe()
        assert await read_line(process.stderr) == "kept:a: ann joined; 1 here: ann"
        joined.dispose()
        assert await read_line(process.stderr) == "kept:a: ann left; 0 here"
        await publish(hub, 3)
        assert await read_line(process.stdout) == "3"
        assert await read_line(process.stderr) == f"to continue: --since {last.epoch}:3"
        assert await process.wait() == 0


async def test_a_later_run_continues(hub: Hub, redis: RedisServer) -> None:
    """`--since` with the printed position begins with the next message."""
    last = await publish(hub, 1, 2, 3)
    result = await run_rxws(
        *("hub", "tail", "kept:a", "--redis", redis.url, "--no-presence", "--positions"),
        *("-n", "2", "--since", f"{last.epoch}:1"),
    )
    assert result.out == f"{last.epoch}:2\t2\n{last}\t3\n"
    assert result.err == f"to continue: --since {last}\n"
    assert result.code == 0


async def test_a_gap_is_shown_where_messages_are_missing(hub: Hub, redis: RedisServer) -> None:
    """The topic keeps 5 messages, so older ones are gone."""
    last = await publish(hub, *range(9))
    arguments = ("hub", "tail", "kept:a", "--redis", redis.url, "--no-presence", "-n", "5")
    first = f"{last.epoch}:1"
    result = await run_rxws(*arguments, "--since", first)
    assert result.out == "4\n5\n6\n7\n8\n"
    assert result.err == (
        f"kept:a: messages may be missing after {first} and before {last.epoch}:5: the topic keeps "
        f"them no more (trimmed)\nto continue: --since {last}\n"
    )
    result = await run_rxws(*arguments, "--since", first, "--json")
    gap, *messages = map(json.loads, result.out.splitlines())
    assert (gap["gap"], gap["after"], gap["before"]) == ("trimmed", first, f"{last.epoch}:5")
    assert [each["value"] for each in messages] == [4, 5, 6, 7, 8]


async def test_a_topic_that_keeps_nothing_has_no_positions(hub: Hub, redis: RedisServer) -> None:
    """Its messages are shown all the same."""
    arguments = ("hub", "tail", "typing", "--redis", redis.url, "-n", "1", "--positions")
    async with running_rxws(*arguments) as process:
        assert await read_line(process.stderr) == "typing: 0 here"
        hub.topic("typing").on_next("ann")
        assert await read_line(process.stdout) == '-\t"ann"'
        assert await process.wait() == 0


async def test_redis_may_be_away_for_a_while(hub: Hub, redis: RedisServer) -> None:
    """The loss is said, and the gap after it, as positions begin anew."""
    arguments = ("hub", "tail", "kept:a", "--redis", redis.url, "--no-presence", "--last", "1")
    await publish(hub, 1)
    async with running_rxws(*arguments) as process:
        assert await read_line(process.stdout) == "1"
        redis.kill()
        assert (await read_line(process.stderr)).startswith("Redis is away: ")
        redis.start()
        said = {await read_line(process.stderr), await read_line(process.stderr)}
        assert "Redis is back" in said
        assert any("(restarted)" in line for line in said)
        await publish(hub, 2)
        assert await read_line(process.stdout) == "2"


async def test_several_topics_of_a_server_are_followed_as_json(hub: Hub, url: str) -> None:
    """Each line has the time and the topic; Ctrl-C prints how to continue, and ends with 0."""
    arguments = ("hub", "tail", "kept:a", "kept:b", "--url", url, "--token", "ann", "--json")
    async with running_rxws(*arguments) as process:
        lines = [json.loads(await read_line(process.stdout)) for _ in range(2)]
        assert sorted(each["topic"] for each in lines) == ["kept:a", "kept:b"]
        for each in lines:
            assert (each["present"], each["joined"], each["left"]) == (["ann"], ["ann"], [])
        first = await publish(hub, {"é": [1]})
        line = json.loads(await read_line(process.stdout))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", line.pop("time"))
        assert line == {"topic": "kept:a", "position": str(first), "value": {"é": [1]}}
        second = await publish(hub, "b", topic="kept:b")
        assert json.loads(await read_line(process.stdout))["value"] == "b"
        code, out, err = await end_rxws(process)
    assert (code, out) == (0, "")
    assert err == f"to continue: --since kept:a={first} --since kept:b={second}\n"


async def test_a_server_may_refuse_presence(hub: Hub, url: str) -> None:
    """Messages are shown without it."""
    async with running_rxws("hub", "tail", "kept:a", "--url", url, "-n", "1") as process:
        refusal = "presence of topic 'kept:a' was refused with 103 'permission denied'"
        assert refusal in await read_line(process.stderr)
        await publish(hub, "hi")
        assert await read_line(process.stdout) == "hi"
        assert await process.wait() == 0


async def test_a_lost_connection_is_opened_again(hub: Hub, url: str) -> None:
    """The messages that were published meanwhile are shown, and the loss is, too."""
    arguments = ("hub", "tail", "kept:a", "--url", url, "--token", "ann")
    async with running_rxws(*arguments) as process:
        assert await read_line(process.stderr) == "kept:a: 1 here: ann"
        await publish(hub, 1)
        assert await read_line(process.stdout) == "1"
        hub.user("ann").close(rxws.Close(3000, "try again"))
        lost = await read_line(process.stderr)
        assert re.fullmatch(r"connection lost: Waiting .* s: .*3000 'try again'.*", lost)
        await publish(hub, 2)
        assert await read_line(process.stdout) == "2"
        assert "connected again" in (await end_rxws(process)).err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["secret"], 1, "subscribe of topic 'secret' was refused with 103"),
        (["kept:a", "-t", "0.2", "-n", "5"], 3, "timed out, after 0 of 5 messages"),
        (["kept:a", "-t", "0.2"], 3, "timed out, after 0 messages"),
    ],
)
async def test_an_end_that_was_not_wanted_has_a_code(
    url: str, arguments: list[str], code: int, message: str
) -> None:
    """The message says why it has ended."""
    result = await run_rxws("hub", "tail", *arguments, "--url", url, "--no-presence")
    assert (result.code, result.out) == (code, "")
    assert message in result.err


@pytest.mark.parametrize("where", ["--url=ws://127.0.0.1:1", "--redis=redis://127.0.0.1:1"])
async def test_a_server_that_is_not_there_is_an_error(where: str) -> None:
    """The first connection must succeed; the exit code is 2."""
    result = await run_rxws("hub", "tail", "a", where)
    assert result.code == 2
    assert "127.0.0.1:1" in result.err
