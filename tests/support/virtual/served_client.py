"""A client of `hub.serve` in virtual time, and a backplane that the test controls."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import rxws
from rxws._session.handler import run_handler
from rxws.hub import Hub, Keep, LocalBackplane, Position
from rxws.hub._backplane import Done, History
from rxws.hub._protocol.frames import PING
from support.virtual.session import VirtualSession

__all__ = ["Client", "ControlledBackplane", "code_of"]


class ControlledBackplane(LocalBackplane):
    """Holds the answers to the calls that a test names, until it lets them go."""

    def __init__(self) -> None:
        super().__init__()
        self.holding: set[str] = set()
        self.held: list[Callable[[], None]] = []
        self.errors: dict[str, Exception] = {}
        self.messages_read = 0

    def _answer(self, name: str, call: Callable[[], None], done: Done[Any]) -> None:
        if name in self.errors:
            done(self.errors[name])
        elif name in self.holding:
            self.held.append(call)
        else:
            call()

    def release(self) -> None:
        """Give the answers that were held; they are what is true now."""
        held, self.held = self.held, []
        self.holding.clear()
        for call in held:
            call()

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        self._answer("attach", lambda: LocalBackplane.attach(self, topic, keep, done), done)

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        def on_history(history: History | Exception) -> None:
            if isinstance(history, History):
                self.messages_read += len(history.publications)
            done(history)

        def read() -> None:
            LocalBackplane.read(self, topic, since, limit, on_history, oldest=oldest)

        self._answer("read", read, done)

    def members(self, topic: str, done: Done[Any]) -> None:
        self._answer("members", lambda: LocalBackplane.members(self, topic, done), done)

    def publish(self, request: Any, done: Done[Position | None]) -> None:
        self._answer("publish", lambda: LocalBackplane.publish(self, request, done), done)


def code_of(virtual: VirtualSession) -> int:
    """Return the code of the close frame."""
    return int.from_bytes(virtual.close_frame.payload[:2])


class Client:
    """A connected client of a hub, in virtual time."""

    def __init__(
        self,
        connect: bool = True,
        codec: Any = rxws.codecs.json,
        keep: Keep = Keep(3),  # noqa: B008  # it is immutable
        **options: Any,
    ) -> None:
        self.virtual = VirtualSession()
        self.backplane = ControlledBackplane()
        self.hub = Hub(
            codec=codec,
            backplane=self.backplane,
            topics={"kept:*": keep},
            scheduler=self.virtual.clock,
        )
        self.asked: list[tuple[str, str, str]] = []
        self.right: Any = True
        options.setdefault("allow", self.allow)
        options.setdefault("user", lambda _, token: token or "ann")
        run_handler(self.hub.serve(**options).handler, self.virtual.session)
        self._seen = 0
        self._id = 0
        if connect:
            assert "connect" in self.call(connect={})

    def allow(self, *asked: str) -> Any:
        self.asked.append(asked)  # type: ignore[arg-type]
        if isinstance(self.right, Exception):
            raise self.right
        return self.right

    def send(self, **request: Any) -> int:
        """Send a command, and return its id."""
        self._id += 1
        self.virtual.peer.message(json.dumps({"id": self._id, **request}))
        self.virtual.settle()
        return self._id

    def lines(self) -> list[Any]:
        """Return what was sent since the last call, without pings."""
        self.virtual.settle()
        messages = self.virtual.messages[self._seen :]
        self._seen += len(messages)
        return [json.loads(message) for message in messages if message != PING]

    def call(self, **request: Any) -> Any:
        """Send a command, and return the reply, which must be the only line."""
        id_ = self.send(**request)
        [reply] = self.lines()
        assert reply.pop("id") == id_
        return reply

    def run(self, seconds: float) -> None:
        self.virtual.run(seconds)

    @property
    def code(self) -> int:
        """The code of the close frame."""
        return code_of(self.virtual)
