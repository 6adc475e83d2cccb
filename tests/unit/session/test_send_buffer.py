"""The queue of what goes out."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import codecs, overflow
from rxws._core.frames import Frame, Opcode
from rxws._session.encoding import conflation_key
from rxws._session.send_buffer import ConflatingSendBuffer, SendBuffer, make_send_buffer
from rxws.overflow import OVERHEAD, check, latest
from support.virtual.session import VirtualSession


def text(payload: bytes) -> Frame:
    return Frame(Opcode.TEXT, payload)


def close(payload: bytes = b"") -> Frame:
    return Frame(Opcode.CLOSE, payload)


def drain(outbox: SendBuffer) -> list[Frame]:
    return list(iter(outbox.take, None))


def test_messages_leave_in_order() -> None:
    """First in, first out."""
    outbox = SendBuffer()
    frames = [text(b"1"), Frame(Opcode.BINARY, b"2"), text(b"3")]
    for frame in frames:
        outbox.put(frame)
    assert drain(outbox) == frames
    assert outbox.take() is None


def test_it_knows_how_much_waits() -> None:
    """In messages, in bytes, and in bytes with 128 more for each message."""
    outbox = SendBuffer()
    assert (len(outbox), outbox.bytes, outbox.cost) == (0, 0, 0)
    outbox.put(text(b"abc"))
    outbox.put(text(b""))
    assert (len(outbox), outbox.bytes, outbox.cost) == (2, 3, 3 + 2 * 128)
    outbox.take()
    assert (len(outbox), outbox.bytes, outbox.cost) == (1, 0, 128)


def test_control_frames_overtake_messages() -> None:
    """A peer that waits for a pong does not wait behind a megabyte."""
    outbox = SendBuffer()
    outbox.put(text(b"1"))
    outbox.ping, outbox.pong = b"i", b"o"
    assert drain(outbox) == [Frame(Opcode.PONG, b"o"), Frame(Opcode.PING, b"i"), text(b"1")]


def test_only_the_latest_ping_is_answered() -> None:
    """RFC 6455, section 5.5.3; an empty payload is a payload."""
    outbox = SendBuffer()
    outbox.pong = b"first"
    outbox.pong = b""
    assert drain(outbox) == [Frame(Opcode.PONG, b"")]


def test_the_close_frame_follows_all_messages_and_nothing_follows_it() -> None:
    """RFC 6455, section 5.5.1."""
    outbox = SendBuffer()
    outbox.seal(close(b"1"))
    outbox.put(text(b"m"))
    assert drain(outbox) == [text(b"m"), close(b"1")]
    outbox.put(text(b"late"))
    outbox.ping, outbox.pong = b"i", b"o"
    outbox.seal(close(b"2"))
    assert drain(outbox) == []


def test_a_close_frame_that_has_not_left_can_be_replaced() -> None:
    """The peer's close, say, wants another answer."""
    outbox = SendBuffer()
    outbox.seal(close(b"1"))
    outbox.seal(close(b"2"))
    assert drain(outbox) == [close(b"2")]


def test_what_is_thrown_away_is_all_that_waits() -> None:
    """A close frame that had not left, too: nobody is told of it any more."""
    for outbox in (SendBuffer(), ConflatingSendBuffer()):
        assert outbox.clear() == 0
        outbox.put(text(b"1"), "a")
        outbox.put(text(b"2"), "b")
        outbox.ping = outbox.pong = b"x"
        outbox.seal(close())
        assert outbox.clear() == 2
        assert (len(outbox), outbox.cost) == (0, 0)
        assert drain(outbox) == []
        assert not outbox.taken


# --- conflation: the policy, its key, and the queue in which a message replaces an older one ---


def of(tick: Any) -> Any:
    return tick["of"]


def stopped(**options: Any) -> VirtualSession:
    """A connection of JSON whose peer takes nothing; a message is on its way to it."""
    virtual = VirtualSession(watch=True, codec=codecs.json, send_timeout=1e6, **options)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next({"of": "first"})
    return virtual


def test_latest_is_a_policy() -> None:
    """With and without a key."""
    check(latest())
    check(latest(of))


@pytest.mark.parametrize("key", ["symbol", 7, ["symbol"]])
def test_a_key_is_a_function(key: Any) -> None:
    """The error names the remedy."""
    with pytest.raises(TypeError, match="not callable: use a function of the message, or None"):
        latest(key)


@pytest.mark.parametrize("policy", [latest, None, "latest", "", 1, ["close"], overflow.Latest])
def test_what_is_no_policy_is_refused(policy: object) -> None:
    """`latest` itself, without its parentheses, is the likeliest."""
    with pytest.raises(ValueError, match=r"use one of \(.*'drop_newest'\) or overflow\.latest\(\)"):
        check(policy)


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "drop_newest"])
def test_every_named_policy_is_accepted(policy: str) -> None:
    """And has a plain queue."""
    check(policy)
    assert type(make_send_buffer(policy)) is SendBuffer  # type: ignore[arg-type] # a str is no Literal


def test_latest_has_a_queue_of_its_own() -> None:
    """With a key or without."""
    assert type(make_send_buffer(latest())) is ConflatingSendBuffer
    assert type(make_send_buffer(latest(of))) is ConflatingSendBuffer


def test_without_a_key_all_messages_are_one() -> None:
    """So only the newest waits."""
    assert conflation_key(latest(), "a") == conflation_key(latest(), b"b")
    assert conflation_key(latest(len), "a") == 1


def test_a_message_replaces_the_one_of_its_key_in_its_place() -> None:
    """And tells so."""
    outbox = ConflatingSendBuffer()
    assert [outbox.put(text(b"a1"), "a"), outbox.put(text(b"b1"), "b")] == [0, 0]
    assert outbox.put(text(b"a2"), "a") == 1
    assert len(outbox) == 2
    assert drain(outbox) == [text(b"a2"), text(b"b1")]


