"""Draw a recording while it grows."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from time import monotonic
from typing import IO

from reactivex import operators as ops

import rxws
from rxws import Recording
from rxws._recording.jsonl import Event, parse_line
from rxws.cli._connection import Target
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._lines import read_lines
from rxws.cli._link import Link, describe, open_link
from rxws.cli._recordings import STDIN, recording_errors
from rxws.cli._run import first_of, unless_stopped

from ._picture import Picture
from ._screen import Screen

__all__ = ["follow_file", "follow_url"]

_POLL = 0.1  # seconds
_AT_ONCE = 1000  # events that are read before other things get their turn


async def follow_file(name: str, picture: Picture, screen: Screen, stop: asyncio.Event) -> ExitCode:
    """Draw a file that grows, until `stop` or the end of stdin.

    Raises:
        Failure: A line is not an event of a recording, or the file cannot be read.
    """
    growing = _Growing()
    with recording_errors(name), screen:
        events = _read_stdin() if name == STDIN else _read_file(name)
        await first_of(
            growing.read(events),
            _keep_drawing(lambda: growing.recording, lambda: growing.now, picture, screen),
            stop.wait(),
        )
        _draw_last(growing.recording, picture, screen)
    await screen.drained()
    return ExitCode.DONE


async def follow_url(
    target: Target,
    messages: tuple[str | bytes, ...],
    picture: Picture,
    screen: Screen,
    stop: asyncio.Event,
) -> ExitCode:
    """Draw a connection, until `stop` or its end.

    Raises:
        ConnectError: The connection could not be opened.
        Failure: It ended abnormally.
    """
    failure: Exception | None = None
    with screen:
        async with AsyncExitStack() as stack:
            opening = stack.enter_async_context(open_link(target, reconnect=False))
            link = await unless_stopped(stop, opening)
            recording = Recording.of(link.source)
            for message in messages:
                link.send(message)
            try:
                await first_of(
                    _consume(link),
                    _keep_drawing(lambda: recording, lambda: recording.now, picture, screen),
                    stop.wait(),
                )
            except Exception as error:  # out here it would close with 1011
                failure = error
        _draw_last(recording, picture, screen)
    await screen.drained()
    if failure is not None:
        raise failure
    return ExitCode.DONE


async def _consume(link: Link) -> None:
    try:
        await link.incoming.pipe(ops.last_or_default(None))
    except rxws.ConnectionClosed as error:
        raise Failure(describe(error.close), ExitCode.ABNORMAL_CLOSE) from error


class _Growing:
    """A recording whose events are read from elsewhere."""

    def __init__(self) -> None:
        self.recording = Recording()
        self._read_at = monotonic()

    @property
    def now(self) -> float:
        """The current time of the recording: the last event, and what has passed since then."""
        return self.recording.duration + monotonic() - self._read_at

    async def read(self, events: AsyncIterator[Event | None]) -> None:
        """Add the events; None begins a new recording."""
        async for event in events:
            if event is None:
                self.recording = Recording()
            else:
                self.recording.add(event)
            self._read_at = monotonic()


async def _keep_drawing(
    recording: Callable[[], Recording],
    now: Callable[[], float],
    picture: Picture,
    screen: Screen,
) -> None:
    drawn: object = None
    while True:
        current = recording()
        state = current, current.count
        if screen.flows or state != drawn:
            drawn = state
            ended = all(lane.ended for lane in current.lanes.values())
            screen.show(picture.draw(current, max(now(), 0.0) if not ended else None))
        await asyncio.sleep(screen.interval)


def _draw_last(recording: Recording, picture: Picture, screen: Screen) -> None:
    if len(recording):
        screen.show(picture.draw(recording))


async def _read_stdin() -> AsyncIterator[Event]:
    number = 0
    async for line in read_lines(sys.stdin.fileno()):
        number += 1
        if (event := parse_line(line + b"\n", number, "stdin")) is not None:
            yield event


async def _read_file(name: str) -> AsyncIterator[Event | None]:
    """Yield the events of a file, now and as they come; None if the file begins anew."""
    with open(name, "rb") as file:  # noqa: ASYNC230 # a local file
        while True:
            for number, event in enumerate(_whole_lines(file, name), 1):
                yield event
                if number % _AT_ONCE == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(_POLL)
            if os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
                yield None


def _whole_lines(file: IO[bytes], name: str) -> Iterator[Event]:
    """Yield the events of the lines that are complete."""
    while (line := file.readline()).endswith(b"\n"):
        if (event := parse_line(line, 2, name)) is not None:
            yield event
    file.seek(-len(line), os.SEEK_CUR)
