"""What happens to a message that finds no room, by each policy, in virtual time."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import BufferOverflow, Close, EncodeError, codecs
from rxws._core.frames import Frame, Opcode
from rxws._session.send_buffer import ConflatingSendBuffer
from rxws.overflow import OVERHEAD, Overflow, latest
from support.virtual.session import Rig

KIB = 1024
ROOM = 4 * KIB
POLICIES: list[Overflow] = ["close", "drop_oldest", "drop_newest", latest(), latest(hash)]
DROPPING = POLICIES[1:]


def behind(policy: Overflow, **options: Any) -> Rig:
    """A connection whose peer takes nothing; one frame is on its way to it."""
    options.setdefault("max_buffer", ROOM)
    rig = Rig(watch=True, overflow=policy, send_timeout=1e6, **options)
    rig.peer.stop()
    rig.conn.outgoing.on_next("leaving")
    return rig


def named(policy: Overflow) -> str:
    """How a test names a policy."""
    if isinstance(policy, str):
        return policy
    return "latest()" if policy.key is None else "latest(key)"


def kib(name: object) -> str:
    """A message that costs 1 KiB."""
    return f"{name}".ljust(KIB - OVERHEAD)


def names(rig: Rig) -> list[str]:
    return [str(message).strip() for message in rig.messages]


def test_drop_oldest_makes_room_for_the_newest() -> None:
    """What waits longest goes, and is counted; what is left keeps its order."""
    rig = behind("drop_oldest")
    for number in range(9):
        rig.conn.outgoing.on_next(kib(number))
    rig.peer.go()
    assert names(rig) == ["leaving", "6", "7", "8"]
    assert rig.dropped == {"overflow": 6}
    assert rig.closed.values == []


def test_drop_oldest_makes_as_much_room_as_a_message_needs() -> None:
    """One of 3 KiB costs three of 1 KiB."""
    rig = behind("drop_oldest")
    for number in range(3):
        rig.conn.outgoing.on_next(kib(number))
    rig.conn.outgoing.on_next("x" * 3 * KIB)
    assert rig.dropped == {"overflow": 3}
    rig.peer.go()
    assert rig.messages == ["leaving", "x" * 3 * KIB]


def test_drop_oldest_keeps_the_newest_whatever_its_size() -> None:
    """It then waits alone: one message is the least that can wait."""
    rig = behind("drop_oldest")
    rig.conn.outgoing.on_next(kib(0))
    rig.conn.outgoing.on_next("x" * 2 * ROOM)
    rig.conn.outgoing.on_next("y" * 2 * ROOM)
    rig.peer.go()
    assert rig.messages == ["leaving", "y" * 2 * ROOM]
    assert rig.dropped == {"overflow": 2}


def test_drop_newest_keeps_what_waits() -> None:
    """The message itself is dropped and counted; a smaller one that finds room is not."""
    rig = behind("drop_newest")
    for number in range(9):
        rig.conn.outgoing.on_next(kib(number))
    rig.conn.outgoing.on_next("small")
    rig.peer.go()
    assert names(rig) == ["leaving", "0", "1", "2", "small"]
    assert rig.dropped == {"overflow": 6}
    assert rig.closed.values == []


def test_a_dropped_newest_message_is_not_shown_as_sent() -> None:
    """Who subscribes `outgoing` sees what is sent."""
    rig = behind("drop_newest")
    shown = rig.watch(rig.conn.outgoing)
    for number in range(9):
        rig.conn.outgoing.on_next(kib(number))
    assert [str(value).strip() for value in shown.values] == ["0", "1", "2"]


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_dropping_goes_on_when_the_peer_catches_up(policy: Overflow) -> None:
    """Messages then leave as if nothing had been."""
    rig = behind(policy)
    for number in range(9):
        rig.conn.outgoing.on_next(kib(number))
    rig.peer.go()
    before = len(rig.messages)
    rig.conn.outgoing.on_next("a")
    rig.conn.outgoing.on_next("b")
    assert rig.messages[before:] == ["a", "b"]


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_while_the_peer_keeps_up_nothing_is_dropped(policy: Overflow) -> None:
    """Whatever the size, however many: the bound is for what waits."""
    rig = Rig(watch=True, overflow=policy, max_buffer=1)
    sent = [str(number) * (number + 1) for number in range(50)] * 2
    for message in sent:
        rig.conn.outgoing.on_next(message)
    assert rig.messages == sent
    assert rig.dropped == {}


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_a_frame_that_has_begun_to_leave_is_never_dropped_or_sent_twice(policy: Overflow) -> None:
    """It is the wire's, also where a newer one of the same key comes."""
    rig = behind(policy)
    for _ in range(100):
        rig.conn.outgoing.on_next("leaving")
        rig.conn.outgoing.on_next(kib("more"))
    assert rig.messages == ["leaving"]
    rig.peer.go(0)
    begun = rig.messages
    assert len(begun) == (1 if policy == "close" else 2)
    for _ in range(10):
        rig.conn.outgoing.on_next(kib("more"))
    assert rig.messages == begun


