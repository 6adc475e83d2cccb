"""A client that sends what a recorded client has sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Close
from rxws.cli._connection import Target
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._link import Link, describe, open_link
from rxws.cli._output import to_terminal, write_soon
from rxws.cli._progress import Figures, progress
from rxws.cli._run import first_of, unless_stopped
from rxws.closing import check_sendable
from rxws.operators import map_async

from ._check import check_close, check_message, missing_messages
from ._recorded import LaneReader, Recorded, frame_of

__all__ = ["Player", "play_client"]


async def play_client(
    recorded: Recorded,
    target: Target,
    speed: float,
    wait: float,
    check: bool,
    formatted: Callable[[Any], str | bytes],
    stop: asyncio.Event,
) -> ExitCode:
    """Connect, send the recorded messages at their times, and print what arrives.

    Raises:
        Failure: What arrives differs from the recording, the connection ended abnormally, or a line
            of the recording is wrong.
        ConnectError: The connection could not be opened.
    """
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        opening = stack.enter_async_context(open_link(target, reconnect=False))
        link = await unless_stopped(stop, opening)
        player = stack.enter_context(Player(recorded, link, speed, wait, check, formatted))
        stack.enter_context(progress(player.figures, shown=not to_terminal()))
        try:
            await player.run(stop)
        except Exception as error:  # out here it would close with 1011
            failure = error
    if failure is not None:
        raise failure
    return ExitCode.DONE


class Player:
    """Plays the client's part of a recording on one connection.

    Args:
        recorded: The recording.
        link: The connection.
        speed: How many times as fast as the recording.
        wait: For how many seconds to wait for messages that are late.
        check: Whether to compare what arrives with the recording.
        formatted: Formats a message for stdout.
    """

    def __init__(
        self,
        recorded: Recorded,
        link: Link,
        speed: float,
        wait: float,
        check: bool,
        formatted: Callable[[Any], str | bytes],
    ) -> None:
        self._outgoing = LaneReader(recorded, "outgoing")
        self._incoming = LaneReader(recorded, "incoming")
        self._link = link
        self._speed = speed
        self._wait = wait
        self._check = check
        self._format = formatted
        self._arrived = 0
        self._size = 0
        self._expected: str | bytes | None = None  # the next message
        self._complete = asyncio.Event()  # as many messages as expected have arrived

    async def run(self, stop: asyncio.Event) -> None:
        """Run until both sides are done, or the connection ends, or `stop`.

        Raises:
            Failure: See `play_client`.
        """
        lost: Close | None = None
        await self._expect()
        try:
            await first_of(self._receive(), self._send(), stop.wait())
        except rxws.ConnectionClosed as error:
            lost = error.close
        if stop.is_set():
            return
        missing = await self._incoming.rest()
        recorded = self._incoming.close
        if self._check:
            if self._expected is not None:
                raise missing_messages(self._arrived, missing + 1, self._expected)
            check_close(recorded, self._link.end)
        elif lost is not None and (recorded is None or lost.code != recorded.code):
            raise Failure(describe(lost), ExitCode.ABNORMAL_CLOSE)

    def figures(self) -> Figures:
        """Return what has arrived so far."""
        share = min(self._incoming.progress, self._outgoing.progress)
        return Figures(self._arrived, self._size, share=share)

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
        if self._check:
            check_message(self._arrived, self._expected, value)
        text = self._format(value)
        self._size += len(text)
        await write_soon(text)
        await self._expect()

    async def _expect(self) -> None:
        """Read the next message that should arrive."""
        self._expected = None
        async for event in self._incoming:
            if event.type == "next":
                self._expected = frame_of(event)
                return
        self._complete.set()

    async def _send(self) -> None:
        """Send the messages; then wait for the recorded end, and for messages that are late."""
        loop = asyncio.get_running_loop()
        began, outgoing = loop.time(), self._outgoing
        try:
            async for event in outgoing.due(self._speed):
                if event.type == "next":  # a close would come before the messages that are late
                    await self._link.send_and_drain(frame_of(event))
        except rxws.ConnectionClosed:
            await asyncio.Future()  # `_receive` reports it, after the last message
        # Not after the last message: the server may have sent more.
        await asyncio.sleep(began + outgoing.duration / self._speed - loop.time())
        close = outgoing.close
        with suppress(TimeoutError):
            async with asyncio.timeout(self._wait):
                await self._complete.wait()
                if close is not None and close.by == "peer":
                    await asyncio.Future()  # `_receive` ends first
        if close is not None and close.by == "local":
            with suppress(ValueError):  # such as 1005
                self._link.close(check_sendable(close))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._outgoing.__exit__()
        self._incoming.__exit__()
