"""A `LocalBackplane` that loses, repeats and delays messages, and fails when it is asked."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from rxws.hub import (
    Away,
    BackplaneError,
    BackplaneReceiver,
    Connected,
    History,
    HubStatus,
    LocalBackplane,
    Member,
    Position,
    Publication,
    PublishRequest,
)
from rxws.hub._backplane import Done
from rxws.hub._keep import Keep


class FaultyBackplane(LocalBackplane):
    """Its attributes say what goes wrong from now on.

    Attributes:
        lose: The number of publications that are lost on their way to this hub.
        repeat: Whether publications arrive twice.
        fail: The exception that `read`, `attach` and `publish` get, or None.
        delay: Whether answers wait for `answer`.
        reads: The arguments of all reads.
    """

    _receiver: Any

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lose = 0
        self.repeat = False
        self.fail: Exception | None = None
        self.delay = False
        self.reads: list[tuple[Position | None, int | None]] = []
        self.attached: set[str] = set()
        self._answers: list[Callable[[], None]] = []

    @classmethod
    def peer_of(cls, other: LocalBackplane) -> FaultyBackplane:
        backplane = cls()
        backplane._broker = other._broker
        return backplane

    def connect(self, receiver: BackplaneReceiver) -> None:
        super().connect(_LossyReceiver(self, receiver))

    def answer(self) -> None:
        """Give the answers that have waited."""
        answers, self._answers = self._answers, []
        for each in answers:
            each()

    def go_away(self) -> None:
        """Report `Away`, and lose everything until `come_back`."""
        self.fail, self.lose = BackplaneError("gone"), 1 << 30
        self._receiver.on_status(Away(0.0, self.fail))

    def come_back(self) -> None:
        """Report `Connected`, and the newest positions, as after a reconnect."""
        self.fail, self.lose = None, 0
        self._receiver.on_status(Connected())
        self.probe()

    def probe(self) -> None:
        """Report the newest positions of all topics that keep messages."""
        for topic in sorted(self.attached):
            self._receiver.on_top(topic, self._broker.read(topic, None, None).top)

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        self._answer(done, partial(super().publish, request))

    def read(
        self, topic: str, since: Position | None, limit: int | None, done: Done[History]
    ) -> None:
        self.reads.append((since, limit))
        self._answer(done, partial(super().read, topic, since, limit))

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        if keep.count:
            self.attached.add(topic)
        self._answer(done, partial(super().attach, topic, keep))

    def detach(self, topic: str) -> None:
        self.attached.discard(topic)
        super().detach(topic)

    def _answer(self, done: Any, ask: Callable[[Any], None]) -> None:
        """Ask the broker now or with `answer`, and pass the result on."""

        def run() -> None:
            if self.fail is None:
                ask(done)
            else:
                done(self.fail)

        if self.delay:
            self._answers.append(run)
        else:
            run()


class _LossyReceiver:
    """Loses and repeats publications on their way to a hub."""

    def __init__(self, backplane: FaultyBackplane, receiver: BackplaneReceiver) -> None:
        self._backplane = backplane
        self._receiver = receiver

    def on_publication(self, topic: str, publication: Publication) -> None:
        if self._backplane.lose:
            self._backplane.lose -= 1
            return
        for _ in range(2 if self._backplane.repeat else 1):
            self._receiver.on_publication(topic, publication)

    def on_top(self, topic: str, top: Position) -> None:
        if not self._backplane.lose:
            self._receiver.on_top(topic, top)

    def on_joined(self, topic: str, member: Member) -> None:
        self._receiver.on_joined(topic, member)

    def on_left(self, topic: str, member: Member) -> None:
        self._receiver.on_left(topic, member)

    def on_members_unknown(self, topic: str | None) -> None:
        self._receiver.on_members_unknown(topic)

    def on_status(self, status: HubStatus) -> None:
        self._receiver.on_status(status)
