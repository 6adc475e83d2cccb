"""The connection for commands: a queue, a window of what is sent, and answers in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from redis.exceptions import NoScriptError, ReadOnlyError, RedisError

from rxws.hub._errors import BackplaneError, Unconfirmed

from .connection import Argument, FencedConnection
from .scripts import Script

__all__ = ["Call", "Commands", "Reply"]

Reply = Callable[[Any], None]
"""Called with the answer, or with the exception that came instead."""

_BATCH = 1 << 16  # bytes of commands that are written together
_WINDOW = 1 << 20  # bytes that may be sent without an answer: they are unconfirmed if it breaks


class Call:
    """A command or a script.

    Args:
        done: Gets the answer.
        arguments: The command; for a script its arguments, after the fence if it has one.
        script: The script.
        keys: The script's keys.
        fenced: Whether the script's first argument is the fence.
        size: About the number of bytes.
        waits: Whether it may wait for the next connection, instead of failing when there is none.
    """

    __slots__ = ("arguments", "done", "fenced", "keys", "script", "size", "waits")

    def __init__(
        self,
        done: Reply,
        arguments: Sequence[Argument],
        *,
        script: Script | None = None,
        keys: tuple[str, ...] = (),
        fenced: bool = False,
        size: int = 100,
        waits: bool = False,
    ) -> None:
        self.done = done
        self.arguments = arguments
        self.script = script
        self.keys = keys
        self.fenced = fenced
        self.size = size
        self.waits = waits

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

    What is sent and not answered when a connection breaks fails with `Unconfirmed`: it may have
    been executed. What is not sent yet waits for the next connection, or fails.
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._queue: deque[Call] = deque()
        self._sent: deque[Call] = deque()
        self._sent_size = 0
        self.size = 0
        """Bytes that wait to be sent or answered."""
        self._connection: FencedConnection | None = None
        self._wake = asyncio.Event()
        self._progress = 0.0
        self._useless = False

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
        if self._connection is None and not call.waits:
            self._finish(call, BackplaneError(f"Redis at {self._shown} is away"))
            return
        self._queue.append(call)
        self.size += call.size
        self._wake.set()

    def grow(self, call: Call, size: int) -> None:
        """Note that the last call has become larger."""
        call.size += size
        self.size += size

    def silent_for(self, now: float) -> float:
        """Return for how many seconds an answer has been due."""
        return now - self._progress if self._sent else 0.0

    async def run(self, connection: FencedConnection) -> None:
        """Send calls and dispatch answers until the connection breaks."""
        self._connection = connection
        self._useless = False
        self._wake.set()
        writer = asyncio.create_task(self._write(connection))
        try:
            while True:
                reply = await connection.read()
                self._progress = asyncio.get_running_loop().time()
                call = self._sent.popleft()
                self._sent_size -= call.size
                if self._sent_size < _WINDOW:
                    self._wake.set()
                self._finish(call, reply, counted=True)
                # A new connection loads the scripts again, or finds the new master.
                self._useless |= isinstance(reply, NoScriptError | ReadOnlyError)
                if self._useless and not self._sent:
                    raise RedisError("the server has lost the scripts, or is no master any more")
        finally:
            self._connection = None
            writer.cancel()
            with suppress(asyncio.CancelledError, Exception):  # the reader has failed as well
                await writer
            self._lose()

    def fail_all(self, error: BackplaneError) -> None:
        """Fail what still waits."""
        queued, self._queue = self._queue, deque()
        for call in queued:
            self._finish(call, error, counted=True)

    def _lose(self) -> None:
        sent, self._sent, self._sent_size = self._sent, deque(), 0
        queued, self._queue = self._queue, deque()
        self._queue.extend(call for call in queued if call.waits)
        lost = Unconfirmed(
            f"the connection to Redis at {self._shown} was lost before the answer: publish again "
            "with the same id"
        )
        for call in sent:
            self._finish(call, lost, counted=True)
        away = BackplaneError(f"Redis at {self._shown} is away")
        for call in queued:
            if not call.waits:
                self._finish(call, away, counted=True)

    def _finish(self, call: Call, result: object, *, counted: bool = False) -> None:
        if counted:
            self.size -= call.size
        try:
            call.done(result)
        except Exception as exc:
            # A mistake in the hub must not end the connection.
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a callback of RedisBackplane has failed", "exception": exc}
            )

    async def _write(self, connection: FencedConnection) -> None:
        while True:
            while not self._queue or self._sent_size >= _WINDOW or self._useless:
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
