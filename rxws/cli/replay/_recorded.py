"""A recording in a file, of which only the lines that are due are read."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Self

from rxws import Close
from rxws._recording.jsonl import ABOUT, Event, read
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._output import printable
from rxws.cli._recordings import open_lines, recording_errors, shown_name

__all__ = ["LaneReader", "Recorded", "frame_of", "open_recorded"]

_CHECKED = 1000  # lines that are read before anything is connected
_AT_ONCE = 1000  # events that are read before other things get their turn
_ENDS = ("completed", "error", "disposed")


@dataclass(frozen=True, slots=True)
class Recorded:
    """A recording in a file.

    Args:
        name: The name of the file.
        path: The file to read, which is a copy if it came through a pipe.
        size: Its size in bytes.
        subprotocol: The subprotocol of the recorded connection, or None.
        start: The seconds of which no events were kept.
    """

    name: str
    path: str
    size: int
    subprotocol: str | None
    start: float


@contextmanager
def open_recorded(name: str, lane: str | None = None) -> Generator[Recorded]:
    """Check the first lines of a file, before anything is connected.

    Args:
        name: The name of a file, or of a pipe; - for stdin.
        lane: The lane whose messages will be sent: they must have frames.

    Raises:
        Failure: The file cannot be read, is empty, or its first lines are wrong.
    """
    subprotocol, starts, is_empty = None, list[float](), True
    with ExitStack() as stack:
        with recording_errors(name):
            path = stack.enter_context(_copy_of_pipe(name))
            with open(path, "rb") as file:
                for event in read(_complete(islice(file, _CHECKED)), shown_name(name)):
                    is_empty = False
                    if event.type == "recording":
                        subprotocol = event.data.get("subprotocol", subprotocol)
                    elif event.type == "dropped":
                        starts.append(event.t)
                    elif event.type == "next" and event.lane == lane:
                        frame_of(event)
        if is_empty:
            raise Failure(printable(f"{name} is empty: it has no events."), ExitCode.USAGE)
        size = os.stat(path).st_size
        yield Recorded(shown_name(name), path, size, subprotocol, min(starts, default=0.0))


def _complete(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out a last line that was cut off: its reader notes that later."""
    return (line for number, line in enumerate(lines) if not number or line.endswith(b"\n"))


@contextmanager
def _copy_of_pipe(name: str) -> Generator[str]:
    """Return the path of a file that can be read several times."""
    if os.path.isfile(name):
        yield name
        return
    with tempfile.NamedTemporaryFile() as copy:
        with open_lines(name) as pipe:
            shutil.copyfileobj(pipe, copy)
        copy.flush()
        yield copy.name


def frame_of(event: Event) -> str | bytes:
    """Return the frame of a message.

    Raises:
        Failure: The recording does not have it.
    """
    frame = event.data if event.frame is None else event.frame
    if type(frame) in (str, bytes):
        return frame
    raise Failure(
        printable(
            f"the recording has no frame for the {event.lane} value {event.data!r:.80}, at "
            f"{event.t:g} s: record a connection, with `rxws record` or `Recording.of`."
        ),
        ExitCode.USAGE,
    )


class LaneReader:
    """Reads the events of one lane, one at a time. It is an async iterator.

    An end after which messages of the next connection follow, as of a client that reconnected, is
    left out.

    Args:
        recorded: The file.
        lane: The name of the lane.

    Attributes:
        lanes: The names of all lanes, of the lines that were read.
        duration: The time of the last event that was read, in seconds.
        close: How the last connection ended, if that was read.
        progress: The share of the file before the event that is waited for, or will be returned.

    Raises:
        Failure: A line is not an event of a recording.
    """

    def __init__(self, recorded: Recorded, lane: str) -> None:
        self._recorded = recorded
        self._lane = lane
        self._file = open(recorded.path, "rb")  # noqa: SIM115 # see `__exit__`
        self._events = self._read()
        self.lanes: dict[str, None] = {}
        self.duration = 0.0
        self.close: Close | None = None
        self.progress = 0.0

    def _read(self) -> Generator[Event | None]:
        """Yield the events, and None from time to time."""
        end: Event | None = None
        with recording_errors(self._recorded.name):
            for count, event in enumerate(read(self._file, self._recorded.name), 1):
                if count % _AT_ONCE == 0:
                    yield None
                if event.type == "recording":
                    continue
                self.lanes[event.lane] = None
                if event.type in ABOUT:
                    continue
                self.duration = max(self.duration, event.t)
                if event.lane == "closed" and event.type == "close":
                    self.close = event.data
                if event.lane != self._lane or event.type == "subscribed":
                    continue
                is_end = event.type in _ENDS and event.dir is not None
                end = event if is_end else None
                if not is_end:
                    yield event
        if end is not None:
            yield end

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        self.progress = self._file.tell() / max(self._recorded.size, 1)
        for event in self._events:
            if event is not None:
                return event
            await asyncio.sleep(0)
        self.progress = 1.0
        raise StopAsyncIteration

    async def due(self, speed: float) -> AsyncGenerator[Event]:
        """Yield the events, each at its time, so many times as fast as they were recorded."""
        loop = asyncio.get_running_loop()
        # Measured from the start, so that delays do not add up.
        began = loop.time() - self._recorded.start / speed
        async for event in self:
            if (seconds := began + event.t / speed - loop.time()) > 0:
                await asyncio.sleep(seconds)
            yield event

    async def rest(self) -> int:
        """Read the rest of the file; return the number of messages in it."""
        return len([None async for event in self if event.type == "next"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()
        self._file.close()
