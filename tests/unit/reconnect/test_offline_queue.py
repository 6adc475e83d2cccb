"""The queue of a client without a connection, on its own."""

from __future__ import annotations

from typing import Any

import pytest

from rxws import overflow
from rxws._core.connection import Close
from rxws._core.errors import EncodeError
from rxws._reconnect.offline_queue import Dropped, OfflineQueue


class Queue(OfflineQueue):
    """A queue whose time is set."""

    def __init__(self, bound: int = 1000, policy: Any = "drop_oldest", ttl: Any = None) -> None:
        self.now = 0.0
        super().__init__(bound, policy, ttl, lambda: self.now)

    def push(self, *values: str) -> None:
        for value in values:
            self.put(value, len(value))

    def all(self) -> list[Any]:
        taken = []
        while (waiting := self.take()) is not None:
            taken.append(waiting.value)
        return taken


@pytest.mark.parametrize(
    ("options", "kind", "said"),
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
def test_options_are_checked(options: dict[str, Any], kind: type[Exception], said: str) -> None:
    """What is out of range or of the wrong type is refused, by its name."""
    with pytest.raises(kind, match=said):
        Queue(**options)


def test_it_counts_what_waits() -> None:
    """Bytes are those of the payloads; the cost has 128 for each message."""
    queue = Queue()
    queue.push("a", "bcd")
    assert (len(queue), queue.bytes, queue.cost) == (2, 4, 4 + 2 * 128)
    assert queue.all() == ["a", "bcd"]
    assert (len(queue), queue.bytes, queue.cost) == (0, 0, 0)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_one_message_may_be_of_any_size(policy: str) -> None:
    """What finds nothing waiting waits, however large: it is the user's."""
    queue = Queue(10, policy)
    queue.push("x" * 5000)
    assert queue.all() == ["x" * 5000]
    assert queue.dropped == {}


def test_the_oldest_make_room() -> None:
    """As many of the oldest as needed give way to the newest."""
    queue = Queue(3 * 129)
    queue.push("a", "b", "c", "d" * 200)
    assert queue.all() == ["d" * 200]
    assert queue.take_dropped() == [Dropped(value, "overflow") for value in "abc"]
    assert queue.take_dropped() == []
    assert queue.dropped == {"overflow": 3}


def test_the_expired_give_way_first() -> None:
    """With `drop_newest` a message is not refused for the sake of one that will not be sent."""
    queue = Queue(2 * 129, "drop_newest", ttl=5)
    queue.push("a")
    queue.now = 5.0
    queue.push("b")
    queue.now = 5.1
    queue.push("c", "d")
    assert queue.all() == ["b", "c"]
    assert queue.take_dropped() == [Dropped("a", "expired"), Dropped("d", "overflow")]


def test_it_waits_for_ttl_and_no_longer() -> None:
    """At `ttl` a message is sent, after it not."""
    queue = Queue(ttl=5)
    queue.push("a")
    queue.now = 5.0
    queue.push("b")
    assert queue.peek() == 0
    queue.now = 5.1
    assert queue.peek() == 1
    assert queue.all() == ["b"]
    queue.push("c")
    queue.now = 20.0
    assert queue.take() is None
    assert queue.peek() is None
    assert queue.dropped == {"expired": 2}


def test_what_was_taken_can_be_put_back() -> None:
    """It waits ahead of all others then, as before."""
    queue = Queue()
    queue.push("a", "b")
    taken = queue.take()
    assert taken is not None
    queue.push("c")
    queue.put_back(taken)
    assert queue.bytes == 3
    assert queue.all() == ["a", "b", "c"]


def test_latest_keeps_the_place_of_its_key() -> None:
    """A newer message takes the older one's place, its size and its age are new."""
    queue = Queue(policy=overflow.latest(lambda value: value[0]), ttl=5)
    queue.push("a1", "b1")
    queue.now = 4.0
    queue.push("a222")
    assert queue.bytes == 6
    queue.now = 8.0
    assert queue.all() == ["a222"]
    assert queue.take_dropped() == [Dropped("a1", "conflated"), Dropped("b1", "expired")]


def test_latest_and_the_bound() -> None:
    """Above the bound the key that waits longest gives way, and never the newest message."""
    queue = Queue(2 * 130, overflow.latest(lambda value: value[0]))
    queue.push("a1", "b1", "c1")
    assert queue.take_dropped() == [Dropped("a1", "overflow")]
    queue.push("b" + "2" * 100)
    assert queue.all() == ["b" + "2" * 100]
    assert queue.dropped == {"overflow": 2, "conflated": 1}


def test_latest_and_what_is_put_back() -> None:
    """What is put back gives way to a newer one of its key, which came meanwhile."""
    queue = Queue(policy=overflow.latest(lambda value: value[0]))
    queue.push("a1", "b1")
    taken = queue.take()
    assert taken is not None
    queue.push("a2")
    queue.put_back(taken)
    assert queue.take_dropped() == [Dropped("a1", "conflated")]
    taken = queue.take()
    assert taken is not None
    queue.put_back(taken)
    queue.push("b2")
    assert queue.all() == ["b2", "a2"]


def test_a_key_that_fails() -> None:
    """What the user's key function raises is raised as an EncodeError, and nothing has changed."""
    queue = Queue(policy=overflow.latest(lambda value: value[0]))
    with pytest.raises(EncodeError):
        queue.push("")
    assert len(queue) == 0


def test_an_end_seals_it() -> None:
    """After the first end messages are refused, until it is unsealed."""
    queue = Queue()
    queue.push("a")
    assert queue.seal(Close(4001))
    assert not queue.seal(Close())
    queue.push("b")
    assert queue.end == Close(4001)
    assert queue.take_dropped() == [Dropped("b", "closed")]
    queue.unseal()
    queue.push("c")
    assert queue.all() == ["a", "c"]


def test_clear() -> None:
    """All that waits is dropped and counted, and the end is forgotten."""
    queue = Queue()
    queue.push("a", "b")
    queue.seal(Close())
    queue.clear()
    assert (len(queue), queue.bytes, queue.end) == (0, 0, None)
    assert queue.dropped == {"closed": 2}


def test_what_nobody_comes_to_be_told_is_bounded() -> None:
    """Of very many drops all are counted and the latest 1000 kept."""
    queue = Queue(129)
    queue.push(*["a"] * 1501)
    assert queue.dropped == {"overflow": 1500}
    assert len(queue.take_dropped()) == 1000
