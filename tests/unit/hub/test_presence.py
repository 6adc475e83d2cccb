"""`Presences`: the members of topics."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from reactivex import operators as ops

import rxws
from rxws.hub import Backplane, BackplaneError, Member
from rxws.hub._presence import PresenceChange, Presences
from support.subscriber import Subscriber
from support.virtual.fake_backplane import FakeBackplane
from support.virtual.hub_host import VirtualHubHost

ANN, BOB, BOB_TOO = Member("1", "ann"), Member("2", "bob"), Member("3", "bob")


def by_id(*members: Member) -> dict[str, Member]:
    return {member.id: member for member in members}


def names(*each: str) -> frozenset[str]:
    return frozenset(each)


class VirtualPresences:
    """`Presences` on a clock, with a backplane and attachments that the test plays."""

    def __init__(self, *attached: str) -> None:
        self.host = VirtualHubHost()
        self.clock = self.host.clock
        self.backplane = self.host.backplane
        self.host.attached.update(attached)
        self.presences = Presences(self.host)

    def observe(self, topic: str = "room") -> Subscriber[frozenset[str]]:
        return Subscriber(self.presences.names(topic), self.clock)

    def observe_changes(self, topic: str = "room") -> Subscriber[PresenceChange]:
        return Subscriber(self.presences.changes(topic), self.clock)

    def attach(self, topic: str = "room") -> None:
        self.host.attached.add(topic)
        self.presences.on_attached(topic)

    def answer(self, result: Any) -> None:
        """Answer the oldest read of members."""
        _, done = self.backplane.reading_members.pop(0)
        done(result)
        self.clock.run(0)

    def joined(self, *members: Member) -> None:
        for member in members:
            self.presences.on_joined("room", member)
        self.clock.run(0)

    def left(self, *members: Member) -> None:
        for member in members:
            self.presences.on_left("room", member)
        self.clock.run(0)

    @property
    def reads(self) -> int:
        """The number of reads that wait for an answer."""
        return len(self.backplane.reading_members)


def test_the_fake_is_a_backplane() -> None:
    """The fake backplane of these tests implements the interface."""
    backplane: Backplane = FakeBackplane()
    assert backplane.__class__ is FakeBackplane


# --- what subscribers see -----------------------------------------------------------------------


def test_names_are_emitted_when_the_members_are_read() -> None:
    """A subscriber first gets the names of all members, once they are read."""
    hub = VirtualPresences()
    seen = hub.observe()
    assert hub.reads == 0, "the topic is not attached yet"
    hub.attach()
    assert (hub.reads, seen.values) == (1, [])
    hub.answer(by_id(ANN, BOB))
    assert seen.values == [names("ann", "bob")]


def test_an_empty_topic_is_reported() -> None:
    """A topic without members emits an empty set."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer({})
    assert seen.values == [names()]


def test_joins_and_leaves_change_the_names() -> None:
    """Each join and leave emits the new names."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer(by_id(ANN))
    hub.joined(BOB)
    hub.left(ANN)
    assert seen.values == [names("ann"), names("ann", "bob"), names("bob")]


def test_connections_of_one_user_count_once() -> None:
    """A second connection of a user changes nothing, and the user leaves with the last one."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer(by_id(BOB))
    hub.joined(BOB_TOO)
    hub.left(BOB)
    assert seen.values == [names("bob")]
    hub.left(BOB_TOO)
    assert seen.values[1:] == [names()]


def test_changes_of_one_turn_are_emitted_together() -> None:
    """Joins and leaves of one turn emit one set; who came and went in it is left out."""
    hub = VirtualPresences("room")
    seen, changes = hub.observe(), hub.observe_changes()
    hub.answer(by_id(ANN))
    carl = Member("4", "carl")
    hub.presences.on_joined("room", carl)
    hub.presences.on_left("room", carl)
    hub.joined(BOB, BOB_TOO)
    assert seen.values == [names("ann"), names("ann", "bob")]
    assert changes.values == [PresenceChange((), (BOB, BOB_TOO))]


def test_a_late_subscriber_gets_the_latest_names() -> None:
    """A later subscriber gets the current names at once, without another read."""
    hub = VirtualPresences("room")
    hub.observe()
    hub.answer(by_id(ANN))
    hub.joined(BOB)
    assert hub.observe().values == [names("ann", "bob")]
    assert hub.reads == 0


