"""What every backplane must do. Subclass `BackplaneContract`, and define the fixture `connect`.

`connect()` returns a new backplane that is not started; all of them share one engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest

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

__all__ = ["BackplaneContract", "Link"]

KEEP = Keep(10, seconds=60)
NOTHING = Keep.nothing()
_TIMEOUT = 5.0


class Link:
    """A started backplane, whose answers can be awaited, and what it has reported."""

    def __init__(self, backplane: Backplane) -> None:
        self.backplane = backplane
        self.publications: list[tuple[str, Publication]] = []
        self.tops: list[tuple[str, Position]] = []
        self.members: list[tuple[str, str, Member]] = []

    def on_publication(self, topic: str, publication: Publication) -> None:
        self.publications.append((topic, publication))

    def on_top(self, topic: str, top: Position) -> None:
        self.tops.append((topic, top))

    def on_joined(self, topic: str, member: Member) -> None:
        self.members.append(("joined", topic, member))

    def on_left(self, topic: str, member: Member) -> None:
        self.members.append(("left", topic, member))

    def on_members_unknown(self, topic: str | None) -> None:
        """Do nothing: the tests ask themselves."""

    def on_status(self, status: HubStatus) -> None:
        """Do nothing."""

    async def ask(self, call: Callable[..., None], *args: Any) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        call(*args, future.set_result)
        async with asyncio.timeout(_TIMEOUT):
            result = await future
        if isinstance(result, Exception):
            raise result
        return result

    async def publish(
        self, topic: str, payload: str | bytes, keep: Keep = KEEP, message_id: str | None = None
    ) -> Position:
        request = PublishRequest(topic, payload, keep, message_id)
        position: Position = await self.ask(self.backplane.publish, request)
        return position

    async def read(
        self,
        topic: str,
        since: Position | None = None,
        limit: int | None = None,
        *,
        oldest: bool = False,
    ) -> History:
        read = partial(self.backplane.read, oldest=oldest)
        history: History = await self.ask(read, topic, since, limit)
        return history

    async def attach(self, topic: str, keep: Keep = KEEP) -> Position | None:
        top: Position | None = await self.ask(self.backplane.attach, topic, keep)
        return top

    async def members_of(self, topic: str) -> dict[str, Member]:
        return dict(await self.ask(self.backplane.members, topic))

    def has(self, count: int) -> bool:
        """Whether this number of publications has arrived."""
        return len(self.publications) == count

    def payloads(self, topic: str) -> list[str | bytes]:
        return [each.payload for name, each in self.publications if name == topic]


async def eventually(condition: Callable[[], bool | Awaitable[bool]]) -> None:
    """Wait until a condition holds; fail after a while."""
    async with asyncio.timeout(_TIMEOUT):
        while True:
            result = condition()
            if result if isinstance(result, bool) else await result:
                return
            await asyncio.sleep(0.005)


def payloads(history: History) -> list[str | bytes]:
    return [each.payload for each in history.publications]


class BackplaneContract:
    """Run with `class TestMine(BackplaneContract)` and a fixture `connect`."""

    @pytest.fixture
    async def links(self, connect: Callable[[], Backplane]) -> AsyncGenerator[tuple[Link, Link]]:
        """Return two hubs' links to one engine."""
        links = Link(connect()), Link(connect())
        for link in links:
            await link.backplane.start(link)
        yield links
        for link in links:
            await link.backplane.stop()

    async def test_all_topics_are_available_while_connected(self, links: tuple[Link, Link]) -> None:
        """Nothing has to wait when the backplane has started."""
        first, _ = links
        assert first.backplane.available("a")
        assert first.backplane.available("never used")

    async def test_numbers_messages_from_one_without_holes(self, links: tuple[Link, Link]) -> None:
        """Positions of a topic have one epoch and the offsets 1, 2, 3."""
        first, _ = links
        positions = [await first.publish("a", str(n)) for n in range(3)]
        assert [each.offset for each in positions] == [1, 2, 3]
        assert len({each.epoch for each in positions}) == 1

    async def test_topics_are_numbered_separately(self, links: tuple[Link, Link]) -> None:
        """The first message of another topic has the offset 1."""
        first, _ = links
        await first.publish("a", "1")
        assert (await first.publish("b", "1")).offset == 1

    async def test_every_hub_gets_one_order(self, links: tuple[Link, Link]) -> None:
        """Two hubs that publish at once get the same messages in the order of their positions."""
        first, second = links
        for link in links:
            assert (await link.attach("a")) is not None
        await asyncio.gather(
            *(
                link.publish("a", f"{name}{n}")
                for n in range(20)
                for link, name in ((first, "x"), (second, "y"))
            )
        )
        for link in links:
            await eventually(partial(link.has, 40))
            offsets = [p.position.offset for _, p in link.publications if p.position is not None]
            assert offsets == list(range(1, 41))
        assert first.publications == second.publications
        mine = [each for each in first.payloads("a") if str(each).startswith("x")]
        assert mine == [f"x{n}" for n in range(20)]

    @pytest.mark.parametrize("payload", ["text ü \0 \n", "", b"\x00\xff", b""])
    async def test_carries_text_and_bytes(
        self, links: tuple[Link, Link], payload: str | bytes
    ) -> None:
        """A payload arrives with its type, live and in the history."""
        first, second = links
        await second.attach("a")
        await first.publish("a", payload)
        await eventually(lambda: second.payloads("a") == [payload])
        assert type(second.payloads("a")[0]) is type(payload)
        assert payloads(await second.read("a")) == [payload]

    async def test_an_unnumbered_topic_has_no_positions(self, links: tuple[Link, Link]) -> None:
        """With `Keep.nothing()`, messages have no position, and nothing is kept."""
        first, _ = links
        for link in links:
            assert await link.attach("a", NOTHING) is None
        assert await first.publish("a", "1", NOTHING) is None
        for link in links:
            await eventually(partial(link.has, 1))
            assert link.publications == [("a", Publication("1", None))]
        assert payloads(await first.read("a")) == []

    async def test_attach_tells_the_newest_position(self, links: tuple[Link, Link]) -> None:
        """`attach` returns the top; everything after it is received, nothing before it."""
        first, second = links
        top = await first.publish("a", "old")
        assert await second.attach("a") == top
        await first.publish("a", "new")
        await eventually(lambda: "new" in second.payloads("a"))
        later = [p for _, p in second.publications if p.position is not None and p.position > top]
        assert [each.payload for each in later] == ["new"]

    async def test_attaching_while_others_publish_misses_nothing(
        self, links: tuple[Link, Link]
    ) -> None:
        """Everything after the top that `attach` has returned arrives."""
        first, second = links
        publishing = asyncio.gather(*(first.publish("a", str(n)) for n in range(50)))
        top = await second.attach("a")
        assert top is not None
        await publishing
        await eventually(lambda: "49" in second.payloads("a") or top.offset == 50)
        received = {p.position.offset for _, p in second.publications if p.position is not None}
        assert set(range(top.offset + 1, 51)) <= received

    async def test_after_detach_nothing_arrives(self, links: tuple[Link, Link]) -> None:
        """`detach` ends the messages of one topic only."""
        first, second = links
        await second.attach("a")
        await second.attach("b")
        second.backplane.detach("a")
        await first.publish("a", "1")
        await first.publish("b", "2")
        await eventually(lambda: second.payloads("b") == ["2"])
        assert second.payloads("a") == []

    async def test_a_topic_can_be_attached_again(self, links: tuple[Link, Link]) -> None:
        """After `detach` and `attach`, messages arrive, each once."""
        first, second = links
        await second.attach("a")
        second.backplane.detach("a")
        await second.attach("a")
        await first.publish("a", "1")
        await eventually(lambda: second.payloads("a") == ["1"])

    async def test_an_id_is_published_once(self, links: tuple[Link, Link]) -> None:
        """A second publish with the same id returns the first position, in any process."""
        first, second = links
        position = await first.publish("a", "1", message_id="x")
        await first.publish("a", "2")
        assert await second.publish("a", "again", message_id="x") == position
        assert payloads(await first.read("a")) == ["1", "2"]
        assert (await first.publish("b", "other topic", message_id="x")).offset == 1

    async def test_keeps_a_number_of_messages(self, links: tuple[Link, Link]) -> None:
        """The newest messages are kept, as many as `Keep.count` says."""
        first, second = links
        for n in range(5):
            await first.publish("a", str(n), Keep(3, seconds=60))
        history = await second.read("a")
        assert payloads(history) == ["2", "3", "4"]
        assert history.top.offset == 5
        assert history.complete

    async def test_keeps_messages_for_some_seconds(self, links: tuple[Link, Link]) -> None:
        """After `Keep.seconds`, the history is empty."""
        first, _ = links
        await first.publish("a", "1", Keep(3, seconds=0.3))

        async def is_empty() -> bool:
            return payloads(await first.read("a")) == []

        assert not await is_empty()
        await eventually(is_empty)

    async def test_reads_everything_after_a_position(self, links: tuple[Link, Link]) -> None:
        """`read(since)` begins right behind the position."""
        first, second = links
        positions = [await first.publish("a", str(n)) for n in range(4)]
        for n, position in enumerate(positions):
            history = await second.read("a", position)
            assert payloads(history) == [str(m) for m in range(n + 1, 4)]
            assert history.complete
            assert history.top == positions[-1]

    async def test_a_trimmed_position_is_not_complete(self, links: tuple[Link, Link]) -> None:
        """If messages after the position are gone, the rest comes, with `complete` False."""
        first, _ = links
        positions = [await first.publish("a", str(n), Keep(2, seconds=60)) for n in range(5)]
        history = await first.read("a", positions[1])
        assert payloads(history) == ["3", "4"]
        assert not history.complete

    async def test_a_foreign_position_is_not_complete(self, links: tuple[Link, Link]) -> None:
        """A position of another epoch, or one that was never given, proves nothing."""
        first, _ = links
        top = await first.publish("a", "1")
        foreign = await first.read("a", Position("another", 1))
        assert (payloads(foreign), foreign.top, foreign.complete) == (["1"], top, False)
        future = await first.read("a", Position(top.epoch, 99))
        assert (future.top, future.complete) == (top, False)

    async def test_a_limit_keeps_the_newest(self, links: tuple[Link, Link]) -> None:
        """`limit` returns the newest messages; the top stays the newest position."""
        first, _ = links
        positions = [await first.publish("a", str(n)) for n in range(5)]
        history = await first.read("a", None, 2)
        assert payloads(history) == ["3", "4"]
        assert history.top == positions[-1]
        limited = await first.read("a", positions[0], 2)
        assert (payloads(limited), limited.complete) == (["3", "4"], False)
        assert payloads(await first.read("a", positions[3], 2)) == ["4"]

    async def test_a_limit_can_keep_the_oldest(self, links: tuple[Link, Link]) -> None:
        """With `oldest` the messages follow the position, and the top is still the newest one."""
        first, _ = links
        positions = [await first.publish("a", str(n)) for n in range(5)]
        for since, limit, expected in (
            (None, 2, ["0", "1"]), (positions[0], 2, ["1", "2"]), (positions[3], 2, ["4"]),
            (positions[1], 0, []), (None, 9, ["0", "1", "2", "3", "4"]),
        ):  # fmt: skip
            history = await first.read("a", since, limit, oldest=True)
            assert (payloads(history), history.complete) == (expected, True)
            assert history.top == positions[-1]
        foreign = await first.read("a", Position("another", 3), 2, oldest=True)
        assert (payloads(foreign), foreign.complete) == (["0", "1"], False)

    async def test_reads_a_topic_that_has_no_messages(self, links: tuple[Link, Link]) -> None:
        """The history is empty, its offset is 0."""
        first, _ = links
        history = await first.read("a")
        assert payloads(history) == []
        assert history.top.offset == 0

    async def test_members_join_and_leave(self, links: tuple[Link, Link]) -> None:
        """All hubs that have attached the topic hear of members, and `members` lists them."""
        first, second = links
        member = Member("1", "ann", '{"x":1}')
        await second.attach("a", NOTHING)
        first.backplane.join("a", member)
        await eventually(lambda: second.members == [("joined", "a", member)])
        assert await second.members_of("a") == {"1": member}
        assert await second.members_of("b") == {}
        first.backplane.leave("a", member)
        await eventually(lambda: second.members[1:] == [("left", "a", member)])
        assert await second.members_of("a") == {}

    async def test_stopping_takes_the_own_members_along(
        self, links: tuple[Link, Link], connect: Callable[[], Backplane]
    ) -> None:
        """After `stop`, members of this hub are gone, those of others stay."""
        first, _ = links
        third = Link(connect())
        await third.backplane.start(third)
        third.backplane.join("a", Member("1", "ann"))
        first.backplane.join("a", Member("2", "bob"))

        async def are(ids: set[str]) -> bool:
            return set(await first.members_of("a")) == ids

        await eventually(lambda: are({"1", "2"}))
        await third.backplane.stop()
        await eventually(lambda: are({"2"}))
