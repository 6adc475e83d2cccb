"""Random servers: cuts, lost and repeated publications, short histories, new epochs, errors."""

from __future__ import annotations

import json
import logging
import random
from collections import deque
from typing import Any

import pytest

from rxws.hub import Gap, Message, Position
from support.virtual.hub_client import VirtualHubClient

TOPIC = "news"


class ModelServer:
    """Keeps one topic as Centrifugo does, and executes the commands of the client.

    Attributes:
        faults: Whether anything goes wrong.
    """

    def __init__(self, virtual: VirtualHubClient, rng: random.Random) -> None:
        self.faults = True
        self.epoch = 1
        self.offset = 0
        self._virtual = virtual
        self._rng = rng
        self._keep = rng.choice([1, 3, 10, 100])
        self._page = rng.choice([5, 20, 300])
        self._history_allowed = rng.random() < 0.7
        self._kept: deque[int] = deque(maxlen=self._keep)
        self._outbox: deque[Any] = deque()
        self._subscribed = False
        self._connection = 0

    @property
    def top(self) -> Position:
        return Position(f"e{self.epoch}", self.offset)

    def _chance(self, probability: float) -> bool:
        return self.faults and self._rng.random() < probability

    def value(self, offset: int) -> str:
        return f"e{self.epoch}:{offset}"

    def publish(self) -> None:
        self.offset += 1
        self._kept.append(self.offset)
        if self._subscribed and not self._chance(0.05):
            push = {"push": {"channel": TOPIC, "pub": self._pub(self.offset)}}
            self._outbox.extend([push] * (2 if self._chance(0.05) else 1))

    def _pub(self, offset: int) -> Any:
        return {"data": self.value(offset), "offset": offset}

    def restart(self) -> None:
        """Lose everything; the client hears it on its next connection, or by an unsubscribe."""
        self.epoch += 1
        self.offset = self._rng.randrange(3)
        self._kept.clear()
        if self._subscribed:
            self._subscribed = False
            self._outbox.append({"push": {"channel": TOPIC, "unsubscribe": {"code": 2500}}})

    def cut(self) -> None:
        if self._virtual.servers.dials and not self._virtual.dial.is_over:
            self._virtual.dial.peer.lost()
            self._virtual.run()

    def run(self) -> None:
        """Execute what has arrived, and send some of what waits."""
        virtual = self._virtual
        if len(virtual.servers.dials) != self._connection:
            self._connection = len(virtual.servers.dials)
            self._outbox.clear()
            self._subscribed = False
        for line in virtual.lines():
            if line:
                self._outbox.append(self._execute(line))
        count = self._rng.randrange(len(self._outbox) + 1) if self.faults else len(self._outbox)
        if count and not virtual.dial.is_over:
            virtual.dial.peer.message(
                "\n".join(json.dumps(self._outbox.popleft()) for _ in range(count))
            )
        virtual.run()

    def _execute(self, line: Any) -> Any:
        id_ = line.pop("id")
        [(name, fields)] = line.items()
        if name != "connect" and self._chance(0.1):
            return {"id": id_, "error": {"code": 100, "message": "busy", "temporary": True}}
        result = getattr(self, f"_{name}")(fields)
        if isinstance(result, int):
            return {"id": id_, "error": {"code": result, "message": "no"}}
        return {"id": id_, name: result}

    def _connect(self, _: Any) -> Any:
        return {"client": "c"}

    def _unsubscribe(self, _: Any) -> Any:
        self._subscribed = False
        return {}

    def _subscribe(self, fields: Any) -> Any:
        result: dict[str, Any] = {
            "recoverable": True, "positioned": True, "epoch": self.top.epoch, "offset": self.offset,
        }  # fmt: skip
        if self._subscribed:
            return 105
        if fields.get("recover"):
            since = fields.get("offset", 0)
            pubs = [each for each in self._kept if each > since]
            known = fields["epoch"] == self.top.epoch
            recovered = known and self.offset - since == len(pubs)
            if not recovered and self._chance(0.3):
                return 112
            result |= {"was_recovering": True, "recovered": recovered}
            if recovered:
                result["publications"] = [self._pub(each) for each in pubs]
        self._subscribed = True
        return result

    def _history(self, fields: Any) -> Any:
        if not self._history_allowed:
            return 103
        kept = list(self._kept)
        since = fields.get("since")
        if since is not None:
            first, offset = self.offset - len(kept), since.get("offset", 0)
            if since["epoch"] != self.top.epoch or not first <= offset <= self.offset:
                return 112
            kept = [each for each in kept if each > offset]
        if fields.get("reverse"):
            kept.reverse()
        limit = fields.get("limit", 0)
        limit = self._page if limit < 0 else min(limit, 300)
        return {
            "publications": [self._pub(each) for each in kept[:limit]],
            "epoch": self.top.epoch, "offset": self.offset,
        }  # fmt: skip


