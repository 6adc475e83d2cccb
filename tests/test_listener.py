"""`listener` and `pipeline`: handlers made of streams and of operators."""

from __future__ import annotations

from typing import Any

import pytest
from reactivex import operators as ops
from reactivex.subject import Subject
from rig import Rig

import rxws
from rxws import Close, ConnectionClosed, DecodeError


def test_a_listener_joins_three_streams_of_ones_own() -> None:
    """What comes in is observed, what the other emits is sent, and faults are told."""
    incoming: Subject[Any] = Subject()
    outgoing: Subject[Any] = Subject()
    errors: Subject[Exception] = Subject()
    rig = Rig(rxws.listener(incoming, outgoing, errors), watch=True, codec=rxws.codecs.json)
    seen, faults = rig.watch(incoming), rig.watch(errors)
    rig.peer.message("1", "{")
    outgoing.on_next([2])
    assert seen.values == [1]
    assert [type(fault) for fault in faults.values] == [DecodeError]
    assert rig.messages == ["[2]"]
    rig.peer.close(4001)
    assert isinstance(seen.error, ConnectionClosed)


def test_the_end_of_a_listeners_outgoing_closes() -> None:
    """With 1000."""
    outgoing: Subject[Any] = Subject()
    rig = Rig(rxws.listener(Subject(), outgoing), watch=True)
    outgoing.on_completed()
    assert rig.close_frame.code == 1000


def test_a_listener_echoes_through_its_own_streams() -> None:
    """The example of its documentation."""
    incoming: Subject[Any] = Subject()
    outgoing: Subject[Any] = Subject()
    incoming.subscribe(outgoing)
    rig = Rig(rxws.listener(incoming, outgoing), watch=True)
    rig.peer.message("a")
    assert rig.messages == ["a"]


def test_a_listener_serves_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    """Used for a second it raises, which closes that one with 1011 and leaves the first alone."""
    outgoing: Subject[Any] = Subject()
    handler = rxws.listener(Subject(), outgoing)
    first = Rig(handler, watch=True)
    second = Rig(handler, watch=True)
    assert second.close_frame.code == 1011
    assert "has served a connection already" in caplog.text
    outgoing.on_next("to the first")
    assert (first.messages, second.messages) == (["to the first"], [])


def test_a_pipeline_is_composed_afresh_for_each_connection() -> None:
    """What one connection said is not known to the next."""
    handler = rxws.pipeline(ops.distinct_until_changed(), ops.map(str.upper))
    for _ in range(2):
        rig = Rig(handler, watch=True)
        rig.peer.message("a", "a", "b")
        assert rig.messages == ["A", "B"]
        rig.peer.close(1000)
        rig.check_over(Close(1000, by="peer"))


def test_a_pipeline_of_nothing_echoes() -> None:
    """As it is."""
    rig = Rig(rxws.pipeline())
    rig.peer.message("a")
    assert rig.messages == ["a"]