@pytest.mark.parametrize("policy", POLICIES, ids=named)
def test_tiny_messages_are_bounded_by_every_policy(policy: Overflow) -> None:
    """Each counts 128 bytes more than its payload."""
    rig = behind(policy, codec=codecs.json)
    for number in range(10_000):
        rig.conn.outgoing.on_next(number % 1000)
        assert len(rig.session.flow.outbox) <= ROOM // OVERHEAD


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_close_is_never_dropped(policy: Overflow) -> None:
    """However full the buffer is; it follows what waits, and nothing follows it."""
    rig = behind(policy)
    for number in range(20):
        rig.conn.outgoing.on_next(kib(number))
    lost = sum(rig.dropped.values())
    rig.conn.outgoing.on_next(Close(4001, "why"))
    for number in range(20):
        rig.conn.outgoing.on_next(kib(number))
    rig.peer.go()
    assert (rig.close_frame.code, rig.close_frame.reason) == (4001, "why")
    assert len(rig.messages) == 21 - lost
    assert rig.dropped["closed"] == 20
    rig.peer.close(4001)
    rig.check_over(Close(4001, "why"))


def test_a_close_takes_no_room() -> None:
    """Nor does it end the connection with 1013 where there is none."""
    rig = behind("close", max_buffer=len("leaving") + OVERHEAD + 1)
    rig.conn.outgoing.on_next("x")
    rig.conn.outgoing.on_next(Close(4001))
    rig.peer.go()
    assert rig.messages == ["leaving", "x"]
    assert rig.close_frame.code == 4001


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest", latest(id)], ids=named)
def test_text_and_binary_keep_one_order(policy: Overflow) -> None:
    """Also in what a policy leaves of them."""
    rig = behind(policy, max_buffer=ROOM)
    sent: list[str | bytes] = []  # kept, so that no two have one id
    for number in range(40):
        text = f"{number}".ljust(200)
        sent.append(text if number % 3 else text.encode())
        rig.conn.outgoing.on_next(sent[-1])
    rig.peer.go()
    left = rig.messages[1:]
    assert 5 < len(left) < 40
    assert left == [message for message in sent if message in left]
    assert {type(message) for message in left} == {str, bytes}


def test_at_the_bound_nothing_is_dropped_and_one_byte_more_is() -> None:
    """What waits counts its payload and 128 bytes, what is leaving its payload."""
    for more, dropped in ((0, {}), (1, {"overflow": 1})):
        rig = behind("drop_newest", max_buffer=1000)
        rig.conn.outgoing.on_next("x" * (1000 - len("leaving") - OVERHEAD + more))
        assert rig.dropped == dropped


