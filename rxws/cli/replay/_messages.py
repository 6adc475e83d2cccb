"""The messages of a recording, as they were on the wire."""

from __future__ import annotations

from rxws import Close, Recording
from rxws._recording.jsonl import Event
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._output import printable

__all__ = ["close_of", "frame_of", "frames"]


def frame_of(event: Event) -> str | bytes | None:
    """Return the frame of a message; None if the recording does not have it."""
    frame = event.data if event.frame is None else event.frame
    return frame if type(frame) in (str, bytes) else None


def frames(recording: Recording, lane: str) -> list[str | bytes]:
    """Return the frames of a direction.

    Raises:
        Failure: A message has no frame.
    """
    found: list[str | bytes] = []
    for event in recording.lanes[lane].events if lane in recording.lanes else ():
        if event.type == "next":
            frame = frame_of(event)
            if frame is None:
                raise Failure(
                    printable(
                        f"the recording has no frame for the {lane} value {event.data!r:.80}, at "
                        f"{event.t:g} s: record a connection, with `rxws record` or `Recording.of`."
                    ),
                    ExitCode.USAGE,
                )
            found.append(frame)
    return found


def close_of(recording: Recording) -> Close | None:
    """Return how the last connection ended; None if the recording ended before."""
    closed = recording.lanes["closed"].events if "closed" in recording.lanes else []
    return next((event.data for event in reversed(closed) if event.type == "close"), None)
