"""`Users`: messages to all connections of one user."""

from __future__ import annotations

import json
import logging
import re
from typing import Any, cast

import pytest
import reactivex as rx

import rxws
from rxws.hub import BackplaneError, Hub, Publication, Unconfirmed, User
from rxws.hub._names import matches
from rxws.hub._user_commands import USER_TOPICS, UserConnection
from rxws.hub._users import Users
from rxws.testing import Clock
from rxws.testing.fake_transport import run_without_waiting
from support.subscriber import Subscriber
from support.virtual.fake_backplane import FakeBackplane
from support.virtual.hub_host import VirtualHubHost
from support.virtual.session import VirtualSession

ANN = f"{USER_TOPICS}ann"
LOGGED_OUT = rxws.Close(4001, "logged out")


class RecordedConnection(UserConnection):
    """A connection of a user that records its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def on_registered(self) -> None:
        self.calls.append(("registered",))

    def on_value(self, value: Any) -> None:
        self.calls.append(("value", value))

    def on_close(self, close: rxws.Close) -> None:
        self.calls.append(("close", close))

    def on_revoke(self, pattern: str) -> None:
        self.calls.append(("revoke", pattern))

    def on_missed(self) -> None:
        self.calls.append(("missed",))


class VirtualUsers:
    """`Users` on a clock, with a backplane that the test plays."""

    def __init__(self, codec: rxws.Codec[Any, Any] = rxws.codecs.json) -> None:
        host = VirtualHubHost(codec)
        self.clock = host.clock
        self.backplane = host.backplane
        self.users = Users(host)

    def user(self, name: str) -> User[Any]:
        return User(self.users, name)

    def attach(self, result: Any = None) -> None:
        """Answer the oldest attachment."""
        _, done = self.backplane.attaching.pop(0)
        done(result)
        self.clock.run(0)

    def register(self, name: str = "ann") -> RecordedConnection:
        """Register a connection of a user, whose topic is attached at once."""
        connection = RecordedConnection()
        self.users.register(name, connection)
        if self.backplane.attaching:
            self.attach()
        self.clock.run(0)
        connection.calls.clear()
        return connection

    def carry(self, *to: Users, result: Any = None) -> None:
        """Confirm what was published, and let it arrive at hubs, by default at this one."""
        publishing, self.backplane.publishing = self.backplane.publishing, []
        for request, done in publishing:
            done(result)
            for users in to or (self.users,):
                users.on_publication(request.topic, Publication(request.payload, None))
        self.clock.run(0)

    def receive(self, payload: str | bytes) -> None:
        self.users.on_publication(ANN, Publication(payload, None))
        self.clock.run(0)

    @property
    def topics(self) -> list[tuple[Any, ...]]:
        """The topics that were attached and detached so far."""
        return [call for call in self.backplane.calls if call[0] in ("attach", "detach")]


# --- what arrives -------------------------------------------------------------------------------


def test_all_connections_of_a_user_get_everything_in_order() -> None:
    """Values, revocations and closes reach each connection of the user in their order."""
    hub, other = VirtualUsers(), VirtualUsers()
    connections = [hub.register(), hub.register(), other.register()]
    stranger = hub.register("bob")
    ann = hub.user("ann")
    ann.on_next({"n": 1})
    ann.revoke("news:*")
    ann.on_next(None)
    ann.close(LOGGED_OUT)
    hub.carry(hub.users, other.users)
    for connection in connections:
        assert connection.calls == [
            ("value", {"n": 1}),
            ("revoke", "news:*"),
            ("value", None),
            ("close", LOGGED_OUT),
        ]
    assert stranger.calls == []


def test_connections_of_a_process_share_the_value() -> None:
    """A value is decoded once for all connections of a process."""
    hub = VirtualUsers()
    one, two = hub.register(), hub.register()
    hub.user("ann").on_next([1])
    hub.carry()
    assert one.calls[0][1] is two.calls[0][1]


def test_a_connection_that_leaves_during_a_delivery_gets_nothing_more() -> None:
    """The first connection unregisters the second one: that one does not get the value."""
    hub = VirtualUsers()
    second = RecordedConnection()

    class First(UserConnection):
        def on_value(self, value: Any) -> None:
            registered.dispose()

    hub.users.register("ann", First())
    registered = hub.users.register("ann", second)
    hub.attach()
    hub.user("ann").on_next(1)
    hub.carry()
    assert second.calls == [("registered",)]


@pytest.mark.parametrize(
    ("codec", "value"),
    [
        (rxws.codecs.json, {"text": "ä\n\"'\u2028\U0001f600"}),
        (rxws.codecs.raw, "text"),
        (rxws.codecs.raw, b"\x00\xff"),
        (rxws.codecs.binary, b""),
        (rxws.codecs.text, ""),
    ],
)
def test_the_codec_of_the_hub_carries_the_values(codec: Any, value: Any) -> None:
    """Values arrive unchanged whatever the hub's codec; what is published is plain JSON."""
    hub = VirtualUsers(codec)
    connection = hub.register()
    hub.user("ann").on_next(value)
    [(request, _)] = hub.backplane.publishing
    assert json.loads(request.payload)["v"] == 1
    hub.carry()
    assert connection.calls == [("value", value)]


