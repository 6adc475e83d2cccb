"""The buffer of outgoing frames, and the policy `overflow.latest`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from rxws import codecs, overflow
from rxws._core.frames import Frame, Opcode
from rxws._session.bounded_queue import BoundedQueue, KeyedQueue, make_queue
from rxws._session.encoding import conflation_key
from rxws._session.options import Options
from rxws._session.read_gate import ReadGate
from rxws._session.send_buffer import SendBuffer
from rxws.overflow import OVERHEAD, Overflow, check, latest
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport
from support.virtual.session import VirtualSession


def text(payload: bytes) -> Frame:
    return Frame(Opcode.TEXT, payload)


def close(payload: bytes = b"") -> Frame:
    return Frame(Opcode.CLOSE, payload)


class FullWire:
    """A send buffer above a wire that is full, and the drops that it counted."""

    def __init__(self, policy: Overflow = "close") -> None:
        clock = Clock()
        transport = FakeTransport(clock)
        gate = ReadGate(transport, clock)
        self.buffer = SendBuffer(transport, clock, Options(overflow=policy), gate, self)
        self.buffer.on_writable(False)
        self.dropped: Counter[str] = Counter()

    def count_dropped(self, reason: str, count: int = 1) -> None:
        self.dropped[reason] += count

    def on_overflow(self) -> None:
        raise AssertionError

    def on_send_timeout(self) -> None:
        raise AssertionError

    @property
    def size(self) -> tuple[int, int, int]:
        """Messages, bytes and cost."""
        queue = self.buffer.queue
        return (0, 0, 0) if queue is None else (len(queue), queue.bytes, queue.cost)

    def put(self, frame: Frame, key: Hashable = None) -> int:
        """Offer a message, and return how many it replaced."""
        before = self.dropped["conflated"]
        assert self.buffer.offer(*frame, key)
        return self.dropped["conflated"] - before

    def clear(self) -> int:
        """Clear the buffer, and return how many messages it counted as dropped."""
        before = self.dropped["closed"]
        self.buffer.clear()
        return self.dropped["closed"] - before

    def take_all(self) -> list[Frame]:
        return list(iter(self.buffer.take, None))


def test_messages_leave_in_order() -> None:
    """Messages leave the buffer first in, first out."""
    wire = FullWire()
    frames = [text(b"1"), Frame(Opcode.BINARY, b"2"), text(b"3")]
    for frame in frames:
        wire.put(frame)
    assert wire.take_all() == frames
    assert wire.buffer.take() is None


def test_size_is_counted_in_messages_bytes_and_cost() -> None:
    """The size is counted in messages, bytes, and bytes plus 128 for each message."""
    wire = FullWire()
    assert wire.size == (0, 0, 0)
    wire.put(text(b"abc"))
    wire.put(text(b""))
    assert wire.size == (2, 3, 3 + 2 * 128)
    wire.buffer.take()
    assert wire.size == (1, 0, 128)


def test_control_frames_overtake_messages() -> None:
    """Pings and pongs overtake messages, so that a pong does not wait behind a megabyte."""
    wire = FullWire()
    wire.put(text(b"1"))
    wire.buffer.ping, wire.buffer.pong = b"i", b"o"
    assert wire.take_all() == [Frame(Opcode.PONG, b"o"), Frame(Opcode.PING, b"i"), text(b"1")]


def test_only_the_latest_ping_is_answered() -> None:
    """Only the latest ping is answered (RFC 6455, section 5.5.3), also with no payload."""
    wire = FullWire()
    wire.buffer.pong = b"first"
    wire.buffer.pong = b""
    assert wire.take_all() == [Frame(Opcode.PONG, b"")]


def test_the_close_frame_follows_all_messages_and_nothing_follows_it() -> None:
    """The close frame is the last one, after all messages (RFC 6455, section 5.5.1)."""
    wire = FullWire()
    wire.buffer.set_close(close(b"1"))
    wire.put(text(b"m"))
    assert wire.take_all() == [text(b"m"), close(b"1")]
    wire.put(text(b"late"))
    wire.buffer.ping, wire.buffer.pong = b"i", b"o"
    wire.buffer.set_close(close(b"2"))
    assert wire.take_all() == []


def test_a_buffered_close_frame_can_be_replaced() -> None:
    """A buffered close frame can be replaced, say by the answer to the peer's close."""
    wire = FullWire()
    wire.buffer.set_close(close(b"1"))
    wire.buffer.set_close(close(b"2"))
    assert wire.take_all() == [close(b"2")]


