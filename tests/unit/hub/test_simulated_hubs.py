"""Presence and users of several hubs in virtual time, whose engine and processes fail."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

import rxws
from rxws.hub import Away, BackplaneError, Connected, Gap, Hub, Keep, Message
from rxws.hub._user_commands import UserConnection
from rxws.testing import Clock, NeedsEventLoop, SimulatedBackplane, Simulator, marbles, simulate
from rxws.testing.fake_transport import run_without_waiting
from support.subscriber import Subscriber

LOGGED_OUT = rxws.Close(4001, "logged out")


def _sorted(names: frozenset[str]) -> list[str]:
    return sorted(names)


def _here(names: frozenset[str]) -> dict[str, list[str]]:
    return {"here": sorted(names)}


class Processes:
    """Hubs on one clock, each of another process."""

    def __init__(self, count: int = 2) -> None:
        self.clock = Clock()
        self.simulator = Simulator(self.clock)
        first = SimulatedBackplane(self.clock)
        self.backplanes = [first, *(first.peer() for _ in range(count - 1))]
        self.hubs = [
            Hub(
                codec=rxws.codecs.json,
                backplane=each,
                scheduler=self.clock,
                topics={"room:*": Keep(10)},
            )
            for each in self.backplanes
        ]

    def presence(self, process: int) -> Subscriber[list[str]]:
        names = self.hubs[process].topic("room:1").presence.pipe(ops.map(_sorted))
        return Subscriber(names, self.clock)

    def join(self, process: int, name: str) -> Subscriber[Any]:
        return Subscriber(self.hubs[process].topic("room:1").joined(name))

    def room(self, process: int) -> Any:
        """Return the handler of a chat room with presence."""
        hub = self.hubs[process]

        def handler(conn: rxws.Connection[Any, Any]) -> rx.Observable[Any]:
            who = conn.handshake.url.query["user"]
            topic = hub.topic("room:1")
            said = conn.incoming.pipe(ops.map(lambda text: {"from": who, "text": text}))
            said.subscribe(topic)
            here = topic.presence.pipe(ops.map(_here))
            return rx.merge(topic.rewind(5), here, topic.joined(who), hub.attach(conn, who))

        return handler

    def connect(self, process: int, user: str, incoming: str = "", **options: Any) -> Any:
        return self.simulator.connect(
            self.room(process),
            incoming,
            codec=rxws.codecs.json,
            handshake=f"ws://localhost/?user={user}",
            **options,
        )


# --- presence -----------------------------------------------------------------------------------


def test_a_room_shows_who_is_there_across_processes() -> None:
    """Clients of two processes see each other's messages, joins and leaves."""
    world = Processes()
    ann = world.connect(0, "ann", "---a", values={"a": "hi"})
    world.simulator.run(1)
    bob = world.connect(1, "bob", "---|")
    world.simulator.run(9)
    hi = {"from": "ann", "text": "hi"}
    assert ann.outgoing.values == [
        {"here": ["ann"]}, {"here": ["ann", "bob"]}, hi, {"here": ["ann"]}
    ]  # fmt: skip
    assert ann.outgoing.times == [0, 1, 3, 4]
    assert (bob.outgoing.values, bob.outgoing.times) == ([{"here": ["ann", "bob"]}, hi], [1, 3, 4])
    assert (bob.closed.code, bob.open_subscriptions) == (1000, 0)
    assert [hub.stats.members for hub in world.hubs] == [1, 0]


def test_nothing_is_left_after_the_last_connection() -> None:
    """After 300 connections, the hub has neither topics nor members, and nobody is subscribed."""
    world = Processes(1)
    for _ in range(300):
        world.connect(0, "ann", "-|")
        world.simulator.run(2)
    world.simulator.run(5)
    assert (world.hubs[0].stats.topics, world.hubs[0].stats.members) == (0, 0)
    assert world.clock.pending == 0


@pytest.mark.promise("hub-presence")
def test_a_clean_leave_shows_at_once() -> None:
    """A member who leaves disappears in all processes without any time passing."""
    world = Processes()
    seen = world.presence(1)
    member = world.join(0, "ann")
    world.clock.run(1)
    member.subscription.dispose()
    world.clock.run(1)
    assert (seen.values, seen.times) == ([["ann"], []], [0, 1])


