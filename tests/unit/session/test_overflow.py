"""How each overflow policy treats a message that does not fit, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import BufferOverflow, Close, EncodeError, codecs
from rxws.overflow import OVERHEAD, Overflow, latest
from support.callbacks import raising
from support.virtual.session import VirtualSession

KIB = 1024
ROOM = 4 * KIB
POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest(), latest(hash)]
DROPPING = POLICIES[1:]


def stalled(policy: Overflow, **options: Any) -> VirtualSession:
    """A connection whose peer reads nothing; one frame fills the transport."""
    options.setdefault("max_buffer", ROOM)
    virtual = VirtualSession(watch=True, overflow=policy, send_timeout=1e6, **options)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("in transport")
    return virtual


def policy_id(policy: Overflow) -> str:
    """The id of a policy in a parametrized test."""
    if isinstance(policy, str):
        return policy
    return "latest()" if policy.key is None else "latest(key)"


def message_of_1_kib(name: object) -> str:
    """A message that costs 1 KiB."""
    return f"{name}".ljust(KIB - OVERHEAD)


def names(virtual: VirtualSession) -> list[str]:
    return [str(message).strip() for message in virtual.messages]


def test_drop_oldest_makes_room_for_the_newest() -> None:
    """`drop_oldest` drops and counts the oldest messages; the rest keep their order."""
    virtual = stalled("drop_oldest")
    for number in range(9):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.peer.go()
    assert names(virtual) == ["in transport", "6", "7", "8"]
    assert virtual.dropped == {"overflow": 6}
    assert virtual.closed.values == []


def test_drop_oldest_makes_as_much_room_as_a_message_needs() -> None:
    """`drop_oldest` drops as many messages as the new one needs room for."""
    virtual = stalled("drop_oldest")
    for number in range(3):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.conn.outgoing.on_next("x" * 3 * KIB)
    assert virtual.dropped == {"overflow": 3}
    virtual.peer.go()
    assert virtual.messages == ["in transport", "x" * 3 * KIB]


def test_drop_oldest_keeps_the_newest_whatever_its_size() -> None:
    """`drop_oldest` keeps the newest message even if it alone exceeds the bound."""
    virtual = stalled("drop_oldest")
    virtual.conn.outgoing.on_next(message_of_1_kib(0))
    virtual.conn.outgoing.on_next("x" * 2 * ROOM)
    virtual.conn.outgoing.on_next("y" * 2 * ROOM)
    virtual.peer.go()
    assert virtual.messages == ["in transport", "y" * 2 * ROOM]
    assert virtual.dropped == {"overflow": 2}


def test_drop_newest_keeps_the_buffered_messages() -> None:
    """`drop_newest` drops the new message, and takes a smaller one that fits."""
    virtual = stalled("drop_newest")
    for number in range(9):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.conn.outgoing.on_next("small")
    virtual.peer.go()
    assert names(virtual) == ["in transport", "0", "1", "2", "small"]
    assert virtual.dropped == {"overflow": 6}
    assert virtual.closed.values == []


def test_a_dropped_message_does_not_appear_on_outgoing() -> None:
    """Subscribers of `outgoing` do not see a message that `drop_newest` dropped."""
    virtual = stalled("drop_newest")
    shown = virtual.watch(virtual.conn.outgoing)
    for number in range(9):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    assert [str(value).strip() for value in shown.values] == ["0", "1", "2"]


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_dropping_stops_when_the_peer_catches_up(policy: Overflow) -> None:
    """After the peer has caught up, messages are sent again."""
    virtual = stalled(policy)
    for number in range(9):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.peer.go()
    before = len(virtual.messages)
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next("b")
    assert virtual.messages[before:] == ["a", "b"]


@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_while_the_peer_keeps_up_nothing_is_dropped(policy: Overflow) -> None:
    """While the peer keeps up, nothing is dropped, whatever the size of the messages."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=1)
    sent = [str(number) * (number + 1) for number in range(50)] * 2
    for message in sent:
        virtual.conn.outgoing.on_next(message)
    assert virtual.messages == sent
    assert virtual.dropped == {}


@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_a_frame_handed_to_the_transport_is_never_dropped_or_sent_twice(policy: Overflow) -> None:
    """A frame that was handed to the transport is neither dropped, replaced nor sent twice."""
    virtual = stalled(policy)
    for _ in range(100):
        virtual.conn.outgoing.on_next("in transport")
        virtual.conn.outgoing.on_next(message_of_1_kib("more"))
    assert virtual.messages == ["in transport"]
    virtual.peer.go(0)
    sent_frames = virtual.messages
    assert len(sent_frames) == (1 if policy == "close" else 2)
    for _ in range(10):
        virtual.conn.outgoing.on_next(message_of_1_kib("more"))
    assert virtual.messages == sent_frames


