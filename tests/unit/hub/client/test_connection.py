"""The connection of a client of hubs: tokens, pings, close codes and wrong frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

import rxws
from rxws import ConnectionClosed
from rxws.hub import Refused
from support.virtual.hub_client import VirtualHubClient
from support.virtual.servers import fail_with


class Tokens:
    """A function that returns t1, t2 and so on, or raises."""

    def __init__(self) -> None:
        self.count = 0
        self.error: Exception | None = None

    def __call__(self) -> str:
        if self.error is not None:
            raise self.error
        self.count += 1
        return f"t{self.count}"


@pytest.fixture
def virtual() -> Iterator[VirtualHubClient]:
    """Return a client whose token is renewed; at the end nothing may be left."""
    virtual = VirtualHubClient(Tokens())
    yield virtual
    virtual.check_nothing_left()


def error_of(subscriber: Any) -> Any:
    return subscriber.error


def test_a_client_connects_when_it_is_used(virtual: VirtualHubClient) -> None:
    """The first frame is the connect command with the token."""
    assert virtual.servers.dials == []
    assert repr(virtual.client) == "<HubClient Closed, 0 topics, 0 queued>"
    virtual.subscribe(virtual.client.topic("news"))
    assert virtual.answer("connect", client="c") == {"token": "t1", "name": "rxws"}
    virtual.subscribed()
    assert "Open, 1 topic" in repr(virtual.client)


def test_a_token_may_be_a_str_or_none() -> None:
    """Without a token the user is anonymous, or known by the handshake."""
    for token, sent in (("abc", {"token": "abc", "name": "rxws"}), (None, {"name": "rxws"})):
        virtual = VirtualHubClient(token)
        virtual.subscribe(virtual.client.topic("news"))
        assert virtual.answer("connect", client="c") == sent
        virtual.check_nothing_left()


def test_a_token_is_kept_for_the_next_connection(virtual: VirtualHubClient) -> None:
    """A reconnect does not ask for another token."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.dial.peer.lost()
    virtual.run(1.0)
    assert virtual.answer("connect", client="c")["token"] == "t1"


@pytest.mark.parametrize("code", [3000, 3004, 3499, 4000, 4499, 1000, 1001, 1008, 1011])
def test_most_close_codes_reconnect(virtual: VirtualHubClient, code: int) -> None:
    """The protocol lets a client reconnect after them."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.dial.peer.close(code)
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    virtual.subscribed()
    assert seen.ends == []


@pytest.mark.parametrize("code", [3500, 3501, 3999, 4500, 4999, 1009])
def test_terminal_close_codes_fail_all_subscribers(virtual: VirtualHubClient, code: int) -> None:
    """Topics and messages fail with the close, and the client may be used again."""
    topic = virtual.client.topic("news")
    failed = [virtual.subscribe(each) for each in (topic, virtual.client.messages)]
    virtual.answer("connect", client="c")
    virtual.dial.peer.close(code, "go away")
    virtual.run(5.0)
    for each in failed:
        error = error_of(each)
        assert isinstance(error, ConnectionClosed)
        assert (error.close.code, error.close.reason) == (code, "go away")
        remedy = "raise max_message_size=" if code == 1009 else "forbids to connect again"
        assert any(remedy in note for note in error.__notes__)
    virtual.subscribe(topic)
    virtual.run(2.0)
    virtual.answer("connect", client="c")


def test_an_expired_connection_gets_a_fresh_token(virtual: VirtualHubClient) -> None:
    """Close code 3005 says that the token is too old."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.dial.peer.close(3005)
    virtual.run(1.0)
    assert virtual.answer("connect", client="c")["token"] == "t2"