@pytest.mark.promise("hub-presence")
def test_members_of_a_dead_process_expire() -> None:
    """The members of a killed process disappear elsewhere after its lease; others stay."""
    world = Processes(3)
    seen = world.presence(2)
    world.join(0, "ann")
    world.join(1, "bob")
    world.clock.run(5)
    world.backplanes[0].kill()
    world.backplanes[0].kill()
    world.join(0, "late")
    world.clock.run(20)
    assert (seen.values, seen.times) == ([["ann", "bob"], ["bob"]], [0, 15])


@pytest.mark.promise("hub-presence")
def test_members_of_a_process_that_was_cut_off_come_back() -> None:
    """A process without the engine shows what it knows; all is right when it is back."""
    world = Processes()
    cut, other = world.presence(0), world.presence(1)
    world.join(0, "ann")
    bob = world.join(1, "bob")
    world.clock.run(1)
    world.backplanes[0].disconnect()
    bob.subscription.dispose()
    carl = world.join(0, "carl")
    world.clock.run(19)
    assert other.values[-2:] == [["ann"], []]
    assert cut.values[-1] == ["ann", "bob", "carl"]
    carl.subscription.dispose()
    world.backplanes[0].reconnect()
    world.clock.run(1)
    assert cut.values[-1] == other.values[-1] == ["ann"]


def test_a_short_interruption_does_not_show() -> None:
    """If a process is back within its lease, others have noticed nothing."""
    world = Processes()
    seen = world.presence(1)
    member = world.join(0, "ann")
    world.clock.run(1)
    world.backplanes[0].disconnect()
    world.backplanes[0].disconnect()
    world.clock.run(5)
    world.backplanes[0].reconnect()
    world.clock.run(20)
    assert seen.values == [["ann"]]
    world.backplanes[0].disconnect()
    member.subscription.dispose()
    world.clock.run(5)
    world.backplanes[0].reconnect()
    world.clock.run(0)
    assert (seen.values, seen.times[-1]) == ([["ann"], []], 31)


def test_presence_that_begins_while_the_engine_is_away_waits_for_it() -> None:
    """Nobody is shown too few members: the first names come when the engine is back."""
    world = Processes()
    world.join(1, "bob")
    world.join(0, "ann").subscription.dispose()  # which starts the hub
    world.backplanes[0].disconnect()
    seen = world.presence(0)
    world.clock.run(7)
    assert seen.values == []
    world.backplanes[0].reconnect()
    world.clock.run(1)
    assert (seen.values, seen.times) == ([["bob"]], [7])


def test_a_hub_cannot_start_without_the_engine() -> None:
    """A hub whose backplane is away does not start, as with Redis."""
    world = Processes(1)
    world.backplanes[0].disconnect()
    with pytest.raises(BackplaneError, match="the simulated backplane is away"):
        run_without_waiting(world.hubs[0].__aenter__())
    world.backplanes[0].reconnect()
    assert world.presence(0).ends == []


def test_a_hub_that_stops_leaves_at_once() -> None:
    """When a hub stops, its members disappear elsewhere, and its own subscribers complete."""
    world = Processes()
    here, elsewhere = world.presence(0), world.presence(1)
    member = world.join(0, "ann")
    world.clock.run(1)
    run_without_waiting(world.hubs[0].__aexit__(None, None, None))
    world.clock.run(1)
    member.subscription.dispose()
    assert (elsewhere.values, elsewhere.ends) == ([["ann"], []], [])
    assert here.ends == [None]


def test_members_belong_to_the_thread_of_the_hub() -> None:
    """`joined` and `presence` raise on another thread, where they could not be heard."""
    world = Processes(1)
    world.join(0, "ann")
    errors: list[Exception] = []

    def subscribe() -> None:
        for each in (
            world.hubs[0].topic("room:1").joined("bob"),
            world.hubs[0].topic("room:1").presence,
        ):
            each.subscribe(on_error=errors.append)

    thread = threading.Thread(target=subscribe)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [RuntimeError, RuntimeError]
    assert "a member of topic 'room:1' has joined from another thread" in str(errors[0])


