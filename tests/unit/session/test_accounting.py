"""The accounting of messages: in random runs every message is counted, and order is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import Close, ConnectionClosed
from rxws._core.broadcast import Broadcast
from rxws._core.frames import Opcode
from rxws._session.session import State
from support.subscriber import Subscriber
from support.virtual.session import VirtualSession


class RandomRun:
    """One connection, the steps of a random program on it, and a record of all messages."""

    def __init__(self, *, overrun: int) -> None:
        self.virtual = VirtualSession(
            overrun=overrun,
            max_buffer=2048,
            high_water=512,
            max_message_size=64,
            send_timeout=20.0,
            close_timeout=5.0,
            hold_timeout=30.0,
            heartbeat=15.0,
        )
        self.closed = self.virtual.watch(self.virtual.conn.closed)
        self.offered: list[str] = []
        self.peer_sent: list[str] = []
        self.incoming: Subscriber[str] = Subscriber()
        self.pauses: list[Any] = []
        self.subscriptions: list[Any] = []

    def _next(self, kind: str, size: int) -> str:
        number = len(self.offered) + len(self.peer_sent)
        return f"{kind}{number:04}".ljust(size, ".")

    def send(self, size: int) -> None:
        self.offered.append(self._next("s", size))
        self.virtual.conn.outgoing.on_next(self.offered[-1])

    def send_from_thread(self, size: int) -> None:
        message = self._next("s", size)
        self.offered.append(message)
        thread = threading.Thread(target=lambda: self.virtual.conn.outgoing.on_next(message))
        thread.start()
        thread.join()
        self.virtual.settle()  # so that messages of both threads have one order

    def receive(self, size: int) -> None:
        if len(self.closed.values) == 0 and not self.virtual.frames(Opcode.CLOSE):
            self.peer_sent.append(self._next("r", size))
            self.virtual.peer.message(self.peer_sent[-1])

    def subscribe(self, _: int) -> None:
        if not self.subscriptions and not self.incoming.ends:
            self.subscriptions.append(self.virtual.conn.incoming.subscribe(self.incoming))

    def unsubscribe(self, _: int) -> None:
        while self.subscriptions:
            self.subscriptions.pop().dispose()

    def pause(self, _: int) -> None:
        self.pauses.append(self.virtual.conn.flow.pause())

    def resume(self, _: int) -> None:
        if self.pauses:
            self.pauses.pop().dispose()

    def stop(self, _: int) -> None:
        self.virtual.peer.stop()

    def go(self, number: int) -> None:
        if not self.virtual.transport.over:
            self.virtual.peer.go(number % 4 or None)

    def ping(self, _: int) -> None:
        self.virtual.peer.ping(b"x")

    def pass_time(self, number: int) -> None:
        self.virtual.transport.received += number % 2  # the peer is alive half of the time
        self.virtual.run(number / 8)

    def complete(self, _: int) -> None:
        self.virtual.conn.outgoing.on_completed()

    def close(self, number: int) -> None:
        self.virtual.conn.outgoing.on_next(Close(4000 + number))

    def fail(self, number: int) -> None:
        self.virtual.conn.outgoing.on_error(ConnectionClosed(Close(4000 + number)))

    def peer_closes(self, number: int) -> None:
        self.virtual.peer.close([None, 1000, 4001, 1006][number % 4])

    def peer_is_lost(self, _: int) -> None:
        self.virtual.peer.lost()

    def shut_down(self, _: int) -> None:
        self.virtual.session.shutdown()

    def check(self) -> None:
        """Check that all messages are sent, received, dropped or buffered, and in order."""
        virtual, stats, dropped = self.virtual, self.virtual.stats, self.virtual.dropped
        waiting = virtual.queued
        out = stats.sent_messages + dropped.get("overflow", 0) + waiting
        late = stats.received_messages - len(self.incoming.values) - dropped.get("unobserved", 0)
        kept = virtual.session.incoming.waiting
        # "closed" also counts messages that were pushed after the end.
        assert len(self.offered) + late - kept == out + dropped.get("closed", 0)
        assert late >= kept
        sent = [str(message) for message in virtual.messages]
        assert stats.sent_messages == len(sent)
        assert stats.sent_bytes == sum(map(len, sent))
        left, seen = set(sent), set(self.incoming.values)
        assert sent == [message for message in self.offered if message in left], "order"
        assert self.incoming.values == [message for message in self.peer_sent if message in seen], (
            "order"
        )
        assert len(self.incoming.ends) <= 1
        assert len(self.closed.values) == (virtual.session.state is State.CLOSED)
        if frames := virtual.frames(Opcode.CLOSE):
            assert virtual.transport.sent[-1:] == frames, "one close frame, and nothing after it"

    def check_end(self) -> None:
        """Check that the connection ends, with nothing left in a buffer."""
        self.virtual.session.shutdown()
        self.virtual.run(1000)
        assert self.virtual.transport.over
        self.check()
        assert self.virtual.queued == 0
        assert not self.virtual.session.incoming.waiting
        assert len(self.closed.values) == len(self.closed.ends) == 1
        assert len(self.virtual.watch(self.virtual.conn.incoming).ends) == 1


COMMON: list[Callable[[RandomRun, int], None]] = [
    RandomRun.send,
    RandomRun.send_from_thread,
    RandomRun.receive,
    RandomRun.subscribe,
    RandomRun.unsubscribe,
    RandomRun.pause,
    RandomRun.resume,
    RandomRun.stop,
    RandomRun.go,
    RandomRun.ping,
    RandomRun.pass_time,
]
ENDS: list[Callable[[RandomRun, int], None]] = [
    RandomRun.complete,
    RandomRun.close,
    RandomRun.fail,
    RandomRun.peer_closes,
    RandomRun.peer_is_lost,
    RandomRun.shut_down,
]
STEPS = st.tuples(
    st.one_of(st.sampled_from(COMMON), st.sampled_from(COMMON), st.sampled_from(COMMON + ENDS)),
    st.integers(5, 64),
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(program=st.lists(STEPS, max_size=40), overrun=st.sampled_from([0, 1, 3]))
def test_in_random_runs_the_counts_add_up(
    program: list[tuple[Callable[[RandomRun, int], None], int]], overrun: int
) -> None:
    """Offered = sent + dropped + buffered, received = delivered + dropped + held, at any time."""
    run = RandomRun(overrun=overrun)
    for step, number in program:
        step(run, number)
        run.check()
    run.check_end()


def test_stats_count_messages_and_bytes_each_way() -> None:
    """`stats` counts messages and encoded payload bytes each way, without control frames."""
    virtual = VirtualSession(watch=True)
    virtual.peer.message("é", b"abc")
    virtual.peer.ping(b"12345")
    virtual.conn.outgoing.on_next("éé")
    virtual.conn.outgoing.on_completed()
    stats = virtual.stats
    assert (stats.received_messages, stats.received_bytes) == (2, 5)
    assert (stats.sent_messages, stats.sent_bytes) == (1, 4)
    assert stats.dropped == {}


def test_a_shared_message_after_the_release_is_counted() -> None:
    """A message to many connections counts as dropped where the connection is released."""
    virtual = VirtualSession()
    virtual.peer.close(1000)
    outgoing = virtual.session.outgoing
    virtual.session.on_released()
    with Broadcast("late"):
        outgoing.push("late")
    assert virtual.stats.dropped == {"closed": 1}