def test_repeated_reports_emit_nothing() -> None:
    """A join or leave that arrives twice, or a read that finds the same members, emits nothing."""
    hub = VirtualPresences("room")
    seen, changes = hub.observe(), hub.observe_changes()
    hub.answer(by_id(ANN))
    hub.joined(ANN)
    hub.left(BOB)
    hub.presences.on_members_unknown("room")
    hub.answer(by_id(ANN))
    assert (seen.values, changes.values) == ([names("ann")], [])


def test_changes_tell_members_with_their_infos() -> None:
    """`changes` emits whole members, and both the old and the new one if its info has changed."""
    hub = VirtualPresences("room")
    changes = hub.observe_changes()
    hub.answer(by_id(ANN))
    renamed = ANN._replace(info='{"colour":"red"}')
    hub.joined(renamed)
    hub.left(renamed)
    assert changes.values == [PresenceChange((ANN,), (renamed,)), PresenceChange((renamed,), ())]


def test_the_first_read_is_no_change() -> None:
    """Members who were there already are not reported as joins; those who join meanwhile are."""
    hub = VirtualPresences("room")
    changes = hub.observe_changes()
    hub.joined(BOB)
    hub.answer(by_id(ANN, BOB))
    assert changes.values == [PresenceChange((), (BOB,))]


def test_operators_use_the_time_of_the_hub() -> None:
    """Operators behind `presence` run on the hub's scheduler."""
    hub = VirtualPresences("room")
    seen = Subscriber(hub.presences.names("room").pipe(ops.debounce(2.0)), hub.clock)
    hub.answer(by_id(ANN))
    hub.clock.run(3)
    assert (seen.values, seen.times) == ([names("ann")], [2.0])


def test_a_subscriber_that_raises_does_not_affect_others() -> None:
    """If one subscriber raises, the others get the names, and the scheduler gets the exception."""
    hub = VirtualPresences("room")

    def fail(_: object) -> None:
        raise ZeroDivisionError

    hub.presences.names("room").subscribe(fail)
    seen = hub.observe()
    with pytest.raises(ZeroDivisionError):
        hub.answer(by_id(ANN))
    assert seen.values == [names("ann")]


# --- while it is read ---------------------------------------------------------------------------


def test_reports_during_a_read_are_newer_than_its_answer() -> None:
    """A join or leave that arrives while the members are read is not undone by the answer."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.joined(BOB)
    hub.left(ANN)
    assert seen.values == [], "others may be there"
    hub.answer(by_id(ANN))
    assert seen.values == [names("bob")]


def test_missed_reports_cause_a_read() -> None:
    """If joins or leaves may have been missed, the members are read again."""
    hub = VirtualPresences("room")
    seen, changes = hub.observe(), hub.observe_changes()
    hub.answer(by_id(ANN))
    hub.presences.on_members_unknown(None)
    hub.answer(by_id(BOB))
    assert seen.values == [names("ann"), names("bob")]
    assert changes.values == [PresenceChange((ANN,), (BOB,))]


def test_an_answer_is_outdated_if_reports_were_missed_meanwhile() -> None:
    """If reports are missed during a read, its answer is dropped and one more read follows."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.joined(ANN)
    hub.presences.on_members_unknown("room")
    hub.presences.on_members_unknown(None)
    hub.answer(by_id(BOB))
    assert (seen.values, hub.reads) == ([], 1)
    hub.answer({})
    assert (seen.values, hub.reads) == ([names()], 0)


def test_members_of_a_topic_that_is_not_attached_are_not_read() -> None:
    """Missed reports of a topic that is still being attached cause no read of their own."""
    hub = VirtualPresences()
    hub.observe()
    hub.presences.on_members_unknown(None)
    assert hub.reads == 0