def test_an_expired_token_is_renewed(virtual: VirtualHubClient) -> None:
    """Error 109 of the connect command brings a fresh token on the next connection."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.refuse("connect", 109)
    assert virtual.close_code() == 1000
    virtual.run(1.0)
    assert virtual.answer("connect", client="c")["token"] == "t2"


def test_an_expired_token_that_cannot_be_renewed() -> None:
    """The error says how to pass a token that can."""
    virtual = VirtualHubClient("old")
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.refuse("connect", 109, "token expired")
    virtual.close_code()
    error = error_of(seen)
    assert isinstance(error, Refused)
    assert (error.action, error.code) == ("connect", 109)
    assert str(error) == (
        "connect was refused with 109 'token expired': pass token= a function that returns a "
        "fresh token"
    )
    virtual.check_nothing_left()


def test_a_refused_connection_is_final(virtual: VirtualHubClient) -> None:
    """Other errors of the connect command fail all subscribers."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.refuse("connect", 101, "unauthorized")
    assert virtual.close_code() == 1000
    virtual.run(5.0)
    assert error_of(seen).code == 101
    assert len(virtual.servers.dials) == 1


def test_a_temporary_error_of_connect_is_retried(virtual: VirtualHubClient) -> None:
    """The client connects again when the backoff says so."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.refuse("connect", 100, temporary=True)
    virtual.close_code()
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    assert seen.ends == []


def test_a_token_is_renewed_in_time(virtual: VirtualHubClient) -> None:
    """After `ttl` seconds the client sends a fresh token, and then after the next `ttl`."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", expires=True, ttl=60)
    virtual.subscribed()
    virtual.run(59.0)
    virtual.check_silent()
    virtual.run(1.0)
    assert virtual.answer("refresh", client="c", expires=True, ttl=30) == {"token": "t2"}
    virtual.run(30.0)
    assert virtual.answer("refresh", client="c")["token"] == "t3"
    virtual.run(1000.0)
    virtual.check_silent()


def test_a_server_may_set_the_expiry_by_a_push(virtual: VirtualHubClient) -> None:
    """A refresh push counts as a reply."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"refresh": {"expires": True, "ttl": 10}}})
    virtual.run(10.0)
    virtual.expect("refresh")


@pytest.mark.parametrize(
    ("code", "temporary"), [(100, False), (7, False), (109, False), (105, True)]
)
def test_a_refresh_is_tried_again(virtual: VirtualHubClient, code: int, temporary: bool) -> None:
    """After an error that passes, the client sends another token a few seconds later."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", expires=True, ttl=60)
    virtual.subscribed()
    virtual.run(60.0)
    virtual.refuse("refresh", code, temporary=temporary)
    virtual.run(4.9)
    virtual.check_silent()
    virtual.run(5.2)
    assert virtual.answer("refresh", client="c")["token"] == "t3"


def test_a_refused_refresh_is_final(virtual: VirtualHubClient) -> None:
    """The user has lost the right to connect."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", expires=True, ttl=60)
    virtual.subscribed()
    virtual.run(60.0)
    virtual.refuse("refresh", 103)
    virtual.close_code()
    assert (error_of(seen).action, error_of(seen).code) == ("refresh", 103)


def test_a_token_that_cannot_be_renewed_now(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A network error is tried again; another exception is final."""
    tokens: Any = virtual.client._registry.tokens._function
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", expires=True, ttl=60)
    virtual.subscribed()
    tokens.error = TimeoutError("of the token server")
    virtual.run(60.0)
    [record] = caplog.records
    assert "cannot renew the token of a hub's client now" in record.getMessage()
    tokens.error = KeyError("user")
    virtual.run(10.0)
    virtual.close_code()
    assert isinstance(error_of(seen), KeyError)


def test_a_token_function_that_fails_before_the_first_connection(
    virtual: VirtualHubClient,
) -> None:
    """A network error is retried as one of the connection, another exception is final."""
    tokens: Any = virtual.client._registry.tokens._function
    tokens.error = TimeoutError("of the token server")
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.run(1.0)
    assert seen.ends == []
    tokens.error = KeyError("user")
    virtual.run(1.0)
    assert isinstance(error_of(seen), KeyError)


