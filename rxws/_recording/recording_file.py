"""A file that grows with a recording."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import IO, Any, Literal, Self

from rxws._core.log import logger, one_line

from .jsonl import Event, as_line, parse_line
from .lane import RecordingClock

__all__ = ["RecordingFile"]

OnError = Callable[[OSError], Any]


class RecordingFile:
    """A file to which each event of a recording is written as it happens.

    `Recording.stream_to` returns it. Each line is passed to the operating system at once, so the
    file is complete even if the process is killed. You may use it in `with`.

    Attributes:
        size: The number of bytes written so far.
        messages: The number of messages among what was written, of both directions.
        error: The error that ended the writing, or None.

    Examples:
        ```python
        with rxws.Recording.of(conn, keep=100).stream_to("session.jsonl"):
            await conn.closed
        ```
    """

    def __init__(
        self,
        target: str | os.PathLike[str] | IO[bytes],
        append: bool,
        on_error: OnError | None,
        clock: RecordingClock,
        tail: Callable[[], Iterable[Event]],
    ) -> None:
        self.size = 0
        self.messages = 0
        self.error: OSError | None = None
        self._clock = clock
        self._tail = tail
        self._on_error = on_error
        self._began = 0.0
        self._is_open = True
        self._is_own = isinstance(target, str | os.PathLike)
        if isinstance(target, str | os.PathLike):
            if append and os.path.exists(target):
                self._began = _continue(target)
            # Without a buffer, which would be lost with the process.
            mode: Literal["ab", "wb"] = "ab" if append else "wb"
            self._file: IO[bytes] = open(target, mode, buffering=0)  # noqa: SIM115 # see `_close`
        else:
            self._file = target

    def write(self, event: Event) -> None:
        """Write an event; after an error, do nothing."""
        if not self._is_open:
            return
        rest = memoryview(as_line(event._replace(t=event.t + self._began)))
        try:
            while rest:
                written = self._file.write(rest)
                self.size += written
                rest = rest[written:]
            self._file.flush()
            self.messages += event.dir is not None and event.type == "next"
        except OSError as error:
            self._fail(error)

    def dispose(self) -> None:
        """Write what is known only at the end, and close the file. Further calls do nothing."""
        if self._is_open:
            for event in self._tail():
                self.write(event)
            self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.dispose()

    def _close(self) -> None:
        self._is_open = False
        self._clock.followers = tuple(each for each in self._clock.followers if each != self.write)
        if self._is_own:
            self._file.close()

    def _fail(self, error: OSError) -> None:
        self.error = error
        self._close()
        if self._on_error is not None:
            self._on_error(error)
        else:
            logger.error("the recording stopped: %s", one_line(error))


def _continue(path: str | os.PathLike[str]) -> float:
    """Return the time of the last event of a file, and remove a line that was cut off.

    Raises:
        ValueError: The file is not a recording.
    """
    began, complete, line = 0.0, 0, b""
    with open(path, "r+b") as file:
        for number, line in enumerate(file, 1):
            event = parse_line(line, number, os.fspath(path))
            if event is not None:
                began = max(began, event.t)
            if event is not None or line.endswith(b"\n"):
                complete += len(line)
        file.truncate(complete)
        if complete and not line.endswith(b"\n"):
            file.seek(complete)
            file.write(b"\n")
    return began
