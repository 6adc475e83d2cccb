"""What backplanes report, and their callbacks as awaitables."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

from reactivex.internal import noop

from rxws.hub import (
    Backplane,
    History,
    HubStatus,
    Keep,
    Member,
    Position,
    Publication,
    PublishRequest,
)

__all__ = ["RecordingHub", "eventually", "network_close", "result_of"]

PATIENCE = 30.0  # seconds; how long anything is waited for before a test fails


class RecordingHub:
    """A receiver that records what its backplane reports."""

    def __init__(self, backplane: Backplane) -> None:
        self.backplane = backplane
        self.publications: list[tuple[str, Publication]] = []
        self.tops: list[tuple[str, Position]] = []
        self.present: dict[str, set[str]] = {}
        self.unknown = 0
        self.when_unknown: Callable[[], None] = noop
        self.statuses: list[HubStatus] = []
        self._changed = asyncio.Event()

    # BackplaneReceiver

    def on_publication(self, topic: str, publication: Publication) -> None:
        self.publications.append((topic, publication))
        self._changed.set()

    def on_top(self, topic: str, top: Position) -> None:
        self.tops.append((topic, top))
        self._changed.set()

    def on_joined(self, topic: str, member: Member) -> None:
        self.present.setdefault(topic, set()).add(member.id)
        self._changed.set()

    def on_left(self, topic: str, member: Member) -> None:
        self.present.setdefault(topic, set()).discard(member.id)
        self._changed.set()

    def on_members_unknown(self, topic: str | None) -> None:
        self.unknown += 1
        self.when_unknown()
        self._changed.set()

    def on_status(self, status: HubStatus) -> None:
        self.statuses.append(status)
        self._changed.set()

    # For tests

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
        """Wait until a condition holds, which is checked after each report."""
        async with asyncio.timeout(seconds):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_count(self, count: int) -> None:
        """Wait until this many messages have arrived."""
        await self.until(lambda: len(self.publications) >= count)

    def payloads(self, topic: str) -> list[str | bytes]:
        """Return what has arrived in a topic."""
        return [publication.payload for name, publication in self.publications if name == topic]

    async def attach(self, topic: str, keep: Keep) -> Any:
        """Return the position, or None."""
        return await result_of(self.backplane.attach, topic, keep)

    async def publish(
        self, topic: str, payload: str | bytes, keep: Keep, message_id: str | None = None
    ) -> Any:
        """Return the position, or None."""
        request = PublishRequest(topic, payload, keep, message_id)
        return await result_of(self.backplane.publish, request)

    async def publish_all(
        self, topic: str, payloads: Sequence[str | bytes], keep: Keep
    ) -> list[Position]:
        """Publish messages in one turn, without a task for each, and return their positions."""
        results: list[Any] = []
        done = asyncio.Event()

        def on_result(result: Position | Exception | None) -> None:
            results.append(result)
            if len(results) == len(payloads):
                done.set()

        for each in payloads:
            self.backplane.publish(PublishRequest(topic, each, keep), on_result)
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        assert all(isinstance(each, Position) for each in results)
        return results

    async def read(
        self,
        topic: str,
        since: Position | None = None,
        limit: int | None = None,
        *,
        oldest: bool = False,
    ) -> History:
        read = partial(self.backplane.read, oldest=oldest)
        history: History = await result_of(read, topic, since, limit)
        return history

    async def members(self, topic: str) -> Mapping[str, Member]:
        members: Mapping[str, Member] = await result_of(self.backplane.members, topic)
        return members


def network_close(backplane: Any) -> None:
    """Close the connections of a `RedisBackplane` as if the network had failed."""
    for shard in backplane._shards.values():
        for connection in shard._open.values():
            connection._raw._writer.transport.abort()


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until a condition holds that nothing reports."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.01)


async def result_of(call: Callable[..., None], *arguments: Any) -> Any:
    """Call a method with a `done` callback, and return or raise what it gets."""
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def done(result: Any) -> None:
        assert not future.done(), "done was called twice"
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)

    call(*arguments, done)
    async with asyncio.timeout(PATIENCE):
        return await future
