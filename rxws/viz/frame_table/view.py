"""`frames`: a live table of a connection's frames, as browsers' developer tools have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from reactivex import Observer
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxws._core.connection import Connection
from rxws._core.streams import Stream
from rxws._recording.recording import Recording
from rxws.viz.flow_view.view import View

from .rows import Rows
from .table import table_html, table_text

__all__ = ["FramesView", "frames"]

_UNHEARD = "nobody is subscribed to incoming: its messages wait, and watching does not count"


class FramesView(View):
    """A live table of frames; `frames` makes it.

    `await view` waits for the end of the connection and returns None, also where it failed.

    Attributes:
        recording: What is in the table, and what was.
        state: `"running"`, `"ended"` or `"stopped"`.
    """

    def __init__(
        self,
        rows: Rows,
        rate: float,
        hint: Callable[[], str] = str,
        over: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__(rows.recording, window=None, rate=rate, hint=hint, over=over)
        self._rows = rows

    def html(self) -> str:
        """Draw it as HTML that needs nothing else, for a page of one's own.

        Returns:
            A `<div>` with all styles; its script adds the tools.
        """
        return table_html(self._rows.frames(self._hint()), self._display.id)

    def text(self, cols: int = 100) -> str:
        """Draw its last rows as text.

        Args:
            cols: The columns that it may take.

        Returns:
            Lines of text.
        """
        return table_text(self._rows.frames(self._hint()), cols=cols)

    def __repr__(self) -> str:
        made = self._rows.frames()
        title = f" {made.title!r}:" if made.title else ""
        return f"<FramesView{title} in {made.received}, out {made.sent}, {self._state_said()}>"

    def _bundle(self) -> dict[str, str]:
        made = self._rows.frames(self._hint())
        return {"text/html": table_html(made, self._display.id), "text/plain": table_text(made)}


def frames(
    source: Connection[Any, Any] | Recording,
    *,
    title: str | None = None,
    keep: int = 200,
    rate: float = 8,
) -> FramesView:
    """Show the frames of a connection in a live table under the running cell.

    Each has its direction, its time in seconds since the table was made, the size of its payload,
    and its data, which unfolds. Faults have rows, and the close has the last one. It is no
    subscriber: messages that nobody subscribes wait, and come into the table when they are
    delivered. What the codec has made of a frame is shown as a value, with about the size that it
    would have as JSON: what was on the wire is not recorded.

    Args:
        source: A connection, or a `Recording` of one.
        title: What is said above the table; the connection's address if not given.
        keep: Rows; of older ones only the number is shown.
        rate: How often a second it is drawn anew, if something changed.

    Returns:
        The view. It is stopped when its cell is run again.

    Raises:
        TypeError: The source is neither.
        ValueError: `keep` or the rate is not above 0.

    Examples:
        ```python
        conn = await rxws.connect("ws://127.0.0.1:8765/ticks")
        rxws.viz.frames(conn)
        ```
    """
    if not rate > 0:
        raise ValueError(f"rate={rate!r} would never draw: use pictures a second, as 8")
    if not isinstance(keep, int) or keep < 1:
        raise ValueError(f"keep={keep!r} would show nothing, or without a bound: use 1 or more")
    if isinstance(source, Recording):
        rows = Rows(source, keep, title)
        view = FramesView(rows, rate, over=rows.over)
        view.begin(Disposable)
        if rows.over():  # outside a notebook nobody would look
            view.end()
        return view
    if not isinstance(cast(object, source), Connection):
        raise TypeError(
            f"frames() takes a connection or a Recording of one, not {source!r}"
            + (": await it first" if hasattr(source, "__aenter__") else "")
            + (": give it the connection itself" if isinstance(source, Stream) else "")
        )
    recording = Recording.of(source, keep=keep)
    incoming = cast("Stream[Any]", source.incoming)  # it is one, or there were no recording
    rows = Rows(recording, keep, title)
    view = FramesView(rows, rate, hint=lambda: "" if incoming.observed else _UNHEARD)

    def begin() -> DisposableBase:
        # The last of its streams to end: the recording has the others' ends then.
        errors = cast("Stream[Exception]", source.errors)
        ending: Observer[Exception] = Observer(on_error=lambda _: view.end(), on_completed=view.end)
        return CompositeDisposable(errors.watch(ending), Disposable(recording.stop))

    view.begin(begin)
    return view