@pytest.mark.parametrize(
    "name", ["42", "*", "$rxws:user:ann", "a b\n", "ä\U0001f600", "\0", "news:*"]
)
def test_a_name_may_be_any_text(name: str) -> None:
    """Any text is the name of one user, and reaches nobody else."""
    hub = VirtualUsers()
    named, ann = hub.register(name), hub.register()
    hub.user(name).on_next(1)
    hub.carry()
    assert (named.calls, ann.calls) == ([("value", 1)], [])


def test_a_connection_that_raises_does_not_affect_others() -> None:
    """If one connection raises, the others get the value, and the scheduler gets the exception."""
    hub = VirtualUsers()
    first, second = hub.register(), hub.register()

    def fail(_: Any) -> None:
        raise ZeroDivisionError

    first.on_value = fail  # type: ignore[assignment, method-assign]
    hub.user("ann").on_next(1)
    with pytest.raises(ZeroDivisionError):
        hub.carry()
    assert second.calls == [("value", 1)]


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("oops", "Expecting value"),
        (b"\xff\xfe\xff", "codec can't decode"),
        ('{"v":2,"type":"close"}', "version 2: this hub knows version 1"),
        ('{"v":1,"type":"dance"}', "type 'dance' is unknown"),
        ('{"v":1,"type":"close","code":1006,"reason":""}', "close code 1006 must not be sent"),
        ('{"v":1,"type":"value","text":"oops"}', "cannot decode 'oops'"),
    ],
)
def test_an_unreadable_message_is_logged(
    payload: Any, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A message of another version, or with another codec, is logged; the next one arrives."""
    hub = VirtualUsers()
    connection = hub.register()
    with caplog.at_level(logging.ERROR, "rxws"):
        hub.receive(payload)
    assert len(caplog.records) == 1
    assert text in caplog.text
    hub.receive('{"v":1,"type":"value","text":"7"}')
    assert connection.calls == [("value", 7)]


# --- registering --------------------------------------------------------------------------------


def test_a_connection_is_notified_when_messages_arrive() -> None:
    """`on_registered` is called once the user's topic is attached, in a later turn."""
    hub = VirtualUsers()
    one, two, late = (RecordedConnection() for _ in range(3))
    hub.users.register("ann", one)
    hub.users.register("ann", two)
    hub.clock.run(10)
    assert (one.calls, hub.topics) == ([], [("attach", ANN)])
    hub.attach()
    hub.users.register("ann", late)
    assert (one.calls, two.calls, late.calls) == ([("registered",)], [("registered",)], [])
    hub.clock.run(0)
    assert late.calls == [("registered",)]


def test_messages_wait_until_the_user_is_attached() -> None:
    """A hub that has registered a user publishes to it once it would get the message itself."""
    clock, backplane = Clock(), FakeBackplane()
    hub = Hub(codec=rxws.codecs.json, backplane=backplane, scheduler=clock)
    run_without_waiting(hub.__aenter__())
    session = VirtualSession()
    attached = Subscriber(hub.attach(session.conn, "ann"))
    hub.user("ann").on_next(1)
    hub.user("bob").on_next(2)
    clock.run(1)
    assert [request.topic for request, _ in backplane.publishing] == [f"{USER_TOPICS}bob"]
    [(_, done)] = backplane.attaching
    done(None)
    clock.run(0)
    assert [request.topic for request, _ in backplane.publishing][1:] == [ANN]
    hub.user("ann").on_next(3)
    attached.subscription.dispose()
    clock.run(0)
    assert len(backplane.publishing) == 3


def test_a_user_is_detached_with_the_last_connection() -> None:
    """The topic is attached once for all connections, and detached with the last one."""
    hub = VirtualUsers()
    one, two = RecordedConnection(), RecordedConnection()
    first = hub.users.register("ann", one)
    hub.attach()
    second = hub.users.register("ann", two)
    first.dispose()
    first.dispose()
    assert hub.topics == [("attach", ANN)]
    second.dispose()
    assert hub.topics == [("attach", ANN), ("detach", ANN)]
    hub.receive('{"v":1,"type":"value","text":"7"}')
    assert (one.calls, two.calls, len(hub.users)) == ([("registered",)], [], 0)


def test_a_connection_that_has_left_is_not_notified() -> None:
    """After disposing, not even a call that was due is made."""
    hub = VirtualUsers()
    connection = RecordedConnection()
    registered = hub.users.register("ann", connection)
    registered.dispose()
    hub.attach()
    again = hub.users.register("ann", connection)
    _, done = hub.backplane.attaching.pop()
    done(None)
    again.dispose()
    hub.clock.run(5)
    assert connection.calls == []


def test_while_the_backplane_is_away_connections_are_registered_nevertheless() -> None:
    """If attaching fails, it is repeated each second; then rights are checked."""
    hub = VirtualUsers()
    one, two = RecordedConnection(), RecordedConnection()
    hub.users.register("ann", one)
    hub.attach(BackplaneError("away"))
    hub.users.register("ann", two)
    hub.clock.run(1)
    hub.attach(BackplaneError("away"))
    assert one.calls == two.calls == [("registered",)]
    hub.clock.run(1)
    hub.attach()
    assert one.calls == two.calls == [("registered",), ("missed",)]
    hub.clock.run(5)
    assert len(hub.topics) == 3


def test_leaving_ends_the_attempts_to_attach() -> None:
    """After the last connection has left, nothing is attached any more."""
    hub = VirtualUsers()
    registered = hub.users.register("ann", RecordedConnection())
    hub.attach(BackplaneError("away"))
    registered.dispose()
    hub.clock.run(5)
    assert (hub.topics, hub.clock.pending) == ([("attach", ANN), ("detach", ANN)], 0)


def test_missed_messages_are_reported() -> None:
    """If messages may be lost, all connections check their rights again, or those of one user."""
    hub = VirtualUsers()
    ann, bob = hub.register(), hub.register("bob")
    hub.users.on_missed()
    hub.clock.run(0)
    assert ann.calls == bob.calls == [("missed",)]
    hub.users.on_missed(ANN)
    hub.users.on_missed(f"{USER_TOPICS}nobody")
    hub.clock.run(0)
    assert (len(ann.calls), len(bob.calls)) == (2, 1)


# --- confirmation -------------------------------------------------------------------------------


def test_closes_and_revocations_are_repeated_until_they_are_confirmed() -> None:
    """A close or a revocation that fails is published again each second; a value is not."""
    hub = VirtualUsers()
    connection = hub.register()
    ann = hub.user("ann")
    ann.on_next(1)
    ann.revoke("news")
    ann.close(LOGGED_OUT)
    other = VirtualUsers().users
    hub.carry(other, result=Unconfirmed("lost"))
    hub.clock.run(0.9)
    assert hub.backplane.publishing == []
    hub.clock.run(0.1)
    hub.carry(other, result=BackplaneError("away"))
    hub.clock.run(1)
    hub.carry()
    assert connection.calls == [("revoke", "news"), ("close", LOGGED_OUT)]
    hub.clock.run(60)
    assert (hub.backplane.publishing, hub.clock.pending) == ([], 0)


def test_unconfirmed_commands_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    """At most 1000 commands wait for the backplane; the oldest is dropped and logged."""
    hub = VirtualUsers()
    for number in range(1001):
        hub.user("ann").revoke(f"topic:{number}")
    with caplog.at_level(logging.ERROR, "rxws"):
        hub.carry(VirtualUsers().users, result=BackplaneError("connection refused"))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "connection refused" in caplog.text
    hub.clock.run(1)
    topics = [json.loads(request.payload)["topic"] for request, _ in hub.backplane.publishing]
    assert topics == [f"topic:{number}" for number in range(1, 1001)]


def test_stopping_reports_unconfirmed_commands(caplog: pytest.LogCaptureFixture) -> None:
    """A hub that stops with unconfirmed commands logs their number, and leaves no timer."""
    hub = VirtualUsers()
    hub.users.register("ann", RecordedConnection())
    hub.attach(BackplaneError("away"))
    hub.user("ann").close(LOGGED_OUT)
    hub.carry(result=BackplaneError("away"))
    with caplog.at_level(logging.WARNING, "rxws"):
        hub.users.stop()
    assert "confirmed all messages of User.close and User.revoke: 2 left" in caplog.text
    assert (hub.clock.pending, len(hub.users)) == (0, 0)


def test_a_registration_of_a_stopped_hub_can_be_disposed() -> None:
    """Disposing after `stop` calls the backplane no more."""
    hub = VirtualUsers()
    registered = hub.users.register("ann", RecordedConnection())
    hub.users.stop()
    registered.dispose()
    hub.attach()
    assert hub.topics == [("attach", ANN)]


# --- `hub.user` ---------------------------------------------------------------------------------


def test_a_user_is_an_observer() -> None:
    """An Observable can be subscribed with a user; its end does not concern the connections."""
    hub = VirtualUsers()
    connection = hub.register()
    ann = hub.user("ann")
    rx.of(1, 2).subscribe(ann)
    rx.throw(ZeroDivisionError()).subscribe(ann)
    hub.carry()
    assert connection.calls == [("value", 1), ("value", 2)]
    assert repr(ann) == "<User 'ann'>"


def test_patterns_match_names_and_prefixes() -> None:
    """A pattern matches its own name, or with a trailing `*` all names that begin like it."""
    cases = {("a", "a"): True, ("a", "ab"): False, ("a*", "ab"): True, ("a*", "a"): True}
    cases |= {("*", "anything"): True, ("b*", "ab"): False, ("a:*", "a"): False}
    assert {case: matches(*case) for case in cases} == cases


def test_mistakes_raise_where_they_are_made() -> None:
    """Names, closes, patterns and values that are wrong raise at once and publish nothing."""
    hub = VirtualUsers()
    ann: Any = hub.user("ann")
    users: Any = hub.users
    calls: list[tuple[Any, type[Exception], str]] = [
        (lambda: hub.user(cast(Any, 5)), TypeError, "user 5 is no str: use str(...)"),
        (lambda: hub.user(""), ValueError, "the name of a user is empty"),
        (lambda: ann.close(Any), TypeError, "close(typing.Any): use a rxws.Close"),
        (lambda: ann.close(rxws.Close(1006)), ValueError, "close code 1006 must not be sent"),
        (lambda: ann.revoke(""), ValueError, "the name of a topic is empty"),
        (lambda: ann.revoke("a*b"), ValueError, "topic 'a*b': '*' may only be the last character"),
        (
            lambda: ann.revoke("$rxws:user:bob"),
            ValueError,
            "names that begin with '$rxws:' are reserved",
        ),
        (lambda: ann.on_next({1, 2}), rxws.EncodeError, "cannot encode {1, 2}"),
        (lambda: users.attach(Any, "ann"), TypeError, "attach(typing.Any, ...): pass the con"),
    ]
    for call, error, text in calls:
        with pytest.raises(error, match=re.escape(text)):
            call()
    assert hub.backplane.calls == []


# --- `hub.attach` -------------------------------------------------------------------------------


def test_attach_emits_what_is_sent_to_the_user() -> None:
    """`attach` registers the connection while it is subscribed, and emits the user's values."""
    hub, session = VirtualUsers(), VirtualSession()
    attached = Subscriber(hub.users.attach(session.conn, "ann"))
    hub.attach()
    ann = hub.user("ann")
    ann.on_next(1)
    ann.revoke("news")
    hub.users.on_missed()
    hub.carry()
    assert (attached.values, attached.ends) == ([1], [])
    attached.subscription.dispose()
    assert hub.topics == [("attach", ANN), ("detach", ANN)]
    session.conn.outgoing.on_completed()
    session.settle()


def test_close_closes_an_attached_connection() -> None:
    """`close` sends the values that came before it, and closes the connection with its code."""
    hub, session = VirtualUsers(rxws.codecs.text), VirtualSession()
    hub.users.attach(session.conn, "ann").subscribe(session.conn.outgoing.on_next)
    closed = Subscriber(session.conn.closed)
    hub.attach()
    hub.user("ann").on_next("bye")
    hub.user("ann").close(LOGGED_OUT)
    hub.carry()
    session.settle()
    session.peer.close(4001, "logged out")
    session.settle()
    assert [frame.payload for frame in session.transport.sent] == [b"bye", b"\x0f\xa1logged out"]
    assert closed.values == [LOGGED_OUT]
