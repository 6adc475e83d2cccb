"""`frames`: a live table of a connection's frames."""

from __future__ import annotations

from typing import Any, cast

from rxws._core.connection import Connection
from rxws._core.streams.stream import Stream
from rxws._recording.recording import Recording
from rxws.viz.flow_view.view import View

from .rows import Rows
from .table import table_html, table_text

__all__ = ["FramesView", "frames"]

_UNOBSERVED = (
    "nobody is subscribed to incoming, so its messages stay buffered (watching does not subscribe)"
)


class FramesView(View):
    """A live table of frames, as `frames` returns it.

    `await view` waits for the end of the connection and returns None, even if it failed. If you
    interrupt the cell that awaits it, the view stops.

    Attributes:
        recording: The recording that the table shows.
        state: `"running"`, `"ended"` or `"stopped"`.

    Examples:
        >>> import rxws
        >>> recording = rxws.Recording()
        >>> recording.lane("incoming").record("next", "hello")
        >>> rxws.viz.frames(recording)
        <FramesView in 1, out 0, running>
        >>> rxws.viz.stop_all()
    """

    def __init__(self, rows: Rows, rate: float) -> None:
        super().__init__(rows.recording, None, rate)
        self._rows = rows

    def html(self) -> str:
        """Draw the table as self-contained HTML, for a page of your own.

        Returns:
            A `<div>` with its styles and the script of its tools.

        Examples:
            ```python
            Path("frames.html").write_text(view.html(), encoding="utf-8")
            ```
        """
        return table_html(self._rows.content(self._hint()), self._display.id)

    def text(self, cols: int = 100) -> str:
        """Draw the last rows as text.

        Args:
            cols: The maximum width of a line, in characters.

        Returns:
            A line with the title and the counts, and the last 10 rows.

        Examples:
            ```python
            print(view.text())
            ```
        """
        return table_text(self._rows.content(self._hint()), cols=cols)

    def __repr__(self) -> str:
        content = self._rows.content()
        title = f" {content.title!r}:" if content.title else ""
        return (
            f"<FramesView{title} in {content.received}, out {content.sent}, {self._state_text()}>"
        )

    def _bundle(self) -> dict[str, str]:
        content = self._rows.content(self._hint())
        return {
            "text/html": table_html(content, self._display.id),
            "text/plain": table_text(content),
        }


def frames(
    source: Connection[Any, Any] | Recording,
    *,
    title: str | None = None,
    keep: int = 200,
    rate: float = 8,
) -> FramesView:
    """Show a connection's frames in a live table below the running cell, as a network tab does.

    A row shows the time in seconds since the table was made, the direction, the size and the data;
    click the data to unfold it. Errors have rows, too. The last row is the close.

    `frames` does not subscribe: messages stay buffered until you subscribe to `incoming`, and they
    appear when they are delivered. If the connection has a codec, the table shows decoded values
    with the sizes of their frames.

    Args:
        source: A connection, or the `Recording` of one.
        title: The title above the table. For a connection the default is its address.
        keep: The maximum number of rows. Older rows are only counted.
        rate: How often per second the table is redrawn, if something changed.

    Returns:
        The view. It stops when its cell runs again.

    Raises:
        TypeError: `source` is neither a connection nor a `Recording`.
        ValueError: `keep` or `rate` is not above 0.

    Examples:
        ```python
        conn = await rxws.connect("ws://127.0.0.1:8765/ticks")
        rxws.viz.frames(conn)
        ```
    """
    if not rate > 0:
        raise ValueError(f"rate={rate!r} must be above 0: it is the number of redraws per second")
    if not isinstance(keep, int) or keep < 1:
        raise ValueError(f"keep={keep!r} must be a whole number of rows: use 1 or more")
    if isinstance(source, Recording):
        return FramesView(Rows(source, keep, title), rate).begin_recording()
    if not isinstance(cast(object, source), Connection):
        raise TypeError(
            f"frames() takes a connection or a Recording of one, not {source!r}"
            + (": await it first" if hasattr(source, "__aenter__") else "")
            + (": pass the connection itself" if isinstance(source, Stream) else "")
        )
    recording = Recording.of(source, keep=keep)
    view = FramesView(Rows(recording, keep, title), rate)
    return view.begin_connection(source, _UNOBSERVED, recording.stop)