@pytest.mark.parametrize("token", [7, b"x"])
def test_wrong_tokens(token: Any) -> None:
    """A token is text, or a function that returns text."""
    with pytest.raises(TypeError, match="use a str, or a function"):
        VirtualHubClient(token)
    virtual = VirtualHubClient(lambda: token)
    seen = virtual.subscribe(virtual.client.topic("news"))
    assert "return a str" in str(error_of(seen))
    virtual.check_nothing_left()


# --- tokens of topics ---------------------------------------------------------------------------


def test_the_token_of_a_topic_is_renewed_in_time(virtual: VirtualHubClient) -> None:
    """The subscription then lives on."""
    seen = virtual.subscribe(virtual.client.topic("news", token=Tokens()))
    virtual.answer("connect", client="c")
    assert virtual.subscribed(expires=True, ttl=60)["token"] == "t1"
    virtual.run(60.0)
    assert virtual.answer("sub_refresh", expires=True, ttl=30) == {"channel": "news", "token": "t2"}
    virtual.run(30.0)
    virtual.refuse("sub_refresh", 100)
    virtual.run(1.0)
    virtual.answer("sub_refresh")
    virtual.publish("news", 1)
    assert seen.values == [1]
    virtual.run(1000.0)
    virtual.check_silent()


def test_a_token_of_a_topic_that_has_expired(virtual: VirtualHubClient) -> None:
    """Error 109 and unsubscribe code 2501 bring a fresh token."""
    virtual.subscribe(virtual.client.topic("news", token=Tokens()))
    virtual.answer("connect", client="c")
    virtual.refuse("subscribe", 109)
    virtual.run(1.0)
    assert virtual.subscribed()["token"] == "t2"
    virtual.run(20.0)
    virtual.send({"push": {"channel": "news", "unsubscribe": {"code": 2501}}})
    assert virtual.subscribed()["token"] == "t3"


def test_a_refused_token_of_a_topic_fails_its_subscribers(virtual: VirtualHubClient) -> None:
    """The topic is unsubscribed, and the connection lives on."""
    seen = virtual.subscribe(virtual.client.topic("news", token=Tokens()))
    other = virtual.subscribe(virtual.client.topic("other"))
    virtual.answer("connect", client="c")
    virtual.subscribed(expires=True, ttl=60)
    virtual.subscribed()
    virtual.run(60.0)
    virtual.refuse("sub_refresh", 103)
    virtual.expect("unsubscribe")
    assert (error_of(seen).action, error_of(seen).topic) == ("refresh", "news")
    assert other.ends == []


