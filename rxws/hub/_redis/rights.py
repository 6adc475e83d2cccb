"""Trying at start whether Redis lets its user do all that a hub needs."""

from __future__ import annotations

import asyncio

from redis.exceptions import NoPermissionError, OutOfMemoryError, RedisError, ResponseError

from . import scripts
from .connection import Argument, FencedConnection, describe
from .keys import Keys
from .scripts import Script

__all__ = ["check_rights"]

_SHORT = 1  # milliseconds after which the keys expire


async def check_rights(
    connection: FencedConnection, keys: Keys, process: str, timeout: float
) -> None:
    """Run each script on a topic that nobody can name.

    Otherwise missing rights would show only when somebody publishes.

    Raises:
        BackplaneError: Redis refuses something, or does not answer.
    """
    head, stream, members = keys.head(""), keys.stream(""), keys.members("")
    topics, channel, fence = keys.topics(process), keys.channel(""), connection.fence
    member = (process, channel, "", "id", "value")
    trials: list[tuple[Script, tuple[str, ...], tuple[Argument, ...]]] = [
        (
            scripts.PUBLISH,
            (head, stream),
            (fence, process, _SHORT, channel, 1, _SHORT, _SHORT, "s", "id", ""),
        ),
        (scripts.TOP, (head, stream), (fence, process, _SHORT)),
        (scripts.READ, (head, stream), (fence, process, _SHORT, "", 0, "", 1, 1)),
        (scripts.JOIN, (members, topics), member),
        (scripts.MEMBERS, (members, keys.leases), ()),
        (scripts.RECONCILE, (members, topics), (process, channel, "", "id", "value")),
        (scripts.LEAVE, (members, topics), (*member, "1")),
        (scripts.SWEEP, (members, topics, keys.leases), (process, channel, "")),
    ]
    try:
        async with asyncio.timeout(timeout):
            for script, names, arguments in trials:
                try:
                    await connection.call("EVALSHA", script.sha, len(names), *names, *arguments)
                except OutOfMemoryError:
                    pass  # it concerns messages only, and each of them gets this error
            await connection.call("SMEMBERS", topics)
            await connection.call("ZREM", keys.leases, "")
            try:
                await connection.call("CLIENT", "KILL", "ID", 0)
            except NoPermissionError:
                raise
            except ResponseError:
                pass  # there is none with this number
    except (RedisError, OSError) as exc:
        raise describe(connection.shown, exc) from exc