@pytest.mark.parametrize("policy", POLICIES, ids=policy_id)
def test_tiny_messages_are_bounded_by_every_policy(policy: Overflow) -> None:
    """Every policy bounds tiny messages, as each counts 128 bytes more than its payload."""
    virtual = stalled(policy, codec=codecs.json)
    for number in range(10_000):
        virtual.conn.outgoing.on_next(number % 1000)
        assert virtual.queued <= ROOM // OVERHEAD


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_a_close_is_never_dropped(policy: Overflow) -> None:
    """A close is sent after the buffered messages, however full the buffer is."""
    virtual = stalled(policy)
    for number in range(20):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    lost = sum(virtual.dropped.values())
    virtual.conn.outgoing.on_next(Close(4001, "why"))
    for number in range(20):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.peer.go()
    assert (virtual.close_frame.code, virtual.close_frame.reason) == (4001, "why")
    assert len(virtual.messages) == 21 - lost
    assert virtual.dropped["closed"] == 20
    virtual.peer.close(4001)
    virtual.check_over(Close(4001, "why"))


def test_a_close_takes_no_room() -> None:
    """A close needs no room in the buffer."""
    virtual = stalled("close", max_buffer=len("in transport") + OVERHEAD + 1)
    virtual.conn.outgoing.on_next("x")
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.peer.go()
    assert virtual.messages == ["in transport", "x"]
    assert virtual.close_frame.code == 4001


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", latest(id)], ids=policy_id)
def test_text_and_binary_keep_one_order(policy: Overflow) -> None:
    """Text and binary messages keep their common order when some are dropped."""
    virtual = stalled(policy, max_buffer=ROOM)
    sent: list[str | bytes] = []  # kept, so that no two have one id
    for number in range(40):
        text = f"{number}".ljust(200)
        sent.append(text if number % 3 else text.encode())
        virtual.conn.outgoing.on_next(sent[-1])
    virtual.peer.go()
    left = virtual.messages[1:]
    assert 5 < len(left) < 40
    assert left == [message for message in sent if message in left]
    assert {type(message) for message in left} == {str, bytes}


def test_at_the_bound_nothing_is_dropped_and_one_byte_more_is() -> None:
    """At exactly `max_buffer` nothing is dropped; one byte more drops a message."""
    for more, dropped in ((0, {}), (1, {"overflow": 1})):
        virtual = stalled("drop_newest", max_buffer=1000)
        virtual.conn.outgoing.on_next("x" * (1000 - len("in transport") - OVERHEAD + more))
        assert virtual.dropped == dropped


@pytest.mark.parametrize("policy", ["drop_oldest", latest(hash)], ids=policy_id)
def test_making_room_never_drops_the_newest_message(policy: Overflow) -> None:
    """The newest message is kept even if the frame being sent exceeds the bound alone."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=KIB, send_timeout=1e6)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x" * 10 * KIB)
    for number in range(5):
        virtual.conn.outgoing.on_next(f"{number}")
    virtual.peer.go()
    assert virtual.messages[1:] == ["4"]


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_messages_still_buffered_at_the_end_are_counted(policy: Overflow) -> None:
    """Messages still buffered at the end count as dropped with the reason "closed"."""
    virtual = stalled(policy)
    for number in range(20):
        virtual.conn.outgoing.on_next(message_of_1_kib(number))
    virtual.peer.lost()
    virtual.settle()
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == 21
    assert virtual.dropped["closed"] >= 1


@settings(max_examples=150, deadline=None)
@given(
    policy=st.sampled_from(POLICIES),
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.integers(0, 1500)),
            st.tuples(st.just("go"), st.sampled_from([None, 0, 1, 3])),
            st.tuples(st.just("stop"), st.none()),
        ),
        max_size=60,
    ),
)
def test_sent_dropped_and_waiting_make_up_what_was_offered(
    policy: Overflow, steps: list[tuple[str, Any]]
) -> None:
    """At any time sent, dropped and buffered messages add up to those offered, in order."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM, send_timeout=1e6)
    offered = 0
    for step, how in steps:
        if step == "push":
            virtual.conn.outgoing.on_next(f"{offered} ".ljust(how, "x"))
            offered += 1
        elif step == "go":
            virtual.peer.go(how)
        else:
            virtual.peer.stop()
        queue = virtual.session.send_buffer.queue
        waiting, cost, size = (0, 0, 0) if queue is None else (len(queue), queue.cost, queue.bytes)
        assert virtual.stats.sent_messages + sum(virtual.dropped.values()) + waiting == offered
        assert waiting <= 1 or cost + virtual.transport.buffered <= ROOM
        assert virtual.conn.flow.buffered == size + virtual.transport.buffered
        numbers = [int(str(message).split()[0]) for message in virtual.messages]
        assert numbers == sorted(set(numbers))
        assert virtual.stats.sent_messages == len(numbers)
    if virtual.closed.values:
        assert policy == "close"
        assert isinstance(virtual.incoming.error, BufferOverflow)
    elif policy in ("drop_oldest", latest()) and offered:
        virtual.peer.go()
        assert int(str(virtual.messages[-1]).split()[0]) == offered - 1, "the newest always arrives"