class Checker:
    """Checks the promises of one view; `last` is None until the first event of a live one."""

    def __init__(self, last: Position | None) -> None:
        self.last = last
        self.seen: set[Position] = set()
        self.gaps = 0

    def on_event(self, event: Message[Any] | Gap) -> None:
        if isinstance(event, Gap):
            assert event.after == self.last or self.last is None
            assert event.before is not None
            self.gaps += 1
            self.last = Position(event.before.epoch, event.before.offset - 1)
            return
        position = event.position
        assert position is not None
        assert event.value == str(position)
        assert position not in self.seen
        self.seen.add(position)
        if self.last is not None:
            assert position == (self.last.epoch, self.last.offset + 1)
        self.last = position


class Rewound:
    """Checks that the values of `rewind` are in order, without a repetition."""

    def __init__(self) -> None:
        self.last: Position | None = None

    def on_next(self, value: str) -> None:
        position = Position.parse(value)
        if self.last is not None and position.epoch == self.last.epoch:
            assert position.offset > self.last.offset
        self.last = position


@pytest.mark.promise("hub-client")
@pytest.mark.parametrize("seed", range(300))
def test_random_servers(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """No view gets a position twice, or misses one without a gap, and all catch up."""
    rng = random.Random(seed)
    virtual = VirtualHubClient()
    server = ModelServer(virtual, rng)
    topic = virtual.client.topic(TOPIC)
    views: list[tuple[Any, Any]] = []
    positions = [Position("e0", 3)]

    def subscribe() -> None:
        kind = rng.randrange(4)
        if kind == 0:
            rewound = Rewound()
            stream = topic.rewind(rng.randrange(1, 5))
            views.append((rewound, stream.subscribe(rewound.on_next, on_error=lambda _: None)))
        else:
            start = None if kind == 1 else rng.choice(positions)
            checker = Checker(start)
            events = topic.messages() if start is None else topic.since(start)
            views.append((checker, events.subscribe(checker.on_event)))

    subscribe()
    for _ in range(200):
        match rng.choices(range(7), [30, 40, 3, 2, 6, 5, 8])[0]:
            case 0:
                server.publish()
            case 1:
                server.run()
            case 2:
                server.cut()
            case 3:
                server.restart()
            case 4:
                subscribe()
            case 5:
                if len(views) > 1:
                    views.pop(rng.randrange(len(views)))[1].dispose()
            case _:
                virtual.run(rng.random() * 2)
        if server.offset:
            positions.append(Position(server.top.epoch, rng.randint(0, server.offset)))
    server.faults = False
    for _ in range(3):
        server.publish()
        for _ in range(30):
            server.run()
            virtual.run(1.0)
    for view, _ in views:
        if isinstance(view, Checker):
            assert view.last == server.top
    problems = [each for each in caplog.records if each.levelno >= logging.ERROR]
    assert problems == []
    assert virtual.client.stats.violations == 0
    for _, subscription in views:
        subscription.dispose()
    virtual._queue.clear()
    virtual.check_nothing_left()