def test_a_failed_read_is_repeated() -> None:
    """If a read fails, it is repeated each second; until then the known members stay."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer(by_id(ANN))
    hub.presences.on_members_unknown(None)
    hub.answer(BackplaneError("away"))
    hub.joined(BOB)
    assert seen.values[-1] == names("ann", "bob")
    hub.clock.run(0.9)
    assert hub.reads == 0
    hub.clock.run(0.1)
    hub.answer(by_id(BOB))
    assert seen.values[-1] == names("bob")


def test_a_missed_report_ends_the_wait_after_a_failed_read() -> None:
    """When the backplane is back, the members are read at once."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer(BackplaneError("away"))
    hub.presences.on_members_unknown(None)
    hub.answer(by_id(ANN))
    hub.clock.run(5)
    assert (seen.values, hub.reads) == ([names("ann")], 0)


# --- members of this hub ------------------------------------------------------------------------


def test_joined_is_a_member_while_it_is_subscribed() -> None:
    """`joined` joins when it is subscribed, leaves when it is disposed, and emits nothing."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer({})
    member = Subscriber(hub.presences.joined("room", "ann", {"colour": "red"}))
    hub.clock.run(0)
    member.subscription.dispose()
    hub.clock.run(60)
    assert seen.values == [names(), names("ann"), names()]
    assert (member.values, member.ends) == ([], [])
    (_, _, joined), (_, _, left) = hub.backplane.calls[-2:]
    assert [call[:2] for call in hub.backplane.calls[-2:]] == [("join", "room"), ("leave", "room")]
    assert joined == left == (joined.id, "ann", '{"colour":"red"}')
    assert hub.presences.own_members == 0


def test_each_subscription_of_joined_is_a_member() -> None:
    """Two subscriptions have different ids, and the user is there until both have ended."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer({})
    joined = hub.presences.joined("room", "ann")
    one, two = Subscriber(joined), Subscriber(joined)
    hub.clock.run(0)
    assert hub.presences.own_members == 2
    one.subscription.dispose()
    one.subscription.dispose()
    hub.clock.run(0)
    assert seen.values == [names(), names("ann")]
    two.subscription.dispose()
    hub.clock.run(0)
    assert seen.values[2:] == [names()]


def test_a_topic_without_members_takes_no_memory() -> None:
    """When the last member of this hub has left, nothing of the topic is kept."""
    virtual = VirtualPresences()
    for n in range(3):
        members = [
            Subscriber(virtual.presences.joined(f"room {n}", name), virtual.clock)
            for name in ("ann", "bob")
        ]
        for member in members:
            member.subscription.dispose()
    assert not virtual.presences._own


def test_own_members_need_no_backplane() -> None:
    """While the backplane is away, this hub's members appear and disappear at once."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer(by_id(BOB))
    hub.presences.on_members_unknown(None)  # and the read is not answered
    member = Subscriber(hub.presences.joined("room", "ann"))
    hub.clock.run(0)
    member.subscription.dispose()
    hub.clock.run(0)
    assert seen.values == [names("bob"), names("ann", "bob"), names("bob")]


def test_reports_about_own_members_are_ignored() -> None:
    """A late report or an old answer about a member of this hub neither adds nor removes it."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    member = Subscriber(hub.presences.joined("room", "ann"))
    own: Member = hub.backplane.calls[-1][2]
    hub.answer({})
    hub.left(own)
    assert seen.values == [names("ann")]
    member.subscription.dispose()
    hub.joined(own)
    hub.presences.on_members_unknown(None)
    hub.answer(by_id(own))
    assert seen.values == [names("ann"), names()]


def test_members_who_joined_before_are_known_at_once() -> None:
    """A presence that is observed later contains the members who have joined here before."""
    hub = VirtualPresences("room")
    Subscriber(hub.presences.joined("room", "ann"))
    changes = hub.observe_changes()
    seen = hub.observe()
    hub.answer(by_id(BOB))
    assert (seen.values, changes.values) == ([names("ann", "bob")], [])


def test_hubs_have_different_ids() -> None:
    """Ids are unique in one hub and among hubs."""
    one, two = VirtualPresences().presences, VirtualPresences().presences
    assert len({one.new_id(), one.new_id(), two.new_id(), two.new_id()}) == 4


