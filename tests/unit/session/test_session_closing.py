"""The life of one connection in virtual time: closes that cross or are queued, and the end."""

from __future__ import annotations

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Close, ConnectionClosed
from rxws._session.session import State
from rxws._session.transport import Delivery
from support.virtual.session import VirtualSession


def state(virtual: VirtualSession) -> State:
    return virtual.session.state


def answer_close(virtual: VirtualSession) -> None:
    """Answer our close frame and end TCP."""
    virtual.peer.close(virtual.close_frame.code, virtual.close_frame.reason)
    virtual.settle()


def complete(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_completed()


def send_close(virtual: VirtualSession) -> None:
    virtual.conn.outgoing.on_next(Close(4001, "why"))


def test_a_peers_close_wins_while_ours_is_queued() -> None:
    """A peer's close that arrives while ours is queued is answered after the queued messages."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")
    virtual.conn.outgoing.on_next("second")
    send_close(virtual)
    virtual.peer.close(4002, "theirs")
    virtual.check_over(Close(4002, "theirs", by="peer"), ConnectionClosed)
    virtual.peer.go()
    assert virtual.messages == ["first", "second"]
    assert virtual.close_frame.code == 4002


def test_tcp_lost_while_our_close_is_queued_is_1006() -> None:
    """If TCP is lost while our close is queued, it is a 1006 and queued messages are dropped."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("in the transport")
    virtual.conn.outgoing.on_next("waits")
    send_close(virtual)
    virtual.peer.lost()
    virtual.settle()
    virtual.check_over(Close(1006, by="network"), ConnectionClosed)
    assert virtual.dropped == {"closed": 1}


def test_a_violation_while_our_close_is_queued_replaces_it() -> None:
    """A violation while our close is queued replaces the code of our close."""
    virtual = VirtualSession(watch=True)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    send_close(virtual)
    virtual.peer.violation(1007)
    virtual.check_over(Close(1007, "Invalid Data"), ConnectionClosed)
    virtual.peer.go()
    assert virtual.close_frame.code == 1007


@pytest.mark.promise("once")
def test_our_first_close_counts() -> None:
    """Once we close, a later close or completion of `outgoing` changes nothing."""
    virtual = VirtualSession(watch=True)
    send_close(virtual)
    complete(virtual)
    virtual.conn.outgoing.on_next(Close(4002))
    answer_close(virtual)
    virtual.check_over(Close(4001, "why"))


def test_messages_arrive_while_our_close_is_unanswered() -> None:
    """Messages that the peer sent before it saw our close are delivered."""
    virtual = VirtualSession(watch=True)
    complete(virtual)
    virtual.peer.message("late")
    answer_close(virtual)
    assert virtual.incoming.values == ["late"]


def test_pauses_do_not_stop_reading_while_closing() -> None:
    """A pause has no effect once we close, so that the peer's answer can be read."""
    virtual = VirtualSession(watch=True)
    virtual.conn.flow.pause()
    complete(virtual)
    virtual.conn.flow.pause()
    virtual.peer.message("late")
    answer_close(virtual)
    virtual.settle()
    virtual.check_over(Close())
    assert virtual.incoming.values == ["late"]


def test_our_close_waits_for_queued_messages_for_send_timeout() -> None:
    """If queued messages are not sent within `send_timeout`, TCP is aborted: a 1006."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("x")
    complete(virtual)
    virtual.run(100)
    assert virtual.closed.times == [20]
    assert virtual.closed.values == [Close(1006)]
    assert virtual.transport.times("abort") == [20]


def test_our_close_ends_a_connection_whose_buffer_is_full_of_pongs() -> None:
    """Our close ends the connection even if only pongs fill the transport's buffer."""
    virtual = VirtualSession(watch=True, send_timeout=20.0, heartbeat=20.0)
    virtual.transport.set_writable(False, 4096)
    complete(virtual)
    virtual.run(100)
    assert len(virtual.closed.values) == 1


def test_our_close_waits_no_longer_for_a_slow_peer() -> None:
    """A peer that reads slowly has `send_timeout` from the close on, no longer."""
    virtual = VirtualSession(watch=True, send_timeout=20.0)
    virtual.peer.stop()
    virtual.conn.outgoing.on_next("first")
    virtual.run(10)
    for _ in range(100):
        virtual.conn.outgoing.on_next("x")
    virtual.run(5)
    complete(virtual)
    virtual.run(4)
    virtual.peer.go(0)
    virtual.run(15.9)
    assert virtual.closed.values == []
    virtual.run(0.2)
    assert len(virtual.closed.values) == 1


# --- after the end ----------------------------------------------------------------------------


def test_a_message_flushed_at_completion_is_dropped_and_counted() -> None:
    """A message that `debounce` flushes on completion is dropped: the state is CLOSED by then."""
    states: list[State] = []
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.debounce(1.0)), watch=True)
    virtual.conn.incoming.subscribe(on_completed=lambda: states.append(virtual.session.state))
    virtual.peer.message("pending")
    virtual.peer.close(1000)
    virtual.run(5)
    assert virtual.messages == []
    assert virtual.dropped == {"closed": 1}
    assert states == [State.CLOSED]


@pytest.mark.promise("once")
def test_after_the_end_nothing_is_emitted_and_nothing_sent() -> None:
    """After the end nothing is emitted or sent, whatever the transport or the user does."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.peer.close(1000)
    sent = list(virtual.transport.sent)
    for late in ("x", b"y"):
        virtual.session.on_message(late, len(late))
    virtual.session.on_ping(b"1")
    virtual.session.on_pong(b"1")
    virtual.session.on_close(4001, "")
    virtual.session.on_violation(1002)
    virtual.session.on_writable(False)
    virtual.session.on_lost()
    virtual.conn.outgoing.on_next("z")
    virtual.session.shutdown()
    virtual.run(100)
    virtual.check_over(Close(1000, by="peer"))
    assert virtual.transport.sent == sent
    assert errors.ends == [None]
    assert virtual.dropped == {"closed": 3}


def test_a_pipeline_is_disposed_at_the_end() -> None:
    """A handler's pipeline is disposed when the connection ends."""
    disposed: list[float] = []

    def push(_: object) -> rx.Observable[str]:
        return rx.never().pipe(ops.finally_action(lambda: disposed.append(1)))

    virtual = VirtualSession(push, watch=True)
    virtual.peer.close(1000)
    assert disposed == [1]


@pytest.mark.promise("queued")
@pytest.mark.parametrize(("taking", "at"), [(0, 5.0), (1, 10.0), (8, 15.0), (100, 20.0)])
def test_close_timeout_waits_while_the_peer_takes_earlier_data(
    monkeypatch: pytest.MonkeyPatch, taking: float, at: float
) -> None:
    """While the peer reads data sent before our close, rxws waits for up to `send_timeout`."""
    virtual = VirtualSession(watch=True)

    def delivery() -> Delivery:
        return Delivery(int(min(virtual.clock.time, taking) * 10), 1000, True)

    monkeypatch.setattr(virtual.transport, "delivery", delivery)
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.run(50)
    assert virtual.transport.times("abort") == [at]
    assert virtual.closed.values == [Close(4001)]
