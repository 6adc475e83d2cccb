"""Whatever happens to a connection, each message is accounted for, and the end is told once."""

from __future__ import annotations

import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from rig import Rig

import rxws

SENDERS = 3
SIZES = st.sampled_from([0, 1, 100, 500, 2000])

STEPS = st.one_of(
    st.tuples(st.just("send"), st.integers(0, SENDERS - 1), SIZES),
    st.tuples(st.just("send from a thread"), st.integers(0, SENDERS - 1), SIZES),
    st.tuples(st.just("burst"), st.integers(0, SENDERS - 1), st.integers(2, 40)),
    st.tuples(st.just("receive"), st.integers(1, 4)),
    st.tuples(st.just("hold")),
    st.tuples(st.just("receive on hold"), st.integers(1, 4)),
    st.tuples(st.just("let go"), st.integers(0, 3)),
    st.tuples(st.just("peer stops")),
    st.tuples(st.just("jam"), st.integers(0, SENDERS - 1), st.integers(2, 40)),
    st.tuples(st.just("peer takes"), st.one_of(st.none(), st.integers(0, 3))),
    st.tuples(st.just("ping")),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 2.0, 6.0])),
)
ENDS = st.one_of(
    st.tuples(st.just("peer closes"), st.sampled_from([None, 1000, 1001, 4001])),
    st.tuples(st.just("peer breaks the protocol")),
    st.tuples(st.just("TCP is lost")),
    st.tuples(st.just("we close")),
    st.tuples(st.just("we fail")),
    st.tuples(st.just("shutdown")),
    st.tuples(st.just("kill")),
)
POLICIES = st.sampled_from(
    ["close", "drop_oldest", "drop_newest", rxws.overflow.latest(), rxws.overflow.latest(len)]
)


class Story:
    """A connection, what is done to it, and the books that are kept of it."""

    def __init__(self, policy: Any, echoes: bool, overrun: int, heartbeat: float | None) -> None:
        self.rig = Rig(
            watch=True,
            overrun=overrun,
            overflow=policy,
            max_buffer=4096,
            high_water=1024,
            send_timeout=10.0,
            close_timeout=3.0,
            heartbeat=heartbeat,
        )
        self.policy = policy
        self.offered = 0
        self.came = 0
        self.numbers = [0] * SENDERS
        self.holds: list[Any] = []
        if echoes:
            self.rig.conn.incoming.subscribe(
                lambda _: self.send(0, 1), lambda _: None, scheduler=self.rig.conn.scheduler
            )

    def send(self, sender: int, size: int) -> None:
        self.offered += 1
        self.numbers[sender] += 1
        self.rig.conn.outgoing.on_next(f"{sender}:{self.numbers[sender]}:".ljust(size, "x"))

    def do(self, what: str, *args: Any) -> None:
        rig, wire = self.rig, self.rig.peer
        match what:
            case "send":
                self.send(*args)
            case "send from a thread":
                thread = threading.Thread(target=self.send, args=args)
                thread.start()
                thread.join()
                rig.settle()
            case "burst" | "jam":
                if what == "jam":
                    wire.stop()
                for _ in range(args[1]):
                    self.send(args[0], 0)
            case "receive" | "receive on hold":
                if what == "receive on hold":
                    self.holds.append(rig.conn.flow.pause())
                for _ in range(args[0]):
                    self.came += 1
                    wire.message(str(self.came))
            case "hold":
                self.holds.append(rig.conn.flow.pause())
            case "let go":
                if self.holds:
                    self.holds.pop(args[0] % len(self.holds)).dispose()
            case "peer stops":
                wire.stop()
            case "peer takes":
                wire.go(*args)
            case "ping":
                wire.ping()
            case "wait":
                rig.run(*args)
            case "peer closes":
                wire.close(*args)
            case "peer breaks the protocol":
                wire.violation(1002)
            case "TCP is lost":
                wire.lost()
            case "we close":
                rig.conn.outgoing.on_next(rxws.Close(4002))
            case "we fail":
                rig.conn.outgoing.on_error(rxws.ConnectionClosed(rxws.Close(4003)))
            case "shutdown":
                rig.session.shutdown(within=2.0)
            case "kill":
                rig.session.kill()
            case _:
                raise AssertionError(what)

    def check(self) -> None:
        """The books are right at any time."""
        rig, stats = self.rig, self.rig.stats
        lost = {name: count for name, count in stats.dropped.items() if name != "unobserved"}
        waiting = len(rig.session.flow.outbox)
        # A message that came for a connection that was over is counted as "closed" as well.
        late = stats.received_messages - len(rig.incoming.values) - self.kept
        assert self.offered == stats.sent_messages + sum(lost.values()) + waiting - late
        assert stats.sent_messages == len(rig.messages)
        assert rig.session.flow.outbox.cost <= 4096 + 2000 + 128
        assert rig.incoming.values == [str(n + 1) for n in range(len(rig.incoming.values))]
        self.check_order()

    @property
    def kept(self) -> int:
        """Messages that came in and wait for a hold to go, or were dropped for want of a taker."""
        kept = self.rig.session.face.incoming._kept
        return (len(kept) if kept else 0) + self.rig.stats.dropped.get("unobserved", 0)

    def check_order(self) -> None:
        """Each sender's messages left in their order; by key, where the newest of each counts."""
        last: dict[Any, int] = {}
        for message in self.rig.messages:
            sender, number, _ = str(message).split(":")
            key = (sender, len(message)) if isinstance(self.policy, type(BY_KEY)) else sender
            assert int(number) > last.get(key, 0)
            last[key] = int(number)


BY_KEY = rxws.overflow.latest(len)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    policy=POLICIES,
    echoes=st.booleans(),
    overrun=st.sampled_from([0, 1, 2]),
    heartbeat=st.sampled_from([None, 5.0]),
    steps=st.lists(STEPS, min_size=6, max_size=30),
    ends=st.lists(ENDS, min_size=1, max_size=3),
    after=st.lists(STEPS, max_size=8),
)
def test_each_message_is_accounted_for(
    policy: Any,
    echoes: bool,
    overrun: int,
    heartbeat: float | None,
    steps: list[Any],
    ends: list[Any],
    after: list[Any],
) -> None:
    """Offered is sent, dropped and still waiting; each sender's order is kept; there is one end."""
    story = Story(policy, echoes, overrun, heartbeat)
    for step in [*steps, *ends, *after]:
        story.do(*step)
        story.check()
    rig = story.rig
    for hold in story.holds:
        hold.dispose()
    rig.run(30)
    if not rig.transport.over:
        rig.peer.lost()
    rig.run(30)
    story.check()
    assert len(rig.incoming.ends) == 1
    assert len(rig.closed.values) == 1
    assert rig.closed.ends == [None]
    assert len(rig.session.flow.outbox) == 0
    assert len(rig.frames(rxws.messages.Kind.CLOSE)) <= 1
