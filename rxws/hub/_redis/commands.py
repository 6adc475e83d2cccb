"""The connection for commands: a queue, a window of what is sent, and answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import MasterDownError, NoScriptError, ReadOnlyError, ResponseError

from rxws.hub._errors import BackplaneError, Unconfirmed

from .connection import Argument, FencedConnection
from .scripts import Script

__all__ = ["Call", "Commands", "Reply"]

Reply = Callable[[Any], None]
"""Called with the answer, or with the exception that came instead."""

_BATCH = 1 << 16  # bytes of commands that are written together
_TURN = 0.005  # seconds after which other tasks get their turn
_WINDOW = 1 << 20  # bytes that may be sent without an answer: they are unconfirmed if it breaks

# The server executes no script that may write, until something has changed. redis-py has classes
# for some of these answers, and cuts their names off the texts.
_USELESS = (NoScriptError, ReadOnlyError, MasterDownError)
_USELESS_NAMES = ("MISCONF", "NOREPLICAS", "BUSY")


class Call:
    """A command or a script.

    Args:
        done: Gets the answer.
        arguments: The command; for a script its arguments, after the fence if it has one.
        script: The script.
        keys: The script's keys.
        fenced: Whether the script's first argument is the fence.
        size: About the number of bytes.
        vital: Whether the connection is given up if the server refuses it.
    """

    __slots__ = ("arguments", "done", "fenced", "keys", "script", "size", "vital")

    def __init__(
        self,
        done: Reply,
        arguments: Sequence[Argument],
        *,
        script: Script | None = None,
        keys: tuple[str, ...] = (),
        fenced: bool = False,
        size: int = 100,
        vital: bool = False,
    ) -> None:
        self.done = done
        self.arguments = arguments
        self.script = script
        self.keys = keys
        self.fenced = fenced
        self.size = size
        self.vital = vital

    def command(self, fence: str) -> Sequence[Argument]:
        """Return the command for the server that has this fence."""
        if self.script is None:
            return self.arguments
        head: list[Argument] = ["EVALSHA", self.script.sha, len(self.keys), *self.keys]
        if self.fenced:
            head.append(fence)
        return [*head, *self.arguments]


class Commands:
    """Sends calls in order over one connection after the other.

    When a connection has broken, calls wait until `lose`, so that the status is reported first.
    Then they fail, with `Unconfirmed` if they may have been executed.
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._queue: deque[Call] = deque()
        self._sent: deque[Call] = deque()
        self._sent_size = 0
        self._connection: FencedConnection | None = None
        self._wake = asyncio.Event()
        self._progress = 0.0
        self._refused: list[tuple[Call, Exception]] = []
        """Calls that a server has refused, because the connection is of no use any more."""

    @property
    def connected(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    @property
    def last(self) -> Call | None:
        """The call that was pushed last, unless it is sent."""
        return self._queue[-1] if self._queue else None

    def push(self, call: Call) -> None:
        """Send a call in the order of pushes, together with others of this turn of the loop."""
        if self._connection is None:
            self._finish(call, BackplaneError(f"Redis at {self._shown} is away"))
            return
        self._queue.append(call)
        self._wake.set()

    def silent_for(self, now: float) -> float:
        """Return for how many seconds an answer has been due."""
        return now - self._progress if self._sent else 0.0

    async def run(self, connection: FencedConnection) -> None:
        """Send calls and dispatch answers until the connection breaks; then call `lose`."""
        self._connection = connection
        self._wake.set()
        writer = asyncio.create_task(self._write(connection))
        loop = asyncio.get_running_loop()
        try:
            turn = loop.time()
            while True:
                reply = await connection.read()
                self._progress = loop.time()
                call = self._sent.popleft()
                self._sent_size -= call.size
                if self._sent_size < _WINDOW:
                    self._wake.set()
                if isinstance(reply, ResponseError) and (call.vital or _is_useless(reply)):
                    self._refused.append((call, reply))
                else:
                    self._finish(call, reply)
                if self._refused and not self._sent:
                    # A new connection loads the scripts again, or finds the new master.
                    raise self._refused[0][1]
                if loop.time() - turn > _TURN:
                    # Reading what is buffered does not suspend.
                    await asyncio.sleep(0)
                    turn = loop.time()
        finally:
            writer.cancel()
            with suppress(asyncio.CancelledError, Exception):  # the reader has failed as well
                await writer

    def lose(self) -> None:
        """Forget the connection, and fail all calls."""
        self._connection = None
        refused, self._refused = self._refused, []
        sent, self._sent, self._sent_size = self._sent, deque(), 0
        queued, self._queue = self._queue, deque()
        away = f"Redis at {self._shown} is away"
        for call, reply in refused:
            self._finish(call, BackplaneError(f"{away}: {reply}"))
        lost = Unconfirmed(
            f"the connection to Redis at {self._shown} was lost before the answer: publish again "
            "with the same id"
        )
        for call in sent:
            self._finish(call, lost)
        for call in queued:
            self._finish(call, BackplaneError(away))

    def _finish(self, call: Call, result: object) -> None:
        try:
            call.done(result)
        except Exception as exc:
            # A mistake in the hub must not end the connection.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a callback of RedisBackplane has failed", "exception": exc}
            )

    async def _write(self, connection: FencedConnection) -> None:
        while True:
            while not self._queue or self._sent_size >= _WINDOW or self._refused:
                self._wake.clear()
                await self._wake.wait()
            if not self._sent:
                self._progress = asyncio.get_running_loop().time()
            commands: list[Sequence[Argument]] = []
            size = 0
            while self._queue and size < _BATCH:
                call = self._queue.popleft()
                self._sent.append(call)
                size += call.size
                commands.append(call.command(connection.fence))
            self._sent_size += size
            await connection.send(commands)


def _is_useless(error: ResponseError) -> bool:
    return isinstance(error, _USELESS) or str(error).startswith(_USELESS_NAMES)