# --- the key of `overflow.latest` -------------------------------------------------------------


fail = raising(ArithmeticError, "mine")


@pytest.mark.parametrize("key", [fail, lambda value: [value]], ids=["raises", "unhashable"])
def test_a_key_that_fails_is_a_fault_and_the_stream_goes_on(key: Any) -> None:
    """A key function that fails is an EncodeError with value and cause; the message is not sent."""
    virtual = VirtualSession(
        watch=True, overflow=latest(lambda value: key(value) if value == "bad" else value)
    )
    errors = virtual.watch(virtual.conn.errors)
    shown = virtual.watch(virtual.conn.outgoing)
    for value in ("a", "bad", "b"):
        virtual.conn.outgoing.on_next(value)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert error.value == "bad"
    assert isinstance(error.__cause__, ArithmeticError | TypeError)
    assert "key" in str(error)
    assert virtual.messages == shown.values == ["a", "b"]


def test_a_key_that_fails_unobserved_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """A failing key function closes with 1011 if nobody subscribes to `errors`."""
    virtual = VirtualSession(watch=True, overflow=latest(fail))
    virtual.conn.outgoing.on_next("bad")
    assert virtual.close_frame.code == 1011
    assert isinstance(virtual.incoming.error and virtual.incoming.error.__cause__, EncodeError)
    assert len(caplog.records) == 1


class IncomparableKey:
    """A key that can be hashed but not compared."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("not comparable")


def test_a_key_that_cannot_be_compared_is_a_fault() -> None:
    """A key that cannot be compared is an EncodeError, as an unhashable one is."""
    virtual = stalled(latest(lambda _: IncomparableKey()))
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next("b")
    assert [type(error) for error in errors.values] == [EncodeError]


def test_keys_are_not_compared_if_their_hashes_differ() -> None:
    """Dropping the oldest message compares no keys, so a key whose `==` raises can be used."""

    class Key:
        def __eq__(self, other: object) -> bool:
            raise ArithmeticError("not comparable")

        __hash__ = object.__hash__

    keys = [Key() for _ in range(3)]  # kept, so that the hashes differ
    policy = latest(lambda text: keys[int(text[0])] if text[0].isdigit() else text)
    virtual = stalled(policy, max_buffer=1024)
    for number in range(3):
        virtual.conn.outgoing.on_next(str(number) * 600)
    virtual.peer.go()
    assert [str(message)[0] for message in virtual.messages[1:]] == ["2"]
    assert virtual.dropped == {"overflow": 2}


def test_a_message_that_cannot_be_encoded_replaces_nothing() -> None:
    """A message that cannot be encoded does not replace the buffered one of its key."""
    virtual = stalled(latest(), codec=codecs.text)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.on_next("good")
    virtual.conn.outgoing.on_next("\ud800")
    virtual.peer.go()
    assert virtual.messages == ["in transport", "good"]
    assert len(errors.values) == 1


def test_many_keys_are_bounded() -> None:
    """With many keys, the oldest key's message is dropped and counted as an overflow."""
    virtual = stalled(latest(hash), max_buffer=10 * OVERHEAD)
    for number in range(100):
        virtual.conn.outgoing.on_next(chr(0x100 + number))
    waiting = virtual.queued
    assert virtual.dropped == {"overflow": 100 - waiting}
    virtual.peer.go()
    assert virtual.messages[1:] == [chr(0x100 + number) for number in range(100 - waiting, 100)]


def test_making_room_drops_other_keys_first() -> None:
    """To make room for a key's newest value, older values of other keys are dropped."""
    virtual = stalled(latest(lambda value: value[0]))
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next(message_of_1_kib("b"))
    virtual.conn.outgoing.on_next("a" * (ROOM - 200))
    virtual.peer.go()
    assert "a" * (ROOM - 200) in virtual.messages


def test_clearing_a_conflating_send_buffer_forgets_its_keys() -> None:
    """After `clear`, the keys of earlier messages are forgotten."""
    virtual = stalled(latest(lambda _: "k"))
    virtual.conn.outgoing.on_next("1")
    virtual.session.send_buffer.clear()
    assert virtual.dropped == {"closed": 1}
    virtual.conn.outgoing.on_next("2")
    assert virtual.dropped == {"closed": 1}