def test_clear_drops_everything() -> None:
    """`clear` drops all frames, a buffered close frame included, and counts the messages."""
    for wire in (FullWire(), FullWire(latest())):
        assert wire.clear() == 0
        wire.put(text(b"1"), "a")
        wire.put(text(b"2"), "b")
        wire.buffer.ping = wire.buffer.pong = b"x"
        wire.buffer.set_close(close())
        assert wire.clear() == 2
        assert wire.size == (0, 0, 0)
        assert wire.take_all() == []
        wire.buffer.set_close(close())
        assert wire.take_all() == [close()]


# --- conflation: a message replaces an older one of the same key ------------------------------


def symbol_of(tick: Any) -> Any:
    return tick["of"]


def stalled(**options: Any) -> VirtualSession:
    """A JSON connection whose peer reads nothing; one message fills the transport."""
    virtual = VirtualSession(watch=True, codec=codecs.json, send_timeout=1e6, **options)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next({"of": "first"})
    return virtual


def test_latest_is_a_policy() -> None:
    """`latest` is a policy with and without a key."""
    check(latest())
    check(latest(symbol_of))


@pytest.mark.parametrize("key", ["symbol", 7, ["symbol"]])
def test_a_key_that_is_not_callable_is_a_type_error(key: Any) -> None:
    """A key that is not callable raises a TypeError that says what to use."""
    with pytest.raises(TypeError, match="not callable: use a function of the message, or None"):
        latest(key)


@pytest.mark.parametrize("policy", [latest, None, "latest", "", 1, ["close"], overflow.Latest])
def test_an_unknown_policy_is_a_value_error(policy: object) -> None:
    """An unknown policy raises a ValueError that lists the policies, also `latest` uncalled."""
    with pytest.raises(ValueError, match=r"use one of \(.*'drop_newest'\) or overflow\.latest\(\)"):
        check(policy)


@pytest.mark.parametrize("policy", ["close", "drop_oldest", "drop_newest"])
def test_every_named_policy_is_accepted(policy: str) -> None:
    """Every named policy is accepted and uses the plain queue."""
    check(policy)
    assert type(make_queue(policy)) is BoundedQueue


def test_latest_uses_a_keyed_queue() -> None:
    """`latest` uses the keyed queue, with a key or without."""
    assert type(make_queue(latest())) is KeyedQueue
    assert type(make_queue(latest(symbol_of))) is KeyedQueue


def test_without_a_key_all_messages_share_one_key() -> None:
    """Without a key function all messages share one key."""
    assert conflation_key(latest(), "a") == conflation_key(latest(), b"b")
    assert conflation_key(latest(len), "a") == 1


def test_a_message_replaces_the_one_of_its_key_in_place() -> None:
    """A message replaces the buffered one of its key, in its place, and counts as conflated."""
    wire = FullWire(latest())
    assert [wire.put(text(b"a1"), "a"), wire.put(text(b"b1"), "b")] == [0, 0]
    assert wire.put(text(b"a2"), "a") == 1
    assert wire.size[0] == 2
    assert wire.take_all() == [text(b"a2"), text(b"b1")]


def test_a_conflating_buffer_counts_no_replaced_messages() -> None:
    """The size of a conflating buffer does not include replaced messages."""
    wire = FullWire(latest())
    assert wire.size == (0, 0, 0)
    wire.put(text(b"12345"), "a")
    wire.put(text(b"1"), "a")
    wire.put(text(b"123"), "b")
    assert wire.size == (2, 4, 4 + 2 * OVERHEAD)
    wire.buffer.take()
    assert wire.size == (1, 3, 3 + OVERHEAD)
    assert wire.clear() == 1
    assert (wire.size, wire.buffer.take()) == ((0, 0, 0), None)


def test_a_message_that_was_taken_is_not_replaced() -> None:
    """A message that was taken is not replaced; its key is queued again at the end."""
    wire = FullWire(latest())
    wire.put(text(b"a1"), "a")
    wire.put(text(b"b1"), "b")
    assert wire.buffer.take() == text(b"a1")
    assert wire.put(text(b"a2"), "a") == 0
    assert wire.take_all() == [text(b"b1"), text(b"a2")]