def test_a_token_function_of_a_topic_that_fails(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """A network error is tried again; another exception fails the topic."""
    tokens = Tokens()
    tokens.error = TimeoutError("of the token server")
    seen = virtual.subscribe(virtual.client.topic("news", token=tokens))
    virtual.answer("connect", client="c")
    assert "cannot get the token of topic 'news' now" in caplog.text
    tokens.error = None
    virtual.run(1.0)
    virtual.subscribed(expires=True, ttl=10)
    tokens.error = TimeoutError("of the token server")
    virtual.run(10.0)
    assert "cannot renew the token of topic 'news' now" in caplog.text
    tokens.error = KeyError("user")
    virtual.run(1.0)
    assert isinstance(error_of(seen), KeyError)
    virtual.expect("unsubscribe")


def test_a_token_function_of_a_topic_that_fails_for_good(virtual: VirtualHubClient) -> None:
    """The topic fails before it is subscribed."""
    tokens = Tokens()
    tokens.error = KeyError("user")
    seen = virtual.subscribe(virtual.client.topic("news", token=tokens))
    virtual.answer("connect", client="c")
    assert isinstance(error_of(seen), KeyError)
    virtual.check_silent()


def test_a_topic_that_was_left_before_the_reply_is_not_refreshed(
    virtual: VirtualHubClient,
) -> None:
    """The reply to its subscribe command is ignored."""
    virtual.subscribe(virtual.client.topic("other"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    seen = virtual.subscribe(virtual.client.topic("news", token=Tokens()))
    id_, _ = virtual.expect("subscribe")
    seen.subscription.dispose()
    virtual.expect("unsubscribe")
    virtual.send({"id": id_, "subscribe": {"expires": True, "ttl": 1}})
    virtual.run(5.0)
    virtual.check_silent()


# --- pings and dead servers -----------------------------------------------------------------------


def test_pings_are_answered_if_the_server_wants_that(virtual: VirtualHubClient) -> None:
    """The connect reply says whether a ping needs a pong."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", ping=25, pong=True)
    virtual.subscribed()
    virtual.send({}, {})
    assert virtual.lines() == [{}, {}]
    virtual.reconnect(ping=25)
    virtual.subscribed()
    virtual.send({})
    virtual.check_silent()


def test_a_server_without_pings_is_dead(virtual: VirtualHubClient) -> None:
    """10 s after a ping was due the client closes and connects anew."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", ping=25, pong=True)
    virtual.subscribed()
    virtual.run(20.0)
    virtual.send({})  # any frame is a sign of life
    virtual.run(34.9)
    assert not virtual.dial.is_over
    virtual.run(0.2)
    assert virtual.close_code() == 3012
    virtual.run(1.0)
    virtual.answer("connect", client="c")


@pytest.mark.parametrize("command", ["connect", "subscribe"])
def test_a_server_that_does_not_reply_is_dead(virtual: VirtualHubClient, command: str) -> None:
    """Without a reply for 10 s the client closes and connects anew."""
    virtual.subscribe(virtual.client.topic("news"))
    if command == "subscribe":
        virtual.answer("connect", client="c")
    virtual.expect(command)
    virtual.run(10.0)
    assert virtual.close_code() == 3502
    virtual.run(1.0)
    virtual.answer("connect", client="c")


def test_a_paused_client_does_not_call_its_server_dead(virtual: VirtualHubClient) -> None:
    """While a subscriber pauses the connection, pings and replies wait in it."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", ping=25)
    virtual.expect("subscribe")
    pause = virtual.client._registry.pauses.pause()
    virtual.run(100.0)
    assert virtual.client.connection is virtual.dial.session.connection  # type: ignore[union-attr]
    pause.dispose()
    virtual.run(20.0)
    assert virtual.close_code() == 3502


def test_a_paused_client_does_not_miss_pings(virtual: VirtualHubClient) -> None:
    """After the pause, pings are due again."""
    virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c", ping=25)
    virtual.subscribed()
    pause = virtual.client._registry.pauses.pause()
    virtual.send({})
    virtual.run(100.0)
    pause.dispose()
    virtual.run(34.0)
    virtual.check_silent()
    virtual.run(2.0)
    assert virtual.close_code() == 3012


# --- wrong frames ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "problem"),
    [
        ("[]", "not a JSON object"),
        ("no", "not JSON"),
        ('{"id":-1,"publish":{}}', "id"),
        ('{"id":1}', "neither a result nor an error"),
        ('{"push":{"channel":"news","pub":{"offset":"x"}}}', "offset"),
        ('{"id":2,"publish":{}}', "a PublishResult answers a command that expects a Subscribe"),
    ],
)
def test_wrong_frames_end_the_connection(
    virtual: VirtualHubClient, frame: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They are counted, logged once as a mistake of the server, and the client reconnects."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    for count in (1, 2):
        virtual.send('{"push":{"channel":"x","pub":{"data":1}}}', frame)
        assert virtual.close_code() == 1002
        assert virtual.client.stats.violations == count
        virtual.run(1.0)
        virtual._queue.clear()
        virtual.answer("connect", client="c")
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "the server of a hub broke the protocol" in record.getMessage()
    assert problem in record.getMessage()
    assert seen.ends == []


def test_a_reply_to_no_command_is_counted(
    virtual: VirtualHubClient, caplog: pytest.LogCaptureFixture
) -> None:
    """It is ignored, and logged once."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"id": 77, "publish": {}}, {"id": 78, "error": {"code": 1}})
    virtual.publish("news", 1)
    assert virtual.client.stats.violations == 2
    assert "a reply to command 77, which has none outstanding" in caplog.records[0].getMessage()
    assert seen.values == [1]


def test_unknown_pushes_are_ignored(virtual: VirtualHubClient) -> None:
    """They are of a newer protocol, or of topics that nobody has subscribed."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"channel": "news", "newer": {}}}, {"push": {"channel": "x", "pub": {}}})
    virtual.publish("news", 1)
    assert seen.values == [1]
    assert virtual.client.stats.violations == 0


# --- other pushes ---------------------------------------------------------------------------------


def test_messages_to_the_user(virtual: VirtualHubClient) -> None:
    """They belong to no topic; a subscriber opens the connection."""
    seen = virtual.subscribe(virtual.client.messages)
    virtual.answer("connect", client="c")
    virtual.send({"push": {"message": {"data": {"type": "logged-out"}}}})
    assert seen.values == [{"type": "logged-out"}]
    seen.subscription.dispose()
    assert virtual.close_code() == 1000


def test_a_disconnect_push_ends_the_connection(virtual: VirtualHubClient) -> None:
    """Its code says whether the client reconnects."""
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"disconnect": {"code": 3001, "reason": "shutdown"}}})
    virtual.close_code()
    virtual.run(1.0)
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.send({"push": {"disconnect": {"code": 3503, "reason": "force disconnect"}}})
    virtual.close_code()
    assert (error_of(seen).close.code, error_of(seen).close.reason) == (3503, "force disconnect")


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"codec": rxws.codecs.json}, "takes no codec=: the protocol is JSON"),
        ({"opening": list}, "takes no opening="),
        ({"queues": 1}, "queues"),
        ({"backoff": 1}, "backoff"),
        ({"retryable": 1}, "retryable"),
    ],
)
def test_wrong_options(options: Any, match: str) -> None:
    """They raise at once, and the message names them."""
    with pytest.raises(TypeError, match=match):
        rxws.hub.connect("ws://localhost/hub", **options)


@pytest.mark.parametrize(
    ("name", "error"), [("", ValueError), (7, TypeError), ("\ud800", ValueError)]
)
def test_wrong_names(virtual: VirtualHubClient, name: Any, error: type[Exception]) -> None:
    """A topic's name is text that is valid Unicode."""
    with pytest.raises(error, match="topic"):
        virtual.client.topic(name)


def test_a_retryable_of_the_user_decides() -> None:
    """It may give up after any close; the subscribers then complete or fail."""
    virtual = VirtualHubClient(retryable=lambda _: False)
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.answer("connect", client="c")
    virtual.dial.peer.close(1000)
    virtual.run()
    assert seen.error is None
    virtual.check_nothing_left()


def test_a_failed_dial_is_retried() -> None:
    """Network errors are retried, and an HTTP status such as 403 is final."""
    network, forbidden = rxws.ConnectError("no route"), rxws.HandshakeError("no", 403, {})
    virtual = VirtualHubClient(meets=[*map(fail_with, (network, network, forbidden))])
    seen = virtual.subscribe(virtual.client.topic("news"))
    virtual.run(1.0)
    assert seen.ends == []
    virtual.run(1.0)
    assert error_of(seen) is forbidden
    assert len(virtual.servers.dials) == 3


def test_dispose_notifies_nobody(virtual: VirtualHubClient) -> None:
    """Subscribers are removed, the queue is dropped, and the connection closes with 1000."""
    topic = virtual.client.topic("news")
    seen = [virtual.subscribe(topic), virtual.subscribe(virtual.client.messages)]
    virtual.answer("connect", client="c")
    virtual.subscribed()
    virtual.client.dispose()
    virtual._queue.clear()
    assert virtual.close_code() == 1000
    assert [each.ends for each in seen] == [[], []]
    assert virtual.client.stats.topics == 0


def test_a_client_shows_its_public_names_only(virtual: VirtualHubClient) -> None:
    """Tab completion on a client offers what the reference documents."""
    names = {name for name in dir(virtual.client) if not name.startswith("_")}
    streams = {"status", "errors", "drops", "messages"}
    assert names == streams | {"topic", "connection", "stats", "dispose"}
