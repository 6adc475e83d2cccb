"""The commands that a client sends: parsed when it is their turn, and not too many at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reactivex.abc import DisposableBase

from rxws._core.connection import Connection
from rxws._core.schedulers.timers import call_later
from rxws.hub._protocol.frames import (
    Command,
    Pong,
    ProtocolViolation,
    Refused,
    parse_commands,
)

from .options import Limits
from .owner import Item, Owner

__all__ = ["CommandFlow"]

_PER_TURN = 64  # commands of a connection, so that others have their turn


class CommandFlow:
    """Passes on the commands of one connection.

    If `max_pending` commands are not answered, the connection is paused. It is also paused until
    the next turn of the event loop after 64 commands.
    """

    __slots__ = (
        "_connection",
        "_draining",
        "_frames",
        "_hold",
        "_limits",
        "_owner",
        "_pending",
        "_taken",
    )

    def __init__(self, owner: Owner, connection: Connection[Any, Any], limits: Limits) -> None:
        self._owner = owner
        self._connection = connection
        self._limits = limits
        self._frames: list[Iterator[Command | Refused | Pong]] = []
        self._draining = False
        self._taken = 0  # commands in this turn
        self._pending = 0  # commands without an answer
        self._hold: DisposableBase | None = None

    def receive(self, frame: str | bytes) -> None:
        self._frames.append(parse_commands(frame, self._limits.max_commands))
        self.drain()

    def on_answered(self) -> None:
        """Take the next command."""
        self._pending -= 1
        self.drain()

    def clear(self) -> None:
        """Take no more: the connection has ended."""
        self._frames.clear()
        self._release()

    def drain(self) -> None:
        """Take commands, unless too many are running; then the connection is paused."""
        if self._draining:
            return
        self._draining = True
        try:
            while (
                self._frames
                and self._taken < _PER_TURN
                and self._pending < self._limits.max_pending
                and self._owner.accepting
            ):
                if (item := self._next()) is not None:
                    self._count(item)
                    self._owner.take(item)
        except Exception as exc:
            self._owner.on_fault(exc)
        finally:
            self._draining = False
        if not self._frames:
            self._release()
        elif self._hold is None:
            self._hold = self._connection.flow.pause()

    def _next(self) -> Item | None:
        """Parse the next command, or the close if it is wrong; None at the end of a frame."""
        try:
            command = next(self._frames[0], None)
        except ProtocolViolation as violation:
            return violation.close
        if command is None:
            del self._frames[0]
        return command

    def _count(self, item: Item) -> None:
        """Count a command; most connections never need the timer."""
        self._pending += isinstance(item, Command | Refused)
        self._taken += 1
        if self._taken == _PER_TURN // 4:
            call_later(self._connection.scheduler, 0, self._on_next_turn)

    def _on_next_turn(self) -> None:
        self._taken = 0
        self.drain()

    def _release(self) -> None:
        hold, self._hold = self._hold, None
        if hold is not None:
            hold.dispose()