def test_an_empty_message_is_a_message() -> None:
    """An empty message replaces another one and can be replaced."""
    wire = FullWire(latest())
    assert [wire.put(text(b"")), wire.put(text(b"")), wire.put(text(b"x"))] == [0, 1, 1]
    assert wire.take_all() == [text(b"x")]


def test_text_and_binary_may_replace_each_other() -> None:
    """Text and binary messages of one key replace each other."""
    wire = FullWire(latest())
    wire.put(text(b"t"), 1)
    wire.put(Frame(Opcode.BINARY, b"b"), 1)
    assert wire.take_all() == [Frame(Opcode.BINARY, b"b")]


def test_in_a_conflating_buffer_control_frames_pass_and_the_close_comes_last() -> None:
    """A conflating buffer orders control frames and the close frame as the plain one does."""
    wire = FullWire(latest())
    close = Frame(Opcode.CLOSE, b"")
    wire.buffer.set_close(close)
    wire.put(text(b"1"), "a")
    wire.buffer.ping, wire.buffer.pong = b"i", b"o"
    assert [frame.opcode for frame in wire.take_all()] == [
        Opcode.PONG,
        Opcode.PING,
        Opcode.TEXT,
        Opcode.CLOSE,
    ]
    wire.put(text(b"late"), "a")
    assert wire.take_all() == []


def test_latest_sends_a_slow_peer_only_the_newest_message() -> None:
    """A peer that is behind gets the newest message; the others count as conflated."""
    virtual = stalled(overflow=latest())
    for number in range(1, 100):
        virtual.conn.outgoing.on_next(number)
    virtual.peer.go()
    assert virtual.messages[1:] == ["99"]
    assert virtual.dropped == {"conflated": 98}


def test_latest_sends_a_slow_peer_the_newest_message_of_each_key() -> None:
    """A peer that is behind gets the newest message of each key, in the order of the keys."""
    virtual = stalled(overflow=latest(symbol_of))
    for number in range(10):
        for name in "abc":
            virtual.conn.outgoing.on_next({"of": name, "n": number})
    virtual.peer.go()
    assert virtual.messages[1:] == [f'{{"of":"{name}","n":9}}' for name in "abc"]
    assert virtual.dropped == {"conflated": 27}


def test_a_key_that_changes_often_starves_no_other() -> None:
    """A replaced message keeps its place, so a slow peer gets every key in turn."""
    virtual = stalled(overflow=latest(symbol_of))
    for number in range(30):
        virtual.conn.outgoing.on_next({"of": "busy", "n": number})
        virtual.conn.outgoing.on_next({"of": "other", "n": number})
        virtual.peer.go(0)
    kinds = ["busy" if "busy" in str(message) else "other" for message in virtual.messages[1:]]
    assert kinds == ["busy", "other"] * 15


def test_a_peer_that_keeps_up_gets_everything() -> None:
    """Messages are conflated only while the peer is behind."""
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
    """None is a valid key."""
    virtual = stalled(overflow=latest(symbol_of))
    virtual.conn.outgoing.on_next({"of": None, "n": 1})
    virtual.conn.outgoing.on_next({"of": 1, "n": 1})
    virtual.conn.outgoing.on_next({"of": None, "n": 2})
    virtual.peer.go()
    assert virtual.messages[1:] == ['{"of":null,"n":2}', '{"of":1,"n":1}']


def test_replacing_messages_does_not_extend_send_timeout() -> None:
    """Replacing messages does not extend `send_timeout`."""
    virtual = VirtualSession(watch=True, overflow=latest(), send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
        virtual.run(1)
    assert virtual.transport.times("abort") == [20]


def test_a_slow_peer_of_a_conflating_connection_is_not_aborted() -> None:
    """A slow peer is not aborted if each message was sent or replaced within `send_timeout`."""
    virtual = VirtualSession(watch=True, overflow=latest(), send_timeout=20.0)
    virtual.peer.stop()
    for _ in range(100):
        for _ in range(10):
            virtual.conn.outgoing.on_next("x")
            virtual.run(1)
        virtual.peer.go(0)
    assert virtual.closed.values == []
