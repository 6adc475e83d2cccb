"""`TopicLog`: one order without holes, and `Ring`: what it has delivered."""

from __future__ import annotations

from rxws.hub import Gap, Message, Position
from rxws.hub._history import Entry, Kept, Ring
from rxws.hub._topic_log import _MAX_WAITING, TopicLog


def at(offset: int, epoch: str = "e") -> Position:
    return Position(epoch, offset)


def entry(offset: int, epoch: str = "e", size: int = 1) -> Entry:
    return Entry(Message(offset, at(offset, epoch)), at(offset, epoch), size)


def kept(first: int, last: int, epoch: str = "e") -> Kept:
    return Kept([entry(n, epoch) for n in range(first, last + 1)], at(last, epoch))


START = at(0)


class Host:
    """A log whose reads the test answers."""

    def __init__(self) -> None:
        self.is_away = False
        self.emitted: list[object] = []
        self.reads: list[Position] = []
        self.retries = 0
        self.healed = 0
        self.dropped = 0
        self.log = TopicLog(self)

    def emit(self, entry: Entry) -> None:
        event = entry.event
        self.emitted.append(event if isinstance(event, Gap) else event.value)

    def count_healed(self, count: int) -> None:
        self.healed += count

    def count_dropped(self) -> None:
        self.dropped += 1

    def read_after(self, since: Position) -> None:
        self.reads.append(since)

    def retry_later(self) -> None:
        self.retries += 1


def attached(top: Position | None = START) -> Host:
    host = Host()
    host.log.on_attached(top)
    return host


def test_messages_wait_until_the_topic_is_attached() -> None:
    """Those after the top are emitted then, the others are known already."""
    host = Host()
    for n in (1, 2, 3):
        host.log.on_message(entry(n))
    assert host.emitted == []
    host.log.on_attached(at(2))
    host.log.on_attached(at(9))  # a second answer is ignored
    assert host.emitted == [3]
    assert host.reads == []


def test_a_late_message_of_an_old_epoch_is_dropped() -> None:
    """The answer to a read says which epoch is the current one."""
    host = attached(at(5, "new"))
    host.log.on_message(entry(9, "old"))
    host.log.on_message(entry(6, "new"))
    host.log.on_kept(kept(1, 6, "new"))
    assert host.emitted == [6]
    host.log.on_message(entry(7, "new"))
    assert host.emitted == [6, 7]


def test_what_arrives_during_a_read_follows_it() -> None:
    """Messages wait in their order, and a hole among them is read next."""
    host = attached()
    host.log.on_message(entry(3))
    host.log.on_message(entry(6))
    host.log.on_kept(kept(1, 4))
    assert host.emitted == [1, 2, 3, 4]
    assert host.reads == [at(0), at(4)]
    host.log.on_kept(kept(1, 6))
    assert host.emitted == [1, 2, 3, 4, 5, 6]
    host.log.on_kept(kept(1, 9))  # nobody has asked for this one
    assert host.emitted == [1, 2, 3, 4, 5, 6]
    assert host.healed == 6


def test_a_position_that_is_found_during_a_read_is_checked_after_it() -> None:
    """A probe is not forgotten while an older answer is outstanding."""
    host = attached()
    host.log.on_top(at(2))
    host.log.on_top(at(4))
    host.log.on_kept(kept(1, 2))
    assert host.reads == [at(0), at(2)]
    host.log.on_kept(kept(1, 4))
    host.log.on_top(at(3))  # it is known
    assert host.emitted == [1, 2, 3, 4]
    assert len(host.reads) == 2


def test_waiting_messages_are_bounded_without_a_gap() -> None:
    """Those beyond the bound are read again from the backplane."""
    host = attached()
    count = _MAX_WAITING + 500
    for n in range(2, count + 1):
        host.log.on_message(entry(n))
    host.log.on_kept(kept(1, 1))
    assert host.emitted == list(range(1, _MAX_WAITING + 2))
    assert host.reads[-1] == at(_MAX_WAITING + 1)
    host.log.on_kept(kept(1, count))
    assert host.emitted == list(range(1, count + 1))


def test_unnumbered_messages_beyond_the_bound_are_counted() -> None:
    """Until the topic is attached they wait; nothing can read those that do not fit again."""
    host = Host()
    for n in range(_MAX_WAITING + 3):
        host.log.on_message(Entry(Message(n), None))
    assert host.dropped == 3
    host.log.on_attached(None)
    assert host.emitted == list(range(_MAX_WAITING))
    assert host.dropped == 3


def test_an_engine_that_lags_is_asked_again_and_then_a_gap() -> None:
    """If three reads do not contain what came before a received message, a gap replaces it."""
    host = attached()
    host.log.on_message(entry(3))
    for n in range(1, 4):
        assert host.retries == n - 1
        host.log.on_kept(kept(1, 0))
        host.log.on_retry()
    assert host.emitted == [Gap(at(0), at(3), "unavailable"), 3]
    assert len(host.reads) == 3


def test_a_failed_probe_is_a_gap_without_an_end() -> None:
    """If nothing was received behind it, the gap does not say where it ends."""
    host = attached()
    host.log.on_top(at(2))
    for _ in range(3):
        host.log.on_kept(OSError())
        host.log.on_retry()
    assert host.emitted == [Gap(at(0), None, "unavailable")]
    host.log.on_message(entry(1))
    assert host.emitted[1:] == [1]


def test_while_away_reading_waits() -> None:
    """No attempt is made before the backplane is back, and none is counted as the last one."""
    host = attached()
    host.is_away = True
    host.log.on_message(entry(2))
    for _ in range(5):
        host.log.on_kept(OSError())
        host.log.on_connected()
    assert host.retries == 0
    host.is_away = False
    host.log.on_kept(kept(1, 2))
    assert host.emitted == [1, 2]


def test_unnumbered_messages_do_not_wait() -> None:
    """A process with another `Keep` publishes without positions: they are emitted at once."""
    host = attached()
    host.log.on_message(entry(2))
    host.log.on_message(Entry(Message("free"), None))
    assert host.emitted == ["free"]
    host = attached(None)
    host.log.on_top(at(4))
    host.log.on_message(entry(7))
    host.log.on_message(entry(8))
    assert host.emitted == [7, 8]
    assert host.reads == []


def test_a_ring_is_bounded_in_bytes() -> None:
    """The oldest entries are dropped, and are unknown from then on."""
    ring = Ring(100, 10)
    assert ring.after(at(0)) is None
    assert ring.newest(1, 0.0) is None
    for n in range(1, 6):
        ring.append(entry(n, size=4))
    assert [each.position for each in ring.after(at(3)) or []] == [at(4), at(5)]
    assert ring.after(at(2)) is None
    assert ring.after(at(5)) == []
    assert ring.after(at(6)) is None
    assert ring.newest(3, 0.0) is None


def test_a_ring_continues_behind_a_gap() -> None:
    """A gap is part of what comes after a position; unnumbered messages are not."""
    ring = Ring(100, 100)
    ring.append(Entry(Message("x"), None))
    ring.append(entry(1))
    ring.append(Entry.gap(at(1), at(4, "new"), "restarted"))
    ring.append(entry(5, "new"))
    found = ring.after(at(1)) or []
    assert [each.event for each in found] == [
        Gap(at(1), at(5, "new"), "restarted"),
        Message(5, at(5, "new")),
    ]
    ring = Ring(2, 100)
    ring.append(entry(1))
    ring.append(Entry.gap(at(1), at(4, "new"), "restarted"))
    ring.append(entry(5, "new"))
    assert len(ring.after(at(1)) or []) == 2
