"""A backplane whose answers the test gives."""

from __future__ import annotations

from typing import Any

from rxws.hub import (
    BackplaneReceiver,
    Done,
    History,
    Keep,
    Member,
    Position,
    PublishRequest,
)

__all__ = ["FakeBackplane"]


class FakeBackplane:
    """Records the calls of a hub; the test calls what waits in `attaching` and the like.

    Attributes:
        calls: The calls so far, in order: name and arguments, without callbacks.
        attaching: The topics that are being attached, with their callbacks, in order.
        reading_members: The topics whose members are being read, with their callbacks, in order.
        reading: The topics whose histories are being read, with their callbacks, in order.
        publishing: The messages that are being published, with their callbacks, in order.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.attaching: list[tuple[str, Done[Position | None]]] = []
        self.reading_members: list[tuple[str, Done[Any]]] = []
        self.reading: list[tuple[str, Done[History]]] = []
        self.publishing: list[tuple[PublishRequest, Done[Position | None]]] = []
        self.receiver: BackplaneReceiver | None = None

    async def start(self, receiver: BackplaneReceiver) -> None:
        self.receiver = receiver

    async def stop(self) -> None:
        self.calls.append(("stop",))

    def available(self, topic: str) -> bool:
        del topic
        return False

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        self.calls.append(("publish", request))
        self.publishing.append((request, done))

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        self.calls.append(("read", topic, since, limit))
        self.reading.append((topic, done))

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        self.calls.append(("attach", topic))
        self.attaching.append((topic, done))

    def detach(self, topic: str) -> None:
        self.calls.append(("detach", topic))

    def join(self, topic: str, member: Member) -> None:
        self.calls.append(("join", topic, member))

    def leave(self, topic: str, member: Member) -> None:
        self.calls.append(("leave", topic, member))

    def members(self, topic: str, done: Done[Any]) -> None:
        self.calls.append(("members", topic))
        self.reading_members.append((topic, done))