def test_a_conflating_queue_knows_how_much_waits() -> None:
    """What was replaced counts no more, be it longer or shorter."""
    outbox = ConflatingSendBuffer()
    assert (len(outbox), outbox.bytes, outbox.cost) == (0, 0, 0)
    outbox.put(text(b"12345"), "a")
    outbox.put(text(b"1"), "a")
    outbox.put(text(b"123"), "b")
    assert (len(outbox), outbox.bytes, outbox.cost) == (2, 4, 4 + 2 * OVERHEAD)
    outbox.pop()
    assert (len(outbox), outbox.bytes) == (1, 3)
    assert outbox.clear() == 1
    assert (len(outbox), outbox.bytes, outbox.cost, outbox.pop()) == (0, 0, 0, None)


def test_what_has_left_is_replaced_by_nothing() -> None:
    """The same key then waits anew, at the end."""
    outbox = ConflatingSendBuffer()
    outbox.put(text(b"a1"), "a")
    outbox.put(text(b"b1"), "b")
    assert outbox.take() == text(b"a1")
    assert outbox.put(text(b"a2"), "a") == 0
    assert drain(outbox) == [text(b"b1"), text(b"a2")]


def test_an_empty_message_is_a_message() -> None:
    """It replaces and is replaced."""
    outbox = ConflatingSendBuffer()
    assert [outbox.put(text(b"")), outbox.put(text(b"")), outbox.put(text(b"x"))] == [0, 1, 1]
    assert drain(outbox) == [text(b"x")]


def test_text_and_binary_may_replace_each_other() -> None:
    """The key decides, not the kind."""
    outbox = ConflatingSendBuffer()
    outbox.put(text(b"t"), 1)
    outbox.put(Frame(Opcode.BINARY, b"b"), 1)
    assert drain(outbox) == [Frame(Opcode.BINARY, b"b")]


def test_control_frames_pass_and_the_close_frame_comes_last() -> None:
    """As in the plain queue: no key has a part in that."""
    outbox = ConflatingSendBuffer()
    close = Frame(Opcode.CLOSE, b"")
    outbox.seal(close)
    outbox.put(text(b"1"), "a")
    outbox.ping, outbox.pong = b"i", b"o"
    assert [frame.kind for frame in drain(outbox)] == [
        Opcode.PONG,
        Opcode.PING,
        Opcode.TEXT,
        Opcode.CLOSE,
    ]
    outbox.put(text(b"late"), "a")
    assert drain(outbox) == []


def test_a_peer_that_is_behind_gets_the_newest() -> None:
    """What it replaced is counted as conflated."""
    virtual = stopped(overflow=latest())
    for number in range(1, 100):
        virtual.conn.outgoing.on_next(number)
    virtual.peer.go()
    assert virtual.messages[1:] == ["99"]
    assert virtual.dropped == {"conflated": 98}


def test_a_peer_that_is_behind_gets_the_newest_of_each_key() -> None:
    """In the order in which the keys began to wait; the key is given the value, not its frame."""
    virtual = stopped(overflow=latest(of))
    for number in range(10):
        for name in "abc":
            virtual.conn.outgoing.on_next({"of": name, "n": number})
    virtual.peer.go()
    assert virtual.messages[1:] == [f'{{"of":"{name}","n":9}}' for name in "abc"]
    assert virtual.dropped == {"conflated": 27}


def test_a_key_that_changes_often_does_not_wait_for_ever() -> None:
    """It keeps its place, so a peer that takes one now and then gets every key."""
    virtual = stopped(overflow=latest(of))
    for number in range(30):
        virtual.conn.outgoing.on_next({"of": "busy", "n": number})
        virtual.conn.outgoing.on_next({"of": "other", "n": number})
        virtual.peer.go(0)
    kinds = ["busy" if "busy" in str(message) else "other" for message in virtual.messages[1:]]
    assert kinds == ["busy", "other"] * 15


def test_a_peer_that_keeps_up_gets_everything() -> None:
    """Conflating begins when it is behind, and ends when it is not."""
    virtual = VirtualSession(watch=True, codec=codecs.json, overflow=latest())
    for number in range(10):
        virtual.conn.outgoing.on_next(number)
    virtual.peer.stop()
    for number in range(10, 20):
        virtual.conn.outgoing.on_next(number)
    virtual.peer.go()
    for number in range(20, 30):
        virtual.conn.outgoing.on_next(number)
    assert virtual.messages == [str(number) for number in (*range(11), 19, *range(20, 30))]


def test_none_is_a_key() -> None:
    """As good as any other."""
    virtual = stopped(overflow=latest(of))
    virtual.conn.outgoing.on_next({"of": None, "n": 1})
    virtual.conn.outgoing.on_next({"of": 1, "n": 1})
    virtual.conn.outgoing.on_next({"of": None, "n": 2})
    virtual.peer.go()
    assert virtual.messages[1:] == ['{"of":null,"n":2}', '{"of":1,"n":1}']


def test_the_time_of_send_timeout_goes_on_while_messages_are_replaced() -> None:
    """A peer that takes nothing is aborted, though what waits is ever new."""
    virtual = VirtualSession(watch=True, overflow=latest(), send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
        virtual.run(1)
    assert virtual.transport.times("abort") == [20]


def test_a_peer_that_takes_one_now_and_then_is_not_stuck() -> None:
    """What waited has left, or was replaced, within `send_timeout`."""
    virtual = VirtualSession(watch=True, overflow=latest(), send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        for _ in range(10):
            virtual.conn.outgoing.on_next("x")
            virtual.run(1)
        virtual.peer.go(0)
    assert virtual.closed.values == []
