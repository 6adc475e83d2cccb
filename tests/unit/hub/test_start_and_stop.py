"""How a hub starts and stops, whatever its users and its backplane do meanwhile."""

from __future__ import annotations

import asyncio
import gc
from typing import Any, NoReturn

import pytest
from reactivex import operators as ops

from rxws import Close
from rxws.hub import BackplaneReceiver, Hub, Keep, LocalBackplane, Member
from rxws.hub._user_commands import UserConnection
from rxws.testing import Clock
from support.faulty_backplane import FaultyBackplane
from support.virtual.fake_backplane import FakeBackplane

KEEP = {"kept": Keep(3)}


class Interrupt(BaseException):
    """Interrupts the event loop, as Ctrl-C does."""


def interrupt() -> NoReturn:
    raise Interrupt


def is_stopped(hub: Hub, backplane: LocalBackplane) -> bool:
    """Whether nothing of a hub is left."""
    stats = hub.stats
    return not (
        hub._registry.started
        or backplane._receiver
        or stats.topics
        or stats.members
        or stats.queued
        or len(asyncio.all_tasks()) > 1
    )


async def test_the_last_messages_of_this_process_are_delivered() -> None:
    """What is pushed just before the hub stops reaches the subscribers of the same hub."""
    got: list[str] = []
    async with Hub() as hub:
        hub.topic("a").subscribe(got.append, on_completed=lambda: got.append("end"))
        hub.topic("a").on_next("last")
    assert got == ["last", "end"]


async def test_an_interrupt_of_a_subscriber_stops_all_the_same() -> None:
    """Others are completed, members leave, the backplane stops; then the exception is raised."""
    backplane = LocalBackplane()
    hub = Hub(backplane=backplane)
    ends: list[str] = []

    async def run() -> None:
        async with hub:
            hub.topic("a").subscribe(on_completed=interrupt)
            hub.topic("b").subscribe(on_completed=lambda: ends.append("b"))
            hub.topic("c").joined("ann").subscribe()

    with pytest.raises(Interrupt):
        await run()
    assert ends == ["b"]
    assert is_stopped(hub, backplane)


async def test_a_cancelled_stop_stops_all_the_same() -> None:
    """Whoever cancels while the hub waits for confirmations leaves nothing running."""
    backplane = FaultyBackplane()
    hub = Hub(topics=KEEP, backplane=backplane)
    stopping = asyncio.Event()

    async def run() -> None:
        async with hub:
            hub.topic("kept").on_next("x")
            hub.topic("kept").subscribe(on_completed=stopping.set)
            backplane.delay = True

    task = asyncio.ensure_future(run())
    await stopping.wait()
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert is_stopped(hub, backplane)


async def test_whoever_joins_while_a_hub_stops_leaves_with_it() -> None:
    """Members and subscribers that begin while messages are being confirmed end as well."""
    backplane = FaultyBackplane()
    hub = Hub(topics=KEEP, backplane=backplane)
    ends: list[str] = []

    def come_late() -> None:
        hub.topic("b").joined("ann").subscribe()
        hub.topic("b").presence.subscribe(on_completed=lambda: ends.append("presence"))
        hub.topic("b").subscribe(on_completed=lambda: ends.append("topic"))
        backplane.answer()

    async with hub:
        hub.topic("kept").on_next("x")
        backplane.delay = True
        asyncio.get_running_loop().call_later(0.01, come_late)
    assert sorted(ends) == ["presence", "topic"]
    assert is_stopped(hub, backplane)


async def test_subscribing_at_the_very_end_fails(caplog: pytest.LogCaptureFixture) -> None:
    """A subscriber that repeats at each end gets an error, and does not start the hub again."""
    backplane = LocalBackplane()
    async with Hub(backplane=backplane) as hub:
        hub.topic("a").pipe(ops.repeat()).subscribe()
    assert "the hub is stopping" in caplog.text
    assert is_stopped(hub, backplane)


