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
    Done,
    History,
    HubStatus,
    LocalBackplane,
    Member,
    Position,
    Publication,
    PublishRequest,
)
from rxws.hub._keep import Keep


class FaultyBackplane(LocalBackplane):
    """Its attributes say what goes wrong from now on.

    Attributes:
        lose: The number of publications that are lost on their way to this hub.
        repeat: Whether publications arrive twice.
        fail: The exception that `read`, `attach` and `publish` get, or None.
        delay: Whether answers wait for `answer`.
        reads: The arguments of all reads.
        away: The topics whose engine is away, if it is not the engine of all.
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
        self.away: set[str] = set()
        self._answers: list[Callable[[], None]] = []
        self._status: HubStatus = Connected()

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

    def go_away(self, *topics: str) -> None:
        """Report `Away`, and lose everything until `come_back`: of these topics, or of all."""
        gone = BackplaneError("gone")
        if topics:
            self.away.update(topics)
        else:
            self.fail, self.lose = gone, 1 << 30
        self._status = Away(0.0, gone)
        self._receiver.on_status(self._status)

    def come_back(self, *topics: str) -> None:
        """Report the newest positions, as after a reconnect, and `Connected` if all are back."""
        self.fail, self.lose = None, 0
        back = set(topics) or self.attached
        self.away -= back
        if not self.away:
            self._status = Connected()
        self._receiver.on_status(self._status)
        self.probe()

    def available(self, topic: str) -> bool:
        return isinstance(self._status, Connected) or (self.fail is None and topic not in self.away)

    def probe(self) -> None:
        """Report the newest positions of all topics that keep messages."""
        for topic in sorted(self.attached - self.away):
            self._receiver.on_top(topic, self._broker.read(topic, None, 0).top)

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        self._answer(request.topic, done, partial(super().publish, request))

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        self.reads.append((since, limit))
        self._answer(topic, done, partial(super().read, topic, since, limit, oldest=oldest))

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        if keep.count:
            self.attached.add(topic)
        self._answer(topic, done, partial(super().attach, topic, keep))

    def detach(self, topic: str) -> None:
        self.attached.discard(topic)
        super().detach(topic)

    def _answer(self, topic: str, done: Any, ask: Callable[[Any], None]) -> None:
        """Ask the broker now or with `answer`, and pass the result on."""

        def run() -> None:
            error = BackplaneError("gone") if topic in self.away else self.fail
            if error is None:
                ask(done)
            else:
                done(error)

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
        if topic in self._backplane.away:
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
