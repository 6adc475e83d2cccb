"""`View`: a live marble diagram that is redrawn until the flow ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Literal, Self, cast

from reactivex import Observer
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable, SingleAssignmentDisposable

from rxws._core.connection import Connection
from rxws._core.streams.stream import Stream
from rxws._recording.client import STATUS
from rxws._recording.diagram import Diagram, svg, text
from rxws._recording.diagram.statuses import RecordedStatus
from rxws._recording.recording import Recording
from rxws.viz import notebook, running
from rxws.viz.display import Display

from .failures import Failure, Remark, describe_errors, describe_failure, remark

__all__ = ["View"]

ViewState = Literal["running", "ended", "failed", "stopped"]


class View:
    """A live marble diagram, as `watch` returns it.

    `await view` waits for the end of the flow and returns None, even if the flow failed. If you
    interrupt the cell that awaits it, the view stops.

    Attributes:
        recording: The recorded events of all lines.
        state: `"running"`, `"ended"`, `"failed"` or `"stopped"`.
        error: The exception that ended the flow, or None.

    Examples:
        >>> import reactivex as rx
        >>> from rxws.viz import watch
        >>> watch(rx.of(1, 2))
        <View source 2, ended>
    """

    def __init__(self, recording: Recording, window: float | None, rate: float) -> None:
        self.recording = recording
        self.state: ViewState = "running"
        self.error: Exception | None = None
        self.cell = notebook.current_cell()
        self.run = notebook.current_run()
        self._window = window
        self._hint: Callable[[], str] = str
        self._is_over: Callable[[], bool] | None = None
        self._interval = 1 / rate
        self._failure: Failure | None = None
        self._subscription = SingleAssignmentDisposable()
        self._display = Display(self._bundle, state=self._check, rate=rate)
        self._shown_in: set[str | None] = set()
        self._waiters: list[asyncio.Future[None]] = []

    # --- for watch and frames ---------------------------------------------------------------

    def begin_recording(self) -> Self:
        """Show a recording until all its streams have ended."""
        return self.begin(Disposable, over=lambda: _all_ended(self.recording))

    def begin_connection(
        self, conn: Connection[Any, Any], hint: str, stop: Callable[[], None]
    ) -> Self:
        """Show a connection until its end, with a hint while nobody is subscribed to `incoming`.

        `stop` is called when the view ends.
        """
        incoming, errors = cast("Stream[Any]", conn.incoming), cast("Stream[Any]", conn.errors)

        def subscribe() -> DisposableBase:
            # `errors` is the connection's last stream to end.
            observer: Observer[Any] = Observer(on_error=lambda _: self.end(), on_completed=self.end)
            return CompositeDisposable(errors.watch(observer), Disposable(stop))

        return self.begin(subscribe, incoming, hint)

    def begin(
        self,
        subscribe: Callable[[], DisposableBase],
        stream: Stream[Any] | None = None,
        hint: str = "",
        over: Callable[[], bool] | None = None,
    ) -> Self:
        """Show the diagram, then subscribe to the source.

        Args:
            subscribe: Subscribes to the source.
            stream: The stream that is watched, if its subscribers are known.
            hint: A text to show below the diagram while `stream` has no subscriber.
            over: Returns whether the source has ended, if it does not call `end`.
        """
        if stream is not None:
            self._hint = lambda: "" if stream.observed else hint
        self._is_over = over
        running.register(self)
        self._show()
        try:
            self._subscription.disposable = subscribe()
        except Exception as exc:
            self.end(Failure(exc, "subscribe"))
        self._check()  # outside a notebook no timer does this
        self._display.update()
        return self

    def end(self, failure: Failure | None = None) -> None:
        """Draw the end of the flow, and stop."""
        self._finish("ended" if failure is None else "failed", failure)

    # --- for users --------------------------------------------------------------------------

    def stop(self) -> None:
        """Stop watching and redraw the diagram a last time. Calling it again has no effect."""
        self._finish("stopped")

    def svg(self, width: int = 760) -> str:
        """Draw the diagram as SVG.

        Args:
            width: The width in pixels, at least 200.

        Returns:
            An `<svg>` element with the last `window` seconds.

        Raises:
            ValueError: `width` is below 200.

        Examples:
            ```python
            Path("flow.svg").write_text(view.svg(), encoding="utf-8")
            ```
        """
        return svg(self._picture(), width, self._window)

    def text(self, cols: int = 48) -> str:
        """Draw the diagram as text, with the remarks below it.

        Args:
            cols: The width in columns, without the names; at least 24.

        Returns:
            A title line if there is a title, a line per stream, the time axis and any remarks.

        Raises:
            ValueError: `cols` is below 24.

        Examples:
            ```python
            print(view.text())
            ```
        """
        return "\n".join([text(self._picture(), cols), *(each.text for each in self._remarks())])

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    def __repr__(self) -> str:
        title = f" {self.recording.title!r}:" if self.recording.title else ""
        lanes = "".join(
            f" {lane.name} {lane.dropped + sum(each.type == 'next' for each in lane.entries)},"
            for lane in self.recording.lanes.values()
            if lane.nesting is None
            and lane.name != "closed"
            and (lane.name != "errors" or self._errors())
        )
        return f"<View{title}{lanes} {self._state_text()}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return self._bundle()

    def _ipython_display_(self) -> None:
        if not notebook.in_kernel():
            raise NotImplementedError  # IPython then falls back to the repr
        if notebook.current_run() not in self._shown_in:
            self._show()

    # --- internals --------------------------------------------------------------------------

    def _picture(self) -> Diagram:
        # The state of a client lasts until now, although nothing happens meanwhile.
        live = self.state == "running" and STATUS in self.recording.lanes
        return self.recording.picture(self.recording.now if live else None)

    def _countdown(self) -> int:
        """Return the tenths of a second that a client still waits; 0 if it does not wait."""
        lane = self.recording.lanes.get(STATUS)
        if lane is None or not lane.entries or self.state != "running":
            return 0
        latest = lane.entries[-1]
        seconds = latest.data.seconds if isinstance(latest.data, RecordedStatus) else None
        return max(round(10 * (latest.t + (seconds or 0.0) - self.recording.now)), 0)

    def _show(self) -> None:
        self._shown_in.add(notebook.current_run())
        self._display.show()

    def _finish(self, state: ViewState, failure: Failure | None = None) -> None:
        if self.state != "running":
            return
        self.state = state
        self._failure = failure
        running.unregister(self)
        try:
            self._subscription.dispose()
        except Exception as exc:  # raised by a user's finally_action; it must not reach the source
            if self._failure is None:
                self.state, self._failure = "failed", Failure(exc, "dispose")
        self.error = self._failure.error if self._failure else None
        self._hint, self._is_over = str, None  # they keep the source alive
        self._display.stop()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.get_loop().call_soon_threadsafe(_release, waiter)

    async def _wait(self) -> None:
        try:
            while self.state == "running":
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                # A recording does not report its end, so check it from time to time.
                await asyncio.wait([waiter], timeout=self._interval if self._is_over else None)
                self._check()
        except BaseException:
            self.stop()
            raise
        finally:
            # If the flow ended between two cells, Jupyter has not saved that drawing.
            self._display.update(force=True)

    def _check(self) -> object:
        """End the view if its source is over; return a value that changes with the diagram."""
        if self._is_over is not None and self._is_over():
            self.end()
        return self.recording.count, self.state, self._hint(), self._countdown()

    def _bundle(self) -> dict[str, str]:
        remarks = "".join(each.html for each in self._remarks())
        if remarks:
            remarks = (
                '<div class="rxws" style="font:13px/1.5 system-ui,sans-serif;max-width:760px;'
                f'padding:2px 6px 6px">{remarks}</div>'
            )
        return {"text/html": self.svg() + remarks, "text/plain": self.text()}

    def _remarks(self) -> list[Remark]:
        remarks: list[Remark] = []
        if hint := self._hint():
            remarks.append(remark(hint))
        if self._failure is not None:
            remarks.append(describe_failure(self._failure))
        errors = self._errors()
        if errors and all(isinstance(error, Exception) for error in errors):
            remarks.append(describe_errors(errors))
        return remarks

    def _errors(self) -> list[Any]:
        lane = self.recording.lanes.get("errors")
        return [entry.data for entry in lane.entries if entry.type == "next"] if lane else []

    def _state_text(self) -> str:
        if self._failure is not None:
            return f"failed {type(self._failure.error).__name__}"
        close = self.recording.picture().close
        return self.state if close is None else f"{self.state} {close.code}"


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


def _all_ended(recording: Recording) -> bool:
    """Whether all streams of a recording have ended, and there is at least one."""
    lanes = [lane for lane in recording.lanes.values() if lane.nesting is None]
    return bool(lanes) and all(lane.ended for lane in lanes)