async def test_two_starts_at_once_connect_once() -> None:
    """The second one raises, also before the first has connected."""

    class Slow(FakeBackplane):
        starts = 0

        async def start(self, receiver: BackplaneReceiver) -> None:
            self.starts += 1
            await asyncio.sleep(0)

    backplane = Slow()
    hub = Hub(backplane=backplane)
    starts = hub.__aenter__(), hub.__aenter__()
    _, second = await asyncio.gather(*starts, return_exceptions=True)
    assert "runs already" in str(second)
    assert backplane.starts == 1
    await hub.__aexit__(None, None, None)


async def test_a_start_may_be_tried_again() -> None:
    """A hub whose backplane could not be reached starts later."""

    class Late(FakeBackplane):
        failed = False

        async def start(self, receiver: BackplaneReceiver) -> None:
            if not self.failed:
                self.failed = True
                raise OSError("refused")

    hub = Hub(backplane=Late())
    with pytest.raises(OSError, match="refused"):
        await hub.__aenter__()
    async with hub:
        hub.topic("a").subscribe()


async def test_a_publisher_whose_loop_is_closed_stops_nobody() -> None:
    """The confirmation of a message from a loop that was closed meanwhile is dropped."""
    backplane = FaultyBackplane()
    tasks: list[asyncio.Task[Any]] = []

    def publish() -> None:
        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)  # the pending task
        tasks.append(loop.create_task(hub.topic("kept").publish("1")))
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    async with Hub(topics=KEEP, backplane=backplane) as hub:
        got: list[str] = []
        hub.topic("kept").subscribe(got.append)
        backplane.delay = True
        await asyncio.to_thread(publish)
        await asyncio.sleep(0)
        hub.topic("kept").on_next("2")
        await asyncio.sleep(0)
        backplane.delay = False
        backplane.answer()
    assert got == ["1", "2"]
    tasks.clear()
    gc.collect()


def test_messages_that_an_engine_returned_survive_the_loop() -> None:
    """A hub whose loop is closed without a stop publishes them in the next loop."""
    backplane = FaultyBackplane()
    hub = Hub(topics=KEEP, backplane=backplane)

    async def fail() -> None:
        hub.topic("kept").subscribe()
        backplane.delay = True
        hub.topic("kept").on_next("x")
        await asyncio.sleep(0)
        backplane.go_away()
        asyncio.get_running_loop().call_soon(backplane.answer)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(fail())
    loop.close()
    backplane.delay = False

    async def use() -> list[str]:
        backplane.come_back()
        got: list[str] = []
        hub.topic("kept").rewind(1).subscribe(got.append)
        for _ in range(5):
            await asyncio.sleep(0)
        return got

    assert asyncio.run(use()) == ["x"]


async def test_a_user_that_could_not_be_closed_is_reported(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A close that waits when the hub stops is reported, and not repeated after that."""
    backplane = FakeBackplane()
    async with Hub(backplane=backplane, scheduler=(clock := Clock())) as hub:
        hub._registry.users.register("ann", UserConnection())
        hub.user("ann").close(Close(4001, "logged out"))
        clock.run(0)
    assert "confirmed all messages of User.close and User.revoke: 1 left" in caplog.text
    assert (clock.pending, hub.stats.queued) == (0, 0)


async def test_any_thread_may_read_the_stats() -> None:
    """A member or a gap of another kind that comes meanwhile does not disturb it."""
    hub = Hub()
    registry: Any = hub._registry

    class Members(dict[str, Member]):
        def __len__(self) -> int:
            registry.presences._own["b"] = {}  # as another thread may at this moment
            return 1

    class Reason:
        def __str__(self) -> str:
            registry.counters.gaps["restarted"] = 1
            return "trimmed"

    registry.presences._own["a"] = Members()
    registry.counters.gaps[Reason()] = 2
    assert (hub.stats.members, hub.stats.gaps) == (1, {"trimmed": 2, "restarted": 1})
