"""Watch a connection's stream, with the frames of its messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reactivex.abc import DisposableBase, ObserverBase
from reactivex.disposable import CompositeDisposable

from rxws._core.streams.stream import Stream
from rxws._session.encoding import DecodedFrames, frame_if_different
from rxws._session.incoming import IncomingStream
from rxws._session.outgoing import Outgoing

from .snapshot import Snapshots

__all__ = ["OnMessage", "watch_messages"]

OnMessage = Callable[[Any, "str | bytes | None"], None]
"""Gets a value and its frame, or None if the value is the frame or there is no frame."""


class _Watcher(ObserverBase[Any]):
    def __init__(
        self, on_message: OnMessage | None, ends: ObserverBase[Any], frames: DecodedFrames | None
    ) -> None:
        self._on_message = on_message
        self._ends = ends
        self._frames = frames

    def on_next(self, value: Any) -> None:
        if self._on_message is not None:
            frame = None if self._frames is None else self._frames.latest
            self._on_message(value, frame_if_different(value, frame))

    def on_error(self, error: Exception) -> None:
        self._ends.on_error(error)

    def on_completed(self) -> None:
        self._ends.on_completed()


def watch_messages(
    stream: Stream[Any], on_message: OnMessage, ends: ObserverBase[Any]
) -> DisposableBase:
    """Watch a stream: each message at the time when it is decoded or encoded, and the end.

    A message that is sent may be emitted later, and changed until then.

    Args:
        stream: Any stream of a connection.
        on_message: Called with each value and its frame.
        ends: Its `on_error` or `on_completed` is called at the end.
    """
    if isinstance(stream, IncomingStream):
        return stream.watch(_Watcher(on_message, ends, stream.keep_frames()))
    if isinstance(stream, Outgoing):
        return CompositeDisposable(
            stream.watch_sent(on_message, Snapshots().of), stream.watch(_Watcher(None, ends, None))
        )
    return stream.watch(_Watcher(on_message, ends, None))
