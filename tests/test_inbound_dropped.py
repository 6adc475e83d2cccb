"""The stream of what comes in: what is not held back for ever."""

from __future__ import annotations

import logging

import pytest
from rig import Rig

from rxws import Close


def test_after_hold_timeout_what_waits_is_dropped_and_the_end_is_seen(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Logged once with the remedy; from then on dropped and counted."""
    rig = Rig(hold_timeout=30.0)
    closed = rig.watch(rig.conn.closed)
    rig.run(5)
    rig.peer.message("a", "b", "c")
    rig.peer.close(1000)
    rig.run(29.9)
    assert closed.values == []
    assert caplog.records == []
    rig.run(1)
    assert closed.times == [35]
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.WARNING)
    assert "conn.incoming.subscribe()" in record.getMessage()
    assert rig.dropped == {"unobserved": 3}
    assert rig.stats.received_messages == 3


def test_a_subscriber_after_hold_timeout_sees_what_comes_from_then_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What was dropped is gone; while it is subscribed nothing is."""
    rig = Rig(hold_timeout=30.0)
    rig.peer.message("a")
    rig.run(31)
    rig.peer.message("b")
    seen = rig.watch(rig.conn.incoming)
    rig.peer.message("c")
    assert seen.values == ["c"]
    assert rig.dropped == {"unobserved": 2}
    assert len(caplog.records) == 1


def test_the_time_out_is_for_data_that_waits_not_for_an_idle_peer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody there and nothing to take: nothing to say. Nor if somebody comes in time."""
    rig = Rig(hold_timeout=30.0)
    rig.run(100)
    rig.peer.message("a")
    rig.run(29)
    seen = rig.watch(rig.conn.incoming)
    rig.run(100)
    assert seen.values == ["a"]
    assert caplog.records == []


def test_the_time_out_is_not_for_a_subscriber_who_holds(caplog: pytest.LogCaptureFixture) -> None:
    """Who is subscribed and busy may be so for long."""
    rig = Rig(hold_timeout=30.0, overrun=1)
    rig.peer.message("a")
    hold = rig.conn.flow.pause()
    seen = rig.watch(rig.conn.incoming)
    rig.run(100)
    assert (seen.values, rig.dropped, caplog.records) == ([], {}, [])
    hold.dispose()
    rig.run(1)
    assert seen.values == ["a"]


def test_once_closing_has_begun_nothing_is_held(caplog: pytest.LogCaptureFixture) -> None:
    """The peer's answer is behind it: what nobody takes is dropped and counted."""
    rig = Rig(overrun=1)
    closed = rig.watch(rig.conn.closed)
    rig.peer.message("a", "b", "c")
    rig.peer.close(1000)
    rig.conn.outgoing.on_completed()
    rig.run(1)
    assert closed.times == [0]
    assert rig.dropped == {"unobserved": 3}
    assert caplog.records == []


def test_once_closing_has_begun_who_is_there_still_gets_what_comes() -> None:
    """Holds or not; who comes only then, too."""
    rig = Rig(watch=True, overrun=1)
    rig.conn.flow.pause()
    rig.peer.message("a", "b")
    rig.conn.outgoing.on_completed()
    rig.conn.flow.pause()
    late = rig.watch(rig.conn.incoming)
    rig.run(1)
    rig.peer.message("c")
    assert rig.incoming.values == ["a", "b", "c"]
    assert late.values[-1] == "c"


@pytest.mark.parametrize("code", [1000, 4001])
def test_a_message_that_came_before_the_end_is_delivered_before_it(code: int) -> None:
    """It was kept for a hold that our close has lifted; the peer's answer comes right behind."""
    rig = Rig(watch=True, overrun=1)
    rig.conn.flow.pause()
    rig.peer.message("a", "b")
    rig.peer.close(code)
    rig.conn.outgoing.on_completed()
    rig.settle()
    assert rig.incoming.values == ["a", "b"]
    assert rig.dropped == {}
    rig.check_over(Close())


def test_the_time_out_begins_anew_when_the_last_subscriber_has_left() -> None:
    """Who was there meanwhile, and waited for a hold to go, was there."""
    rig = Rig(hold_timeout=10.0)
    rig.peer.message("a")
    rig.conn.flow.pause()
    rig.run(3)
    subscription = rig.conn.incoming.subscribe()
    rig.run(4)
    subscription.dispose()
    rig.run(9.9)
    assert rig.dropped == {}
    rig.run(0.2)
    assert rig.dropped == {"unobserved": 1}