@pytest.mark.parametrize("policy", ["drop_oldest", latest(hash)], ids=named)
def test_making_room_never_empties_what_waits(policy: Overflow) -> None:
    """The newest always waits, though what is leaving is larger than the bound alone."""
    rig = Rig(watch=True, overflow=policy, max_buffer=KIB, send_timeout=1e6)
    rig.peer.stop()
    rig.conn.outgoing.on_next("x" * 10 * KIB)
    for number in range(5):
        rig.conn.outgoing.on_next(f"{number}")
    rig.peer.go()
    assert rig.messages[1:] == ["4"]


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_what_still_waits_at_the_end_is_counted(policy: Overflow) -> None:
    """As "closed"; so every message is accounted for."""
    rig = behind(policy)
    for number in range(20):
        rig.conn.outgoing.on_next(kib(number))
    rig.peer.lost()
    rig.settle()
    assert rig.stats.sent_messages + sum(rig.dropped.values()) == 21
    assert rig.dropped["closed"] >= 1


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
    """At every moment, by every policy; and what is sent keeps its order, and is sent once."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM, send_timeout=1e6)
    offered = 0
    for step, how in steps:
        if step == "push":
            rig.conn.outgoing.on_next(f"{offered} ".ljust(how, "x"))
            offered += 1
        elif step == "go":
            rig.peer.go(how)
        else:
            rig.peer.stop()
        outbox = rig.session.flow.outbox
        waiting = len(outbox)
        assert rig.stats.sent_messages + sum(rig.dropped.values()) + waiting == offered
        assert waiting <= 1 or outbox.cost + rig.transport.buffered <= ROOM
        assert rig.conn.flow.buffered == outbox.bytes + rig.transport.buffered
        numbers = [int(str(message).split()[0]) for message in rig.messages]
        assert numbers == sorted(set(numbers))
        assert rig.stats.sent_messages == len(numbers)
    if rig.closed.values:
        assert policy == "close"
        assert isinstance(rig.incoming.error, BufferOverflow)
    elif policy in ("drop_oldest", latest()) and offered:
        rig.peer.go()
        assert int(str(rig.messages[-1]).split()[0]) == offered - 1, "the newest always arrives"


# --- the key of `overflow.latest`: when it fails, and what it leaves when there is no room -----


def fail(*_: object) -> NoReturn:
    raise ArithmeticError("mine")


@pytest.mark.parametrize("key", [fail, lambda value: [value]], ids=["raises", "unhashable"])
def test_a_key_that_fails_is_a_fault_and_the_stream_goes_on(key: Any) -> None:
    """An EncodeError with the value and the cause; the message is not sent."""
    rig = Rig(watch=True, overflow=latest(lambda value: key(value) if value == "bad" else value))
    errors = rig.watch(rig.conn.errors)
    shown = rig.watch(rig.conn.outgoing)
    for value in ("a", "bad", "b"):
        rig.conn.outgoing.on_next(value)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert error.value == "bad"
    assert isinstance(error.__cause__, ArithmeticError | TypeError)
    assert "key" in str(error)
    assert rig.messages == shown.values == ["a", "b"]


def test_a_key_that_fails_unobserved_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As every fault; logged once."""
    rig = Rig(watch=True, overflow=latest(fail))
    rig.conn.outgoing.on_next("bad")
    assert rig.close_frame.code == 1011
    assert isinstance(rig.incoming.error and rig.incoming.error.__cause__, EncodeError)
    assert len(caplog.records) == 1


class Peculiar:
    """A key that can be hashed and not compared."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("not comparable")


def test_a_key_that_cannot_be_compared_is_a_fault() -> None:
    """No other than one that cannot be hashed."""
    rig = behind(latest(lambda _: Peculiar()))
    errors = rig.watch(rig.conn.errors)
    rig.conn.outgoing.on_next("a")
    rig.conn.outgoing.on_next("b")
    assert [type(error) for error in errors.values] == [EncodeError]


def test_a_message_that_cannot_be_encoded_replaces_nothing() -> None:
    """What waited under its key still waits."""
    rig = behind(latest(), codec=codecs.text)
    errors = rig.watch(rig.conn.errors)
    rig.conn.outgoing.on_next("good")
    rig.conn.outgoing.on_next("\ud800")
    rig.peer.go()
    assert rig.messages == ["leaving", "good"]
    assert len(errors.values) == 1


def test_many_keys_are_bounded() -> None:
    """The key that waits longest makes room, counted as an overflow, not as conflated."""
    rig = behind(latest(hash), max_buffer=10 * OVERHEAD)
    for number in range(100):
        rig.conn.outgoing.on_next(chr(0x100 + number))
    waiting = len(rig.session.flow.outbox)
    assert rig.dropped == {"overflow": 100 - waiting}
    rig.peer.go()
    assert rig.messages[1:] == [chr(0x100 + number) for number in range(100 - waiting, 100)]


def test_the_newest_value_of_a_key_is_not_what_makes_room() -> None:
    """Older ones of other keys are, as long as there are any."""
    rig = behind(latest(lambda value: value[0]))
    rig.conn.outgoing.on_next("a")
    rig.conn.outgoing.on_next(kib("b"))
    rig.conn.outgoing.on_next("a" * (ROOM - 200))
    rig.peer.go()
    assert "a" * (ROOM - 200) in rig.messages


def test_a_conflating_outbox_that_is_cleared_starts_afresh() -> None:
    """A key of before replaces nothing."""
    outbox = ConflatingSendBuffer()
    outbox.put(Frame(Opcode.TEXT, b"1"), "k")
    assert outbox.clear() == 1
    assert outbox.put(Frame(Opcode.TEXT, b"2"), "k") == 0