@pytest.mark.parametrize(
    ("name", "info", "error", "text"),
    [
        (7, None, TypeError, "user 7 is no str: use str(...)"),
        ("", None, ValueError, "the name of a user is empty"),
        ("\ud800", None, ValueError, "half of a surrogate pair"),
        ("ann", {1, 2}, rxws.EncodeError, "cannot encode {1, 2}"),
    ],
)
def test_mistakes_in_joined_raise_at_once(
    name: Any, info: Any, error: type[Exception], text: str
) -> None:
    """A name that is no text, or an info that is no JSON, raises when `joined` is called."""
    with pytest.raises(error, match=re.escape(text)):
        VirtualPresences().presences.joined("room", name, info)


# --- reading without observing ------------------------------------------------------------------


def test_members_can_be_read_once() -> None:
    """`read` asks the backplane, and this hub's members are exact also then."""
    hub = VirtualPresences()
    Subscriber(hub.presences.joined("room", "ann"))
    gone = Subscriber(hub.presences.joined("room", "zoe"))
    ann, zoe = (call[2] for call in hub.backplane.calls)
    gone.subscription.dispose()
    results: list[Any] = []
    hub.presences.read("room", results.append)
    hub.answer(by_id(BOB, zoe))
    assert results == [by_id(BOB, ann)]


def test_a_failed_read_reports_the_exception() -> None:
    """`read` passes on the exception of the backplane."""
    hub = VirtualPresences()
    results: list[Any] = []
    error = BackplaneError("away")
    hub.presences.read("room", results.append)
    hub.answer(error)
    assert results == [error]


def test_known_members_are_not_read_again() -> None:
    """`read` answers at once if the topic's presence is observed and known."""
    hub = VirtualPresences("room")
    hub.observe()
    hub.answer(by_id(ANN))
    results: list[Any] = []
    hub.presences.read("room", results.append)
    assert results == [by_id(ANN)]


# --- the end ------------------------------------------------------------------------------------


def test_the_last_subscriber_releases_the_topic() -> None:
    """The topic stays attached while `presence` is subscribed; then all is forgotten."""
    hub = VirtualPresences()
    one, two = hub.observe(), hub.observe_changes()
    assert hub.host.holders == {"room": 1}
    hub.attach()
    one.subscription.dispose()
    assert hub.host.holders == {"room": 1}
    two.subscription.dispose()
    assert hub.host.holders == {}
    hub.answer(by_id(ANN))
    hub.joined(BOB)
    hub.left(BOB)
    hub.presences.on_attached("room")
    assert (one.values, hub.reads, hub.clock.pending) == ([], 0, 0)


