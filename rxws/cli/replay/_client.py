"""A client that sends what a recorded client has sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Close, Recording, codecs
from rxws.cli._connection import Target
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._link import Link, describe, open_link
from rxws.cli._output import to_terminal, write_soon
from rxws.cli._progress import Figures, progress
from rxws.cli._run import first_of, unless_stopped
from rxws.closing import check_sendable
from rxws.operators import map_async

from ._check import Check
from ._messages import close_of, frames

__all__ = ["play_client"]


async def play_client(
    recording: Recording,
    target: Target,
    speed: float,
    wait: float,
    check: bool,
    formatted: Callable[[Any], str | bytes],
    stop: asyncio.Event,
) -> ExitCode:
    """Connect, send the recorded messages at their times, and print what arrives.

    Raises:
        Failure: What arrives differs from the recording, or the connection ended abnormally.
        ConnectError: The connection could not be opened.
    """
    frames(recording, "outgoing")
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        opening = stack.enter_async_context(open_link(target, reconnect=False))
        player = _Player(
            recording, await unless_stopped(stop, opening), speed, wait, check, formatted
        )
        figures = player.figures
        stack.enter_context(progress(figures, len(player.expected), shown=not to_terminal()))
        try:
            await player.run(stop)
        except Exception as error:  # out here it would close with 1011
            failure = error
    if failure is not None:
        raise failure
    return ExitCode.DONE


class _Player:
    """Plays the client's part of a recording on one connection."""

    def __init__(
        self,
        recording: Recording,
        link: Link,
        speed: float,
        wait: float,
        check: bool,
        formatted: Callable[[Any], str | bytes],
    ) -> None:
        self.expected = frames(recording, "incoming")
        self._arrived = 0
        self._size = 0
        self._recording = recording
        self._link = link
        self._speed = speed
        self._wait = wait
        self._format = formatted
        self._close = close_of(recording)
        self._check = Check(self.expected, self._close) if check else None
        self._complete = asyncio.Event()  # as many messages as expected have arrived
        if not self.expected:
            self._complete.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Run until both sides are done, or the connection ends, or `stop`.

        Raises:
            Failure: See `play_client`.
        """
        lost: Close | None = None
        try:
            await first_of(self._receive(), self._send(), stop.wait())
        except rxws.ConnectionClosed as error:
            lost = error.close
        if stop.is_set():
            return
        if self._check is not None:
            self._check.end(self._link.end)
        elif lost is not None and (self._close is None or lost.code != self._close.code):
            raise Failure(describe(lost), ExitCode.ABNORMAL_CLOSE)

    def figures(self) -> Figures:
        """Return what has arrived so far."""
        return Figures(self._arrived, self._size)

    async def _receive(self) -> None:
        """Print and check what arrives, until the connection ends."""
        lost: Exception | None = None

        def complete(error: Exception, _: Any) -> Observable[Any]:
            nonlocal lost
            lost = error
            return rx.empty()

        # An error would cancel `_show` of the messages before it.
        shown = self._link.incoming.pipe(ops.catch(complete), map_async(self._show))
        await shown.pipe(ops.last_or_default(None))
        if lost is not None:
            raise lost

    async def _show(self, value: Any) -> None:
        self._arrived += 1
        if self._check is not None:
            self._check.message(value)
        text = self._format(value)
        self._size += len(text)
        await write_soon(text)
        if self._arrived >= len(self.expected):
            self._complete.set()

    async def _send(self) -> None:
        """Send the messages; then wait for the recorded end, and for messages that are late."""
        loop = asyncio.get_running_loop()
        began, recording = loop.time(), self._recording
        if "outgoing" in recording.lanes:
            sent = recording.replay(self._speed, lane="outgoing", codec=codecs.raw)
            await sent.pipe(ops.do_action(self._send_one), ops.last_or_default(None))
        # Not after the last message: the server may have sent more.
        await asyncio.sleep(began + recording.duration / self._speed - loop.time())
        close = self._close
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await self._complete.wait()
                if close is not None and close.by == "peer":
                    await asyncio.Future()  # `_receive` ends first
        if close is not None and close.by == "local":
            with suppress(ValueError):  # such as 1005
                self._link.close(check_sendable(close))

    def _send_one(self, value: Any) -> None:
        if not isinstance(value, Close):  # it would close before the messages that are late
            self._link.send(value)
