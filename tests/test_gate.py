"""Holds on reading."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from rxws._session.read_gate import Hold, ReadGate
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport


@dataclass
class Setup:
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.transport = FakeTransport(self.clock)
        self.gate = ReadGate(self.transport, self.clock)

    @property
    def calls(self) -> list[str]:
        return [call.name for call in self.transport.calls]


@pytest.fixture
def setup() -> Setup:
    return Setup()


def test_reading_pauses_with_the_first_hold_and_goes_on_with_the_last(setup: Setup) -> None:
    """However many there are, the wire is told twice."""
    setup.gate.hold("a")
    setup.gate.hold("b")
    assert setup.calls == ["pause"]
    setup.gate.release("a")
    assert setup.gate.held
    setup.gate.release("b")
    assert not setup.gate.held
    assert setup.calls == ["pause", "resume"]


def test_one_holds_once(setup: Setup) -> None:
    """Holding twice and letting go once lets go."""
    setup.gate.hold("a")
    setup.gate.hold("a")
    setup.gate.release("a")
    assert not setup.gate.held
    setup.gate.release("a")
    assert setup.calls == ["pause", "resume"]


def test_it_knows_who_else_holds(setup: Setup) -> None:
    """Who waits for the others need not wait for itself."""
    setup.gate.hold("a")
    assert not setup.gate.held_besides("a")
    assert setup.gate.held_besides("b")
    setup.gate.hold("b")
    assert setup.gate.held_besides("a")


def test_once_closing_has_begun_nobody_stops_reading(setup: Setup) -> None:
    """The peer's answer is waited for."""
    setup.gate.hold("a")
    setup.gate.open_permanently()
    assert setup.calls == ["pause", "resume"]
    setup.gate.hold("b")
    setup.gate.release("a")
    setup.gate.open_permanently()
    assert not setup.gate.held
    assert setup.calls == ["pause", "resume"]


def test_the_time_of_pauses_adds_up(setup: Setup) -> None:
    """Of finished ones, and of the one that lasts."""
    assert setup.gate.paused == 0
    setup.gate.hold("a")
    setup.clock.run(2)
    setup.gate.hold("b")
    setup.clock.run(1)
    assert setup.gate.paused == 3
    setup.gate.release("a")
    setup.gate.release("b")
    setup.clock.run(10)
    assert setup.gate.paused == 3
    setup.gate.hold("a")
    setup.clock.run(0.5)
    setup.gate.open_permanently()
    setup.clock.run(10)
    assert setup.gate.paused == 3.5


def test_a_hold_lets_go_when_it_is_disposed() -> None:
    """It tells by itself who it is; it is a context manager, as every Disposable."""
    released: list[object] = []
    with Hold(released.append) as hold:
        assert released == []
    assert released == [hold]