def test_a_hub_that_stops_without_the_engine_leaves_late() -> None:
    """The members of a hub that stops while it is cut off disappear after the lease."""
    world = Processes()
    seen = world.presence(1)
    world.join(0, "ann")
    world.clock.run(1)
    world.backplanes[0].disconnect()
    run_without_waiting(world.hubs[0].__aexit__(None, None, None))
    world.clock.run(20)
    assert (seen.values, seen.times) == ([["ann"], []], [0, 11])


def test_a_hub_that_was_replaced_leaves_when_its_successor_connects() -> None:
    """If a hub stops while it is cut off, its members are gone once the backplane is back."""
    world = Processes()
    seen = world.presence(1)
    world.join(0, "ann")
    world.clock.run(1)
    world.backplanes[0].disconnect()
    run_without_waiting(world.hubs[0].__aexit__(None, None, None))
    world.backplanes[0].reconnect()
    world.backplanes[0].reconnect()
    world.clock.run(20)
    assert (seen.values, seen.times, world.clock.pending) == ([["ann"], []], [0, 1], 0)


def test_nothing_is_answered_to_a_dead_process() -> None:
    """A killed hub gets nothing, publishes nothing, and is not noticed when it stops."""
    world = Processes()
    here, there = (Subscriber(hub.topic("room:1")) for hub in world.hubs)
    ann = world.connect(0, "ann")
    world.simulator.run(1)
    world.backplanes[0].kill()
    world.backplanes[0].disconnect()
    world.backplanes[0].reconnect()
    dead = world.presence(0), Subscriber(world.hubs[0].topic("room:1").rewind(1))
    Subscriber(world.hubs[0].topic("room:2"))
    world.hubs[0].topic("room:1").on_next("from the dead")
    world.hubs[1].topic("room:1").on_next("to the dead")
    world.hubs[1].user("ann").on_next("to the dead")
    world.simulator.run(20)
    run_without_waiting(world.hubs[0].__aexit__(None, None, None))
    assert (here.values, there.values) == ([], ["to the dead"])
    assert "to the dead" not in ann.outgoing.values
    assert dead[1].values == []


def test_members_are_not_read_while_the_engine_is_away() -> None:
    """If the engine goes away while a topic is attached, its members are read when it is back."""
    world = Processes()
    late = Subscriber(world.hubs[0].topic("room:1"))
    world.join(1, "bob")
    world.clock.run(1)
    world.backplanes[0].disconnect()
    seen = world.presence(0)
    rewound = Subscriber(world.hubs[0].topic("room:1").rewind(3))
    world.hubs[1].topic("room:1").on_next("missed")
    world.clock.run(3)
    assert (seen.values, rewound.values) == ([], [])
    world.backplanes[0].reconnect()
    world.clock.run(1)
    assert (seen.values, rewound.values, late.values) == ([["bob"]], ["missed"], ["missed"])


def test_topics_that_begin_while_the_engine_is_away_are_attached_later() -> None:
    """A topic that is subscribed while the engine is away gets messages when it is back."""
    world = Processes()
    Subscriber(world.hubs[0].topic("other"))
    world.backplanes[0].disconnect()
    late = [Subscriber(world.hubs[0].topic(name)) for name in ("room:1", "loud")]
    world.clock.run(3)
    world.backplanes[0].reconnect()
    world.clock.run(3)
    for name in ("room:1", "loud"):
        world.hubs[1].topic(name).on_next(name)
    world.clock.run(0)
    assert [each.values for each in late] == [["room:1"], ["loud"]]


def test_reads_fail_while_the_engine_is_away() -> None:
    """Histories and members cannot be read while the engine is away; the dead get no answer."""
    world = Processes(1)
    member = world.join(0, "ann")
    [backplane], results = world.backplanes, list[Any]()
    backplane.disconnect()
    backplane.read("room:1", None, None, results.append)
    backplane.members("room:1", results.append)
    assert [type(each) for each in results] == [BackplaneError] * 2
    world.clock.run(11)
    backplane.reconnect()
    backplane.kill()
    backplane.read("room:1", None, None, results.append)
    backplane.members("room:1", results.append)
    member.subscription.dispose()
    assert len(results) == 2