def test_leaving_during_a_pending_change_emits_nothing() -> None:
    """A subscriber that unsubscribes in the turn of a join gets nothing."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    hub.answer({})
    hub.presences.on_joined("room", ANN)
    seen.subscription.dispose()
    hub.clock.run(1)
    assert seen.values == [names()]


def test_a_topic_that_is_observed_again_is_read_again() -> None:
    """A new subscriber after the last one has left causes a new read; old answers do not matter."""
    hub = VirtualPresences("room")
    hub.observe().subscription.dispose()
    hub.host.attached.add("room")  # it stays for a while
    seen = hub.observe()
    hub.answer(by_id(ANN))
    assert seen.values == []
    hub.answer(by_id(BOB))
    assert seen.values == [names("bob")]


def test_a_stopped_hub_forgets_all_members() -> None:
    """`stop` completes the subscribers; after it, nothing is emitted, and disposing is harmless."""
    hub = VirtualPresences("room")
    seen = hub.observe()
    member = Subscriber(hub.presences.joined("room", "ann"))
    hub.answer(BackplaneError("away"))
    calls = len(hub.backplane.calls)
    hub.presences.stop()
    member.subscription.dispose()
    seen.subscription.dispose()
    hub.clock.run(5)
    assert (seen.values, seen.ends, hub.clock.pending) == ([], [None], 0)
    assert (len(hub.backplane.calls), hub.host.holders) == (calls, {})


# --- any order ----------------------------------------------------------------------------------


class Engine:
    """The truth about one topic, and what is on its way from there to a hub, in order.

    Answers of reads take another way than reports, as with two connections.
    """

    def __init__(self) -> None:
        self.hub = VirtualPresences("room")
        self.members: dict[str, Member] = {}
        self.reports: deque[Callable[[], None]] = deque()
        self.commands: deque[Callable[[], None]] = deque()  # of this hub, not executed yet
        self.answers: deque[Callable[[], None]] = deque()
        self.own: list[Subscriber[Any]] = []
        self._seen_calls = 0
        self.hub.observe()
        self.seen = self.hub.observe()
        self.changes = self.hub.observe_changes()
        self.take_commands()

    def toggle(self, member: Member) -> None:
        """Let a member of another hub join, or leave."""
        if member.id in self.members:
            self._leave(member)
        else:
            self._join(member)

    def _join(self, member: Member) -> None:
        self.members[member.id] = member
        self.reports.append(partial(self.hub.presences.on_joined, "room", member))

    def _leave(self, member: Member) -> None:
        if self.members.pop(member.id, None) is not None:
            self.reports.append(partial(self.hub.presences.on_left, "room", member))

    def take_commands(self) -> None:
        """Queue what the hub has asked for since the last call."""
        for call, _, *rest in self.hub.backplane.calls[self._seen_calls :]:
            if call == "members":
                self.commands.append(self._read)
            elif call == "join":
                self.commands.append(partial(self._join, rest[0]))
            elif call == "leave":
                self.commands.append(partial(self._leave, rest[0]))
        self._seen_calls = len(self.hub.backplane.calls)

    def _read(self) -> None:
        _, done = self.hub.backplane.reading_members.pop(0)
        self.answers.append(partial(done, dict(self.members)))

    def fail_read(self) -> None:
        """Let the next command fail if it is a read."""
        if self.commands and self.commands[0] == self._read:
            self.commands.popleft()
            _, done = self.hub.backplane.reading_members.pop(0)
            self.answers.append(partial(done, BackplaneError("away")))

    def cut(self) -> None:
        """Lose the reports that are on their way."""
        self.reports.clear()
        self.reports.append(partial(self.hub.presences.on_members_unknown, None))

    def toggle_own(self) -> None:
        if self.own:
            self.own.pop().subscription.dispose()
        else:
            self.own.append(Subscriber(self.hub.presences.joined("room", "me")))

    def step(self, what: str) -> None:
        match what:
            case "execute" if self.commands:
                self.commands.popleft()()
            case "report" if self.reports:
                self.reports.popleft()()
            case "answer" if self.answers:
                self.answers.popleft()()
            case "turn":
                self.hub.clock.run(0)
            case "second":
                self.hub.clock.run(1)
            case "cut":
                self.cut()
            case "fail":
                self.fail_read()
            case "own":
                self.toggle_own()
            case "ann" | "bob" | "bob too":
                self.toggle({"ann": ANN, "bob": BOB, "bob too": BOB_TOO}[what])
            case _:
                pass
        self.take_commands()

    def settle(self) -> None:
        """Execute and deliver everything."""
        for _ in range(100):
            for what in ("second", "execute", "answer", "report"):
                self.step(what)
        assert (len(self.reports), len(self.commands), len(self.answers)) == (0, 0, 0)


STEPS = ("execute", "report", "answer", "turn", "second", "cut", "fail", "own")


@given(st.lists(st.sampled_from((*STEPS, "ann", "bob", "bob too")), max_size=60))
@example(["execute", "ann", "report", "answer"])
@example(["ann", "execute", "ann", "answer", "report", "report"])
@example(["own", "execute", "execute", "own", "cut", "report", "execute"])
def test_members_converge_in_any_order(steps: list[str]) -> None:
    """Whatever the order of joins, leaves, reads, losses and failures, the truth is seen at last.

    Meanwhile each emission differs from the one before, this hub's member is exact, and nobody is
    reported to join twice.
    """
    engine = Engine()
    for what in steps:
        engine.step(what)
        if what == "turn" and engine.seen.values:
            assert ("me" in engine.seen.values[-1]) == bool(engine.own)
    engine.settle()
    values = engine.seen.values
    assert values[-1] == {member.name for member in engine.members.values()}
    assert all(one != other for one, other in pairwise(values))
    present: set[str] = set()
    for change in engine.changes.values:
        for member in change.joined:
            assert member.id not in present
            present.add(member.id)
        present -= {member.id for member in change.left}
    assert present <= set(engine.members)
