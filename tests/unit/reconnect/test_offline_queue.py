"""The offline queue of a `WebSocketSubject`, alone."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import overflow
from rxws._core.connection import Close
from rxws._core.errors import EncodeError
from rxws._reconnect.offline_queue import Dropped, OfflineQueue, Snapshot


class QueueAtTime(OfflineQueue):
    """An offline queue with a clock that the test sets."""

    def __init__(self, bound: int = 1000, policy: Any = "drop_oldest", ttl: Any = None) -> None:
        self.now = 0.0
        super().__init__(bound, policy, ttl, lambda: self.now)

    def push(self, *values: str) -> None:
        for value in values:
            self.put(value, Snapshot(value, len(value)))

    def take_all(self) -> list[Any]:
        taken = []
        while (waiting := self.take()) is not None:
            taken.append(waiting.value)
        return taken


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"bound": "1"}, TypeError, "queue='1'"),
        ({"bound": True}, TypeError, "queue=True"),
        ({"bound": 0}, ValueError, "queue=0"),
        ({"policy": "close"}, ValueError, "queue_overflow='close'"),
        ({"ttl": "1"}, TypeError, "ttl='1'"),
        ({"ttl": True}, TypeError, "ttl=True"),
        ({"ttl": 0}, ValueError, "ttl=0"),
        ({"ttl": float("nan")}, ValueError, "ttl=nan"),
    ],
)
def test_options_are_checked(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    """An option out of range or of the wrong type raises an error with its name."""
    with pytest.raises(kind, match=message):
        QueueAtTime(**options)


def test_size_is_counted_in_messages_bytes_and_cost() -> None:
    """The size is counted in messages, payload bytes, and bytes plus 128 per message."""
    queue = QueueAtTime()
    queue.push("a", "bcd")
    assert (len(queue), queue.bytes, queue._queue.cost) == (2, 4, 4 + 2 * 128)
    assert queue.take_all() == ["a", "bcd"]
    assert (len(queue), queue.bytes, queue._queue.cost) == (0, 0, 0)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_one_message_may_be_of_any_size(policy: str) -> None:
    """A message of any size is queued if the queue is empty."""
    queue = QueueAtTime(10, policy)
    queue.push("x" * 5000)
    assert queue.take_all() == ["x" * 5000]
    assert queue.dropped == {}


def test_drop_oldest_makes_room_for_the_newest() -> None:
    """`drop_oldest` drops as many old messages as the newest needs room for."""
    queue = QueueAtTime(3 * 129)
    queue.push("a", "b", "c", "d" * 200)
    assert queue.take_all() == ["d" * 200]
    assert queue.take_dropped()[0] == [Dropped(value, "overflow") for value in "abc"]
    assert queue.take_dropped()[0] == []
    assert queue.dropped == {"overflow": 3}


def test_expired_messages_are_dropped_before_others() -> None:
    """`drop_newest` drops expired messages first, to make room for a new one."""
    queue = QueueAtTime(2 * 129, "drop_newest", ttl=5)
    queue.push("a")
    queue.now = 5.0
    queue.push("b")
    queue.now = 5.1
    queue.push("c", "d")
    assert queue.take_all() == ["b", "c"]
    assert queue.take_dropped()[0] == [Dropped("a", "expired"), Dropped("d", "overflow")]


def test_a_message_expires_after_ttl() -> None:
    """A message is sent up to its `ttl`, and dropped after it."""
    queue = QueueAtTime(ttl=5)
    queue.push("a")
    queue.now = 5.0
    queue.push("b")
    assert queue.first_position() == 0
    queue.now = 5.1
    assert queue.first_position() == 1
    assert queue.take_all() == ["b"]
    queue.push("c")
    queue.now = 20.0
    assert queue.take() is None
    assert queue.first_position() is None
    assert queue.dropped == {"expired": 2}


def test_a_taken_message_can_be_put_back() -> None:
    """A message that was put back is the first again."""
    queue = QueueAtTime()
    queue.push("a", "b")
    taken = queue.take()
    assert taken is not None
    queue.push("c")
    queue.put_back(taken)
    assert queue.bytes == 3
    assert queue.take_all() == ["a", "b", "c"]


def test_latest_replaces_a_message_in_place() -> None:
    """With `latest`, a newer message takes the older one's place, with its own size and age."""
    queue = QueueAtTime(policy=overflow.latest(lambda value: value[0]), ttl=5)
    queue.push("a1", "b1")
    queue.now = 4.0
    queue.push("a222")
    assert queue.bytes == 6
    queue.now = 8.0
    assert queue.take_all() == ["a222"]
    assert queue.take_dropped()[0] == [Dropped("a1", "conflated"), Dropped("b1", "expired")]


def test_latest_drops_the_oldest_key_above_the_bound() -> None:
    """With `latest`, the oldest key's message is dropped above the bound, never the newest."""
    queue = QueueAtTime(2 * 130, overflow.latest(lambda value: value[0]))
    queue.push("a1", "b1", "c1")
    assert queue.take_dropped()[0] == [Dropped("a1", "overflow")]
    queue.push("b" + "2" * 100)
    assert queue.take_all() == ["b" + "2" * 100]
    assert queue.dropped == {"overflow": 2, "conflated": 1}


def test_latest_drops_a_message_put_back_after_a_newer_one() -> None:
    """With `latest`, a message put back is dropped if a newer one of its key is queued."""
    queue = QueueAtTime(policy=overflow.latest(lambda value: value[0]))
    queue.push("a1", "b1")
    taken = queue.take()
    assert taken is not None
    queue.push("a2")
    queue.put_back(taken)
    assert queue.take_dropped()[0] == [Dropped("a1", "conflated")]
    taken = queue.take()
    assert taken is not None
    queue.put_back(taken)
    queue.push("b2")
    assert queue.take_all() == ["b2", "a2"]


def test_a_key_that_fails_raises_an_encode_error() -> None:
    """If the key function raises, `put` raises an EncodeError and the queue is unchanged."""
    queue = QueueAtTime(policy=overflow.latest(lambda value: value[0]))
    with pytest.raises(EncodeError):
        queue.push("")
    assert len(queue) == 0


def test_an_end_seals_the_queue() -> None:
    """After the first end messages are dropped, until the queue is unsealed."""
    queue = QueueAtTime()
    queue.push("a")
    assert queue.seal(Close(4001))
    assert not queue.seal(Close())
    queue.push("b")
    assert queue.end == Close(4001)
    assert queue.take_dropped()[0] == [Dropped("b", "closed")]
    queue.unseal()
    queue.push("c")
    assert queue.take_all() == ["a", "c"]


def test_clear_drops_everything() -> None:
    """`clear` drops and counts all messages, and forgets the end."""
    queue = QueueAtTime()
    queue.push("a", "b")
    queue.seal(Close())
    queue.clear()
    assert (len(queue), queue.bytes, queue.end) == (0, 0, None)
    assert queue.dropped == {"closed": 2}


def test_unreported_drops_are_bounded() -> None:
    """All drops are counted, but only the latest 1000 are kept to be reported."""
    queue = QueueAtTime(129)
    queue.push(*["a"] * 1501)
    assert queue.dropped == {"overflow": 1500}
    assert len(queue.take_dropped()[0]) == 1000
