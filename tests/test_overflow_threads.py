"""What other threads push above the bound before the session comes to take it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from rig import Rig

from rxws import BufferOverflow, Close
from rxws.overflow import OVERHEAD, Overflow, latest

FIT = 10
ROOM = FIT * (OVERHEAD + 2)
MANY = [f"{number:02}" for number in range(50)]
DROPPING: list[Overflow] = ["drop_oldest", "drop_newest", latest(), latest(hash)]


def named(policy: Overflow) -> str:
    """How a test names a policy."""
    if isinstance(policy, str):
        return policy
    return "latest()" if policy.key is None else "latest(key)"


def elsewhere(push: Callable[[], object]) -> None:
    """Run in another thread, to its end."""
    thread = threading.Thread(target=push)
    thread.start()
    thread.join()


def flooded(policy: Overflow, *ends: Callable[[Any], object]) -> Rig:
    """A connection that a thread pushed more to than fits, and then an end."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY:
            rig.conn.outgoing.on_next(message)
        for end in ends:
            end(rig.conn.outgoing)

    elsewhere(push)
    rig.settle()
    return rig


def test_by_close_it_ends_the_connection() -> None:
    """With 1013, and what did not fit is counted."""
    rig = flooded("close")
    assert rig.close_frame.code == 1013
    rig.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert rig.messages == MANY[:FIT]
    assert rig.dropped == {"overflow": len(MANY) - FIT}


def test_by_drop_newest_the_first_are_sent() -> None:
    """As many as fit; the connection goes on."""
    rig = flooded("drop_newest")
    assert rig.messages == MANY[:FIT]
    assert rig.dropped == {"overflow": len(MANY) - FIT}
    assert rig.closed.values == []


def test_by_drop_oldest_the_last_are_sent() -> None:
    """As many as fit."""
    rig = flooded("drop_oldest")
    assert rig.messages == MANY[-FIT:]
    assert rig.dropped == {"overflow": len(MANY) - FIT}


@pytest.mark.parametrize("policy", [latest(), latest(lambda value: value[1])], ids=named)
def test_by_latest_the_newest_is_sent(policy: Overflow) -> None:
    """It is what conflating is for."""
    assert flooded(policy).messages[-1] == MANY[-1]


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_every_message_is_accounted_for(policy: Overflow) -> None:
    """Sent or counted as dropped, and never out of order."""
    rig = flooded(policy)
    assert rig.stats.sent_messages + sum(rig.dropped.values()) == len(MANY)
    assert rig.messages == sorted(set(rig.messages))
    assert rig.closed.values == []


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_completion_is_never_dropped(policy: Overflow) -> None:
    """Nor is an error: they come behind the messages."""
    rig = flooded(policy, lambda outgoing: outgoing.on_completed())
    assert rig.close_frame.code == 1000
    rig = flooded(policy, lambda outgoing: outgoing.on_error(ValueError("mine")))
    assert rig.close_frame.code == 1011


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_close_from_a_thread_is_never_dropped(policy: Overflow) -> None:
    """However much was pushed before it."""
    rig = flooded(policy, lambda outgoing: outgoing.on_next(Close(4001)))
    assert rig.close_frame.code == 4001


@pytest.mark.parametrize("policy", ["drop_oldest", latest(hash)], ids=named)
@pytest.mark.parametrize("code", [1000, 4001])
def test_what_is_pushed_behind_an_end_costs_nothing_before_it(policy: Overflow, code: int) -> None:
    """It is dropped itself, however much it is: nothing follows an end."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY[:FIT]:
            rig.conn.outgoing.on_next(message)
        if code == 1000:
            rig.conn.outgoing.on_completed()
        else:
            rig.conn.outgoing.on_next(Close(code))
        for message in MANY[FIT:]:
            rig.conn.outgoing.on_next(message)

    elsewhere(push)
    rig.settle()
    assert rig.close_frame.code == code
    assert rig.messages == MANY[:FIT]
    assert sum(rig.dropped.values()) == len(MANY) - FIT


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=named)
def test_what_was_pushed_after_the_end_counts_as_closed_or_overflow(policy: Overflow) -> None:
    """And does not end the connection another way."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM)
    rig.conn.outgoing.on_next(Close(4001))

    def push() -> None:
        for message in MANY:
            rig.conn.outgoing.on_next(message)

    elsewhere(push)
    rig.settle()
    assert rig.close_frame.code == 4001
    assert sum(rig.dropped.values()) == len(MANY)
    rig.peer.close(4001)
    rig.check_over(Close(4001))


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=named)
def test_a_single_message_of_any_size_is_sent(policy: Overflow) -> None:
    """What finds nothing waiting is sent, from a thread as well."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM)
    elsewhere(lambda: rig.conn.outgoing.on_next("x" * 10 * ROOM))
    rig.settle()
    assert rig.messages == ["x" * 10 * ROOM]
    assert rig.dropped == {}


@pytest.mark.parametrize("policy", DROPPING, ids=named)
def test_a_thread_faces_the_bound_of_what_waits_too(policy: Overflow) -> None:
    """What it hands over in small portions meets the policy on the session's thread."""
    rig = Rig(watch=True, overflow=policy, max_buffer=ROOM, send_timeout=1e6)
    rig.peer.stop()
    for message in MANY:
        elsewhere(lambda message=message: rig.conn.outgoing.on_next(message))  # type: ignore[misc] # mypy infers no lambda with a default
        rig.settle()
    assert len(rig.session.flow.outbox) <= FIT
    rig.peer.go()
    assert rig.messages[0] == MANY[0], "it had begun to leave"
    assert rig.stats.sent_messages + sum(rig.dropped.values()) == len(MANY)
    if policy != "drop_newest":
        assert rig.messages[-1] == MANY[-1]
