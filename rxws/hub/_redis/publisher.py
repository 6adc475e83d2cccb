"""Publishing: messages of one topic that follow each other are one call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from redis.exceptions import NoPermissionError, OutOfMemoryError

from rxws.hub._backplane import Done, Publication, PublishRequest
from rxws.hub._errors import BackplaneError, Unconfirmed
from rxws.hub._keep import Keep
from rxws.hub._messages import Position

from . import wire
from .commands import Call, Commands
from .connection import Argument
from .keys import Keys
from .scripts import PUBLISH

__all__ = ["Publisher", "head_milliseconds"]

_MAX_CALL = 1 << 16  # bytes of the messages in one call; Redis runs a call without interruption
_MAX_MESSAGES = 250  # in one call, which are confirmed together
_MESSAGE = 64  # bytes that a message takes beside its payload
_HEAD_SECONDS = 3600.0  # a topic's position outlives its messages, for subscribers that come back

# Redis refuses the whole script; other errors may come from the midst of it.
_REFUSALS = (OutOfMemoryError, NoPermissionError)


def head_milliseconds(keep: Keep) -> int:
    """Return after how long the head of a topic without publishers and subscribers expires."""
    return int((keep.seconds + _HEAD_SECONDS) * 1000)


class Publisher:
    """Publishes messages of one process to one server.

    Args:
        deliver: Called with each unnumbered message, for the subscribers of this process.
    """

    def __init__(
        self,
        commands: Commands,
        keys: Keys,
        process: str,
        *,
        remember_ids: float,
        deliver: Callable[[str, Publication], None],
    ) -> None:
        self._commands = commands
        self._keys = keys
        self._process = process
        self._remember_ids = remember_ids
        self._deliver = deliver
        self._local: list[tuple[str, Publication]] = []

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """Publish a message."""
        size = len(request.payload) + _MESSAGE
        if request.keep.count == 0:
            self._publish_unnumbered(request, size, done)
        else:
            last = self._commands.last
            if isinstance(last, _PublishCall) and last.accepts(request, size):
                last.add(request, done)
                last.size += size
            else:
                call = _PublishCall(self._keys, self._process, request, self._remember_ids, size)
                call.add(request, done)
                self._commands.push(call)

    def _publish_unnumbered(
        self, request: PublishRequest, size: int, done: Done[Position | None]
    ) -> None:
        if not self._local:
            asyncio.get_running_loop().call_soon(self._deliver_local)
        self._local.append((request.topic, Publication(request.payload, None)))

        def finish(reply: Any) -> None:
            if isinstance(reply, Exception):
                text = f"a message of {request.topic!r:.80} may have reached this process only"
                done(Unconfirmed(f"{text}: {reply}"))
            else:
                done(None)

        channel = self._keys.channel(request.topic)
        data = wire.encode_unnumbered(self._process, request.payload)
        self._commands.push(Call(finish, ("PUBLISH", channel, data), size=size))

    def _deliver_local(self) -> None:
        local, self._local = self._local, []
        for topic, publication in local:
            self._deliver(topic, publication)


class _PublishCall(Call):
    __slots__ = ("_dones", "_keep", "_messages", "_topic")

    def __init__(
        self, keys: Keys, nonce: str, request: PublishRequest, remember_ids: float, size: int
    ) -> None:
        topic, keep = request.topic, request.keep
        self._topic = topic
        self._keep = keep
        self._dones: list[Done[Position | None]] = []
        kept = max(int(keep.seconds * 1000), 1)
        self._messages: list[Argument] = [
            nonce,
            head_milliseconds(keep),
            keys.channel(topic),
            keep.count,
            kept,
            max(min(kept, int(remember_ids * 1000)), 1),
        ]
        super().__init__(
            self._finish,
            self._messages,
            script=PUBLISH,
            keys=(keys.head(topic), keys.stream(topic)),
            fenced=True,
            size=size,
        )

    def accepts(self, request: PublishRequest, size: int) -> bool:
        """Whether a message may be added."""
        return (
            request.topic == self._topic
            and self.size + size <= _MAX_CALL
            and len(self._dones) < _MAX_MESSAGES
            and request.keep == self._keep
        )

    def add(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """Add a message."""
        self._dones.append(done)
        self._messages += (wire.kind_of(request.payload), request.id or "", request.payload)

    def _finish(self, reply: Any) -> None:
        if isinstance(reply, Exception):
            error = _publish_error(self._topic, reply)
            for done in self._dones:
                done(error)
            return
        epoch = reply[0].decode()
        for done, offset in zip(self._dones, reply[1:], strict=True):
            done(Position(epoch, offset))


def _publish_error(topic: str, error: Exception) -> BackplaneError:
    if isinstance(error, BackplaneError):
        return error
    text = f"Redis refuses a message of {topic!r:.80}: {error}"
    return BackplaneError(text) if isinstance(error, _REFUSALS) else Unconfirmed(text)
