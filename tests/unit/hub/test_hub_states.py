"""Random faults between two hubs: the promises about order, repetition and loss hold."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

import rxws
from rxws.hub import Gap, Hub, Keep, LocalBackplane, Message, Position, PublishRequest
from rxws.hub._history import next_position
from rxws.testing import Clock
from support.faulty_backplane import FaultyBackplane

TOPICS = ("few:a", "many:a")
topics, hubs = st.sampled_from(TOPICS), st.integers(0, 1)


class View:
    """What a subscriber has got, and where it has begun."""

    def __init__(self, topic: str, start: Position | None) -> None:
        self.topic = topic
        self.last = start
        self.events: list[Message[Any] | Gap] = []

    def check(self, published: dict[Position, Any], top: Position | None) -> None:
        """Check that nothing is repeated, out of order or silently missing."""
        last, gap = self.last, None
        for event in self.events:
            if isinstance(event, Gap):
                assert last is None or event.after == last
                last, gap = None, event
                if event.before is not None:
                    last = Position(event.before.epoch, event.before.offset - 1)
                continue
            assert event.position is not None
            assert published[event.position] == event.value
            assert last is None or event.position == next_position(last)
            last, gap = event.position, None
        if self.events and top is not None and not (gap is not None and gap.before is None):
            assert last == top
        positions = [each.position for each in self.events if isinstance(each, Message)]
        assert len(positions) == len(set(positions))


class HubStates(RuleBasedStateMachine):
    @initialize()
    def begin(self) -> None:
        self.clock = Clock()
        backplane = LocalBackplane(self.clock)
        self.faulty = FaultyBackplane.peer_of(backplane)
        self.backplane = backplane
        self.hubs = [
            Hub(
                backplane=each,
                scheduler=self.clock,
                codec=rxws.codecs.json,
                topics={"few:*": Keep(3, seconds=60), "many:*": Keep(100, seconds=60)},
            )
            for each in (backplane, self.faulty)
        ]
        for each in self.hubs:
            each.topic("unused").subscribe().dispose()  # starts it
        self.value = 0
        self.published: dict[str, dict[Position, Any]] = {name: {} for name in TOPICS}
        self.views: list[View] = []
        self.away = False
        publish = backplane._broker.publish

        def record(request: PublishRequest) -> Position | None:
            position = publish(request)
            assert position is not None
            self.published[request.topic][position] = int(request.payload)
            return position

        backplane._broker.publish = record  # type: ignore[method-assign]

    @rule(hub=hubs, topic=topics, count=st.integers(1, 5), run=st.booleans())
    def publish(self, hub: int, topic: str, count: int, run: bool) -> None:
        for _ in range(count):
            self.value += 1
            self.hubs[hub].topic(topic).on_next(self.value)
        if run:
            self.clock.run(0)

    @rule()
    def turn(self) -> None:
        self.clock.turn()

    @rule(seconds=st.sampled_from([0, 1, 4, 61]))
    def run(self, seconds: float) -> None:
        self.clock.run(seconds)

    @rule(hub=hubs, topic=topics)
    def subscribe(self, hub: int, topic: str) -> None:
        view = View(topic, None)
        self.views.append(view)
        self.hubs[hub].topic(topic).messages().subscribe(view.events.append)

    @rule(hub=hubs, topic=topics, data=st.data())
    def resume(self, hub: int, topic: str, data: st.DataObject) -> None:
        known = [*self.published[topic], Position("unknown", 3)]
        view = View(topic, data.draw(st.sampled_from(known)))
        assert view.last is not None
        self.views.append(view)
        self.hubs[hub].topic(topic).since(view.last).subscribe(view.events.append)

    @rule(count=st.integers(1, 2))
    def lose(self, count: int) -> None:
        self.faulty.lose += count

    @rule()
    def repeat(self) -> None:
        self.faulty.repeat = not self.faulty.repeat

    @rule()
    def probe(self) -> None:
        self.faulty.probe()

    @rule()
    def restart(self) -> None:
        self.backplane.restart()

    @rule()
    def leave(self) -> None:
        self.faulty.go_away()
        self.away = True

    @rule()
    def come_back(self) -> None:
        if self.away:
            self.away = False
            self.faulty.come_back()

    @rule(delay=st.booleans())
    def delay(self, delay: bool) -> None:
        self.faulty.delay = delay
        if not delay:
            self.faulty.answer()

    @rule()
    def answer(self) -> None:
        self.faulty.answer()

    def teardown(self) -> None:
        if not hasattr(self, "hubs"):
            return
        self.delay(False)
        self.faulty.lose = 0
        if self.away:
            self.faulty.come_back()
        self.clock.run(10)
        self.faulty.probe()
        self.clock.run(10)
        for view in self.views:
            published = self.published[view.topic]
            top = self.backplane._broker.read(view.topic, None, None).top
            view.check(published, top)


TestHubStates = HubStates.TestCase
TestHubStates.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