def test_a_lease_is_a_number_of_seconds() -> None:
    """A lease that is no duration raises at once; another one than 10 s is kept by all peers."""
    with pytest.raises(ValueError, match="lease=0"):
        SimulatedBackplane(Clock(), lease=0)
    clock = Clock()
    backplane = SimulatedBackplane(clock, lease=2)
    one, two = (Hub(backplane=each, scheduler=clock) for each in (backplane, backplane.peer()))
    seen = Subscriber(two.topic("room").presence, clock)
    Subscriber(one.topic("room").joined("ann"))
    clock.run(1)
    backplane.kill()
    clock.run(5)
    assert seen.times == [0, 3]


@pytest.mark.parametrize("make", [SimulatedBackplane, Simulator])
def test_a_clock_is_checked(make: Any) -> None:
    """Another scheduler, or something else, raises at once."""
    with pytest.raises(TypeError, match=r"clock=5: use a rxws\.testing\.Clock"):
        make(5)


# --- gaps and status ----------------------------------------------------------------------------


def test_a_restart_of_the_engine_is_a_gap() -> None:
    """After `restart`, subscribers get a `Gap`, and then messages of the new epoch."""
    world = Processes()
    topic = world.hubs[0].topic("room:1")
    seen = Subscriber(topic.messages())
    world.clock.run(0)
    topic.on_next("one")
    world.clock.run(0)
    world.backplanes[1].restart()
    world.hubs[1].topic("room:1").on_next("two")
    world.clock.run(1)
    one, gap, two = seen.values
    assert isinstance(one, Message)
    assert isinstance(two, Message)
    assert isinstance(gap, Gap)
    assert (one.value, gap.reason, two.value) == ("one", "restarted", "two")


def test_messages_wait_while_the_engine_is_away() -> None:
    """While the engine is away, numbered messages wait, and what was missed is read afterwards."""
    world = Processes()
    seen = [Subscriber(hub.topic("room:1")) for hub in world.hubs]
    status = Subscriber(world.hubs[0].status)
    world.clock.run(0)
    world.backplanes[0].disconnect()
    world.hubs[1].topic("room:1").on_next("there")
    world.hubs[0].topic("room:1").on_next("here")
    world.clock.run(5)
    assert [each.values for each in seen] == [[], ["there"]]
    world.backplanes[0].reconnect()
    world.clock.run(5)
    assert [each.values for each in seen] == [["there", "here"]] * 2
    assert [type(each) for each in status.values] == [Connected, Away, Connected]


def test_unnumbered_messages_go_on_within_the_process() -> None:
    """While the engine is away, unnumbered messages reach their own process, each once."""
    world = Processes()
    seen = [Subscriber(hub.topic("loud")) for hub in world.hubs]
    world.clock.run(0)
    world.backplanes[0].disconnect()
    late = Subscriber(world.hubs[0].topic("late"))
    for name in ("loud", "late"):
        world.hubs[0].topic(name).on_next(name)
    world.clock.run(5)
    assert [each.values for each in (*seen, late)] == [["loud"], [], ["late"]]
    world.backplanes[0].reconnect()
    world.hubs[1].topic("late").on_next("again")
    world.clock.run(5)
    assert late.values == ["late", "again"]


# --- users --------------------------------------------------------------------------------------


def test_a_user_is_reached_in_every_process() -> None:
    """What is sent to a user reaches all connections, and `close` closes them with its code."""
    world = Processes()
    ann, again, bob = (
        world.connect(0, "ann"),
        world.connect(1, "ann"),
        world.connect(1, "bob", "---|"),
    )
    world.simulator.run(1)
    world.hubs[0].user("ann").on_next("news")
    world.simulator.run(1)
    world.hubs[1].user("ann").close(LOGGED_OUT)
    world.simulator.run(8)
    assert ann.closed == again.closed == LOGGED_OUT
    assert ann.outgoing.values.count("news") == again.outgoing.values.count("news") == 1
    assert ann.wire[-1].at == 2
    assert (bob.closed.code, "news" in bob.outgoing.values) == (1000, False)
    assert [hub.stats.topics for hub in world.hubs] == [0, 0]


@pytest.mark.promise("hub-rights")
def test_rights_are_checked_again_when_the_engine_is_back() -> None:
    """Connections of users are notified after an absence, as revocations may be lost."""
    clock = Clock()
    backplane = SimulatedBackplane(clock)
    hub = Hub(backplane=backplane, scheduler=clock)
    missed: list[float] = []

    class Registered(UserConnection):
        def on_missed(self) -> None:
            missed.append(clock.time)

    hub._registry.users.register("ann", Registered())
    clock.run(1)
    backplane.disconnect()
    clock.run(1)
    assert missed == []
    backplane.reconnect()
    clock.run(1)
    assert missed == [2]


def test_a_close_reaches_processes_when_the_engine_is_back() -> None:
    """`close` closes the connections of its own process at once, and the others once it can."""
    world = Processes()
    here, there = world.connect(0, "ann"), world.connect(1, "ann")
    world.simulator.run(1)
    world.backplanes[0].disconnect()
    world.hubs[0].user("ann").close(LOGGED_OUT)
    world.simulator.run(4)
    assert (here.closed, there.closed) == (LOGGED_OUT, None)
    assert here.wire[-1].at == 1
    world.backplanes[0].reconnect()
    world.simulator.run(1)
    assert there.closed == LOGGED_OUT


def test_any_thread_may_send_to_a_user() -> None:
    """`on_next` and `close` work from another thread, and keep their order."""
    world = Processes(1)
    ann = world.connect(0, "ann")
    world.simulator.run(1)

    def send() -> None:
        user = world.hubs[0].user("ann")
        user.on_next("one")
        user.on_next("two")
        user.close(LOGGED_OUT)

    thread = threading.Thread(target=send)
    thread.start()
    thread.join()
    world.simulator.run(1)
    assert (ann.outgoing.values[-3:-1], ann.closed) == (["one", "two"], LOGGED_OUT)


def test_latest_neither_asks_for_keys_of_closes_nor_replaces_them() -> None:
    """With `overflow.latest`, the key function gets only what topics publish."""
    clock = Clock()
    hub = Hub(
        codec=rxws.codecs.json,
        scheduler=clock,
        overflow=rxws.overflow.latest(key=lambda value: value["key"]),
    )
    simulator = Simulator(clock)
    ann = simulator.connect(lambda conn: hub.attach(conn, "ann"), codec=rxws.codecs.json)
    simulator.run(1)
    hub.user("ann").on_next("no key")
    hub.user("ann").on_next("again")
    hub.user("ann").close(LOGGED_OUT)
    simulator.run(1)
    assert (ann.outgoing.values[:2], ann.closed) == (["no key", "again"], LOGGED_OUT)


# --- the clock ----------------------------------------------------------------------------------


def test_connections_share_the_clock() -> None:
    """Connections of a simulator that begin later see the same time."""

    def echo(conn: rxws.Connection[str, str]) -> rx.Observable[str]:
        return conn.incoming

    simulator = Simulator()
    first = simulator.connect(echo, "-a--|", step=0.5)
    simulator.run(1)
    second = simulator.connect(echo, "-b")
    simulator.run(4)
    assert first.outgoing == marbles("-a--|", step=0.5)
    assert second.outgoing == marbles("--b")
    assert (first.time, second.time, simulator.clock.time) == (5, 5, 5)
    assert second.wire[0].at == 2


def test_a_hub_without_a_clock_in_a_simulation() -> None:
    """The error says how to give it one."""
    hub = Hub(codec=rxws.codecs.text)
    with pytest.raises(NeedsEventLoop) as caught:
        simulate(lambda conn: hub.topic("a"), "-")
    assert caught.value.__notes__ == ["a hub in virtual time needs a clock: Hub(scheduler=clock)"]
